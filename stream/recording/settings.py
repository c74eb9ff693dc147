"""What of a camera is recorded, and for how long it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stream.config import Settings


class RecordSettings(Settings):
    """How one camera is recorded."""

    mode: Literal["continuous", "events", "off"] = Field(
        "off", description="continuous: always. events: around detections. off: only while it is asked for by hand."
    )
    what: Literal["copy", "annotated"] = Field(
        "copy", description="copy: the camera's own video as it came. annotated: with the boxes drawn, encoded anew."
    )
    folder: Path | None = Field(None, description="Where the recordings go; empty takes the run's own folder.")
    segment_s: float = Field(
        60.0, ge=1, le=3600, allow_inf_nan=False, description="A continuous recording begins a new file so often."
    )
    pre_roll_s: float = Field(
        5.0, ge=0, le=60, allow_inf_nan=False, description="How much before an event is recorded with it."
    )
    post_roll_s: float = Field(
        5.0, ge=0, le=600, allow_inf_nan=False, description="How much after an event is recorded with it."
    )
    keep_days: float | None = Field(
        None, gt=0, le=36500, allow_inf_nan=False, description="Delete what is older; empty keeps it for ever."
    )
    keep_gb: float | None = Field(
        None,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="Delete the oldest beyond so many gigabytes of this camera; empty sets no limit.",
    )
    min_free_gb: float = Field(
        2.0,
        ge=0,
        le=1e6,
        allow_inf_nan=False,
        description="Space that recording leaves free on the disk (at most 5 % of it). Below it the oldest recordings "
        "give way where keep_days or keep_gb is set, else recording pauses until there is room.",
    )
