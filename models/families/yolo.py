"""YOLOv8, v9, v11 and those who share their head: one output 1 x (4 + classes) x anchors, cxcywh in network pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from models.families.base import Boxes, Outputs, select
from models.families.nms import suppress
from models.spec import ModelSpec

LAYOUT = "YOLOv8/v9/11: one output 1 x (4 + classes) x anchors with boxes as centre, width and height"


@dataclass(frozen=True, slots=True)
class Yolo:
    """Filters anchors by their best class while the output is still channel-major, so that it is never copied."""

    name: str = field(default="yolo", init=False)

    def decode(
        self, outputs: Outputs, *, confidence: float, iou: float, max_detections: int, classes: Sequence[int] | None
    ) -> Boxes:
        channels = outputs[0][0]
        scores = channels[4:]
        best = scores.max(axis=0)
        anchors = np.flatnonzero(best > confidence)
        if not len(anchors):
            return Boxes.none()
        centre, half = channels[:2, anchors].astype(np.float32), channels[2:4, anchors].astype(np.float32) / 2
        candidates = Boxes(
            np.concatenate([centre - half, centre + half]).T,
            best[anchors].astype(np.float32),
            scores[:, anchors].argmax(axis=0),
        )
        return suppress(select(candidates, classes=classes), iou=iou, max_detections=max_detections)


def recognise(spec: ModelSpec) -> Yolo | None:
    """The family for this model, or None if its output is laid out otherwise."""
    if len(spec.outputs) != 1 or len(spec.outputs[0].shape) != 3:
        return None
    _, channels, anchors = spec.outputs[0].shape
    if spec.names:
        return Yolo() if channels in (None, 4 + len(spec.names)) else None
    # Without names the longer side must be the anchors: v5 and YOLOX lay them out the other way round.
    return Yolo() if channels and channels > 4 and (anchors is None or anchors > channels) else None
