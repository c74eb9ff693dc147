"""The edge's settings: what ``videodisco run`` does, from a file or from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from edge.cameras.settings import CameraDefaults, CameraName, CameraSettings, under_defaults
from edge.escalation.settings import EscalationSettings
from edge.events.settings import MqttSettings, WebhookSettings
from edge.service.settings import ServeSettings
from edge.zone_settings import ClassWord
from models.trust.policy import TrustSettings
from stream.config import Settings
from stream.dataset.settings import DatasetSettings
from stream.errors import UsageError
from stream.sinks.names import safe_name
from stream.telemetry import MlflowSettings

DEFAULT_CONFIDENCE = 0.4
"""Below it the bundled detector sees people in traffic cones."""


LONGEST_S = 1e7
"""Four months of video: no file is longer."""


class DetectorSettings(Settings):
    """Which model looks, and what counts as found."""

    model: str = Field("auto", description="A bundled model's name, or the path of an ONNX file.")
    device: Literal["auto", "cpu", "cuda", "coreml", "openvino"] = Field(
        "auto",
        description="What runs the model; auto takes what was measured to be best (videodisco checks --measure).",
    )
    require_provider: Literal["cpu", "cuda", "coreml", "openvino"] | None = Field(
        None, description="Refuse to run with anything else than this."
    )
    confidence: float = Field(
        DEFAULT_CONFIDENCE,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Detections below this are dropped, unless they continue a track.",
    )
    iou: float = Field(
        0.6,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Of two boxes of a class that overlap more, the weaker goes.",
    )
    max_detections: int = Field(300, ge=1, le=10_000, description="At most so many boxes a frame.")
    classes: tuple[ClassWord, ...] = Field((), description="Names or numbers of the classes to keep; empty keeps all.")
    image_size: int | None = Field(
        None, ge=32, le=4096, description="Longest side of the network's input in pixels; empty takes the model's own."
    )
    workers: int | None = Field(None, ge=1, le=256, description="Inference threads; empty takes one a usable core.")


class OutputSettings(Settings):
    """What is kept, and where."""

    project: Path = Field(Path("runs"), description="Folder of all runs.")
    name: str = Field("run", min_length=1, max_length=100, description="Folder of this run, numbered when taken.")
    exist_ok: bool = Field(default=False, description="Write into the run's folder even if it exists.")
    video: bool = Field(default=False, description="Record the annotated video.")
    labels: bool = Field(default=False, description="Write YOLO label files.")
    label_confidence: bool = Field(default=False, description="Add the confidence to YOLO labels.")
    crops: bool = Field(default=False, description="Save every detection's picture.")
    csv: bool = Field(default=False, description="Write predictions.csv besides predictions.jsonl.")

    @model_validator(mode="after")
    def _name_is_one_folder(self) -> OutputSettings:
        if "/" in self.name or "\\" in self.name or self.name in {".", ".."}:
            raise ValueError("name must be a folder's name, not a path; put the path into project")
        return self


class RunSettings(Settings):
    """All of ``videodisco run``."""

    sources: tuple[str, ...] = Field(
        (), description="Files, folders, globs, list files; or addresses of cameras and numbers of webcams."
    )
    cameras: dict[CameraName, CameraSettings] = Field({}, description="Cameras by name.")
    defaults: CameraDefaults = CameraDefaults()
    realtime: bool = Field(default=False, description="Play files at their own pace, as if they were cameras.")
    webhooks: tuple[WebhookSettings, ...] = Field((), description="Where events are posted to.")
    escalation: EscalationSettings = EscalationSettings()
    dataset: DatasetSettings = DatasetSettings()
    mqtt: MqttSettings | None = Field(None, description="The MQTT broker that events go to; needs the mqtt extra.")
    start_s: float = Field(
        0.0, ge=0, le=LONGEST_S, allow_inf_nan=False, description="Skip so many seconds of each file."
    )
    end_s: float | None = Field(
        None,
        gt=0,
        le=LONGEST_S,
        allow_inf_nan=False,
        description="Stop after so many seconds from each file's beginning, or of a camera.",
    )
    vid_stride: int = Field(1, ge=1, le=1000, description="Detect in every n-th frame; the tracker carries the rest.")
    tracker: Literal["bytetrack", "ocsort", "off"] = Field("bytetrack", description="Who gives objects identities.")
    detector: DetectorSettings = DetectorSettings()
    output: OutputSettings = OutputSettings()
    mlflow: MlflowSettings = MlflowSettings()
    trust: TrustSettings = TrustSettings()
    serve: ServeSettings = ServeSettings()
    resume: bool = Field(default=False, description="Skip what a former run of the same name finished.")

    def shaping_results(self) -> RunSettings:
        """These settings with all that leaves a source's results as they are set back to its default."""
        output = self.output.model_copy(update={"project": Path(), "name": "run", "exist_ok": False})
        detector = self.detector.model_copy(update={"workers": None})
        others = {
            "sources": (),
            "resume": False,
            "mlflow": MlflowSettings(),
            "trust": TrustSettings(),
            "serve": ServeSettings(),
        }
        return self.model_copy(update={"output": output, "detector": detector, **others})

    @model_validator(mode="before")
    @classmethod
    def _defaults_go_under_cameras(cls, values: Any) -> Any:
        return under_defaults(values)

    @model_validator(mode="after")
    def _cameras_have_folders_of_their_own(self) -> RunSettings:
        folders: dict[str, str] = {}
        for name in self.cameras:
            other = folders.setdefault(safe_name(name).casefold(), name)
            if other != name:
                raise ValueError(f"cameras '{other}' and '{name}' would share a folder for their files; rename one")
        return self

    @model_validator(mode="after")
    def _cameras_can_ask(self) -> RunSettings:
        for name, camera in self.cameras.items():
            try:
                self.escalation.of_camera(camera.escalate)
            except UsageError as exc:
                raise ValueError(f"cameras.{name}.{exc}") from exc
        known = {zone.name for each in (self.defaults, *self.cameras.values()) for zone in each.zones}
        named = self.escalation.policy.zones if self.escalation.enabled else ()
        if unknown := [name for name in named if name not in known]:
            raise ValueError(f"escalation.policy.zones names '{unknown[0]}', which is no camera's zone")
        return self

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> RunSettings:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s ({self.end_s:g}) must be after start_s ({self.start_s:g})")
        return self
