"""Inference threads that cameras and whoever else needs them share in fair turns, cameras first."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stream.frame import Frame

if TYPE_CHECKING:
    from stream.pipeline import Detected, Detector

ACTIVE_S = 1.0
"""A lane that offered a frame within this time takes part in the sharing of the workers."""

LEND_S = 0.05
"""A lane whose work takes no longer may have more than its share while no other waits: its workers are soon back."""

SLOW_S = 1.0
"""What a lane's work is taken to need as long as nothing is known of it."""

FADE = 0.9
"""Work that took long counts less with each that follows: lately is the last few dozen."""

GIVES_WAY = 3
"""So often tasks let a camera go first before it is their turn, or as often as there are cameras: a picture that is
late is lost, a task waits."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A frame nobody looked at. Causes: ``superseded`` by a newer one of its camera, ``stale`` when its turn came,
    ``held_too_long`` by a detector that did not answer in time, ``stopped`` at the end, or what a detector says."""

    cause: str


class GivenUpError(Exception):
    """Raised by a detector that cannot look at this one frame, with the cause; nothing else is wrong with it."""


Answer = Callable[["Detected | GivenUp | BaseException"], None]
"""Told once what became of a frame, on whichever thread settles it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    frame: Frame
    answer: Answer


class Task(Protocol):
    """A piece of work for a :class:`TaskLane`; one of the two is called, once."""

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it; asked on any thread, again and again."""
        ...

    def work(self) -> None:
        """Do it and tell the outcome; must not raise."""
        ...

    def give_up(self, cause: str) -> None:
        """It will not be done: ``unwanted`` or ``stopped``. Must return at once."""
        ...


class _Turn(Protocol):
    """A way into the pool, as the pool sees it. All under the pool's lock."""

    in_flight: int
    offered_s: float
    longest_s: float
    """What its work took lately at most."""

    @property
    def gives_way(self) -> bool:
        """Whether others go first."""
        ...

    def take(self) -> Callable[[], None] | None:
        """What is to be done next, if anything; without waiting."""
        ...

    @property
    def has_more(self) -> bool: ...

    def clear(self) -> list[Callable[[], None]]:
        """What tells those who wait that nothing will come of it."""
        ...


class Lane:
    """One camera's way into the pool: its newest frame waits, an older one gives way to it."""

    gives_way = False

    def __init__(self, pool: InferencePool, detector: Detector, max_staleness_s: float) -> None:
        self.detector = detector
        self.max_staleness_s = max_staleness_s
        self._pool = pool
        # The rest belongs to the pool, under its lock.
        self.waiting: _Job | None = None
        self.in_flight = 0
        self.offered_s = float("-inf")
        self.longest_s = SLOW_S

    def offer(self, frame: Frame, answer: Answer) -> None:
        """Ask for ``frame`` to be looked at; returns at once. ``answer`` is told what came of it, and must return
        at once."""
        self._pool.offer(self, frame, answer)

    def close(self) -> None:
        """Take no more part; a waiting frame is answered, one that is being looked at will be."""
        self._pool.remove(self)

    # The pool's side.

    @property
    def has_more(self) -> bool:
        return self.waiting is not None

    def take(self) -> Callable[[], None] | None:
        job, self.waiting = self.waiting, None
        return None if job is None else lambda: job.answer(self._look(job.frame))

    def clear(self) -> list[Callable[[], None]]:
        job, self.waiting = self.waiting, None
        return [] if job is None else [lambda: job.answer(GivenUp("stopped"))]

    def _look(self, frame: Frame) -> Detected | GivenUp | BaseException:
        if self._pool.now_s() - frame.received_s > self.max_staleness_s:
            return GivenUp("stale")
        try:
            return self.detector.detect(frame)
        except GivenUpError as exc:
            return GivenUp(str(exc))
        except Exception as exc:  # noqa: BLE001 - the thread's boundary: who offered the frame gets the error
            return exc


class TaskLane:
    """A way into the pool for work that waits its turn in order: at most ``capacity`` tasks, then it refuses."""

    gives_way = True

    def __init__(self, pool: InferencePool, capacity: int) -> None:
        self.capacity = capacity
        self._pool = pool
        self._tasks: deque[Task] = deque()
        # The rest belongs to the pool, under its lock.
        self.in_flight = 0
        self.offered_s = float("-inf")
        self.longest_s = SLOW_S

    @property
    def depth(self) -> int:
        """How many tasks wait; from any thread."""
        return len(self._tasks)

    def offer(self, task: Task) -> bool:
        """Ask for ``task`` to be done; False at once when too much waits or the pool is closed."""
        return self._pool.enqueue(self, task)

    def close(self) -> None:
        """Take no more part; what waits is given up."""
        self._pool.remove(self)

    # The pool's side.

    def put(self, task: Task) -> tuple[bool, list[Task]]:
        """Whether there was room, and what nobody waits for any more and has made some."""
        unwanted: list[Task] = []
        if len(self._tasks) >= self.capacity:
            unwanted = [each for each in self._tasks if not each.wanted]
            self._tasks = deque(each for each in self._tasks if each not in unwanted)
        if len(self._tasks) >= self.capacity:
            return False, unwanted
        self._tasks.append(task)
        return True, unwanted

    @property
    def has_more(self) -> bool:
        return bool(self._tasks)

    def take(self) -> Callable[[], None] | None:
        if not self._tasks:
            return None
        task = self._tasks.popleft()
        return task.work if task.wanted else lambda: task.give_up("unwanted")

    def clear(self) -> list[Callable[[], None]]:
        tasks, self._tasks = self._tasks, deque()
        return [lambda task=task: task.give_up("stopped") for task in tasks]  # type: ignore[misc] # bound now


class InferencePool:
    """``workers`` threads that take one frame or task of each lane in turn.

    While several lanes offer work, one whose work takes long holds no more than its share of the workers, so that a
    slow model on one camera leaves the others theirs. A frame older than its lane allows is not looked at.
    """

    def __init__(self, workers: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.workers = workers
        self.now_s = clock
        self._changed = threading.Condition()
        self._turns: deque[_Turn] = deque()
        self._gave_way = 0
        self._lanes: list[_Turn] = []
        self._closed = False
        self._threads: list[threading.Thread] = []
        self.resize(workers)

    def resize(self, workers: int) -> None:
        """Work with so many threads from now on; those too many end with what they are at."""
        with self._changed:
            self.workers = workers
            for number in range(len(self._threads), workers):
                thread = threading.Thread(target=self._work, name=f"infer:{number}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()

    def lane(self, detector: Detector, *, max_staleness_s: float) -> Lane:
        """A way in for one camera."""
        lane = Lane(self, detector, max_staleness_s)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def task_lane(self, capacity: int) -> TaskLane:
        """A way in for other work."""
        lane = TaskLane(self, capacity)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def offer(self, lane: Lane, frame: Frame, answer: Answer) -> None:
        job = _Job(frame, answer)
        displaced: _Job | None
        with self._changed:
            if self._is_shut_for(lane):
                displaced, cause = job, "stopped"
            else:
                displaced, cause = lane.waiting, "superseded"
                lane.waiting = job
                self._line_up(lane)
        if displaced is not None:
            displaced.answer(GivenUp(cause))

    def enqueue(self, lane: TaskLane, task: Task) -> bool:
        with self._changed:
            if self._is_shut_for(lane):
                return False
            taken, unwanted = lane.put(task)
            if taken:
                self._line_up(lane)
        for each in unwanted:
            each.give_up("unwanted")
        return taken

    def remove(self, lane: _Turn) -> None:
        with self._changed:
            given_up = lane.clear()
            if lane in self._lanes:
                self._lanes.remove(lane)
            if lane in self._turns:
                self._turns.remove(lane)
        for tell in given_up:
            tell()

    def close(self, timeout_s: float) -> bool:
        """Finish what is being looked at; False when a worker is still inside the runtime (it is a daemon)."""
        with self._changed:
            self._closed = True
            lanes = list(self._lanes)
            self._changed.notify_all()
        for lane in lanes:
            self.remove(lane)
        deadline_s = self.now_s() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - self.now_s()))
        return not any(thread.is_alive() for thread in self._threads)

    def _is_shut_for(self, lane: _Turn) -> bool:
        return self._closed or lane not in self._lanes

    def _line_up(self, lane: _Turn) -> None:
        lane.offered_s = self.now_s()
        if lane not in self._turns:
            self._turns.append(lane)
        self._changed.notify()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            lane, do = taken
            begun_s = self.now_s()
            try:
                do()
            finally:
                # let go of what was looked at before waiting for more
                del do, taken
                with self._changed:
                    lane.in_flight -= 1
                    lane.longest_s = max(self.now_s() - begun_s, lane.longest_s * FADE)
                    self._changed.notify_all()

    def _take(self) -> tuple[_Turn, Callable[[], None]] | None:
        with self._changed:
            while not self._closed:
                if len(self._threads) > self.workers:
                    self._threads.remove(threading.current_thread())
                    return None
                lane = self._next_lane()
                do = None if lane is None else lane.take()
                if lane is not None and do is not None:
                    lane.in_flight += 1
                    if lane.has_more:
                        self._turns.append(lane)
                    return lane, do
                self._changed.wait()
            return None

    def _next_lane(self) -> _Turn | None:
        """The lane whose turn it is, of those that do not hold their share already or are soon done."""
        share = self._share()
        able = [lane for lane in self._turns if lane.in_flight < share or lane.longest_s <= LEND_S]
        first = [lane for lane in able if not lane.gives_way]
        later = [lane for lane in able if lane.gives_way]
        give_way = self._gave_way < max(GIVES_WAY, len(first))
        for lane in (*first, *later) if give_way else (*later, *first):
            self._gave_way = 0 if lane.gives_way else self._gave_way + 1
            self._turns.remove(lane)
            return lane
        return None

    def _share(self) -> int:
        since_s = self.now_s() - ACTIVE_S
        active = sum(lane.offered_s >= since_s for lane in self._lanes)
        return max(1, self.workers // max(1, active))
