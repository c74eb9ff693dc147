"""One live source through the shared inference pool into its sinks: every frame answered, none of them waited for.

    decode thread -> newest frames -> pool (fair turns) -> (order restored) -> tracker -> a channel and thread a sink

Nothing here ever waits for a slower part: a detector that cannot keep up costs detections, whose frames go on with
carried boxes; a sink that cannot keep up loses its oldest results. All of it is counted by cause.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from stream.channel import Channel, ChannelClosed, Policy
from stream.errors import DecodeError, VideoDiscoError
from stream.frame import Frame, FrameResult, NetworkView, Refinement, ZoneView
from stream.outlet import Outlet
from stream.pipeline import (
    JOIN_S,
    Detected,
    Observer,
    Outcome,
    Tracker,
    TrackerMaker,
    first_error,
    timings_of,
)
from stream.pool import GivenUp, Lane
from stream.sinks.base import Sink
from stream.sources.base import Source, SourceReader, ViewPlanner

log = logging.getLogger(__name__)

FRAMES_AHEAD = 16
"""Decoded frames that wait for the loop: it takes them at once unless the machine stands still."""

HOLD_S = 1.0
"""A frame waits at most so long for its own detections; then it goes on with carried boxes."""

HOLD_BYTES = 128 << 20
"""Whole pictures held for their detections: a second of 1080p at 20 fps."""

OUTLET_BYTES = 64 << 20
OUTLET_MOST, OUTLET_LEAST = 64, 4
"""Results that wait for one sink, in bytes of whole pictures and in number."""

CAUSES = ("corrupt", "before_keyframe", "late", "overflow", "superseded", "stale", "held_too_long")
"""By what a live source's frames or detections are left out, besides ``sink_<name>`` for each sink."""

LEAVE_S = 2.0
"""How long a source that was told to end may stay inside libav, which cannot be broken off and may wait for a silent
camera as long as ``read_timeout_s`` says; then its thread is left to end by itself."""

FINISH_S = 4.0
"""How long sinks may take to write what waits and close; one that hangs longer is left behind."""


class LiveSource(Source, Protocol):
    """A source that can be woken from waiting for its camera, and counts what it leaves out, by cause."""

    @property
    def drops(self) -> Mapping[str, int]: ...

    def interrupt(self) -> None: ...


class LiveObserver(Observer, Protocol):
    """Also told of frames and detections that were left out."""

    def dropped(self, cause: str, count: int) -> None: ...


class BackgroundPlanner:
    """Asks a detector what it wants to see without making the decode thread wait while it gets ready for that.

    Until then, and for a picture of a new size again, nothing is looked at; pictures go on.
    """

    def __init__(self, view: ViewPlanner, name: str) -> None:
        self.error: BaseException | None = None
        self._view = view
        self._name = name
        self._views: dict[tuple[int, int], NetworkView | None] = {}

    def __call__(self, width: int, height: int) -> NetworkView | None:
        """For one thread."""
        size = (width, height)
        if size not in self._views:
            self._views[size] = None
            self._begin(size)
        return self._views[size]

    def refresh(self) -> None:
        """The detector wants to see something else from now on; what was known counts until it is ready for that."""
        for size in tuple(self._views):
            self._begin(size)

    def _begin(self, size: tuple[int, int]) -> None:
        # Not a daemon: a process that ends while a library opens a model in it is aborted by the library's own code.
        threading.Thread(target=self._get_ready, args=size, name=f"ready:{self._name}").start()

    def _get_ready(self, width: int, height: int) -> None:
        try:
            self._views[width, height] = self._view(width, height)
        except BaseException as exc:  # noqa: BLE001 - the thread's boundary: the pipeline raises it
            self.error = exc


class _Waiting:
    """A frame on its way, and what is awaited of it; ``found`` is None for one nobody looks at."""

    __slots__ = ("found", "frame")

    def __init__(self, frame: Frame, found: asyncio.Future[Detected | GivenUp] | None) -> None:
        self.frame = frame
        self.found = found

    def settle(self, answer: Detected | GivenUp | BaseException) -> None:
        """On the loop's thread; only the first answer counts."""
        if self.found is None or self.found.done():
            return
        if isinstance(answer, BaseException):
            self.found.set_exception(answer)
        else:
            self.found.set_result(answer)

    @property
    def picture_bytes(self) -> int:
        return 0 if self.frame.picture is None else self.frame.picture.nbytes


class LivePipeline:
    """Runs one live source until it ends or is stopped. Make a new one to run it again.

    ``watch_zones`` is given each result in order and says what the camera's zones show; ``refined`` gives what the
    cloud has said so far of the tracks there are.
    """

    def __init__(
        self,
        source: LiveSource,
        lane: Lane,
        make_tracker: TrackerMaker,
        sinks: Sequence[Sink],
        observer: LiveObserver,
        *,
        watch_zones: Callable[[FrameResult], tuple[ZoneView, ...]] | None = None,
        refined: Callable[[], Mapping[int, Refinement]] = dict,
        hold_s: float = HOLD_S,
    ) -> None:
        self._source = source
        self._lane = lane
        self._make_tracker = make_tracker
        self._sinks = sinks
        self._observer = observer
        self._watch_zones = watch_zones
        self._refined = refined
        self._hold_s = hold_s
        self._frames: Channel[Frame] = Channel(FRAMES_AHEAD, Policy.DROP_OLDEST)
        self._planner = BackgroundPlanner(lane.detector.view, source.name)
        self._reader = SourceReader(source, self._planner, self._frames)
        self._order: asyncio.Queue[_Waiting | None] = asyncio.Queue()
        self._held: deque[_Waiting] = deque()
        self._told: dict[str, int] = {}
        self._outcome = Outcome()
        self._last_index = -1
        self._epoch = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def outcome(self) -> Outcome:
        """How it stands; complete once :meth:`run` has returned."""
        return self._outcome

    def stop(self) -> None:
        """Take no more frames; what is on its way is finished and written. From any thread."""
        self._outcome.stopped = True
        self._reader.stop()
        self._source.interrupt()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended already
                self._loop.call_soon_threadsafe(self._loop.call_later, LEAVE_S, self._reader.leave)

    def detector_changed(self) -> None:
        """The lane's detector looks in another way from now on; from any thread."""
        self._planner.refresh()

    async def run(self) -> Outcome:
        """Run to the source's end. Raises SourceError when it does not open, ModelError when the detector cannot
        be made or fails; anything else is told in the outcome."""
        self._loop = asyncio.get_running_loop()
        info = self._outcome.info = await self._reader.start()
        outlets = [
            Outlet(sink, info, Channel(_capacity(sink, info.width, info.height), Policy.DROP_OLDEST))
            for sink in self._sinks
        ]
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
            self._source.interrupt()
            await self._finish(outlets)
        self._outcome.errors += [outlet.error for outlet in outlets if outlet.error]
        self._outcome.losses = self._source.losses
        return self._outcome

    async def _finish(self, outlets: Sequence[Outlet]) -> None:
        finishing = [asyncio.create_task(outlet.finish(), name=outlet.sink.name) for outlet in outlets]
        if finishing:
            _, hanging = await asyncio.wait(finishing, timeout=FINISH_S)
            for task in hanging:
                task.cancel()
                log.warning("%s of %s hangs while it is closed and is left behind", task.get_name(), self._source.name)
        within_s = 0.0 if self._reader.left else JOIN_S
        joined = await asyncio.get_running_loop().run_in_executor(None, self._reader.join, within_s)
        if not joined:
            log.log(
                logging.INFO if self._reader.left else logging.WARNING,
                "the thread that reads %s is still inside libav and is left behind",
                self._source.name,
            )
        self._count_drops(outlets)

    async def _submit(self) -> None:
        """Frames from the decode thread into the pool, and out of it again when they have waited too long."""
        try:
            while True:
                frame = await self._frames.aget()
                if self._planner.error is not None:
                    raise self._planner.error
                self._observer.frame_in(time.monotonic(), self._frames.depth)
                waiting = self._offered(frame)
                self._order.put_nowait(waiting)
                self._release_overdue()
        except ChannelClosed:
            pass
        except DecodeError as exc:
            self._outcome.errors.append(exc)
        self._order.put_nowait(None)

    def _offered(self, frame: Frame) -> _Waiting:
        if frame.network is None:
            return _Waiting(frame, None)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(frame, loop.create_future())
        self._held.append(waiting)

        def answer(found: Detected | GivenUp | BaseException) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for a late answer any more
                loop.call_soon_threadsafe(waiting.settle, found)

        self._lane.offer(frame, answer)
        return waiting

    def _release_overdue(self) -> None:
        """Give up the oldest awaited detections while too much time or memory waits behind them."""
        now_s = time.monotonic()
        while self._held and (self._held[0].found is None or self._held[0].found.done()):
            self._held.popleft()
        while self._held and (
            now_s - self._held[0].frame.received_s > self._hold_s
            or self._order.qsize() * self._held[0].picture_bytes > HOLD_BYTES
        ):
            self._held.popleft().settle(GivenUp("held_too_long"))

    async def _deliver(self, tracker: Tracker, outlets: Sequence[Outlet]) -> None:
        """Detections in the order of frames to the tracker and the sinks."""
        while (waiting := await self._order.get()) is not None:
            answer = None if waiting.found is None else await waiting.found
            if isinstance(answer, GivenUp):
                self._observer.dropped(answer.cause, 1)
            result = self._result(waiting.frame, answer if isinstance(answer, Detected) else None, tracker)
            for outlet in outlets:
                await outlet.put(result)
            self._outcome.frames += 1
            self._observer.frame_out(time.monotonic(), result)
            self._count_drops(outlets)

    def _result(self, frame: Frame, found: Detected | None, tracker: Tracker) -> FrameResult:
        begun_s = time.monotonic()
        if frame.epoch != self._epoch:
            self._epoch = frame.epoch
            tracker.restart()
        if found is not None:
            detections = tracker.update(found.detections, frame.pts_s)
        elif frame.still:
            detections = tracker.hold()
        else:
            detections = tracker.carry(frame.pts_s, frame.width, frame.height)
        dropped_before, self._last_index = frame.index - self._last_index - 1, frame.index
        result = FrameResult(
            frame=frame,
            detections=detections,
            model=(found.model if found else None) or self._lane.detector.identity,
            timings=timings_of(frame, found, begun_s, time.monotonic()),
            carried=found is None,
            dropped_before=dropped_before,
            refined=self._refined(),
        )
        if self._watch_zones is None:
            return result
        return replace(result, zones=self._watch_zones(result))

    def _count_drops(self, outlets: Sequence[Outlet]) -> None:
        """Tell the observer what was left out since the last time, at the source and before the sinks."""
        counts = dict(self._source.drops) | {"overflow": self._frames.statistics().dropped}
        counts |= {f"sink_{outlet.sink.name}": outlet.dropped for outlet in outlets}
        for cause, count in counts.items():
            if count > self._told.get(cause, 0):
                self._observer.dropped(cause, count - self._told.get(cause, 0))
                self._told[cause] = count


def _capacity(sink: Sink, width: int, height: int) -> int:
    """How many results may wait for ``sink``: fewer where each holds a whole picture."""
    if not sink.wants_picture:
        return OUTLET_MOST
    return min(OUTLET_MOST, max(OUTLET_LEAST, OUTLET_BYTES // (width * height * 3)))
