"""Crops that the cloud did not take: they rest for a while, are tried alone, and are given up in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

FIRST_REST_S = 1.0
LONGEST_REST_S = 300.0


@dataclass(slots=True)
class _Rest:
    until_s: float = float("-inf")
    tries: int = 0
    refused: int = 0
    successes_seen: int = -1
    suspect: bool = False


class Rests:
    """Running state of a forwarder, for one thread; times are monotonic seconds.

    A try counts against a crop only if the cloud answered another one since its last: while it answers nobody,
    nothing is given up.
    """

    def __init__(self, *, tries: int, luck: Callable[[], float]) -> None:
        self._most_tries = tries
        self._luck = luck
        self._successes = 0
        self._rests: dict[int, _Rest] = {}

    def note_success(self) -> None:
        """The cloud answered something."""
        self._successes += 1

    def suspect(self, item_id: int) -> None:
        """The cloud failed on a request that this one was part of."""
        self._rests.setdefault(item_id, _Rest()).suspect = True

    def is_suspect(self, item_id: int) -> bool:
        """Whether it is to be sent alone."""
        return item_id in self._rests and self._rests[item_id].suspect

    def put(self, ids: Sequence[int], now_s: float) -> None:
        """Let them rest for reasons of our own."""
        for item_id in ids:
            self._rests.setdefault(item_id, _Rest()).until_s = now_s + FIRST_REST_S

    def put_off(self, item_id: int, now_s: float) -> bool:
        """The cloud did not take it; whether it is to be given up."""
        rest = self._rests.setdefault(item_id, _Rest())
        rest.tries += 1
        if rest.successes_seen < self._successes:
            rest.refused += 1
        rest.successes_seen = self._successes
        longest_s = min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(rest.tries - 1, 30))
        rest.until_s = now_s + longest_s * (1 + self._luck()) / 2
        return rest.refused >= self._most_tries

    def forget(self, ids: Sequence[int]) -> None:
        for item_id in ids:
            self._rests.pop(item_id, None)

    def resting(self, now_s: float) -> set[int]:
        return {item_id for item_id, rest in self._rests.items() if rest.until_s > now_s}

    def next_s(self, now_s: float) -> float:
        """When the next one is rested; infinity when none is resting."""
        return min(
            (rest.until_s - now_s for rest in self._rests.values() if rest.until_s > now_s), default=float("inf")
        )
