"""The live pipeline: everything is answered in order, nothing waits for a slower part, every loss has a cause."""

from __future__ import annotations

import asyncio
import itertools
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import supervision as sv

from edge.tracker import tracker_maker
from stream import live
from stream.errors import ModelError, SinkError, SourceError
from stream.frame import Frame, FrameResult, ModelIdentity, NetworkView, SourceInfo, ZoneView
from stream.live import OUTLET_MOST, BackgroundPlanner, LivePipeline
from stream.pipeline import Detected, Outcome
from stream.pool import InferencePool
from stream.sources.base import SourceLosses, ViewPlanner
from tests.test_pipeline import ListSink

WAIT_S = 60.0
INFO = SourceInfo("cam", "fake", "fake", "none", 64, 48, Fraction(25), Fraction(1, 25))


def frame(index: int, *, looked_at: bool = True, epoch: int = 0, still: bool = False) -> Frame:
    network = np.zeros((48, 64, 3), np.uint8) if looked_at else None
    return Frame(
        "cam", index, index, Fraction(1, 25), time.monotonic(), 64, 48, network=network, epoch=epoch, still=still
    )


@pytest.fixture(autouse=True)
def _a_busy_machine_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FINISH_S", WAIT_S)
    monkeypatch.setattr(live, "JOIN_S", WAIT_S)
    monkeypatch.setattr(live, "LEAVE_S", WAIT_S)


class HandedSource:
    """Gives the frames a test hands it, until None; ``opening`` lets it hang while it opens."""

    name = "cam"
    losses = SourceLosses()

    def __init__(self) -> None:
        self.frames_to_give: queue.Queue[Callable[[], Frame] | None] = queue.Queue()
        self.opening = threading.Event()
        self.opening.set()
        self.counted: dict[str, int] = {}
        self.interrupted = False

    def give(self, *args: Any, **kwargs: Any) -> None:
        self.frames_to_give.put(lambda: frame(*args, **kwargs))

    def end(self) -> None:
        self.frames_to_give.put(None)

    @property
    def drops(self) -> Mapping[str, int]:
        return self.counted

    def open(self) -> SourceInfo:
        assert self.opening.wait(WAIT_S)
        return INFO

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
        while (make := self.frames_to_give.get(timeout=WAIT_S)) is not None:
            yield make()

    def close(self) -> None:
        pass

    def interrupt(self) -> None:
        self.interrupted = True
        self.opening.set()
        self.end()


class Looker:
    """Finds one standing thing in each frame, once it is let."""

    identity = ModelIdentity("looker", "1", "0")

    def __init__(self, *, let: bool = True, error_at: int | None = None) -> None:
        self.let = threading.Event()
        if let:
            self.let.set()
        self.begun = threading.Event()
        self._error_at = error_at

    def view(self, width: int, height: int) -> NetworkView:
        return NetworkView(width, height, rgb=False)

    def detect(self, frame: Frame) -> Detected:
        self.begun.set()
        if frame.index == self._error_at:
            raise ModelError("the model failed")
        assert self.let.wait(WAIT_S)
        one = sv.Detections(
            xyxy=np.array([[10, 10, 30, 40]], np.float32),
            confidence=np.array([0.9], np.float32),
            class_id=np.array([0]),
            data={"class_name": np.array(["thing"])},
        )
        return Detected(one)


class Counts:
    """An observer; :meth:`wait_for` waits until so many results are out."""

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter()
        self.results: list[FrameResult] = []
        self.frames_in = 0
        self._more = threading.Condition()

    def frame_in(self, now_s: float, depth: int) -> None:
        with self._more:
            self.frames_in += 1
            self._more.notify_all()

    def frame_out(self, now_s: float, result: FrameResult) -> None:
        with self._more:
            self.results.append(result)
            self._more.notify_all()

    def dropped(self, cause: str, count: int) -> None:
        self.drops[cause] += count

    def wait_for_offered(self, frames: int) -> None:
        """All but the last of ``frames`` have surely been offered to the pool."""
        with self._more:
            assert self._more.wait_for(lambda: self.frames_in >= frames, WAIT_S), self.frames_in

    def wait_for(self, results: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.results) >= results, WAIT_S), len(self.results)


def run(
    during: Callable[[HandedSource, LivePipeline, Counts], None],
    *sinks: ListSink,
    looker: Looker | None = None,
    tracker: str = "bytetrack",
    hold_s: float = WAIT_S,
    zones: Callable[[FrameResult], tuple[ZoneView, ...]] | None = None,
    source: HandedSource | None = None,
) -> tuple[Outcome, Counts]:
    """Run a pipeline while ``during`` plays the camera in a thread of its own."""
    source, counts = source or HandedSource(), Counts()
    pool = InferencePool(1)
    lane = pool.lane(looker or Looker(), max_staleness_s=WAIT_S)
    pipeline = LivePipeline(
        source,
        lane,
        tracker_maker(tracker),  # type: ignore[arg-type]  # a plain word from a test
        sinks,  # type: ignore[arg-type]  # outputs is a property in the role, an attribute here
        counts,
        watch_zones=zones,
        hold_s=hold_s,
    )

    async def scenario() -> Outcome:
        playing = asyncio.create_task(asyncio.to_thread(during, source, pipeline, counts))
        try:
            return await pipeline.run()
        finally:
            await playing

    try:
        return asyncio.run(scenario()), counts
    finally:
        pool.close(WAIT_S)


def test_every_frame_comes_out_once_in_order_and_with_its_own_boxes() -> None:
    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        for index in range(20):
            source.give(index)
            counts.wait_for(index + 1)
        source.end()

    sink = ListSink()
    outcome, counts = run(play, sink)
    assert [result.frame.index for result in sink.results] == list(range(20))
    assert not any(result.carried for result in sink.results)
    assert outcome.frames == counts.frames_in == 20
    assert not counts.drops
    assert sink.calls == ["open", "close"]


def test_a_slow_detector_costs_detections_and_no_frame() -> None:
    looker = Looker(let=False)

    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        source.give(0)
        assert looker.begun.wait(WAIT_S)
        for index in range(1, 10):
            source.give(index)
        source.give(10, looked_at=False)
        counts.wait_for_offered(11)
        looker.let.set()
        counts.wait_for(11)
        source.end()

    sink = ListSink()
    _, counts = run(play, sink, looker=looker)
    assert [result.frame.index for result in sink.results] == list(range(11))
    carried = [result.frame.index for result in sink.results if result.carried]
    assert carried == [*range(1, 9), 10]
    assert counts.drops == {"superseded": 8}
    assert all(len(result.detections) == 1 for result in sink.results), "carried frames have boxes too"


def test_a_detector_that_hangs_holds_frames_up_for_a_moment_only() -> None:
    looker = Looker(let=False)

    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        source.give(0)
        assert looker.begun.wait(WAIT_S)
        for index in range(1, 1000):
            source.give(index, looked_at=False)
            counts.wait_for_offered(index + 1)
            if len(counts.results) >= 2:
                break
            threading.Event().wait(0.01)
        looker.let.set()
        source.end()

    sink = ListSink()
    _, counts = run(play, sink, looker=looker, hold_s=0.05)
    assert counts.drops["held_too_long"] == 1
    assert [result.frame.index for result in sink.results] == list(range(len(sink.results)))
    assert sink.results[0].carried


def test_frames_nobody_looks_at_carry_boxes_or_hold_them_still() -> None:
    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        for index in range(5):
            source.give(index)
            counts.wait_for(index + 1)
        source.give(5, looked_at=False)
        source.give(1000, looked_at=False, still=True)
        source.give(1001, looked_at=False)
        source.end()

    sink = ListSink()
    run(play, sink)
    carried, held, lost = sink.results[5:]
    assert carried.carried
    assert len(carried.detections) == len(held.detections) == 1
    assert not len(lost.detections), "boxes are not carried over half a minute in which things moved"


def test_a_new_beginning_of_the_source_gives_new_identities() -> None:
    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        for index in range(8):
            source.give(index, epoch=index // 4)
            counts.wait_for(index + 1)
        source.end()

    sink = ListSink()
    run(play, sink)
    ids = [int(result.detections.tracker_id[0]) for result in sink.results if result.detections.tracker_id is not None]
    assert ids[3] >= 0
    assert ids[7] > ids[3]


def test_gaps_in_the_numbers_are_told() -> None:
    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        for index in (0, 1, 5, 6):
            source.give(index, looked_at=False)
        source.end()

    sink = ListSink()
    run(play, sink)
    assert [result.dropped_before for result in sink.results] == [0, 0, 3, 0]


def test_what_the_source_leaves_out_is_counted_by_its_cause() -> None:
    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        source.counted = {"corrupt": 2, "late": 1}
        source.give(0, looked_at=False)
        counts.wait_for(1)
        source.counted = {"corrupt": 5, "late": 1}
        source.give(1, looked_at=False)
        source.end()

    _, counts = run(play)
    assert counts.drops == {"corrupt": 5, "late": 1}


def test_a_sink_that_hangs_loses_its_own_results_and_nobody_elses() -> None:
    let = threading.Event()

    class Hanging(ListSink):
        def write(self, result: FrameResult) -> None:
            assert let.wait(WAIT_S)
            super().write(result)

    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        for index in range(OUTLET_MOST + 21):
            source.give(index, looked_at=False)
            counts.wait_for(index + 1)
            while len(free.results) <= index:
                threading.Event().wait(0.001)
        let.set()
        source.end()

    hanging, free = Hanging("hanging"), ListSink("free")
    _, counts = run(play, hanging, free)
    assert [result.frame.index for result in free.results] == list(range(OUTLET_MOST + 21))
    assert counts.drops["sink_hanging"] == OUTLET_MOST + 21 - len(hanging.results) >= 20
    assert hanging.results[-1].frame.index == OUTLET_MOST + 20, "the newest are kept"


def test_a_sink_that_fails_is_told_of_and_the_camera_goes_on() -> None:
    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        for index in range(5):
            source.give(index, looked_at=False)
            counts.wait_for(index + 1)
        source.end()

    free = ListSink("free")
    outcome, _ = run(play, ListSink("failing", fail_at=1), free)
    assert len(free.results) == 5
    assert [type(error) for error in outcome.errors] == [SinkError]


def test_a_model_that_fails_ends_the_pipeline_with_its_error() -> None:
    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        source.give(0)

    with pytest.raises(ModelError, match="the model failed"):
        run(play, looker=Looker(error_at=0))


def test_stopping_finishes_what_is_on_its_way() -> None:
    looker = Looker(let=False)

    def play(source: HandedSource, pipeline: LivePipeline, counts: Counts) -> None:
        source.give(0)
        assert looker.begun.wait(WAIT_S)
        pipeline.stop()
        looker.let.set()

    sink = ListSink()
    outcome, _ = run(play, sink, looker=looker)
    assert outcome.stopped
    assert [result.frame.index for result in sink.results] == [0]
    assert sink.calls[-1] == "close"


class SilentSource(HandedSource):
    """Once told to end, or to open, it stays inside libav until its camera says something."""

    def __init__(self, *, opens: bool) -> None:
        super().__init__()
        self.speaks, self.closed = threading.Event(), threading.Event()
        if not opens:
            self.opening = self.speaks

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
        yield from super().frames(plan)
        assert self.speaks.wait(WAIT_S)

    def close(self) -> None:
        self.closed.set()

    def interrupt(self) -> None:
        self.end()


@pytest.mark.parametrize("opens", [True, False])
def test_a_source_that_stays_inside_libav_is_not_waited_for_and_closes_itself(
    opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LEAVE_S", 0.01)
    source, sink = SilentSource(opens=opens), ListSink()

    def play(_source: HandedSource, pipeline: LivePipeline, counts: Counts) -> None:
        if opens:
            source.give(0)
            counts.wait_for(1)
        pipeline.stop()

    if opens:
        outcome, _ = run(play, sink, source=source)
        assert outcome.stopped
        assert [result.frame.index for result in sink.results] == [0]
    else:
        with pytest.raises(SourceError, match="stopped before it gave a picture"):
            run(play, sink, source=source)
    assert not source.closed.is_set()
    source.speaks.set()
    assert source.closed.wait(WAIT_S)


def test_zones_are_watched_in_order_and_travel_with_the_result() -> None:
    def watch(result: FrameResult) -> tuple[ZoneView, ...]:
        return (ZoneView("door", ((0, 0), (9, 0), (9, 9)), entered=result.frame.index),)

    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        for index in range(3):
            source.give(index)
        source.end()

    sink = ListSink()
    run(play, sink, zones=watch)
    assert [result.zones[0].entered for result in sink.results] == [0, 1, 2]


def test_a_source_never_waits_while_the_model_gets_ready() -> None:
    ready, asked = threading.Event(), []

    def view(width: int, height: int) -> NetworkView:
        asked.append((width, height))
        assert ready.wait(WAIT_S)
        return NetworkView(width, height, rgb=False)

    planner = BackgroundPlanner(view, "cam")
    assert [planner(64, 48) for _ in range(3)] == [None, None, None]
    ready.set()
    deadline_s = time.monotonic() + WAIT_S
    while planner(64, 48) is None and time.monotonic() < deadline_s:
        threading.Event().wait(0.005)
    assert planner(64, 48) == NetworkView(64, 48, rgb=False)
    assert asked == [(64, 48)]


def test_a_model_that_cannot_be_made_ready_ends_the_pipeline_with_its_error() -> None:
    class Unready(Looker):
        def view(self, width: int, height: int) -> NetworkView:
            raise ModelError("not enough memory")

    class Planning(HandedSource):
        def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
            for made in super().frames(plan):
                plan(64, 48)
                yield made

    def play(source: HandedSource, _pipeline: LivePipeline, counts: Counts) -> None:
        deadline_s = time.monotonic() + WAIT_S
        for index in itertools.count():
            source.give(index, looked_at=False)
            threading.Event().wait(0.005)
            if source.interrupted or time.monotonic() > deadline_s:
                return

    with pytest.raises(ModelError, match="not enough memory"):
        run(play, looker=Unready(), source=Planning())


ENDS_EARLY = """
import time
from stream.live import BackgroundPlanner

def opening(width, height):
    time.sleep(0.3)
    print("opened", flush=True)

BackgroundPlanner(opening, "cam")(64, 48)
"""


def test_a_process_that_ends_does_not_leave_while_a_library_opens_a_model() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS_EARLY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "opened\n")
