"""A result's boxes as plain Python values, for the sinks that write text or cut pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.frame import FrameResult

Numbers = NDArray[np.number[Any]]


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
    return _rows(result, boxes.xyxy, boxes.confidence)


def rounded_rows(result: FrameResult) -> Iterator[Row]:
    """:func:`rows` as they are told in files: boxes to 0.01 pixel, confidences to 4 decimals."""
    boxes = result.detections
    confidence = None if boxes.confidence is None else boxes.confidence.astype(np.float64).round(4)
    return _rows(result, boxes.xyxy.astype(np.float64).round(2), confidence)


def _rows(result: FrameResult, xyxy: Numbers, confidence: Numbers | None) -> Iterator[Row]:
    boxes, count = result.detections, len(xyxy)
    class_ids = [-1] * count if boxes.class_id is None else boxes.class_id.tolist()
    confidences = [1.0] * count if confidence is None else confidence.tolist()
    tracks = [-1] * count if boxes.tracker_id is None else boxes.tracker_id.tolist()
    names = boxes.data.get("class_name")
    named = map(str, class_ids if names is None else names)
    usable = np.atleast_1d(np.isfinite(xyxy).all(axis=1))
    for keep, box, score, class_id, name, track in zip(
        usable, xyxy.tolist(), confidences, class_ids, named, tracks, strict=True
    ):
        if keep:
            yield Row(tuple(box), score, class_id, name, track if track >= 0 else None)
