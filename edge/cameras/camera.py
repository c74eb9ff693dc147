"""One camera of a station: its source through the pipeline, run until it ends, and what is known of it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edge.cameras.rates import RecentRate
from edge.cameras.settings import CameraSettings
from edge.meter import RunMeter
from edge.report import SourceReport, SourceState
from edge.swap import SwappableDetector
from edge.window.roles import FeedFigures
from stream.errors import SourceError, VideoDiscoError
from stream.frame import FrameResult, Refinement, ZoneView
from stream.live import CAUSES, LivePipeline, LiveSource
from stream.pipeline import TrackerMaker
from stream.pool import Lane
from stream.recording.recorder import SegmentRecorder
from stream.redaction import redact_url
from stream.sinks.base import Sink
from stream.sinks.newest import NewestSink
from stream.sources import status as source_status
from stream.sources.status import SourceStatus
from stream.windows import WindowSnapshot

log = logging.getLogger(__name__)

ISOLATED_CAUSES = ("isolation", "isolation_packets")
"""By what a decoding process of its own leaves out more, on the way to us."""

RESTART_AFTER_S = 5.0
"""A camera whose pipeline failed by an error of ours begins anew after this."""


class WatchedSource(LiveSource, Protocol):
    """A live source that says how it is doing."""

    def status(self, now_s: float) -> SourceStatus: ...


class Follower(Protocol):
    """Follows objects from frame to frame."""

    def interrupt(self) -> None:
        """The camera is gone: end what lasts. From any thread."""
        ...


@dataclass(slots=True)
class CameraParts:
    """What a camera is made of, for one run of its pipeline."""

    source: WatchedSource
    lane: Lane
    detector: SwappableDetector
    make_tracker: TrackerMaker
    sinks: list[Sink]
    newest: NewestSink
    followers: Sequence[Follower] = ()
    recorder: SegmentRecorder | None = None
    refined: Callable[[], Mapping[int, Refinement]] = dict
    agreement: Callable[[], float | None] = lambda: None
    watch_zones: Callable[[FrameResult], tuple[ZoneView, ...]] | None = None
    closing: list[Callable[[], object]] = field(default_factory=list)
    """What is to be closed once the pipeline has ended, in order; each may take seconds."""


class Camera:
    """Runs one camera until it is stopped or over. Public methods may be called on any thread, and return at once;
    :meth:`run` and :meth:`stop` belong to the loop."""

    def __init__(
        self,
        name: str,
        settings: CameraSettings,
        assemble: Callable[[Camera], CameraParts],
        shared_meter: RunMeter,
        on_note: Callable[[str], None],
    ) -> None:
        now_s = time.monotonic()
        self.name = name
        self.settings = settings
        self.meter = RunMeter(now_s, window_s=float("inf"), listener=_NoListener())
        self.errors: dict[str, None] = {}
        self.outputs: list[str] = []
        self._assemble = assemble
        self._shared_meter = shared_meter
        self._on_note = on_note
        self._begun_s = now_s
        self._in, self._looked = RecentRate(now_s), RecentRate(now_s)
        self._drops: Counter[str] = Counter()
        self._parts: CameraParts | None = None
        self._pipeline: LivePipeline | None = None
        self._last_status = SourceStatus(source_status.SourceState.CONNECTING, now_s)
        self._stop = asyncio.Event()
        self._refused = False
        self.wants_trial_pictures = False

    # What viewers ask.

    def newest(self) -> FrameResult | None:
        """The newest result, with its picture where somebody looks."""
        parts = self._parts
        return parts.newest.newest if parts else None

    def status(self, now_s: float) -> SourceStatus:
        parts = self._parts
        if parts is not None:
            self._last_status = parts.source.status(now_s)
        return self._last_status

    def figures(self) -> FeedFigures:
        now_s = time.monotonic()
        parts = self._parts
        return FeedFigures(
            fps_in=self._in.rate(now_s),
            fps_detect=self._looked.rate(now_s),
            dropped=self._drops.total(),
            recording=bool(parts and parts.recorder and parts.recorder.recording),
            agreement=parts.agreement() if parts else None,
        )

    @property
    def started_at(self) -> float | None:
        """The wall clock at pts 0, None while it is unknown."""
        info = self._pipeline.outcome.info if self._pipeline else None
        return info.started_at if info else None

    @property
    def recorder(self) -> SegmentRecorder | None:
        parts = self._parts
        return parts.recorder if parts else None

    @property
    def drops(self) -> dict[str, int]:
        """What was left out since the start, by cause."""
        return dict(self._drops)

    @property
    def causes(self) -> tuple[str, ...]:
        """By what something may be left out, as far as that is known before it happens."""
        parts = self._parts
        own = ISOLATED_CAUSES if self.settings.isolate else ()
        return (*CAUSES, *own, *(f"sink_{sink.name}" for sink in (parts.sinks if parts else ())))

    def end_events(self) -> None:
        """Its picture is gone: whatever was seen in it is over, as far as anybody knows. On the loop, which does not
        wait for what is written down of it."""
        parts = self._parts
        if parts is not None:
            asyncio.get_running_loop().run_in_executor(None, _interrupt, parts.followers)

    @property
    def detector(self) -> SwappableDetector | None:
        """What looks at its pictures, None while it does not run."""
        parts = self._parts
        return parts.detector if parts else None

    def look_anew(self) -> None:
        """The detector has changed: prepare pictures as it wants them from now on."""
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.detector_changed()

    # Its life.

    def stop(self) -> None:
        """End it; :meth:`run` returns once its files are closed."""
        self._stop.set()
        if self._pipeline is not None:
            self._pipeline.stop()

    async def run(self) -> None:
        """Run until stopped, or until the source is over or refused for good; nothing is raised but cancellation."""
        while not self._stop.is_set():
            try:
                await self._run_once()
                return
            except SourceError as exc:
                self._refused = not self._stop.is_set()
                if self._refused:
                    self.errors[str(exc)] = None
                return
            except VideoDiscoError as exc:
                self._tell_error(str(exc))
                return
            except Exception as exc:  # the camera's boundary: an error of ours in one leaves the others running
                log.debug("%s failed", self.name, exc_info=True)
                self._tell_error(redact_url(f"{self.name} failed and begins anew: {_told(exc)}"))
            await self._pause(RESTART_AFTER_S)

    async def _run_once(self) -> None:
        parts = self._parts = self._assemble(self)
        self._pipeline = LivePipeline(
            parts.source,
            parts.lane,
            parts.make_tracker,
            parts.sinks,
            self,
            refined=parts.refined,
            watch_zones=parts.watch_zones,
        )
        try:
            outcome = await self._pipeline.run()
            for error in outcome.errors:
                self._tell_error(str(error))
        finally:
            self._pipeline = None
            parts.lane.close()
            self.outputs += [str(path) for sink in parts.sinks for path in sink.outputs]
            loop = asyncio.get_running_loop()
            for close in parts.closing:
                await loop.run_in_executor(None, close)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _tell_error(self, sentence: str) -> None:
        if sentence not in self.errors:
            self._on_note(sentence)
        self.errors[sentence] = None

    # What the pipeline tells, as stream.live.LiveObserver.

    def frame_in(self, now_s: float, depth: int) -> None:
        self._in.add(now_s)
        self.meter.frame_in(now_s, depth)
        self._shared_meter.frame_in(now_s, depth)

    def frame_out(self, now_s: float, result: FrameResult) -> None:
        if not result.carried:
            self._looked.add(now_s)
        self.meter.frame_out(now_s, result)
        self._shared_meter.frame_out(now_s, result)

    def dropped(self, cause: str, count: int) -> None:
        self._drops[cause] += count
        self.meter.dropped(cause, count)
        self._shared_meter.dropped(cause, count)

    def close_window(self, now_s: float) -> WindowSnapshot:
        return self.meter.close_window(now_s)

    def report(self, location: str) -> SourceReport:
        """How it went, once it has ended. A camera that was told to end has done all there was to do."""
        connects = self.status(time.monotonic()).connects
        state: SourceState = "done"
        if self._refused or (connects == 0 and self.meter.frames == 0):
            state = "refused"
        elif self.errors:
            state = "incomplete"
        reason = self._last_status.reason
        errors = tuple(self.errors) or ((f"{self.name}: {reason}",) if state == "refused" and reason else ())
        return SourceReport(
            name=self.name,
            location=location,
            state=state,
            frames=self.meter.frames,
            seconds=round(time.monotonic() - self._begun_s, 3),
            errors=errors,
        )


class _NoListener:
    """For meters whose windows somebody else closes."""

    def first_result(self) -> None:
        """Told by the meter of all cameras."""

    def window(self, snapshot: WindowSnapshot) -> None:
        """Never closed by itself."""


def _interrupt(followers: Sequence[Follower]) -> None:
    for follower in followers:
        follower.interrupt()


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
