"""Cameras put together: what each is made of, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edge.cameras.archive import Archive
from edge.cameras.camera import Camera, CameraParts, WatchedSource
from edge.cameras.settings import CameraSettings
from edge.class_words import check_camera, check_run
from edge.config import DetectorSettings, RunSettings
from edge.detector import OnnxDetector
from edge.events.former import FormerEvents
from edge.events.publish.all import Publishers
from edge.events.publish.base import Publisher
from edge.events.sink import SNAPSHOTS, EventsSink
from edge.events.snapshots import newest_pictures
from edge.loaded_model import LoadedModel
from edge.lookouts import Lookout, Lookouts, LookoutsTold
from edge.run_folder import RunFolder
from edge.slots import SlotPlan, plan_slots
from edge.swap import SwappableDetector
from edge.tracker import TrackerName, tracker_maker, weakest_wanted
from edge.zones import ZoneWatch
from models.catalogue import find
from stream.attention import Attention
from stream.config import Settings
from stream.errors import UsageError
from stream.home import home
from stream.machine import usable_cores
from stream.overlay import Overlay
from stream.packets import PacketTap
from stream.pipeline import Detector
from stream.pool import InferencePool
from stream.recording.annotated import AnnotatedSink
from stream.recording.recorder import SegmentRecorder
from stream.recording.settings import RecordSettings
from stream.sinks.base import Sink
from stream.sinks.crops import CropsSink
from stream.sinks.csv import CsvSink
from stream.sinks.jsonl import PredictionsSink
from stream.sinks.newest import NewestSink
from stream.sinks.reviving import RevivingSink
from stream.sinks.rotation import Rotation
from stream.sinks.yolo import LabelsSink
from stream.sources.address import parse_address
from stream.sources.base import PictureDemand
from stream.sources.live import LiveSource
from stream.sources.settings import LiveSettings, LookSettings, ReachSettings
from stream.sources.status import SourceStatus

if TYPE_CHECKING:
    from edge.escalation.figures import EscalationFigures

S = TypeVar("S", bound=Settings)

CLOSE_S = 4.0
"""How long the inference threads, a recording and those who are told of events may each take to end."""


PREDICTIONS_ROTATION = Rotation(max_bytes=256_000_000, keep=8)
"""Two gigabytes of predictions at most: some days of one busy camera."""


MOST_PICTURES = 8
"""So many pictures of events are shown in MLflow."""


class Assembly:
    """Makes cameras for one run. What is shared is made once: models, inference threads, publishers.

    Raises:
        UsageError, ModelError: a model, a device or a class that cannot be used.
    """

    def __init__(
        self,
        settings: RunSettings,
        cameras: Mapping[str, CameraSettings],
        *,
        show: bool,
        on_note: Callable[[str], None],
        extra_sink: Callable[[str], Sink] | None,
        wrap_detector: Callable[[Detector], Detector],
        more_publishers: Sequence[Publisher] | None = None,
    ) -> None:
        # A service looks at single pictures as well, many at a time: a plan for throughput, whatever cameras it has.
        self._serves = more_publishers is not None
        self._settings = settings
        self.slots = self.planned(len(cameras))
        self._show = show
        self._on_note = on_note
        self._extra_sink = extra_sink
        self._wrap_detector = wrap_detector
        self._models: dict[str, LoadedModel] = {}
        self._archives: dict[Path, Archive] = {}
        self.prepare(settings, cameras)
        self.detector = self.detector_for(next(iter(cameras.values()), None))
        self.pool = InferencePool(self.slots.workers)
        self._more_publishers = tuple(more_publishers or ())
        self._publishers = Publishers(settings.webhooks, settings.mqtt, home())
        self._publishers.start()

    def open(self, folder: RunFolder) -> None:
        """Everything goes into this folder. Raises UsageError or OutputError where the cloud cannot be asked."""
        self._folder = folder
        former = FormerEvents(folder.path, [self._publishers, *self._more_publishers])
        self._lookouts = Lookouts(self._settings, folder.path, former)

    def figures(self) -> dict[str, float]:
        """How asking the cloud and collecting go, by MLflow names."""
        return self._lookouts.figures()

    def escalation(self) -> EscalationFigures | None:
        """How asking the cloud goes; None where nobody asks. From any thread."""
        return self._lookouts.escalation()

    def planned(self, cameras: int) -> SlotPlan:
        """How so many cameras would best share the cores that there are now."""
        looking = max(2, cameras) if self._serves else cameras
        return plan_slots(usable_cores(), workers=self._settings.detector.workers, cameras=looking)

    def replan(self, slots: SlotPlan) -> None:
        """Share the cores otherwise, while cameras run; takes seconds.

        Raises:
            ModelError: a model cannot be opened for it; the number of inferences at a time is then as it was.
        """
        for model in self.models.values():
            model.replan(slots)
        self.pool.resize(slots.workers)
        self.slots = slots

    def prepare(self, settings: RunSettings, cameras: Mapping[str, CameraSettings]) -> None:
        """Take over settings, and make all that can be refused: raises UsageError or ModelError, and keeps the old."""
        former, self._settings = self._settings, settings
        try:
            models = [self._names_for(None)] if self._serves or not cameras else []
            for name, camera in cameras.items():
                models.append(self._names_for(camera))
                check_camera(name, camera, models[-1])
                ZoneWatch(camera.zones, camera.lines)
                if (camera.zones or camera.lines) and self._tracker_name(camera) == "off":
                    raise UsageError("zones and lines count tracks; set the tracker to bytetrack or leave them out")
            check_run(settings, models)
        except BaseException:
            self._settings = former
            raise

    def forget_unused(self, cameras: Mapping[str, CameraSettings]) -> None:
        """Let go of models that no camera asks for any more; what still looks with one keeps it as long."""
        wanted = {self.detector_settings(self._settings, camera).model for camera in (None, *cameras.values())}
        for name in self._models.keys() - wanted:
            del self._models[name]

    @property
    def models(self) -> Mapping[str, LoadedModel]:
        """The models that are loaded, by their names in the settings; safe from any thread."""
        return dict(self._models)

    @property
    def archives(self) -> Mapping[Path, Archive]:
        """Where cameras of this run are recorded, by folder; safe from any thread."""
        return dict(self._archives)

    def detector_settings(self, settings: RunSettings, camera: CameraSettings | None) -> DetectorSettings:
        """The run's, with what the camera has of its own."""
        if camera is None:
            return settings.detector
        own = {
            "model": camera.model,
            "confidence": camera.confidence,
            "classes": camera.classes,
        }
        return settings.detector.model_copy(update={key: value for key, value in own.items() if value is not None})

    def detector_for(self, camera: CameraSettings | None) -> OnnxDetector:
        """A detector as the camera wants it; cameras with the same model share it."""
        wanted = self.detector_settings(self._settings, camera)
        if wanted.model not in self._models:
            model = find(wanted.model, self._settings.trust)
            self._models[wanted.model] = LoadedModel(model, wanted, self.slots)
        weakest = weakest_wanted(self._tracker_name(camera), wanted.confidence)
        return OnnxDetector(self._models[wanted.model], wanted.model_copy(update={"confidence": weakest}))

    def _names_for(self, camera: CameraSettings | None) -> Sequence[str]:
        """The classes that the camera's model knows. Raises UsageError or ModelError for what cannot detect for it."""
        self.detector_for(camera)
        return self._models[self.detector_settings(self._settings, camera).model].names

    def wrapped_detector_for(self, camera: CameraSettings) -> Detector:
        """The detector that a camera's frames really meet."""
        return self._wrap_detector(self.detector_for(camera))

    def assemble(self, camera: Camera) -> CameraParts:
        """All parts of a camera, ready to be run once."""
        settings = camera.settings
        record = with_save(self._settings, settings)
        recorder = self._recorder(camera, record)
        newest = NewestSink()
        events = self._events(settings, recorder)
        tracks = self._tracker_name(settings) != "off"
        lookouts = self._lookouts.of(camera.name, settings.escalate, events) if tracks else []
        sinks = self._sinks(camera, recorder if record.what == "annotated" else None)
        zones = ZoneWatch(settings.zones, settings.lines)
        drawing = [*sinks, newest] if self._show else sinks
        followers: list[EventsSink | Lookout] = [*([events] if events else []), *lookouts]
        source = _source(
            camera.name,
            settings,
            reach=self._settings.serve.camera_sources,
            wants_pictures=lambda: _demand(drawing, followers, trial=camera.wants_trial_pictures),
            tap=recorder if record.what == "copy" else None,
        )
        detector = SwappableDetector(self.wrapped_detector_for(settings))
        lane = self.pool.lane(detector, max_staleness_s=settings.max_staleness_s)
        return CameraParts(
            source=source,
            lane=lane,
            detector=detector,
            make_tracker=tracker_maker(
                self._tracker_name(settings),
                confidence=self.detector_settings(self._settings, settings).confidence,
                detect_fps=settings.detect_fps,
            ),
            sinks=[*sinks, *followers, newest],
            newest=newest,
            followers=followers,
            recorder=recorder,
            refined=lambda: self._lookouts.refined(camera.name),
            agreement=lambda: self._lookouts.agreement(camera.name),
            watch_zones=zones.update if settings.zones or settings.lines else None,
            closing=[lambda: recorder.close(CLOSE_S)] if recorder else [],
        )

    def told(self) -> LookoutsTold:
        """How asking the cloud and collecting ended; read once it is closed."""
        return self._lookouts.told()

    def attached(self) -> tuple[list[Path], list[Path]]:
        """For MLflow: files that are whole once it is closed, and the last pictures of events."""
        return self._lookouts.outputs, newest_pictures(self._folder.path / SNAPSHOTS, MOST_PICTURES)

    def tell_state(self, camera: str, status: SourceStatus) -> None:
        """Tell those who are told of events how a camera is doing."""
        self._publishers.camera_state(camera, status.state)

    def close(self) -> None:
        """End what is shared; takes seconds."""
        self.pool.close(CLOSE_S)
        self._lookouts.close(CLOSE_S)
        self._publishers.close(CLOSE_S)
        for archive in self._archives.values():
            archive.close(CLOSE_S)

    def _tracker_name(self, camera: CameraSettings | None) -> TrackerName:
        return (camera.tracker if camera else None) or self._settings.tracker

    def _sinks(self, camera: Camera, recorder: SegmentRecorder | None) -> list[Sink]:
        output, folder = self._settings.output, self._folder
        sinks: list[Sink] = [self._revived(PredictionsSink(folder.predictions, rotation=PREDICTIONS_ROTATION))]
        if output.csv:
            sinks.append(self._revived(CsvSink(folder.csv)))
        if output.labels:
            sinks.append(self._revived(LabelsSink(folder.labels, save_conf=output.label_confidence)))
        if output.crops:
            sinks.append(self._revived(CropsSink(folder.crops)))
        if recorder is not None:
            overlay = Overlay(zones=True, head_up=lambda: self._lookouts.head_up(camera.name))
            sinks.append(AnnotatedSink(recorder, overlay, on_stage=camera.meter.stage))
        if self._extra_sink is not None:
            sinks.append(self._extra_sink(camera.name))
        return sinks

    def _recorder(self, camera: Camera, record: RecordSettings) -> SegmentRecorder | None:
        """Also of a camera that records nothing by itself, where somebody at the window or the page may want it to."""
        if record.mode == "off" and not (self._show or self._serves):
            return None
        folder = record.folder or self._folder.path / "recordings"
        if folder not in self._archives:
            self._archives[folder] = Archive(folder, record.min_free_gb, self._on_note)
        return self._archives[folder].recorder(camera.name, record, lambda: camera.started_at)

    def outputs(self) -> list[Path]:
        """The folders and files that were made, for the closing words."""
        folder = self._folder
        made = [folder.predictions, folder.csv, folder.labels, folder.crops, folder.path / "events.jsonl"]
        made += [folder.path / "snapshots", *self._archives, *self._lookouts.outputs]
        return [path for path in made if path.exists()]

    def _revived(self, sink: Sink) -> Sink:
        return RevivingSink(sink, on_note=self._on_note)

    def _events(self, settings: CameraSettings, recorder: SegmentRecorder | None) -> EventsSink | None:
        if not settings.events.enabled or self._tracker_name(settings) == "off":
            return None
        publishers = [self._publishers, *self._more_publishers]
        return EventsSink(self._folder.path, settings.events, publishers, recorder)


def with_save(settings: RunSettings, camera: CameraSettings) -> RecordSettings:
    """A camera's recording; ``--save`` means the annotated video of one that says nothing else."""
    record = camera.record
    if settings.output.video and record.mode == "off":
        return record.model_copy(update={"mode": "continuous", "what": "annotated"})
    return record


def _source(
    name: str,
    camera: CameraSettings,
    *,
    reach: ReachSettings,
    wants_pictures: Callable[[], PictureDemand],
    tap: PacketTap | None,
) -> WatchedSource:
    """The camera's source, in this process or in one of its own. Whether to give up is the station's affair; a guarded
    one reaches what the service allows."""
    address = parse_address(camera.source)
    guard = None if camera.guard is None else _part_of(reach, ReachSettings)
    live = _part_of(camera, LiveSettings).model_copy(update={"wait": True, "guard": guard})
    look = _part_of(camera, LookSettings)
    if camera.isolate:
        from stream.sources.isolated import IsolatedSource  # what it says to its child takes time to set up

        return IsolatedSource(address, name=name, settings=live, look=look, wants_pictures=wants_pictures, tap=tap)
    attention = Attention(look)
    return LiveSource(address, name=name, settings=live, attention=attention, wants_pictures=wants_pictures, tap=tap)


def _part_of(settings: Settings, kind: type[S]) -> S:
    """The settings that belong to ``kind``, and no others."""
    return kind.model_validate({name: getattr(settings, name) for name in kind.model_fields})


def _demand(drawing: list[Sink], following: Sequence[EventsSink | Lookout], *, trial: bool) -> PictureDemand:
    if any(sink.wants_picture for sink in drawing):
        return PictureDemand.ALL
    if trial or any(sink.wants_picture_now for sink in following):
        return PictureDemand.LOOKED_AT
    return PictureDemand.NONE
