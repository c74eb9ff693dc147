"""What can be set for a camera, and how the defaults of all cameras come under it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from edge.escalation.settings import CameraEscalation
from edge.events.settings import EventSettings
from edge.zone_settings import ClassWord, LineSettings, ZoneSettings
from stream.config import merged
from stream.recording.settings import RecordSettings
from stream.sources.settings import LiveSettings, LookSettings

CameraName = Annotated[str, Field(pattern=r"^\w[\w.\- ]{0,39}$")]
"""What files, metrics and topics are named after: up to forty letters, digits, dots, dashes and spaces."""


class CameraDefaults(LiveSettings, LookSettings):
    """What holds for every camera that does not say otherwise."""

    paused: bool = Field(default=False, description="Leave this camera alone for now.")
    isolate: bool = Field(
        default=False,
        description="Decode in a child process: a stream that crashes the decoder then crashes that process alone.",
    )
    model: str | None = Field(None, description="A model of its own for this camera; empty takes detector.model.")
    confidence: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="Empty takes detector.confidence."
    )
    classes: tuple[ClassWord, ...] | None = Field(None, description="Empty takes detector.classes.")
    tracker: Literal["bytetrack", "ocsort", "off"] | None = Field(None, description="Empty takes the run's tracker.")
    zones: tuple[ZoneSettings, ...] = Field((), description="Parts of the picture in which objects are counted.")
    lines: tuple[LineSettings, ...] = Field((), description="Lines whose crossings are counted.")
    record: RecordSettings = RecordSettings()
    events: EventSettings = EventSettings()
    escalate: CameraEscalation | None = Field(None, description="What this camera has of its own of the escalation.")


class CameraSettings(CameraDefaults):
    """One camera. Every key of the defaults can be set here as well and then counts for it alone."""

    source: str = Field(
        min_length=1,
        repr=False,
        description="Its address (rtsp://, http://, ...), a webcam's number, or a file played at its own pace.",
    )

    @model_validator(mode="after")
    def _zones_that_are_named_are_there(self) -> CameraSettings:
        known = {zone.name for zone in self.zones}
        named = {"events.zones": self.events.zones, "escalate.zones": (self.escalate and self.escalate.zones) or ()}
        for place, names in named.items():
            if unknown := [name for name in names if name not in known]:
                there = ", ".join(sorted(known)) or "none"
                raise ValueError(f"{place} names '{unknown[0]}', which is no zone of this camera (there: {there})")
        return self


def under_defaults(values: Any) -> Any:
    """A configuration as it was read, with its ``defaults`` laid under each of its ``cameras``.

    Sections are laid over each other key by key, lists as a whole. What is no mapping is left to the validation.
    """
    if not isinstance(values, Mapping):
        return values
    cameras, defaults = values.get("cameras"), values.get("defaults")
    if not isinstance(cameras, Mapping) or not isinstance(defaults, Mapping):
        return values
    laid = {
        name: merged(defaults, camera) if isinstance(camera, Mapping) else camera for name, camera in cameras.items()
    }
    return {**values, "cameras": laid}
