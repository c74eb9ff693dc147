"""A result's boxes as plain Python values, for the sinks that write text or cut pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from stream.frame import FrameResult


class Row(NamedTuple):
    """One box: ``xyxy`` in pixels of the upright picture, finite; ``track_id`` None while untracked."""

    xyxy: tuple[float, float, float, float]
    confidence: float
    class_id: int
    class_name: str
    track_id: int | None


def rows(result: FrameResult) -> Iterator[Row]:
    """The boxes of a result in their order, without those that are no boxes (NaN or infinite)."""
    boxes = result.detections
    count = len(boxes.xyxy)
    class_ids = [-1] * count if boxes.class_id is None else boxes.class_id.tolist()
    confidences = [1.0] * count if boxes.confidence is None else boxes.confidence.tolist()
    tracks = [-1] * count if boxes.tracker_id is None else boxes.tracker_id.tolist()
    names = boxes.data.get("class_name")
    named = map(str, class_ids if names is None else names)
    usable = np.isfinite(boxes.xyxy).all(axis=1).tolist()
    for keep, xyxy, confidence, class_id, name, track in zip(
        usable, boxes.xyxy.tolist(), confidences, class_ids, named, tracks, strict=True
    ):
        if keep:
            yield Row(tuple(xyxy), confidence, class_id, name, track if track >= 0 else None)
