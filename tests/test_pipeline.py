"""The pipeline: order, numbers, losses, endings. Real files and threads, a detector that reads grey levels."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import supervision as sv

from edge.tracker import tracker_maker
from stream.errors import DecodeError, ModelError, SinkError, SourceError
from stream.frame import Frame, FrameResult, ModelIdentity, NetworkView, SourceInfo
from stream.pipeline import FRAMES_AHEAD, RESULTS_AHEAD, Detected, Outcome, Pipeline
from stream.sources.base import Source, SourceLosses, ViewPlanner
from stream.sources.file import FileRange, FileSource
from tests import clips
from tests.clips import Clip

WORKERS = 3
WHOLE = FileRange()


class GreyDetector:
    """Finds one object in each frame, as far from the left as the picture is bright."""

    identity = ModelIdentity("grey", "1", "0" * 64)

    def __init__(self, before: Callable[[Frame], None] = lambda _frame: None) -> None:
        self._before = before

    def view(self, _width: int, _height: int) -> NetworkView:
        return NetworkView(64, 64, rgb=False)

    def detect(self, frame: Frame) -> Detected:
        self._before(frame)
        assert frame.picture is not None
        left = float(clips.frame_number(frame.picture))
        return Detected(
            sv.Detections(
                xyxy=np.array([[left, 10, left + 50, 60]], np.float32),
                confidence=np.array([0.9], np.float32),
                class_id=np.array([0]),
                data={"class_name": np.array(["thing"])},
            ),
            inference_s=0.001,
        )


class Watcher:
    """An observer that counts."""

    def __init__(self) -> None:
        self.frames_in = 0
        self.results: list[FrameResult] = []

    def frame_in(self, now_s: float, depth: int) -> None:
        self.frames_in += 1

    def frame_out(self, now_s: float, result: FrameResult) -> None:
        self.results.append(result)


class ListSink:
    """Keeps what it is given; fails at the frame it is told to."""

    wants_picture = False
    optional = False
    outputs: Sequence[Path] = ()

    def __init__(self, name: str = "list", fail_at: int | None = None) -> None:
        self.name = name
        self.results: list[FrameResult] = []
        self.calls: list[str] = []
        self._fail_at = fail_at

    def open(self, info: SourceInfo) -> None:
        self.calls.append("open")

    def write(self, result: FrameResult) -> None:
        if result.frame.index == self._fail_at:
            raise SinkError("cannot write list: no space left on device; free some")
        self.results.append(result)

    def close(self) -> None:
        self.calls.append("close")


def run(
    source: Source,
    *sinks: ListSink,
    detector: GreyDetector | None = None,
    tracker: str = "off",
    during: Callable[[Pipeline], None] = lambda _pipeline: None,
) -> tuple[Outcome, Watcher]:
    watcher = Watcher()

    async def scenario() -> Outcome:
        with ThreadPoolExecutor(WORKERS) as workers:
            pipeline = Pipeline(
                source,
                detector or GreyDetector(),
                tracker_maker(tracker),  # type: ignore[arg-type]  # a plain word from a test
                sinks,  # type: ignore[arg-type]  # outputs is a property in the role, an attribute here
                watcher,
                workers=workers,
                in_flight=WORKERS + 2,
            )
            during(pipeline)
            return await pipeline.run()

    return asyncio.run(scenario()), watcher


def file_source(path: Path, part: FileRange = WHOLE) -> FileSource:
    return FileSource(path, name=path.name, wants_pictures=lambda _index: True, part=part)


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "hundred.mp4", Clip(frames=100))


def lefts(results: list[FrameResult]) -> list[int]:
    return [round(float(result.detections.xyxy[0, 0])) for result in results]


def test_every_frame_reaches_every_sink_once_and_in_order(hundred: Path) -> None:
    one, two = ListSink("one"), ListSink("two")
    outcome, watcher = run(file_source(hundred), one, two)
    assert lefts(one.results) == lefts(two.results) == list(range(100))
    assert outcome.frames == watcher.frames_in == len(watcher.results) == 100
    assert not (outcome.stopped or outcome.errors or outcome.losses.any_frames)


def test_order_is_kept_when_later_frames_are_faster(hundred: Path) -> None:
    """Every even frame is held until its successor is done."""
    done = [threading.Event() for _ in range(100)]

    def hold_back(frame: Frame) -> None:
        if frame.index % 2 == 0:
            assert done[frame.index + 1].wait(60), "frames must be detected side by side"
        done[frame.index].set()

    sink = ListSink()
    run(file_source(hundred), sink, detector=GreyDetector(hold_back))
    assert lefts(sink.results) == list(range(100))


def test_results_carry_the_frames_own_detections_and_times(hundred: Path) -> None:
    _, watcher = run(file_source(hundred))
    for number, result in enumerate(watcher.results):
        assert result.frame.index == number
        assert result.frame.pts_s == pytest.approx(number / 25)
        assert result.timings.total_s >= result.timings.queue_s >= 0


def test_frames_between_detections_are_carried_and_marked(hundred: Path) -> None:
    sink = ListSink()
    run(file_source(hundred, FileRange(stride=5)), sink, tracker="bytetrack")
    assert [result.frame.index for result in sink.results if not result.carried] == list(range(0, 100, 5))
    assert len(sink.results) == 100
    # From the third detection on the motion is known: carried boxes lie where the object really is.
    for result in sink.results[15:]:
        assert float(result.detections.xyxy[0, 0]) == pytest.approx(result.frame.index, abs=1.5)


def test_a_sink_that_fails_is_closed_and_the_others_go_on(hundred: Path) -> None:
    good, bad = ListSink("good"), ListSink("bad", fail_at=20)
    outcome, _ = run(file_source(hundred), good, bad)
    assert lefts(good.results) == list(range(100))
    assert lefts(bad.results) == list(range(20))
    assert bad.calls == ["open", "close"]
    assert [str(error) for error in outcome.errors] == ["cannot write list: no space left on device; free some"]


def test_when_every_sink_has_failed_the_run_ends_early(hundred: Path) -> None:
    outcome, _ = run(file_source(hundred), ListSink("bad", fail_at=3))
    assert outcome.frames < 60
    assert outcome.errors


def test_an_optional_sink_keeps_no_run_alive(hundred: Path) -> None:
    extra = ListSink("extra")
    extra.optional = True
    outcome, _ = run(file_source(hundred), ListSink("bad", fail_at=3), extra)
    assert outcome.frames < 60


def test_several_failing_detections_are_one_error_and_no_chatter(
    hundred: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_frame: Frame) -> None:
        raise ModelError("the model fails on every picture")

    with pytest.raises(ModelError, match="fails on every picture"):
        run(file_source(hundred), ListSink(), detector=GreyDetector(fail))
    gc.collect()  # asyncio complains of forgotten errors when their futures are collected
    assert not caplog.records


def test_stop_finishes_what_is_on_its_way(hundred: Path) -> None:
    stopping: list[Pipeline] = []
    sink = ListSink()

    def stop_at_ten(frame: Frame) -> None:
        if frame.index == 10:
            stopping[0].stop()

    outcome, _ = run(file_source(hundred), sink, detector=GreyDetector(stop_at_ten), during=stopping.append)
    assert 10 < outcome.frames < 60
    assert lefts(sink.results) == list(range(outcome.frames))
    assert sink.calls == ["open", "close"]
    assert outcome.stopped


def test_a_source_that_does_not_open_is_an_error_and_opens_no_sink(tmp_path: Path) -> None:
    sink = ListSink()
    with pytest.raises(SourceError, match="does not exist"):
        run(file_source(tmp_path / "nowhere.mp4"), sink)
    assert sink.calls == []


def test_whatever_opening_raises_reaches_the_owner(hundred: Path) -> None:
    class Broken(DyingSource):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.open = self._fail

        def _fail(self) -> SourceInfo:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Broken(hundred))


class DyingSource:
    """Gives five frames of a real clip, then fails."""

    name = "dying"
    losses = SourceLosses()

    def __init__(self, path: Path) -> None:
        self._inner = file_source(path)
        self.open = self._inner.open
        self.close = self._inner.close

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
        for frame, _ in zip(self._inner.frames(plan), range(5), strict=False):
            yield frame
        raise DecodeError("the rest is given up")


def test_a_source_that_fails_midway_delivers_what_it_had(hundred: Path) -> None:
    sink = ListSink()
    outcome, _ = run(DyingSource(hundred), sink)
    assert lefts(sink.results) == list(range(5))
    assert [str(error) for error in outcome.errors] == ["the rest is given up"]


def test_a_detector_that_cannot_be_made_ends_the_run_with_its_error(hundred: Path) -> None:
    class Refusing(GreyDetector):
        def view(self, _width: int, _height: int) -> NetworkView:
            raise ModelError("the model wants another shape")

    sink = ListSink()
    with pytest.raises(ModelError, match="another shape"):
        run(file_source(hundred), sink, detector=Refusing())
    assert sink.calls == ["open", "close"]


def test_a_bug_in_the_detector_is_not_swallowed(hundred: Path) -> None:
    def fail(_frame: Frame) -> None:
        raise ZeroDivisionError

    with pytest.raises(BaseExceptionGroup) as caught:
        run(file_source(hundred), detector=GreyDetector(fail))
    assert caught.group_contains(ZeroDivisionError)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode:")]


def test_few_large_pictures_wait_for_a_slow_recorder(hundred: Path) -> None:
    """One in each channel, one in each hand, and those in flight: of 1080p a hundred megabytes would wait else."""
    decoded: list[int] = []
    overrun = threading.Event()
    overran: list[bool] = []

    class LargeSource(FileSource):
        def open(self) -> SourceInfo:
            return replace(super().open(), width=1920, height=1080)

    def wants_picture(index: int) -> bool:
        decoded.append(index)
        if len(decoded) > (WORKERS + 2) + 2 + 4:
            overrun.set()
        return True

    class Recorder(ListSink):
        wants_picture = True

        def write(self, result: FrameResult) -> None:
            if not overran:
                overran.append(overrun.wait(0.5))
            super().write(result)

    outcome, _ = run(LargeSource(hundred, name="large", wants_pictures=wants_picture), Recorder())
    assert overran == [False]
    assert outcome.frames == len(decoded) == 100


def test_a_slow_sink_holds_the_source_back(hundred: Path) -> None:
    """While the sink takes nothing, no more is detected than the channels and the frames in flight can hold."""
    seen: list[int] = []
    overrun = threading.Event()
    overran: list[bool] = []

    def note(frame: Frame) -> None:
        seen.append(frame.index)
        if len(seen) > FRAMES_AHEAD + RESULTS_AHEAD + 2 * (WORKERS + 2):
            overrun.set()

    class Blocked(ListSink):
        def write(self, result: FrameResult) -> None:
            if not overran:
                overran.append(overrun.wait(0.5))
            super().write(result)

    outcome, _ = run(file_source(hundred), Blocked(), detector=GreyDetector(note))
    assert overran == [False]
    assert outcome.frames == len(seen) == 100
