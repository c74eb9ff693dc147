"""What became of what was worth asking: counts by cause, and how far edge and cloud agree."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.escalation.breaker import BreakerState, BreakerView
from stream.windows import metric_name

RECENT = 200
"""So many answers make the rolling agreement of a class before a camera."""

MOST_PAIRS = 2000
"""Cameras times classes whose agreement is followed."""


_SUMMED_UP = ("decided", "would_send", "sent", "sent_bytes", "refined", "errors", "late", "unshown", "spooled", "state")
_COUNTED = ("chosen", "refused", "failures", "held", "dropped")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far edge and cloud agree, 0-1: the mean over all ``count`` answers that can be compared, and the mean of
    the last :data:`RECENT` of them."""

    count: int
    mean: float
    recent: float


@dataclass(frozen=True, slots=True)
class EscalationFigures:
    """Counts since the start, and how it stands now. Plain values: a snapshot.

    ``decided`` tracks were looked at; ``chosen`` of them by cause, ``refused`` by cause; in shadow mode ``would_send``
    counts what is not sent. ``sent`` crops went out in ``requests`` of ``sent_bytes`` (tries again included);
    ``refined`` were answered with a label (``late`` of them after their track was over, ``unshown`` too unsure to be
    shown), ``errors`` with an error by the cloud. ``failures`` are requests that
    failed, by cause; ``held`` how often a budget kept a request waiting, by limit; ``dropped`` crops that will never
    be answered, by cause. ``agreement`` is by camera and class. ``state`` is that of the breaker, ``reason`` a
    sentence while all is not well.
    """

    decided: int = 0
    chosen: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    would_send: int = 0
    would_send_bytes: int = 0
    requests: int = 0
    sent: int = 0
    sent_bytes: int = 0
    refined: int = 0
    errors: int = 0
    late: int = 0
    unshown: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    spooled: int = 0
    spooled_bytes: int = 0
    state: str = BreakerState.CLOSED.value
    reason: str = ""
    entered: Mapping[str, int] = field(default_factory=dict)
    agreement: Mapping[tuple[str, str], Agreement] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        """Crops that were chosen to be sent."""
        return sum(self.chosen.values()) - self.would_send

    @property
    def answered(self) -> int:
        """Crops that got an answer, be it an error."""
        return self.refined + self.errors

    def agreement_of(self, camera: str | None = None) -> float | None:
        """The recent agreement of a camera or of all, each class by its number of answers; None without any."""
        return _together(each for (name, _), each in self.agreement.items() if camera is None or name == camera)

    def summary(self) -> dict[str, Any]:
        """As plain values for summary.json; ``agreement`` is by camera and class."""
        values = {name: getattr(self, name) for name in _SUMMED_UP}
        values |= {name: dict(getattr(self, name)) for name in _COUNTED}
        by_camera: dict[str, dict[str, float]] = {}
        for (camera, class_name), each in self.agreement.items():
            by_camera.setdefault(camera, {})[class_name] = round(each.mean, 3)
        return {**values, "asked": self.asked, "agreement": by_camera}

    def sentence(self) -> str:
        """What became of it, for the closing words."""
        if self.would_send:
            words = f"the cloud would have been asked about {self.would_send} of {self.decided} tracks (shadow mode)"
            return words if not self.asked else f"{words}; about {self.asked} it was asked"
        words = f"the cloud was asked about {self.asked} of {self.decided} tracks, {self.answered} were answered"
        agreement = self.agreement_of()
        words += "" if agreement is None else f", agreement {agreement:.2f}"
        if not self.spooled:
            return words
        waiting = f"; {self.spooled} {'crop waits' if self.spooled == 1 else 'crops wait'} on disk for the next run"
        return words + waiting + (f": {self.reason}" if self.reason else "")

    def metrics(self) -> dict[str, float]:
        """The figures under their MLflow names; agreement where there is any."""
        states = list(BreakerState)
        values = {
            "escalation/decided": self.decided,
            "escalation/asked": self.asked,
            "escalation/requests": self.requests,
            "escalation/sent": self.sent,
            "escalation/sent_bytes": self.sent_bytes,
            "escalation/refined": self.refined,
            "escalation/errors": self.errors,
            "escalation/late": self.late,
            "escalation/unshown": self.unshown,
            "escalation/would_send": self.would_send,
            "escalation/spooled": self.spooled,
            "escalation/spooled_bytes": self.spooled_bytes,
            "escalation/breaker": states.index(BreakerState(self.state)),
            "escalation/breaker_opened": self.entered.get("open", 0) + self.entered.get("refused", 0),
        }
        for group in ("chosen", "refused", "failures", "held", "dropped"):
            counts: Mapping[str, int] = getattr(self, group)
            values |= {f"escalation/{group}/{metric_name(cause)}": count for cause, count in counts.items()}
        metrics = {name: float(value) for name, value in values.items()}
        if (overall := self.agreement_of()) is not None:
            metrics["escalation/agreement"] = overall
        for (camera, class_name), each in self.agreement.items():
            metrics[f"escalation/agreement/{metric_name(camera)}/{metric_name(class_name)}"] = each.recent
        return metrics


@dataclass(slots=True)
class _Opinions:
    count: int = 0
    total: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def agreement(self) -> Agreement:
        return Agreement(self.count, self.total / self.count, sum(self.recent) / len(self.recent))


class Tally:
    """Counts from all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._groups: dict[str, Counter[str]] = {
            name: Counter() for name in ("chosen", "refused", "failures", "held", "dropped")
        }
        self._opinions: dict[tuple[str, str], _Opinions] = {}

    def add(self, **counts: int) -> None:
        """Add to plain counts, by their names in :class:`EscalationFigures`."""
        with self._lock:
            self._counts.update(counts)

    def by_cause(self, group: str, cause: str, count: int = 1) -> None:
        with self._lock:
            self._groups[group][str(cause)] += count

    def agreed(self, camera: str, class_name: str, agreement: float | None) -> None:
        """What cannot be compared is no opinion."""
        if agreement is None:
            return
        with self._lock:
            pair = (camera, class_name)
            if pair not in self._opinions and len(self._opinions) >= MOST_PAIRS:
                return
            opinions = self._opinions.setdefault(pair, _Opinions())
            opinions.count += 1
            opinions.total += agreement
            opinions.recent.append(agreement)

    def agreement_of(self, camera: str) -> float | None:
        """As :meth:`EscalationFigures.agreement_of`, of now."""
        with self._lock:
            return _together(each.agreement() for (name, _), each in self._opinions.items() if name == camera)

    def snapshot(self, breaker: BreakerView | None, spooled: int, spooled_bytes: int) -> EscalationFigures:
        with self._lock:
            counted: dict[str, Any] = {name: dict(counts) for name, counts in self._groups.items()} | self._counts
            return EscalationFigures(
                **counted,
                spooled=spooled,
                spooled_bytes=spooled_bytes,
                state=breaker.state.value if breaker else BreakerState.CLOSED.value,
                reason=breaker.reason if breaker else "",
                entered=breaker.entered if breaker else {},
                agreement={pair: each.agreement() for pair, each in self._opinions.items()},
            )


def _together(agreements: Iterable[Agreement]) -> float | None:
    """The recent agreement of several classes, each by its number of answers; None without any."""
    weighed = [(each.recent, min(each.count, RECENT)) for each in agreements]
    total = sum(weight for _, weight in weighed)
    return sum(recent * weight for recent, weight in weighed) / total if total else None
