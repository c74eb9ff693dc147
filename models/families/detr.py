"""RT-DETR, D-FINE and RF-DETR: queries with logits and normalised boxes, or Ultralytics' one table of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.coco import CATEGORIES, CATEGORY_SLOTS, COCO_CLASSES
from models.families.base import Family, Outputs, corners, names_for, table
from models.families.boxes import Boxes
from models.spec import ModelSpec, OutputSpec, Preparation
from stream.errors import ModelError

LAYOUT = "logits or labels 1 x queries x classes and pred_boxes or dets 1 x queries x 4"

TABLE_LAYOUT = "1 x queries x (6 or 4 + classes) of what its metadata calls RT-DETR"

_PLAIN = Preparation(placement="stretch", square=True)
_IMAGENET = Preparation(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), placement="stretch", square=True)
_RF_DETR_BOXES = "dets"
_BOXES = ("pred_boxes", "boxes", _RF_DETR_BOXES)
_LOGITS = ("logits", "pred_logits", "labels")
_CHOSEN_COLUMNS = 6
_TAKES_BOXES_OUT = "RTDETRDecoder"


@dataclass(frozen=True)
class Detr(Family):
    """A query answers for every class on its own, and no two queries for the same object."""

    preparation: Preparation = _PLAIN
    logits: int = 0
    boxes: int = 1
    slots: int = len(COCO_CLASSES)

    name: ClassVar[str] = "detr"
    suppresses: ClassVar[bool] = False

    def candidates(self, outputs: Outputs, size: tuple[int, int], confidence: float, /) -> Boxes:
        logits = outputs[self.logits][0]
        query, slot = np.nonzero(logits > _logit(confidence))
        found = Boxes(
            _scaled(outputs[self.boxes][0][query], size),
            _sigmoid(logits[query, slot]),
            numbers(self.names, self.slots)[slot],
        )
        return found.take(found.class_id >= 0)


@dataclass(frozen=True)
class DetrTable(Family):
    """Ultralytics' RT-DETR: boxes with a probability for each class, or ``chosen`` inside with one score and class."""

    preparation: Preparation = _PLAIN
    chosen: bool = True

    name: ClassVar[str] = "detr-table"
    suppresses: ClassVar[bool] = False

    def candidates(self, outputs: Outputs, size: tuple[int, int], confidence: float, /) -> Boxes:
        rows = outputs[0][0]
        scores = rows[:, 4:5] if self.chosen else rows[:, 4:]
        query, slot = np.nonzero(scores > confidence)
        class_id = rows[query, 5].astype(np.int64) if self.chosen else slot
        return Boxes(_scaled(rows[query], size), scores[query, slot].astype(np.float32), class_id)


def numbers(names: Any, slots: int) -> NDArray[np.int64]:
    """Our class id for each slot of a network, -1 for one that stands for nothing."""
    ids = np.arange(slots)
    if slots == CATEGORY_SLOTS and tuple(names) == COCO_CLASSES:
        return np.array([CATEGORIES.get(number, -1) for number in range(slots)])
    return np.where(ids < (len(names) or slots), ids, -1)


def is_detr(spec: ModelSpec) -> bool:
    """Whether Ultralytics' metadata calls this an RT-DETR."""
    return "rtdetr" in spec.head.casefold().replace("-", "")


def recognise(spec: ModelSpec) -> Detr | None:
    """The family for this model, or None if its outputs are laid out otherwise.

    Raises:
        ModelError: they are a DETR's, but with a number of classes that does not fit its names.
    """
    logits, boxes = _place(spec, _LOGITS), _place(spec, _BOXES)
    if len(spec.outputs) != 2 or logits is None or boxes is None or spec.outputs[boxes].shape[-1] != 4:
        return None
    slots = spec.outputs[logits].shape[-1]
    if slots is None:
        return None
    of_coco = slots == CATEGORY_SLOTS and tuple(spec.names) in ((), COCO_CLASSES)
    names = COCO_CLASSES if of_coco else names_for(spec, slots)
    # RF-DETR keeps one slot more than it has classes; a softmax DETR does too, and would be decoded wrongly.
    spare = 1 if spec.outputs[boxes].name == _RF_DETR_BOXES else 0
    if slots == CATEGORY_SLOTS + 1 or (names and not of_coco and slots not in (len(names), len(names) + spare)):
        seen = f"{spec.outputs[logits]} for {len(names)} class names"
        raise ModelError(f"{spec.name} is laid out like a DETR with {seen}: expected as many, scored one by one")
    preparation = _IMAGENET if spare or slots == CATEGORY_SLOTS else _PLAIN
    return Detr(names, preparation, logits=logits, boxes=boxes, slots=slots)


def recognise_table(spec: ModelSpec) -> DetrTable | None:
    """The family for this model, or None if its output is laid out otherwise."""
    seen = table(spec)
    if seen is None or not is_detr(spec):
        return None
    _, columns = seen
    # With two classes both kinds have six columns; only the newer exports name this part of the network.
    if columns == 4 + len(spec.names) and not (columns == _CHOSEN_COLUMNS and spec.head == _TAKES_BOXES_OUT):
        return DetrTable(spec.names, chosen=False)
    return DetrTable(spec.names) if columns in (None, _CHOSEN_COLUMNS) else None


def _place(spec: ModelSpec, names: tuple[str, ...]) -> int | None:
    return next((place for place, output in enumerate(spec.outputs) if _is(output, names)), None)


def _is(output: OutputSpec, names: tuple[str, ...]) -> bool:
    return output.name in names and len(output.shape) == 3 and "int" not in output.dtype


def _scaled(boxes: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    height, width = size
    return corners(boxes) * np.array([width, height, width, height], np.float32)


def _logit(probability: float) -> float:
    if not 0 < probability < 1:
        return -math.inf if probability <= 0 else math.inf
    return math.log(probability / (1 - probability))


def _sigmoid(logits: NDArray[Any]) -> NDArray[np.float32]:
    # Of the two ways to write it, the one that cannot overflow.
    half: NDArray[np.float32] = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float32)))
    return half
