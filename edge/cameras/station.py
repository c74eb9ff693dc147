"""Several cameras under one roof: they share the model, the inference threads, the run's folder and its telemetry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from edge.cameras.assembly import Assembly
from edge.cameras.camera import Camera
from edge.cameras.differences import (
    Effective,
    Place,
    only_model,
    others_that_changed,
    places_changed,
    with_models_of,
)
from edge.cameras.listing import cameras_of
from edge.cameras.settings import CameraSettings
from edge.cameras.sharing import Sharing
from edge.cameras.swaps import Swaps, TakeModels
from edge.config import RunSettings
from edge.events.publish.base import Publisher
from edge.meter import RunMeter
from edge.report import RunReport, SourceReport, without_losses_of
from edge.run_folder import RunFolder, open_run_folder
from edge.run_log import RunLog
from stream.errors import SinkError, VideoDiscoError
from stream.machine import give_back_large_blocks
from stream.pipeline import Detector
from stream.sinks.base import Sink
from stream.sources.address import parse_address
from stream.sources.status import SourceState, SourceStatus
from stream.telemetry.destination import destination

WATCH_EVERY_S = 0.2
"""How often the cameras' states are looked at."""

STOP_WITHIN_S = 9.0
"""How long cameras may take to end; those that hang longer are left behind."""

MOST_REPORTS = 1000
"""Cameras that ended and are still told of in the summary, where some come and go for months."""

StateListener = Callable[[str, SourceStatus], None]
"""Told of every change of a camera's state, on the loop's thread."""

BackListener = Callable[[Collection[Place]], Awaitable[None]]
"""Told where the settings name a former model again, on the loop and before anybody else may change them."""


async def _tell_nobody(_places: Collection[Place]) -> None:
    """For those who keep nothing of the settings."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """What makes a station part of a service: it runs until it is stopped, without any camera too, in a folder that is
    the same after a restart. ``publishers`` are told of events besides those of the settings, ``metrics`` gives more
    figures for each window."""

    folder: RunFolder
    publishers: Sequence[Publisher] = ()
    metrics: Callable[[], Mapping[str, float]] = dict


class CameraStation:
    """Runs the cameras its settings name until it is stopped or all are over.

    Making it loads the models and opens the folder, so that what cannot work is said before anything is begun.
    ``on_state`` and ``on_note`` are told what an operator should know; ``extra_sink`` makes one more sink for each
    camera and ``wrap_detector`` lays something around each detector, for measurements.

    Raises:
        UsageError, SourceError, ModelError, OutputError: one of the settings names something that cannot be used.
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        show: bool = False,
        extra_sink: Callable[[str], Sink] | None = None,
        wrap_detector: Callable[[Detector], Detector] = lambda detector: detector,
        on_state: StateListener = lambda _name, _status: None,
        on_note: Callable[[str], None] = lambda _note: None,
        lasting: Lasting | None = None,
    ) -> None:
        give_back_large_blocks()
        self._settings = settings
        self._on_state = on_state
        self._on_note = on_note
        self._lasting = lasting
        listed = cameras_of(settings)
        if settings.mlflow.enabled:
            destination(settings.mlflow, settings.output.project)  # a wrong URI is said before the folder is made
        self.assembly = Assembly(
            settings,
            listed,
            show=show,
            on_note=on_note,
            extra_sink=extra_sink,
            wrap_detector=wrap_detector,
            more_publishers=None if lasting is None else lasting.publishers,
        )
        self.folder = open_run_folder(settings) if lasting is None else lasting.folder
        with self.folder.gone_if_refused():
            self.assembly.open(self.folder)
        self.log = RunLog(settings, self.folder, self.assembly.detector)
        self.meter = RunMeter(time.monotonic(), window_s=float("inf"), listener=self.log)
        self.log.also = self.assembly.figures
        self.changing = asyncio.Lock()
        """Held by whoever changes the settings."""
        self._swaps = Swaps(self.assembly, self.log, on_note, self._judged)
        self._cameras: dict[str, Camera] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._states: dict[str, SourceStatus] = {}
        self._reports: list[SourceReport] = []
        self._failures: dict[str, None] = {}
        self._listed = listed
        self._stop = asyncio.Event()
        self._begun_s = time.monotonic()
        self._sharing = Sharing(self.assembly, on_note, self._begun_s)

    @property
    def cameras(self) -> Sequence[Camera]:
        """The cameras that run now, in the order of the settings; safe from any thread."""
        cameras = dict(self._cameras)
        return [cameras[name] for name in self._listed if name in cameras]

    @property
    def settings(self) -> RunSettings:
        """What it runs by."""
        return self._settings

    @property
    def listed(self) -> Mapping[str, CameraSettings]:
        """All cameras of the settings, also those that do not run; on the loop's thread."""
        return self._listed

    def status_of(self, name: str, now_s: float) -> SourceStatus:
        """How a listed camera is, also one that does not run."""
        camera = self._cameras.get(name)
        if camera is not None:
            return camera.status(now_s)
        return self._states.get(name) or SourceStatus(SourceState.CONNECTING, self._begun_s)

    def camera(self, name: str) -> Camera | None:
        """A camera that runs."""
        return self._cameras.get(name)

    def stop(self) -> None:
        """Finish what is on its way and end; call it on the loop's thread."""
        self._stop.set()

    async def run(self) -> RunReport:
        """Run until stopped, until all cameras are over, or until none could be reached at all."""
        self._write(lambda: self.folder.write_config(self._settings))
        for name, camera in self._listed.items():
            self._start(name, camera)
        windows = asyncio.create_task(self._close_windows())
        try:
            await self._watch()
        finally:
            await self._end_all()
            windows.cancel()
            self._swaps.close()
            await asyncio.get_running_loop().run_in_executor(None, self.assembly.close)
        return self._conclude()

    async def apply(self, settings: RunSettings) -> list[str]:
        """Take over changed settings: cameras that are new, gone or changed start, end or begin anew, the others
        never notice. Returns a sentence for each change, and one for what takes effect at the next start only.

        Raises:
            UsageError, SourceError, ModelError: then nothing is changed.
        """
        async with self.changing:
            return await self.take_over(settings)

    async def take_over(self, settings: RunSettings, on_back: BackListener = _tell_nobody) -> list[str]:
        """The same for who holds :attr:`changing` already. Where a new model turns out at work to fail or to be too
        slow, the settings name the former one again wherever this changed it, and ``on_back`` is told."""
        go_back = partial(self._go_back, self._settings, settings, on_back)
        return await self._change(settings, partial(self._swaps.take_over, go_back))

    async def _change(self, settings: RunSettings, take_models: TakeModels) -> list[str]:
        listed = cameras_of(settings)
        before, after = self._effective(self._settings, self._listed), self._effective(settings, listed)
        await asyncio.get_running_loop().run_in_executor(None, self.assembly.prepare, settings, listed)
        gone = [name for name in self._listed if name not in listed]
        changed = [name for name in listed if name in self._listed and before[name] != after[name]]
        swapped = [name for name in changed if name in self._running and only_model(before[name], after[name])]
        swaps = await take_models({name: self._cameras[name] for name in swapped}, listed)
        changed = [name for name in changed if name not in swapped]
        fresh = [name for name in listed if name not in self._listed]
        await self._end([*gone, *changed])
        told = others_that_changed(self._settings, settings)
        self._settings, self._listed = settings, listed
        for name in [*changed, *fresh]:
            self._start(name, listed[name])
        for name in gone:
            self._states.pop(name, None)
        self._reports = without_losses_of(self._reports, removed=gone, changed=changed)
        self._forget_unused()
        self._write(lambda: self.folder.write_config(self._settings))
        verbs = {"removed": gone, "changed": changed, "added": fresh}
        return [f"{name}: {verb}" for verb, names in verbs.items() for name in names] + swaps + told

    async def _go_back(self, before: RunSettings, after: RunSettings, on_back: BackListener, reason: str) -> None:
        """Look with the models of ``before`` where ``after`` named others."""
        async with self.changing:
            places = places_changed(self._settings, before, after)
            settings = with_models_of(before, self._settings, places)
            try:
                await self._change(settings, partial(self._swaps.take_back, reason))
                await on_back(places)
            except VideoDiscoError as exc:
                self._on_note(f"the settings still name the model that was taken back: {exc}")

    def _judged(self) -> None:
        if not self.changing.locked():  # else the change that is on does it
            self._forget_unused()

    def _forget_unused(self) -> None:
        if not self._swaps.judging:
            self.assembly.forget_unused(self._listed)

    def deliver(self) -> str:
        """See to it that MLflow gets the run; a sentence about what has to wait, empty when nothing does."""
        return self.log.deliver()

    def _effective(self, settings: RunSettings, listed: Mapping[str, CameraSettings]) -> dict[str, Effective]:
        return {name: (camera, self.assembly.detector_settings(settings, camera)) for name, camera in listed.items()}

    # Cameras come and go.

    def _start(self, name: str, settings: CameraSettings) -> None:
        if settings.paused:
            self._tell_state(name, SourceStatus(SourceState.PAUSED, time.monotonic()))
            return
        camera = Camera(name, settings, self.assembly.assemble, self.meter, self._on_note)
        self._cameras[name] = camera
        self._running[name] = asyncio.create_task(camera.run(), name=f"camera {name}")

    async def _end(self, names: Sequence[str]) -> None:
        running = {name: self._running[name] for name in names if name in self._running}
        for name in running:
            self._cameras[name].stop()
        if running:
            _, hanging = await asyncio.wait(running.values(), timeout=STOP_WITHIN_S)
            for task in hanging:
                task.cancel()
                self._failures[f"{task.get_name()} did not end in time and is left behind"] = None
        for name in running:
            if name in self._running:  # else the watch was quicker
                self._retire(name)

    def _retire(self, name: str) -> None:
        camera = self._cameras.pop(name)
        task = self._running.pop(name)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
        location = parse_address(camera.settings.source).label
        self._states[name] = camera.status(time.monotonic())
        self._reports.append(camera.report(location))
        del self._reports[:-MOST_REPORTS]

    async def _end_all(self) -> None:
        await self._end(list(self._running))

    # The watch.

    async def _watch(self) -> None:
        while not self._stop.is_set():
            self._tell_states()
            for name, task in list(self._running.items()):
                if task.done():
                    self._retire(name)
            if self._over():
                return
            await self._sharing.look(len(self._listed), time.monotonic())
            try:
                await asyncio.wait_for(self._stop.wait(), WATCH_EVERY_S)
            except TimeoutError:
                continue

    def _over(self) -> bool:
        """Whether nothing is left to do: all ended, the time is up, or not one camera could be reached."""
        if self._lasting is not None:
            return False
        if not self._running:
            return all(not camera.paused for camera in self._listed.values()) or not self._listed
        limit_s = self._settings.end_s
        if limit_s is not None and self.meter.frames and time.monotonic() - self._first_result_s() > limit_s:
            return True
        return self._nobody_is_reached()

    def _first_result_s(self) -> float:
        return self.log.first_result_s or time.monotonic()

    def _nobody_is_reached(self) -> bool:
        """At the first attempt: all refused, or out of time. Later a camera that is away is waited for."""
        if self.meter.frames or any(camera.settings.wait for camera in self.cameras):
            return False
        now_s = time.monotonic()
        statuses = [camera.status(now_s) for camera in self.cameras]
        if any(status.connects for status in statuses):
            return False
        patience_s = max(camera.settings.first_connect_limit_s for camera in self.cameras)
        refused = all(status.state is SourceState.REFUSED for status in statuses)
        return refused or now_s - self._begun_s > patience_s + max(c.settings.open_timeout_s for c in self.cameras)

    def _tell_states(self) -> None:
        now_s = time.monotonic()
        for camera in self.cameras:
            status = camera.status(now_s)
            if self._tell_state(camera.name, status) and status.state not in (SourceState.LIVE, SourceState.STALLED):
                camera.end_events()

    def _tell_state(self, name: str, status: SourceStatus) -> bool:
        """Tell all who want to know of it; whether it is another one than before."""
        former, self._states[name] = self._states.get(name), status
        if former is not None and former.state is status.state:
            return False
        self.assembly.tell_state(name, status)
        self._on_state(name, status)
        return True

    # Figures.

    async def _close_windows(self) -> None:
        while True:
            await asyncio.sleep(self._settings.mlflow.window_s)
            self._close_window()

    def _close_window(self) -> None:
        now_s = time.monotonic()
        metrics = self.meter.close_window(now_s).metrics()
        for camera in self.cameras:
            window = camera.close_window(now_s)
            if len(self._listed) > 1:
                metrics |= window.metrics(camera.name)
            status = camera.status(now_s)
            prefix = f"{camera.name}/" if len(self._listed) > 1 else ""
            metrics[f"{prefix}source/live"] = float(status.state is SourceState.LIVE)
            metrics[f"{prefix}source/connects"] = float(status.connects)
        if self._lasting is not None:
            metrics |= self._lasting.metrics()
        self.log.metrics(metrics)

    def _conclude(self) -> RunReport:
        self._close_window()
        self.log.attached, self.log.samples = self.assembly.attached()
        if (
            self._lasting is None
            and not self.meter.frames
            and all(report.state == "refused" for report in self._reports)
        ):
            self.folder.remove_if_unused()
        else:
            self._write(lambda: self.folder.write_summary(self._report().summary()))
        report = self._report()
        self.log.finish(report, self.meter.totals)
        return report

    def _report(self) -> RunReport:
        detector, lookouts = self.assembly.detector, self.assembly.told()
        return RunReport(
            folder=self.folder.path,
            outputs=tuple(path for path in self.assembly.outputs() if path.exists()),
            sources=tuple(self._reports),
            model=detector.identity,
            provider=detector.provider,
            slots=self.assembly.slots,
            seconds=time.monotonic() - self._begun_s,
            figures=self.meter.totals.snapshot(),
            detections=dict(self.meter.detections.most_common()),
            objects=self.meter.objects(),
            steady_fps=self.meter.steady_fps,
            stopped=False,
            told_to_end=self._stop.is_set(),
            errors=tuple(self._failures),
            also=lookouts.sections,
            words=lookouts.words,
        )

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except SinkError as exc:
            self._failures[str(exc)] = None
