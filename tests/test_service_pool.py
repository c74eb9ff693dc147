"""Work that waits in order for the shared inference threads: refused when too much waits, dropped when unwanted."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import supervision as sv

from stream.frame import Frame, ModelIdentity, NetworkView
from stream.pipeline import Detected
from stream.pool import InferencePool, TaskLane

WAIT_S = 5.0


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


def test_a_camera_has_every_second_turn_however_many_tasks_wait() -> None:
    busy = Busy(capacity=10)
    camera = busy.pool.lane(Looking(busy.log), max_staleness_s=60)
    jobs = [busy.job(name) for name in "abcd"]
    assert all(busy.lane.offer(job) for job in jobs)
    looked = threading.Event()
    picture = Frame("cam", 0, 0, Fraction(1, 25), busy.pool.now_s(), 64, 48, network=np.zeros((48, 64, 3), np.uint8))
    camera.offer(picture, lambda _answer: looked.set())
    busy.free()
    assert looked.wait(WAIT_S)
    assert jobs[-1].settled.wait(WAIT_S)
    assert busy.log.index("camera") <= 2, busy.log
    busy.pool.close(WAIT_S)
