"""How long to wait before a camera is tried again: by the kind of failure, growing, and never in step with others."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

HEALTHY_S = 60.0
"""A connection that held so long begins the count of failures anew."""

_MOST_DOUBLINGS = 30


class Failure(StrEnum):
    """Why a connection is not there, by what can be done about it."""

    UNREACHABLE = "unreachable"
    """It passes by itself: switched off, restarting, a bad network."""

    REFUSED = "refused"
    """Somebody has to change something: password, path, format. Cameras lock out who asks too often."""


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """Delays are drawn between nothing and a span that doubles from ``first_s`` to ``ceiling_s`` (full jitter), but
    are never below ``least_s``."""

    least_s: float
    first_s: float
    ceiling_s: float

    def delay_s(self, attempt: int, chance: float) -> float:
        """The delay after failure number ``attempt`` (from 0) for a ``chance`` within [0, 1)."""
        span_s = min(self.ceiling_s, self.first_s * 2.0 ** min(attempt, _MOST_DOUBLINGS))
        return max(self.least_s, chance * span_s)


POLICIES = {
    Failure.UNREACHABLE: BackoffPolicy(least_s=0.1, first_s=0.5, ceiling_s=3.0),
    Failure.REFUSED: BackoffPolicy(least_s=2.0, first_s=5.0, ceiling_s=60.0),
}


class Backoff:
    """Counts failures in a row of one source."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._kind: Failure | None = None
        self._failures = 0

    def delay_s(self, kind: Failure, held_s: float) -> float:
        """How long to wait after a failure of ``kind`` of a connection that had been good for ``held_s`` seconds."""
        if kind is not self._kind or held_s >= HEALTHY_S:
            self._kind, self._failures = kind, 0
        attempt, self._failures = self._failures, self._failures + 1
        return POLICIES[kind].delay_s(attempt, self._chance())
