"""Inference threads that many cameras share in fair turns."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.frame import Frame

if TYPE_CHECKING:
    from stream.pipeline import Detected, Detector

ACTIVE_S = 1.0
"""A lane that offered a frame within this time takes part in the sharing of the workers."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A frame nobody looked at. Causes: ``superseded`` by a newer one of its camera, ``stale`` when its turn came,
    ``held_too_long`` by a detector that did not answer in time, ``stopped`` at the end."""

    cause: str


Answer = Callable[["Detected | GivenUp | BaseException"], None]
"""Told once what became of a frame, on whichever thread settles it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    frame: Frame
    answer: Answer


class Lane:
    """One camera's way into the pool: its newest frame waits, an older one gives way to it."""

    def __init__(self, pool: InferencePool, detector: Detector, max_staleness_s: float) -> None:
        self.detector = detector
        self.max_staleness_s = max_staleness_s
        self._pool = pool
        # The rest belongs to the pool, under its lock.
        self.waiting: _Job | None = None
        self.in_flight = 0
        self.offered_s = float("-inf")

    def offer(self, frame: Frame, answer: Answer) -> None:
        """Ask for ``frame`` to be looked at; returns at once. ``answer`` is told what came of it, and must return
        at once."""
        self._pool.offer(self, frame, answer)

    def close(self) -> None:
        """Take no more part; a waiting frame is answered, one that is being looked at will be."""
        self._pool.remove(self)


class InferencePool:
    """``workers`` threads that take one frame of each lane in turn.

    While several lanes offer frames, none holds more than its share of the workers, so that a slow model on one
    camera leaves the others theirs. A frame older than its lane allows is not looked at.
    """

    def __init__(self, workers: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._changed = threading.Condition()
        self._turns: deque[Lane] = deque()
        self._lanes: list[Lane] = []
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"infer:{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def lane(self, detector: Detector, *, max_staleness_s: float) -> Lane:
        """A way in for one camera."""
        lane = Lane(self, detector, max_staleness_s)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def offer(self, lane: Lane, frame: Frame, answer: Answer) -> None:
        job = _Job(frame, answer)
        displaced: _Job | None
        with self._changed:
            lane.offered_s = self._clock()
            if self._closed or lane not in self._lanes:
                displaced, cause = job, "stopped"
            else:
                displaced, cause = lane.waiting, "superseded"
                lane.waiting = job
                if displaced is None:
                    self._turns.append(lane)
                self._changed.notify()
        if displaced is not None:
            displaced.answer(GivenUp(cause))

    def remove(self, lane: Lane) -> None:
        with self._changed:
            job, lane.waiting = lane.waiting, None
            if lane in self._lanes:
                self._lanes.remove(lane)
            if lane in self._turns:
                self._turns.remove(lane)
        if job is not None:
            job.answer(GivenUp("stopped"))

    def close(self, timeout_s: float) -> bool:
        """Finish what is being looked at; False when a worker is still inside the runtime (it is a daemon)."""
        with self._changed:
            self._closed = True
            lanes = list(self._lanes)
            self._changed.notify_all()
        for lane in lanes:
            self.remove(lane)
        deadline_s = self._clock() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - self._clock()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            lane, job = taken
            try:
                job.answer(self._look(lane, job.frame))
            finally:
                with self._changed:
                    lane.in_flight -= 1
                    self._changed.notify_all()

    def _look(self, lane: Lane, frame: Frame) -> Detected | GivenUp | BaseException:
        if self._clock() - frame.received_s > lane.max_staleness_s:
            return GivenUp("stale")
        try:
            return lane.detector.detect(frame)
        except Exception as exc:  # noqa: BLE001 - the thread's boundary: who offered the frame gets the error
            return exc

    def _take(self) -> tuple[Lane, _Job] | None:
        with self._changed:
            while not self._closed:
                lane = self._next_lane()
                if lane is not None and lane.waiting is not None:
                    job, lane.waiting = lane.waiting, None
                    lane.in_flight += 1
                    return lane, job
                self._changed.wait()
            return None

    def _next_lane(self) -> Lane | None:
        """The lane whose turn it is, of those that do not hold their share already."""
        share = self._share()
        for lane in self._turns:
            if lane.in_flight < share:
                self._turns.remove(lane)
                return lane
        return None

    def _share(self) -> int:
        since_s = self._clock() - ACTIVE_S
        active = sum(lane.offered_s >= since_s for lane in self._lanes)
        return max(1, self._workers // max(1, active))
