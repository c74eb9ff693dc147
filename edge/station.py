"""The edge program, built from its settings: sources, detector, sinks and telemetry put together and run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.class_words import check_run
from edge.config import RunSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.lookouts import Lookout, Lookouts
from edge.meter import RunMeter
from edge.report import RunReport, SourceReport, SourceState, source_summaries
from edge.run_folder import open_run_folder, size_of
from edge.run_log import RunLog
from edge.slots import SlotPlan, plan_slots
from edge.tracker import tracker_maker, weakest_wanted
from models.catalogue import find
from stream.errors import ModelError, SinkError, SourceError
from stream.machine import usable_cores
from stream.overlay import Overlay
from stream.pipeline import Outcome, Pipeline
from stream.sinks.base import Sink
from stream.sinks.crops import CropsSink
from stream.sinks.csv import CsvSink
from stream.sinks.jsonl import PredictionsSink
from stream.sinks.recorder import VideoSink
from stream.sinks.samples import SAMPLE_FRAMES, SamplesSink
from stream.sinks.yolo import LabelsSink
from stream.sources.base import SourceLosses
from stream.sources.file import FileRange, FileSource
from stream.sources.listing import Listed, expand
from stream.telemetry.destination import destination

log = logging.getLogger(__name__)

AHEAD_OF_WORKERS = 2
"""Frames submitted beyond the workers' number: a worker that finishes always finds the next one waiting."""


LAST_ANSWERS_S = 5.0
"""How long the end of a run waits for the cloud; what is not answered by then waits on disk for the next run."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. ``frames_total`` is an estimate for the source at hand, None where nobody can tell."""

    source: str
    source_number: int
    source_count: int
    frames: int
    frames_total: int | None


@dataclass(slots=True)
class _Outputs:
    """The sinks of one source."""

    predictions: PredictionsSink
    csv: CsvSink | None = None
    samples: SamplesSink | None = None
    lookouts: list[Lookout] = field(default_factory=list)
    others: list[Sink] = field(default_factory=list)

    @property
    def all(self) -> list[Sink]:
        shared: list[Sink] = [self.predictions]
        return shared + [sink for sink in (self.csv, self.samples) if sink] + self.lookouts + self.others


class Station:
    """Runs everything its settings name, once.

    Making it finds the sources and loads the model, so that what cannot work is said before anything is written.

    Raises:
        SourceError, ModelError, UsageError, OutputError: one of the settings names something that cannot be used.
    """

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._listed = expand(settings.sources)
        self._slots = self._planned()
        self._loaded = LoadedModel(find(settings.detector.model, settings.trust), settings.detector, self._slots)
        weakest = weakest_wanted(settings.tracker, settings.detector.confidence)
        self._detector = OnnxDetector(self._loaded, settings.detector.model_copy(update={"confidence": weakest}))
        check_run(settings, [self._loaded.names])
        if settings.mlflow.enabled:
            destination(settings.mlflow, settings.output.project)  # a wrong URI is said before the folder is made
        self._folder = open_run_folder(settings)
        with self._folder.gone_if_refused():
            self._lookouts = Lookouts(settings, self._folder.path)
        self._make_tracker = tracker_maker(
            settings.tracker, confidence=settings.detector.confidence, stride=settings.vid_stride
        )
        self._log = RunLog(settings, self._folder, self._detector)
        self._log.also = self._lookouts.figures
        self._meter = RunMeter(time.monotonic(), window_s=settings.mlflow.window_s, listener=self._log)
        self._reports: list[SourceReport] = []
        self._outputs: list[Path] = []
        self._failures: dict[str, None] = {}
        self._current: Listed | None = None
        self._pipeline: Pipeline | None = None
        self._stopped = False

    def progress(self) -> Progress:
        """How far it is; safe from any thread."""
        pipeline, current = self._pipeline, self._current  # the loop's thread may change them at any moment
        outcome = pipeline.outcome if pipeline else None
        return Progress(
            source=current.name if current else "",
            source_number=len(self._reports) + 1,
            source_count=len(self._listed),
            frames=outcome.frames if outcome else 0,
            frames_total=self._frames_expected(outcome),
        )

    def stop(self) -> None:
        """Finish what is on its way and end; call it on the loop's thread."""
        self._stopped = True
        if self._pipeline is not None:
            self._pipeline.stop()

    async def run(self) -> RunReport:
        """Process every source; what goes wrong with one is told in the report and does not stop the rest."""
        started_s = time.monotonic()
        self._write(lambda: self._folder.write_config(self._settings))
        try:
            await self._process_all()
        except BaseException:
            self._fail(time.monotonic() - started_s)
            raise
        await asyncio.get_running_loop().run_in_executor(None, self._lookouts.close, LAST_ANSWERS_S)
        self._outputs += [path for path in self._lookouts.outputs if path not in self._outputs]
        self._log.attached += self._lookouts.outputs
        self._meter.finish(time.monotonic())
        return self._conclude(time.monotonic() - started_s)

    def _fail(self, seconds: float) -> None:
        """A run that an error ends: what there is of it is closed, and MLflow told that it failed."""
        self._folder.remove_if_unused()
        if self._meter.frames:
            self._meter.finish(time.monotonic())
            self._log.finish(self._report(seconds), self._meter.totals)

    async def _process_all(self) -> None:
        for listed in self._listed:
            if self._stopped:
                break
            self._current = listed
            await asyncio.get_running_loop().run_in_executor(None, self._share_cores)
            with ThreadPoolExecutor(self._slots.workers, thread_name_prefix="infer") as workers:
                self._reports.append(await self._process(listed, workers))
            self._write(self._write_interim_summary)

    def _write_interim_summary(self) -> None:
        self._folder.write_summary({"complete": False, "sources": source_summaries(self._reports)})

    async def _process(self, listed: Listed, workers: ThreadPoolExecutor) -> SourceReport:
        former = self._folder.finished.get(str(listed.path))
        if former is not None:
            return _skipped(listed, former)
        outputs = self._make_outputs(listed)
        self._pipeline = Pipeline(
            self._source(listed, outputs),
            self._detector,
            self._make_tracker,
            outputs.all,
            self._meter,
            workers=workers,
            in_flight=self._slots.workers + AHEAD_OF_WORKERS,
            refined=lambda: self._lookouts.refined(listed.name),
        )
        begun_s = time.monotonic()
        begins = size_of(self._folder.predictions), size_of(self._folder.csv)
        try:
            outcome = await self._pipeline.run()
        except SourceError as exc:
            return SourceReport(listed.name, str(listed.path), "refused", errors=(str(exc),))
        finally:
            self._pipeline = None
            self._keep_outputs(outputs)
        return SourceReport(
            name=listed.name,
            location=str(listed.path),
            state=_state(outcome),
            frames=outcome.frames,
            seconds=round(time.monotonic() - begun_s, 3),
            errors=_errors(outcome),
            losses=outcome.losses,
            predictions_begin_byte=begins[0],
            predictions_end_byte=outputs.predictions.offset_bytes,
            csv_begin_byte=begins[1] if outputs.csv else None,
            csv_end_byte=outputs.csv.offset_bytes if outputs.csv else None,
        )

    def _planned(self) -> SlotPlan:
        return plan_slots(usable_cores(), workers=self._settings.detector.workers)

    def _share_cores(self) -> None:
        """Cores may have come or gone since the last file; what a file began with it keeps."""
        plan = self._planned()
        if plan == self._slots:
            return
        try:
            self._loaded.replan(plan)
        except ModelError as exc:
            log.warning("slots: %s as before, %s cannot be had: %s", self._slots, plan, exc)
        else:
            log.info("slots: %s instead of %s, %s", plan, self._slots, plan.reason)
            self._slots = plan

    def _source(self, listed: Listed, outputs: _Outputs) -> FileSource:
        settings = self._settings
        lookouts = outputs.lookouts
        every_picture = any(sink.wants_picture for sink in outputs.all if sink not in lookouts)
        sampled = SAMPLE_FRAMES if outputs.samples else frozenset()
        return FileSource(
            listed.path,
            name=listed.name,
            wants_pictures=lambda index: (
                every_picture or index in sampled or any(sink.wants_picture_now for sink in lookouts)
            ),
            part=FileRange(settings.start_s, settings.end_s, settings.vid_stride),
        )

    def _make_outputs(self, listed: Listed) -> _Outputs:
        output, folder = self._settings.output, self._folder
        outputs = _Outputs(PredictionsSink(folder.predictions))
        if output.csv:
            outputs.csv = CsvSink(folder.csv)
        if self._settings.mlflow.enabled:
            outputs.samples = SamplesSink(folder.samples, Overlay())
        if output.video:
            path = folder.video(listed.name, several=len(self._listed) > 1)
            # A part of a file begins at 0: nobody wants an hour of nothing before it.
            zero_based = self._settings.start_s > 0
            outputs.others.append(VideoSink(path, Overlay(), zero_based=zero_based, on_stage=self._meter.stage))
        if output.labels:
            outputs.others.append(LabelsSink(folder.labels, save_conf=output.label_confidence))
        if output.crops:
            outputs.others.append(CropsSink(folder.crops))
        outputs.lookouts = self._lookouts.of(listed.name) if self._settings.tracker != "off" else []
        return outputs

    def _keep_outputs(self, outputs: _Outputs) -> None:
        made = [path for sink in outputs.all for path in sink.outputs if path.exists()]
        self._outputs += [path for path in made if path not in self._outputs]
        if outputs.samples:
            self._log.samples += outputs.samples.written

    def deliver(self) -> str:
        """See to it that MLflow gets the run; a sentence about what has to wait, empty when nothing does."""
        return self._log.deliver()

    def _conclude(self, seconds: float) -> RunReport:
        if all(report.state == "refused" for report in self._reports):
            self._folder.remove_if_unused()
        else:
            self._write(lambda: self._folder.write_summary(self._report(seconds).summary()))
        report = self._report(seconds)
        self._log.finish(report, self._meter.totals)
        return report

    def _write(self, write: Callable[[], None]) -> None:
        """Write one of the run's own files; a failure is told in the report and stops nothing."""
        try:
            write()
        except SinkError as exc:
            self._failures[str(exc)] = None

    def _report(self, seconds: float) -> RunReport:
        lookouts = self._lookouts.told()
        return RunReport(
            folder=self._folder.path,
            outputs=tuple(self._outputs),
            sources=tuple(self._reports),
            model=self._detector.identity,
            provider=self._detector.provider,
            slots=self._slots,
            seconds=seconds,
            figures=self._meter.totals.snapshot(),
            detections=dict(self._meter.detections.most_common()),
            objects=self._meter.objects(),
            steady_fps=self._meter.steady_fps,
            stopped=self._stopped,
            errors=tuple(self._failures),
            also=lookouts.sections,
            words=lookouts.words,
        )

    def _frames_expected(self, outcome: Outcome | None) -> int | None:
        info = outcome.info if outcome else None
        if info is None or info.frame_count is None:
            return None
        if info.duration_s is None or (self._settings.start_s == 0 and self._settings.end_s is None):
            return info.frame_count
        end_s = min(info.duration_s, self._settings.end_s or info.duration_s)
        return round(info.frame_count * max(0.0, end_s - self._settings.start_s) / info.duration_s)


def _state(outcome: Outcome) -> SourceState:
    if outcome.errors or outcome.losses.truncated:
        return "incomplete"
    return "stopped" if outcome.stopped else "done"


def _errors(outcome: Outcome) -> tuple[str, ...]:
    cut = [outcome.losses.truncated] if outcome.losses.truncated else []
    return tuple([str(error) for error in outcome.errors] + cut)


def _skipped(listed: Listed, former: dict[str, Any]) -> SourceReport:
    """A source that a former run finished, with its figures from then."""
    return SourceReport(
        name=listed.name,
        location=str(listed.path),
        state="skipped",
        frames=int(former.get("frames", 0)),
        seconds=float(former.get("seconds", 0.0)),
        losses=SourceLosses(**former["losses"]),
        predictions_begin_byte=int(former["predictions_begin_byte"]),
        predictions_end_byte=int(former["predictions_end_byte"]),
        csv_begin_byte=former.get("csv_begin_byte"),
        csv_end_byte=former.get("csv_end_byte"),
    )
