"""The shared inference threads: fair turns, fresh frames, every frame answered once."""

from __future__ import annotations

import threading
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import supervision as sv

from stream.errors import ModelError
from stream.frame import Frame, ModelIdentity, NetworkView
from stream.pipeline import Detected
from stream.pool import GivenUp, InferencePool, Lane

WAIT_S = 60.0


def frame(index: int, *, source: str = "cam", received_s: float = 0.0) -> Frame:
    return Frame(source, index, index, Fraction(1, 25), received_s, 64, 48, network=np.zeros((48, 64, 3), np.uint8))


class Gated:
    """A detector that looks when it is let, and notes at what."""

    identity = ModelIdentity("gated", "1", "0")

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.seen: list[tuple[str, int]] = []

    def view(self, width: int, height: int) -> NetworkView:
        return NetworkView(width, height, rgb=False)

    def detect(self, frame: Frame) -> Detected:
        self.seen.append((frame.source, frame.index))
        self.begun.release()
        assert self.let.acquire(timeout=WAIT_S)
        return Detected(sv.Detections.empty())


class Answers:
    """What became of each frame, and a way to wait for it."""

    def __init__(self) -> None:
        self.by_index: dict[int, object] = {}
        self.count: Counter[int] = Counter()
        self._told = threading.Condition()

    def offer(self, lane: Lane, frame: Frame) -> None:
        def answer(what: object) -> None:
            with self._told:
                self.by_index[frame.index] = what
                self.count[frame.index] += 1
                self._told.notify_all()

        lane.offer(frame, answer)

    def wait_for(self, *indices: int) -> None:
        with self._told:
            assert self._told.wait_for(lambda: set(indices) <= set(self.by_index), WAIT_S)


def test_the_newest_frame_waits_and_the_older_is_given_up() -> None:
    detector, answers = Gated(), Answers()
    pool = InferencePool(1, clock=lambda: 0.0)
    lane = pool.lane(detector, max_staleness_s=1)
    answers.offer(lane, frame(0))
    assert detector.begun.acquire(timeout=WAIT_S)
    for index in (1, 2, 3):
        answers.offer(lane, frame(index))
    detector.let.release(2)
    answers.wait_for(0, 1, 2, 3)
    assert [index for _, index in detector.seen] == [0, 3]
    assert answers.by_index[1] == answers.by_index[2] == GivenUp("superseded")
    assert set(answers.count.values()) == {1}
    assert pool.close(WAIT_S)


def test_a_frame_that_grew_old_while_it_waited_is_not_looked_at() -> None:
    now = [10.0]
    detector, answers = Gated(), Answers()
    pool = InferencePool(1, clock=lambda: now[0])
    lane = pool.lane(detector, max_staleness_s=0.5)
    answers.offer(lane, frame(0, received_s=10.0))
    assert detector.begun.acquire(timeout=WAIT_S)
    answers.offer(lane, frame(1, received_s=10.0))
    now[0] = 10.6
    detector.let.release()
    answers.wait_for(0, 1)
    assert answers.by_index[1] == GivenUp("stale")
    pool.close(WAIT_S)


def test_cameras_take_turns_however_fast_one_of_them_offers() -> None:
    detector, answers = Gated(), Answers()
    pool = InferencePool(1, clock=lambda: 0.0)
    busy, calm = (pool.lane(detector, max_staleness_s=1) for _ in range(2))
    answers.offer(busy, frame(0, source="busy"))
    assert detector.begun.acquire(timeout=WAIT_S)
    answers.offer(calm, frame(100, source="calm"))
    for index in range(1, 6):
        answers.offer(busy, frame(index, source="busy"))
        answers.offer(calm, frame(100 + index, source="calm"))
        detector.let.release()
        assert detector.begun.acquire(timeout=WAIT_S)
    looked = Counter(source for source, _ in detector.seen)
    assert abs(looked["busy"] - looked["calm"]) <= 1
    detector.let.release(10)
    pool.close(WAIT_S)


def test_a_slow_camera_never_holds_all_workers_while_another_offers() -> None:
    slow, quick, answers = Gated(), Gated(), Answers()
    quick.let.release(100)
    pool = InferencePool(2, clock=lambda: 0.0)
    slow_lane, quick_lane = pool.lane(slow, max_staleness_s=1), pool.lane(quick, max_staleness_s=1)
    answers.offer(quick_lane, frame(1000))
    answers.offer(slow_lane, frame(0))
    assert slow.begun.acquire(timeout=WAIT_S)
    answers.offer(slow_lane, frame(1))
    for index in range(1001, 1011):
        answers.offer(quick_lane, frame(index))
        answers.wait_for(index)
    assert [index for _, index in slow.seen] == [0], "the second worker stays free for the other camera"
    slow.let.release(5)
    pool.close(WAIT_S)


def test_a_camera_that_is_alone_may_use_all_workers() -> None:
    now = [0.0]
    detector, answers = Gated(), Answers()
    pool = InferencePool(2, clock=lambda: now[0])
    lane, other = pool.lane(detector, max_staleness_s=9), pool.lane(Gated(), max_staleness_s=9)
    other.detector.let.release(1)  # type: ignore[attr-defined] # it is a Gated
    answers.offer(other, frame(50))
    answers.wait_for(50)
    now[0] = 5.0
    for index in (0, 1):
        answers.offer(lane, frame(index, received_s=5.0))
        assert detector.begun.acquire(timeout=WAIT_S)
    detector.let.release(2)
    answers.wait_for(0, 1)
    pool.close(WAIT_S)


def test_an_error_of_the_detector_reaches_who_asked_and_the_worker_goes_on() -> None:
    class Failing(Gated):
        def detect(self, frame: Frame) -> Detected:
            if frame.index == 0:
                raise ModelError("the model failed")
            return Detected(sv.Detections.empty())

    answers = Answers()
    pool = InferencePool(1, clock=lambda: 0.0)
    lane = pool.lane(Failing(), max_staleness_s=1)
    answers.offer(lane, frame(0))
    answers.wait_for(0)
    answers.offer(lane, frame(1))
    answers.wait_for(1)
    assert isinstance(answers.by_index[0], ModelError)
    assert isinstance(answers.by_index[1], Detected)
    pool.close(WAIT_S)


@pytest.mark.parametrize("closing", ["lane", "pool"])
def test_what_waits_at_the_end_is_answered_and_what_comes_later_too(closing: str) -> None:
    detector, answers = Gated(), Answers()
    pool = InferencePool(1, clock=lambda: 0.0)
    lane = pool.lane(detector, max_staleness_s=1)
    answers.offer(lane, frame(0))
    assert detector.begun.acquire(timeout=WAIT_S)
    answers.offer(lane, frame(1))
    end = threading.Thread(target=lane.close if closing == "lane" else lambda: pool.close(WAIT_S))
    end.start()
    answers.wait_for(1)
    answers.offer(lane, frame(2))
    assert answers.by_index[1] == answers.by_index[2] == GivenUp("stopped")
    detector.let.release()
    end.join(WAIT_S)
    assert pool.close(WAIT_S)
    assert isinstance(answers.by_index[0], Detected)


def test_a_worker_that_hangs_does_not_hold_up_the_end() -> None:
    detector, answers = Gated(), Answers()
    pool = InferencePool(1)
    answers.offer(pool.lane(detector, max_staleness_s=1e9), frame(0))
    assert detector.begun.acquire(timeout=WAIT_S)
    assert not pool.close(0.05)
    detector.let.release()


def test_with_more_threads_more_is_looked_at_at_a_time_and_with_fewer_less() -> None:
    pool, detector, answers = InferencePool(1), Gated(), Answers()
    lanes = [pool.lane(detector, max_staleness_s=WAIT_S) for _ in range(4)]
    for index, lane in enumerate(lanes):
        answers.offer(lane, frame(index, received_s=pool.now_s()))
    assert detector.begun.acquire(timeout=WAIT_S)
    assert not detector.begun.acquire(blocking=False), "one thread, one frame"
    pool.resize(3)
    for _ in range(2):
        assert detector.begun.acquire(timeout=WAIT_S)
    threads = [thread for thread in threading.enumerate() if thread in pool._threads]
    assert len(threads) == 3
    pool.resize(1)
    for _ in range(4):
        detector.let.release()
    assert detector.begun.acquire(timeout=WAIT_S), (
        "what is too many ends with what it was at, and the last frame is seen"
    )
    answers.wait_for(0, 1, 2, 3)
    for thread in threads:
        if thread not in pool._threads:
            thread.join(WAIT_S)
    assert sum(thread.is_alive() for thread in threads) == 1
    assert pool.close(WAIT_S)
