"""YOLOv8, v9, v11 and those who share their head: one output 1 x (4 + classes) x anchors, cxcywh in network pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.families.base import Family, Outputs, corners, names_for, table
from models.families.boxes import Boxes
from models.families.grid import strides_of
from models.spec import ModelSpec

LAYOUT = "1 x (4 + classes) x anchors"


@dataclass(frozen=True)
class Yolo(Family):
    """Filters anchors by their best class while the output is still channel-major, so that it is never copied."""

    name: ClassVar[str] = "yolo"

    def candidates(self, outputs: Outputs, _size: tuple[int, int], confidence: float, /) -> Boxes:
        channels = outputs[0][0]
        scores = channels[4:]
        best = scores.max(axis=0)
        anchors = np.flatnonzero(best > confidence)
        if not len(anchors):
            return Boxes.none()
        return Boxes(
            corners(channels[:4, anchors].T),
            best[anchors].astype(np.float32),
            scores[:, anchors].argmax(axis=0),
        )


def recognise(spec: ModelSpec) -> Yolo | None:
    """The family for this model, or None if its output is laid out otherwise."""
    seen = table(spec)
    if seen is None or spec.end_to_end:
        return None
    channels, anchors = seen
    if spec.names:
        return Yolo(spec.names) if channels in (None, 4 + len(spec.names)) and _more(anchors, channels) else None
    # As many rows as there are cells would be YOLOX's, however long they are.
    cells = strides_of(spec, channels) and anchors and not strides_of(spec, anchors)
    if not channels or channels <= 4 or not _more(anchors, channels) or cells:
        return None
    return Yolo(names_for(spec, channels - 4))


def _more(anchors: int | None, channels: int | None) -> bool:
    """The longer side must be the anchors: v5 and YOLOX lay them out the other way round."""
    return anchors is None or (channels is not None and anchors > channels)
