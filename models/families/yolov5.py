"""YOLOv5 and v7: one output 1 x (3 anchors a cell) x (5 + classes), cxcywh in network pixels and objectness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.families.base import Family, Outputs, corners, names_for, table
from models.families.boxes import Boxes
from models.families.grid import strides_of
from models.families.objectness import likely
from models.spec import ModelSpec

LAYOUT = "1 x (3 x cells) x (5 + classes)"

_ANCHORS_A_CELL = 3


@dataclass(frozen=True)
class YoloV5(Family):
    """Boxes are in pixels already; a score is objectness times class probability."""

    name: ClassVar[str] = "yolov5"

    def candidates(self, outputs: Outputs, _size: tuple[int, int], confidence: float, /) -> Boxes:
        found = likely(outputs[0][0], confidence)
        return Boxes(corners(found.boxes), found.confidence, found.class_id)


def recognise(spec: ModelSpec) -> YoloV5 | None:
    """The family for this model, or None if its output is laid out otherwise."""
    rows, columns = table(spec) or (None, None)
    if spec.end_to_end or columns is None or columns < 6 or (spec.names and columns != 5 + len(spec.names)):
        return None
    threes = rows is None or (rows % _ANCHORS_A_CELL == 0 and strides_of(spec, rows // _ANCHORS_A_CELL))
    return YoloV5(names_for(spec, columns - 5)) if threes else None
