"""YOLOv10 and 26 end to end, and exports with suppression inside: one output 1 x boxes x 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.families.base import Family, Outputs, table
from models.families.boxes import Boxes
from models.families.detr import is_detr
from models.families.grid import strides_of
from models.spec import ModelSpec

LAYOUT = "1 x boxes x 6"

_COLUMNS = 6


@dataclass(frozen=True)
class EndToEnd(Family):
    """Left, top, right and bottom in network pixels, score and class; what is left over is filled with zeros."""

    name: ClassVar[str] = "yolo-end-to-end"
    suppresses: ClassVar[bool] = False

    def candidates(self, outputs: Outputs, _size: tuple[int, int], confidence: float, /) -> Boxes:
        rows = outputs[0][0]
        found = rows[rows[:, 4] > confidence].astype(np.float32)
        return Boxes(found[:, :4], found[:, 4], found[:, 5].astype(np.int64))


def recognise(spec: ModelSpec) -> EndToEnd | None:
    """The family for this model, or None if its output is laid out otherwise."""
    seen = table(spec)
    if seen is None or is_detr(spec):
        return None
    rows, columns = seen
    if spec.end_to_end:
        return EndToEnd(spec.names) if columns in (None, _COLUMNS) else None
    # As many rows as there are cells, or three times as many, are YOLOX or YOLOv5 with one class.
    cells = rows is None or strides_of(spec, rows) or (rows % 3 == 0 and strides_of(spec, rows // 3))
    return EndToEnd(spec.names) if columns == _COLUMNS and not cells else None
