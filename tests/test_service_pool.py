"""Work that waits in order for the shared inference threads: refused when too much waits, dropped when unwanted."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest
import supervision as sv

from stream.frame import Frame, ModelIdentity, NetworkView
from stream.pipeline import Detected
from stream.pool import GivenUp, InferencePool, Lane, TaskLane

WAIT_S = 60.0


class Job:
    """Notes what became of it; waits within its work until it is let."""

    def __init__(self, log: list[str], name: str, let: threading.Semaphore | None = None) -> None:
        self.wanted = True
        self.begun = threading.Event()
        self.settled = threading.Event()
        self.name = name
        self._log = log
        self._let = let

    def work(self) -> None:
        self._log.append(self.name)
        self.begun.set()
        if self._let is not None:
            assert self._let.acquire(timeout=WAIT_S)
        self.settled.set()

    def give_up(self, cause: str) -> None:
        self._log.append(f"{self.name} {cause}")
        self.settled.set()


class Busy:
    """One worker with a task that holds it until :meth:`free`."""

    def __init__(self, capacity: int) -> None:
        self.log: list[str] = []
        self.pool = InferencePool(1)
        self.lane: TaskLane = self.pool.task_lane(capacity)
        self._let = threading.Semaphore(0)
        self.holding = Job(self.log, "holding", self._let)
        assert self.lane.offer(self.holding)
        assert self.holding.begun.wait(WAIT_S)

    def job(self, name: str) -> Job:
        return Job(self.log, name)

    def free(self) -> None:
        self._let.release()


def test_tasks_are_done_in_the_order_they_came() -> None:
    busy = Busy(capacity=3)
    jobs = [busy.job(name) for name in "abc"]
    assert all(busy.lane.offer(job) for job in jobs)
    assert busy.lane.depth == 3
    busy.free()
    assert jobs[-1].settled.wait(WAIT_S)
    assert busy.log == ["holding", "a", "b", "c"]
    assert busy.pool.close(WAIT_S)


def test_what_finds_no_room_is_refused_at_once_and_told_nothing() -> None:
    busy = Busy(capacity=1)
    assert busy.lane.offer(busy.job("a"))
    refused = busy.job("b")
    assert not busy.lane.offer(refused)
    assert not refused.settled.is_set()
    busy.free()
    assert busy.pool.close(WAIT_S)


def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    busy = Busy(capacity=2)
    gone, here = busy.job("gone"), busy.job("here")
    assert busy.lane.offer(gone)
    assert busy.lane.offer(here)
    gone.wanted = False
    busy.free()
    assert here.settled.wait(WAIT_S)
    assert busy.log == ["holding", "gone unwanted", "here"]
    busy.pool.close(WAIT_S)


def test_what_nobody_waits_for_any_more_gives_way_in_a_full_lane() -> None:
    busy = Busy(capacity=1)
    gone, here = busy.job("gone"), busy.job("here")
    assert busy.lane.offer(gone)
    gone.wanted = False
    assert busy.lane.offer(here)
    assert gone.settled.is_set()
    busy.free()
    assert here.settled.wait(WAIT_S)
    busy.pool.close(WAIT_S)


def test_at_the_end_what_waits_is_told_so_and_nothing_more_is_taken() -> None:
    busy = Busy(capacity=2)
    waiting = busy.job("a")
    assert busy.lane.offer(waiting)
    busy.lane.close()
    assert waiting.settled.is_set()
    assert not busy.lane.offer(busy.job("b"))
    busy.free()
    assert busy.pool.close(WAIT_S)
    assert busy.log == ["holding", "a stopped"]


class Looking:
    """A detector that notes whose frame it sees."""

    identity = ModelIdentity("looking", "1", "0")

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def view(self, width: int, height: int) -> NetworkView:
        return NetworkView(width, height, rgb=False)

    def detect(self, frame: Frame) -> Detected:
        self._log.append("camera")
        return Detected(sv.Detections.empty())


def test_a_camera_goes_first_but_not_for_ever() -> None:
    """A camera that would take all there is leaves every fourth turn to the tasks."""
    busy = Busy(capacity=10)
    camera = busy.pool.lane(Looking(busy.log), max_staleness_s=60)
    jobs = [busy.job(name) for name in "abcd"]
    assert all(busy.lane.offer(job) for job in jobs)

    def offer(answer: object = None) -> None:
        if isinstance(answer, GivenUp):
            return
        picture = np.zeros((48, 64, 3), np.uint8)
        camera.offer(Frame("cam", 0, 0, Fraction(1), busy.pool.now_s(), 64, 48, network=picture), offer)

    offer()
    busy.free()
    assert jobs[-1].settled.wait(WAIT_S)
    busy.pool.close(WAIT_S)
    assert busy.log[:9] == ["holding", *["camera"] * 3, "a", *["camera"] * 3, "b"]


class Clock:
    """Time that stands still until every worker is at work, and then goes on to the next that happens."""

    def __init__(self, workers: int) -> None:
        self.now_s = 0.0
        self._workers = workers
        self._changed = threading.Condition()
        self._ends: list[tuple[float, int]] = []
        self._begun = 0

    def work(self, seconds: float) -> None:
        """Take so long; on a worker."""
        with self._changed:
            self._begun += 1
            end = (self.now_s + seconds, self._begun)
            heapq.heappush(self._ends, end)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: end not in self._ends, WAIT_S)

    def go_on(self, until_s: float) -> None:
        """Let work end one after the other until then; each worker begins something new before the next one ends."""
        while True:
            with self._changed:
                assert self._changed.wait_for(lambda: len(self._ends) == self._workers, WAIT_S), self._ends
                if self._ends[0][0] > until_s:
                    self.now_s = until_s
                    return
                self.now_s = heapq.heappop(self._ends)[0]
                self._changed.notify_all()

    def let_all_go(self) -> None:
        with self._changed:
            self._workers = 0
            self._ends.clear()
            self._changed.notify_all()


class Endless:
    """Requests that never end: whenever one is worked on the next is there."""

    wanted = True

    def __init__(self, lane: TaskLane, clock: Clock, seconds: float) -> None:
        self.done: list[float] = []
        self.stopped = False
        self._lane, self._clock, self._seconds = lane, clock, seconds

    def work(self) -> None:
        if self.stopped:
            return
        self._lane.offer(self)
        self._clock.work(self._seconds)
        self.done.append(self._clock.now_s)

    def give_up(self, cause: str) -> None:
        """At the end."""


class Timed:
    """A detector that takes so long, by the clock."""

    identity = ModelIdentity("timed", "1", "0")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    def view(self, width: int, height: int) -> NetworkView:
        return NetworkView(width, height, rgb=False)

    def detect(self, frame: Frame) -> Detected:
        self._clock.work(self._seconds)
        return Detected(sv.Detections.empty())


class Street:
    """A camera of ten pictures a second beside requests that would take all there is, for some seconds."""

    def __init__(self, clock: Clock, camera: Lane) -> None:
        self.looked_s: list[float] = []
        self.given_up: list[str] = []
        self._clock, self._camera = clock, camera

    def run(self, seconds: float) -> None:
        begun_s = self._clock.now_s
        for number in range(round(seconds * 10)):
            self._clock.go_on(begun_s + number / 10)
            self._offer(number, self._clock.now_s)
        self._clock.go_on(begun_s + seconds)

    def _offer(self, number: int, now_s: float) -> None:
        def answer(what: Detected | GivenUp | BaseException) -> None:
            if isinstance(what, Detected):
                self.looked_s.append(self._clock.now_s - now_s)
            else:
                self.given_up.append(str(what))

        picture = np.zeros((48, 64, 3), np.uint8)
        self._camera.offer(Frame("street", number, 0, Fraction(1, 10), now_s, 64, 48, network=picture), answer)


@contextmanager
def saturated(clock: Clock, workers: int, task_s: float) -> Iterator[tuple[InferencePool, Endless]]:
    pool = InferencePool(workers, clock=lambda: clock.now_s)
    lane = pool.task_lane(workers)
    requests = Endless(lane, clock, task_s)
    for _ in range(workers):
        assert lane.offer(requests)
    try:
        yield pool, requests
    finally:
        requests.stopped = True
        clock.let_all_go()
        assert pool.close(WAIT_S)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_camera_keeps_its_rate_beside_requests_that_take_all_there_is(workers: int) -> None:
    clock = Clock(workers)
    with saturated(clock, workers, task_s=0.02) as (pool, requests):
        clock.go_on(2.0)
        street = Street(clock, pool.lane(Timed(clock, 0.015), max_staleness_s=0.5))
        before = len(requests.done)
        street.run(3.0)
        assert (len(street.looked_s), street.given_up) == (30, [])
        assert max(street.looked_s) <= 0.015 + 0.02 + 1e-9, "only who is at work already is waited for"
        possible = (3.0 * workers - 30 * 0.015) / 0.02
        assert len(requests.done) - before >= possible - 2 * workers, "what the camera leaves is used"


def test_only_what_was_quick_lately_may_have_more_than_its_share() -> None:
    now_s, log, let = [0.0], [""], threading.Semaphore(0)
    pool = InferencePool(2, clock=lambda: now_s[0])
    lane, camera = pool.task_lane(100), pool.lane(Looking(log), max_staleness_s=60)

    def look() -> None:
        looked = threading.Event()
        picture = np.zeros((48, 64, 3), np.uint8)
        camera.offer(Frame("cam", 0, 0, Fraction(1), now_s[0], 64, 48, network=picture), lambda _: looked.set())
        assert looked.wait(WAIT_S)

    def begun(*, expected: int) -> list[bool]:
        """Of two pieces of work that take until they are let, those that begin while the camera is at work too."""
        until_idle()
        look()
        jobs = [Job(log, name, let) for name in "ab"]
        assert all(lane.offer(job) for job in jobs)
        assert all(job.begun.wait(WAIT_S) for job in jobs[:expected])
        for _ in range(5 if expected < 2 else 0):
            look()
        found = [job.begun.is_set() for job in jobs]
        let.release(2)
        assert all(job.settled.wait(WAIT_S) for job in jobs)
        return found

    def until_idle() -> None:
        deadline_s = time.monotonic() + WAIT_S
        while lane.in_flight:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)

    assert begun(expected=1) == [True, False], "nothing is known of it"
    quick = [Job(log, "quick") for _ in range(40)]
    assert all(lane.offer(job) for job in quick)
    assert all(job.settled.wait(WAIT_S) for job in quick)
    assert begun(expected=2) == [True, True]
    slow = Job(log, "slow", let)
    assert lane.offer(slow)
    assert slow.begun.wait(WAIT_S)
    now_s[0] += 0.2
    let.release()
    assert slow.settled.wait(WAIT_S)
    assert begun(expected=1) == [True, False]
    assert pool.close(WAIT_S)
