"""Which stretches of a camera's time are to be recorded, and on whose behalf."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from typing import Literal

Mode = Literal["continuous", "events", "off"]
Kind = Literal["continuous", "manual", "event"]

HINDSIGHT_S = 5.0
"""How long after a moment an event can still ask for it: it is confirmed only some looks after its first frame."""


@dataclass(frozen=True, slots=True)
class Hold:
    """An event that wants ``start_s`` to ``end_s`` recorded (its rolls included, endless while it lasts)."""

    event_id: str
    from_s: float
    start_s: float
    end_s: float = math.inf


class Demand:
    """What the mode, the operator and the events want recorded. All times are seconds of the source.

    The operator's and the events' calls come from any thread, all others from the recorder's.
    """

    def __init__(self, mode: Mode, *, pre_roll_s: float, post_roll_s: float) -> None:
        self._mode = mode
        self._pre_roll_s = pre_roll_s
        self._post_roll_s = post_roll_s
        self._lock = threading.Lock()
        self._manual = False
        self._manual_from_s: float | None = None
        self._holds: dict[str, Hold] = {}
        self._news: list[str] = []

    def start_manual(self) -> None:
        with self._lock:
            self._manual = True

    def stop_manual(self) -> None:
        with self._lock:
            self._manual = False

    def hold(self, event_id: str, from_s: float) -> None:
        """An event has begun; a second call for it changes nothing."""
        with self._lock:
            if self._mode != "off" and event_id not in self._holds:
                self._holds[event_id] = Hold(event_id, from_s, from_s - self._pre_roll_s)
                self._news.append(event_id)

    def release(self, event_id: str, until_s: float) -> None:
        """An event is over; one that is unknown is ignored."""
        with self._lock:
            if hold := self._holds.get(event_id):
                self._holds[event_id] = replace(hold, end_s=until_s + self._post_roll_s)

    @property
    def manual(self) -> bool:
        """Whether the operator wants it."""
        return self._manual

    @property
    def any(self) -> bool:
        """Whether anything is wanted now, or may turn out to be wanted."""
        return self._mode != "off" or self._manual

    @property
    def wants_pictures(self) -> bool:
        """Whether packets that are made for the recording alone should be made."""
        if self._mode == "events" and not self._manual:
            return self._pre_roll_s > 0 or bool(self._holds)
        return self.any

    @property
    def remembered_s(self) -> float:
        """How much of the past must be at hand."""
        return self._pre_roll_s + HINDSIGHT_S if self._mode == "events" else 0.0

    @property
    def kind(self) -> Kind:
        """On whose behalf a file that begins now is written."""
        if self._mode == "continuous":
            return "continuous"
        return "manual" if self._manual else "event"

    def observe(self, now_s: float) -> None:
        """The newest packet is of ``now_s``: from here on, or to here, goes what the operator asked for."""
        with self._lock:
            if not self._manual:
                self._manual_from_s = None
            elif self._manual_from_s is None:
                self._manual_from_s = now_s

    def news(self) -> list[Hold]:
        """The events that have begun since the last call."""
        with self._lock:
            begun, self._news = self._news, []
            return [self._holds[event_id] for event_id in begun]

    def first_wanted_s(self, from_s: float, to_s: float) -> float | None:
        """The earliest wanted time of a stretch, None where nothing of it is wanted."""
        starts = [max(start_s, from_s) for start_s, end_s in self._spans() if start_s <= to_s and end_s >= from_s]
        return min(starts, default=None)

    def wanted(self, at_s: float) -> bool:
        return self.first_wanted_s(at_s, at_s) is not None

    def holds_at(self, at_s: float) -> list[Hold]:
        """The events that want this moment, the earliest first."""
        with self._lock:
            holds = [hold for hold in self._holds.values() if hold.start_s <= at_s <= hold.end_s]
        return sorted(holds, key=lambda hold: hold.from_s)

    def first_hold_after(self, at_s: float) -> Hold | None:
        """The event on whose behalf a file that begins at ``at_s`` is written."""
        with self._lock:
            holds = [hold for hold in self._holds.values() if hold.end_s >= at_s]
        return min(holds, key=lambda hold: hold.start_s, default=None)

    def forget_before(self, at_s: float) -> None:
        """Nothing before ``at_s`` can be recorded any more."""
        with self._lock:
            unheard = set(self._news)
            for event_id in [each.event_id for each in self._holds.values() if each.end_s < at_s]:
                if event_id not in unheard:
                    del self._holds[event_id]

    def _spans(self) -> list[tuple[float, float]]:
        if self._mode == "continuous":
            return [(-math.inf, math.inf)]
        with self._lock:
            spans = [(hold.start_s, hold.end_s) for hold in self._holds.values()]
            if self._manual_from_s is not None:
                spans.append((self._manual_from_s, math.inf))
        return spans
