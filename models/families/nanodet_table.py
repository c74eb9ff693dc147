"""NanoDet and NanoDet-Plus with one concatenated output 1 x cells x (classes + 4 x bins)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from models.coco import COCO_CLASSES
from models.families.base import Family, Outputs, names_for, table
from models.families.boxes import Boxes
from models.families.grid import FOUR_STRIDES, cells_at, strides_of
from models.families.nanodet import NANODET_PREPARATION, expected
from models.spec import ModelSpec, Preparation

LAYOUT = "1 x cells x (classes + 4 x bins)"

# Bins of a side's distribution in the networks the upstream publishes.
_BINS = (8, 11)
_MAX_BINS = 33
_YOLOX_COCO = 5 + len(COCO_CLASSES)
# The upstream gives up a picture's proportions, in training too.
_STRETCHED = replace(NANODET_PREPARATION, placement="stretch", square=True)


@dataclass(frozen=True)
class NanoDetTable(Family):
    """Distances to the four sides are counted from the middle of a cell, by NanoDet-Plus from its upper left corner."""

    preparation: Preparation = _STRETCHED
    classes: int = len(COCO_CLASSES)
    strides: Sequence[int] = FOUR_STRIDES

    name: ClassVar[str] = "nanodet-plus"

    def candidates(self, outputs: Outputs, size: tuple[int, int], confidence: float, /) -> Boxes:
        rows = outputs[0][0]
        scores = rows[:, : self.classes]
        best = scores.max(axis=1)
        places = np.flatnonzero(best > confidence)
        if not len(places):
            return Boxes.none()
        cells = cells_at(places, size, self.strides)
        distances = expected(rows[places, self.classes :].astype(np.float32))
        origin = cells.corner + (0 if self.strides == FOUR_STRIDES else 0.5)
        xyxy = np.concatenate([origin - distances[:, :2], origin + distances[:, 2:]], axis=1) * cells.stride_px
        return Boxes(xyxy.astype(np.float32), best[places].astype(np.float32), scores[places].argmax(axis=1))


def recognise(spec: ModelSpec) -> NanoDetTable | None:
    """The family for this model, or None if its output is laid out otherwise."""
    rows, columns = table(spec) or (None, None)
    strides = strides_of(spec, rows)
    if strides is None or columns is None:
        return None
    classes = len(spec.names) or _classes(columns)
    bins, odd = divmod(columns - classes, 4)
    if not classes or odd or not 2 <= bins <= _MAX_BINS:
        return None
    return NanoDetTable(names_for(spec, classes), classes=classes, strides=strides)


def is_coco(columns: int) -> bool:
    """Whether so many columns are a published network's: 80 classes and the bins of four sides."""
    return columns in [len(COCO_CLASSES) + 4 * bins for bins in _BINS]


def _classes(columns: int) -> int:
    """How many classes a network without names may have: 80 where they fit, else what eight bins leave; 0 for none."""
    if is_coco(columns):
        return len(COCO_CLASSES)
    return 0 if columns == _YOLOX_COCO else max(0, columns - 4 * _BINS[0])
