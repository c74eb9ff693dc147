"""One source through detection and tracking into its sinks, in order, with every wait bounded.

    decode thread -> channel -> inference workers -> (order restored) -> tracker -> a channel and thread a sink

The event loop only moves references; pixels are touched by threads. Everything here is a protocol: the pipeline
knows no file format, model or library.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from stream.channel import Channel, ChannelClosed
from stream.errors import DecodeError, VideoDiscoError
from stream.frame import Frame, FrameResult, ModelIdentity, NetworkView, Refinement, SourceInfo, Timings
from stream.outlet import Outlet
from stream.sinks.base import Sink
from stream.sources.base import Source, SourceLosses, SourceReader

if TYPE_CHECKING:
    import supervision as sv

log = logging.getLogger(__name__)

FRAMES_AHEAD = 4
"""Decoded frames that wait for a worker: enough to smooth over a slow frame, few enough to hold in memory."""

RESULTS_AHEAD = 4
"""Results that wait for a sink."""

PICTURES_AHEAD_BYTES = 8 << 20
"""Where whole pictures are kept, this much of them waits in any one place, and one at least: of 720p three."""

JOIN_S = 5.0
"""How long a decode thread may take to leave libav before it is left behind (it is a daemon)."""


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """What a detector found in one frame, how many seconds that took, and with which model where that may change."""

    detections: sv.Detections
    inference_s: float = 0.0
    postprocess_s: float = 0.0
    model: ModelIdentity | None = None


class Detector(Protocol):
    """Finds objects. Both methods are called from several threads at once."""

    @property
    def identity(self) -> ModelIdentity: ...

    def view(self, width: int, height: int) -> NetworkView: ...

    def detect(self, frame: Frame) -> Detected: ...


class Tracker(Protocol):
    """Gives detections identities over time; called in the order of frames. Times are seconds of the source."""

    def update(self, detections: sv.Detections, time_s: float) -> sv.Detections: ...

    def carry(self, time_s: float, width: int, height: int) -> sv.Detections: ...

    def hold(self) -> sv.Detections:
        """The last detections where they were: nothing has moved."""
        ...

    def restart(self) -> None:
        """The source began anew: nothing seen before goes on, and no identity is given twice."""
        ...


TrackerMaker = Callable[[SourceInfo], Tracker]
"""Makes a tracker of its own for every source."""


class Observer(Protocol):
    """Told of every frame, on the loop's thread; must return at once."""

    def frame_in(self, now_s: float, depth: int) -> None: ...

    def frame_out(self, now_s: float, result: FrameResult) -> None: ...


@dataclass(slots=True)
class Outcome:
    """How a source's way through the pipeline ended."""

    info: SourceInfo | None = None
    frames: int = 0
    stopped: bool = False
    losses: SourceLosses = field(default_factory=SourceLosses)
    errors: list[VideoDiscoError] = field(default_factory=list)


class Pipeline:
    """Runs one source once. Make a new one for the next.

    ``refined`` gives what the cloud has said so far of the source's tracks.
    """

    def __init__(
        self,
        source: Source,
        detector: Detector,
        make_tracker: TrackerMaker,
        sinks: Sequence[Sink],
        observer: Observer,
        *,
        workers: Executor,
        in_flight: int,
        refined: Callable[[], Mapping[int, Refinement]] = dict,
    ) -> None:
        self._source = source
        self._detector = detector
        self._make_tracker = make_tracker
        self._sinks = sinks
        self._observer = observer
        self._workers = workers
        self._refined = refined
        self._frames: Channel[Frame] = Channel(FRAMES_AHEAD)
        self._reader = SourceReader(source, detector.view, self._frames)
        self._order: asyncio.Queue[tuple[Frame, asyncio.Future[Detected] | None] | None] = asyncio.Queue(in_flight)
        self._outcome = Outcome()

    @property
    def outcome(self) -> Outcome:
        """How it stands; complete once :meth:`run` has returned."""
        return self._outcome

    def stop(self) -> None:
        """Take no more frames; what is on its way is finished and written."""
        self._outcome.stopped = True
        self._reader.stop()

    async def run(self) -> Outcome:
        """Run to the source's end. Raises SourceError when it does not open, ModelError when the detector cannot
        be made; anything later is told in the outcome."""
        info = self._outcome.info = await self._reader.start()
        most = _most_ahead(info, self._sinks)
        self._frames.narrow(most)
        outlets = [Outlet(sink, info, Channel(min(RESULTS_AHEAD, most))) for sink in self._sinks]
        for outlet in outlets:
            outlet.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._submit())
                tasks.create_task(self._deliver(self._make_tracker(info), outlets))
        except* VideoDiscoError as group:
            raise first_error(group) from None
        finally:
            self._reader.abandon()
            await asyncio.gather(*(outlet.finish() for outlet in outlets))
            if not self._reader.join(JOIN_S):
                log.warning("the thread that reads %s is still inside libav and is left behind", self._source.name)
        self._outcome.errors += [outlet.error for outlet in outlets if outlet.error]
        self._outcome.losses = self._source.losses
        return self._outcome

    async def _submit(self) -> None:
        """Frames from the decode thread to the workers, at most ``in_flight`` of them at a time."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                frame = await self._frames.aget()
                self._observer.frame_in(time.monotonic(), self._frames.depth)
                found = None
                if frame.network is not None:
                    found = loop.run_in_executor(self._workers, self._detector.detect, frame)
                    found.add_done_callback(_notice)
                await self._order.put((frame, found))
        except ChannelClosed:
            pass
        except DecodeError as exc:
            self._outcome.errors.append(exc)
        await self._order.put(None)

    async def _deliver(self, tracker: Tracker, outlets: Sequence[Outlet]) -> None:
        """Detections in the order of frames to the tracker and the sinks."""
        while (entry := await self._order.get()) is not None:
            frame, found = entry
            result = self._result(frame, None if found is None else await found, tracker)
            for outlet in outlets:
                await outlet.put(result)
            self._outcome.frames += 1
            self._observer.frame_out(time.monotonic(), result)
            needed = [outlet for outlet in outlets if not outlet.sink.optional]
            if needed and all(outlet.error for outlet in needed):
                self._reader.stop()  # nobody is left to write for

    def _result(self, frame: Frame, found: Detected | None, tracker: Tracker) -> FrameResult:
        begun_s = time.monotonic()
        if found is None:
            detections = tracker.carry(frame.pts_s, frame.width, frame.height)
        else:
            detections = tracker.update(found.detections, frame.pts_s)
        return FrameResult(
            frame=frame,
            detections=detections,
            model=self._detector.identity,
            timings=timings_of(frame, found, begun_s, time.monotonic()),
            carried=found is None,
            refined=self._refined(),
        )


def _most_ahead(info: SourceInfo, sinks: Sequence[Sink]) -> int:
    """How many frames may wait in one place."""
    if not any(sink.wants_picture for sink in sinks):
        return FRAMES_AHEAD
    return max(1, PICTURES_AHEAD_BYTES // (info.width * info.height * 3))


def _notice(found: asyncio.Future[Detected]) -> None:
    """After a first failure nobody asks for the others; asyncio must not complain of them on the terminal."""
    if not found.cancelled():
        found.exception()


def timings_of(frame: Frame, found: Detected | None, begun_s: float, done_s: float) -> Timings:
    """A frame's seconds in each stage; tracking began at ``begun_s`` and was done at ``done_s``."""
    inference_s, postprocess_s = (found.inference_s, found.postprocess_s) if found else (0.0, 0.0)
    track_s, total_s = done_s - begun_s, done_s - frame.received_s
    return Timings(
        decode_s=frame.decode_s,
        queue_s=max(0.0, total_s - frame.preprocess_s - inference_s - postprocess_s - track_s),
        preprocess_s=frame.preprocess_s,
        inference_s=inference_s,
        postprocess_s=postprocess_s,
        track_s=track_s,
        total_s=total_s,
    )


def first_error(group: BaseExceptionGroup[VideoDiscoError]) -> VideoDiscoError:
    """The first of the errors that ended a group of tasks."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first
