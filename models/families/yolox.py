"""YOLOX: one output 1 x cells x (5 + classes), boxes still relative to their cell, probabilities done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from models.families.base import Family, Outputs, corners, names_for, table
from models.families.boxes import Boxes
from models.families.grid import THREE_STRIDES, cells_at, strides_of
from models.families.nanodet_table import is_coco
from models.families.objectness import likely
from models.spec import ModelSpec, Preparation
from stream.errors import ModelError

LAYOUT = "1 x cells x (5 + classes)"

# Sixty thousand times a cell: more than any picture, while in pixels it would be a small box.
_MAX_LOGARITHM = 11.0

# Grey levels as they are: the upstream's networks of version 0.2 and later do not normalise.
_LEVELS = Preparation(rgb=False, std=(1.0, 1.0, 1.0), placement="top_left")


@dataclass(frozen=True)
class Yolox(Family):
    """A centre is an offset from its cell's corner, width and height are logarithms, all in cells."""

    preparation: Preparation = _LEVELS
    strides: Sequence[int] = THREE_STRIDES

    name: ClassVar[str] = "yolox"

    def candidates(self, outputs: Outputs, size: tuple[int, int], confidence: float, /) -> Boxes:
        found = likely(outputs[0][0], confidence)
        cells = cells_at(found.places, size, self.strides)
        centre = (found.boxes[:, :2] + cells.corner) * cells.stride_px
        extent = np.exp(_logarithms(found.boxes[:, 2:])) * cells.stride_px
        return Boxes(corners(np.concatenate([centre, extent], axis=1)), found.confidence, found.class_id)


def _logarithms(extent: NDArray[np.float32]) -> NDArray[np.float32]:
    """Widths and heights, if they are the logarithms they should be: the shape does not tell."""
    if (extent > _MAX_LOGARITHM).any():
        raise ModelError(
            "the model's boxes are in pixels already, which is no YOLOX as this reads it: export it without"
            " --decode_in_inference"
        )
    return extent


def recognise(spec: ModelSpec) -> Yolox | None:
    """The family for this model, or None if its output is laid out otherwise."""
    rows, columns = table(spec) or (None, None)
    strides = strides_of(spec, rows)
    if strides is None or columns is None or columns < 6:
        return None
    if columns != 5 + len(spec.names) if spec.names else is_coco(columns):
        return None
    return Yolox(names_for(spec, columns - 5), strides=strides)
