"""Sources, frames and results made by hand, for the tests of sinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import supervision as sv

from stream.frame import AudioInfo, Frame, FrameResult, ModelIdentity, Pixels, Refinement, SourceInfo, Timings
from tests.clips import NUMBERS

MODEL = ModelIdentity(name="nanodet-g", version="1.0.0", sha256="ab" * 32)


def source(
    name: str = "cam1",
    *,
    location: Path | str = "clip.mp4",
    width: int = 320,
    height: int = 240,
    time_base: Fraction = Fraction(1, 12800),
    audio: AudioInfo | None = None,
    started_at: float | None = None,
) -> SourceInfo:
    return SourceInfo(
        name=name,
        location=str(location),
        container="mp4",
        codec="h264",
        width=width,
        height=height,
        frame_rate=Fraction(25),
        time_base=time_base,
        audio=audio,
        started_at=started_at,
    )


def grey(number: int, width: int = 320, height: int = 240) -> Pixels:
    """A BGR picture that :func:`tests.clips.frame_number` reads as ``number``."""
    return np.full((height, width, 3), round(2 * (number % NUMBERS) * 255 / 219), np.uint8)


def boxes(
    xyxy: Sequence[Sequence[float]] = (),
    *,
    names: Sequence[str] | None = None,
    confidence: Sequence[float] | None = None,
    track_ids: Sequence[int] | None = None,
) -> sv.Detections:
    """Detections of as many boxes, by default persons of confidence 0.5 without tracks; class id is the length of
    the class name, so that the two can be told apart.
    """
    count = len(xyxy)
    names = names or ["person"] * count
    return sv.Detections(
        xyxy=np.array(xyxy, np.float32).reshape(count, 4),
        class_id=np.array([len(name) for name in names], int),
        confidence=np.array(confidence or [0.5] * count, np.float32),
        tracker_id=None if track_ids is None else np.array(track_ids, int),
        data={"class_name": np.array(names, dtype=str)},
    )


def result(
    index: int = 0,
    detections: sv.Detections | None = None,
    *,
    name: str = "cam1",
    pts: int | None = None,
    time_base: Fraction = Fraction(1, 12800),
    picture: Pixels | None = None,
    carried: bool = False,
    timings: Timings | None = None,
    dropped_before: int = 0,
    refined: Mapping[int, Refinement] | None = None,
) -> FrameResult:
    """A result of a 25 fps source; its picture shows its index unless another is given."""
    picture = grey(index) if picture is None else picture
    frame = Frame(
        source=name,
        index=index,
        pts=index * 512 if pts is None else pts,
        time_base=time_base,
        received_s=0.0,
        width=picture.shape[1],
        height=picture.shape[0],
        picture=picture,
    )
    return FrameResult(
        frame=frame,
        detections=boxes() if detections is None else detections,
        model=MODEL,
        timings=timings or Timings(),
        carried=carried,
        dropped_before=dropped_before,
        refined=refined or {},
    )
