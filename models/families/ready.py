"""Boxes, labels and scores as three outputs, chosen inside: SSD, torchvision's models, RT-DETR and D-FINE deployed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from models.coco import CATEGORY_SLOTS, COCO_CLASSES
from models.families.base import Family, Outputs
from models.families.boxes import Boxes
from models.families.detr import numbers
from models.spec import ModelSpec, OutputSpec, Preparation

LAYOUT = "boxes (1 x) n x 4, labels (1 x) n and scores (1 x) n"

_ROLES: Mapping[str, re.Pattern[str]] = {
    "count": re.compile(r"^num"),
    "scores": re.compile(r"score|conf|prob"),
    "labels": re.compile(r"label|class"),
    "boxes": re.compile(r"box|dets"),
}
_TENSORFLOW = {"boxes": "detection_boxes", "scores": "detection_scores", "labels": "detection_classes"}


@dataclass(frozen=True)
class Ready(Family):
    """Corners in network pixels; TensorFlow's are normalised and begin with y. ``places`` are outputs by their role."""

    places: Mapping[str, int] = field(default_factory=dict)
    y_first: bool = False
    categories: bool = False

    name: ClassVar[str] = "boxes-labels-scores"
    suppresses: ClassVar[bool] = False

    def candidates(self, outputs: Outputs, size: tuple[int, int], confidence: float, /) -> Boxes:
        boxes, scores, labels = (outputs[self.places[role]] for role in ("boxes", "scores", "labels"))
        if boxes.ndim == 3:
            boxes, scores, labels = boxes[0], scores[0], labels[0]
        rows = np.flatnonzero(scores > confidence)
        xyxy, class_id = boxes[rows].astype(np.float32), labels[rows].astype(np.int64)
        if self.y_first:
            height, width = size
            xyxy = xyxy[:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32)
        found = Boxes(xyxy, scores[rows].astype(np.float32), class_id)
        return _named_by_coco(found) if self.categories else found


def recognise(spec: ModelSpec) -> Ready | None:
    """The family for this model, or None if its outputs are laid out otherwise."""
    tensorflow = _by_tensorflow(spec)
    places = tensorflow or _by_name(spec) or _by_kind(spec)
    if places is None or not _fit(spec, places):
        return None
    # DETRs number classes from 0; the others have COCO's own numbers, which its 80 names alone cannot mean otherwise.
    categories = spec.size_input is None and tuple(spec.names) == COCO_CLASSES
    # Those of open size bring every picture to their own inside; only a DETR wants it square already.
    preparation = Preparation(placement="stretch", square=spec.size_input is not None)
    return Ready(spec.names, preparation, places=places, y_first=tensorflow is not None, categories=categories)


def _named_by_coco(found: Boxes) -> Boxes:
    ids = numbers(COCO_CLASSES, CATEGORY_SLOTS)
    inside = found.take((found.class_id >= 0) & (found.class_id < CATEGORY_SLOTS))
    mapped = Boxes(inside.xyxy, inside.confidence, ids[inside.class_id])
    return mapped.take(mapped.class_id >= 0)


def _by_tensorflow(spec: ModelSpec) -> dict[str, int] | None:
    """TensorFlow's detection interface, among whatever else it gives out."""
    names = [output.name.partition(":")[0] for output in spec.outputs]
    if not set(_TENSORFLOW.values()) <= set(names):
        return None
    return {role: names.index(name) for role, name in _TENSORFLOW.items()}


def _by_name(spec: ModelSpec) -> dict[str, int] | None:
    places = {_role(output.name): place for place, output in enumerate(spec.outputs)}
    known = {"boxes", "scores", "labels"} <= places.keys() <= _ROLES.keys()
    return {role: place for role, place in places.items() if role} if known else None


def _role(name: str) -> str | None:
    # "boxes" comes last: some exports say "box" in all three names.
    return next((role for role, pattern in _ROLES.items() if pattern.search(name.casefold())), None)


def _by_kind(spec: ModelSpec) -> dict[str, int] | None:
    """For exports whose outputs have no names but numbers, as torchvision's by default."""
    kinds = [_kind(output) for output in spec.outputs]
    return {kind: place for place, kind in enumerate(kinds)} if sorted(kinds) == ["boxes", "labels", "scores"] else None


def _kind(output: OutputSpec) -> str:
    if "int" in output.dtype:
        return "labels"
    return "boxes" if len(output.shape) > 1 and output.shape[-1] == 4 else "scores"


def _fit(spec: ModelSpec, places: Mapping[str, int]) -> bool:
    boxes, scores, labels = (spec.outputs[places[role]].shape for role in ("boxes", "scores", "labels"))
    return len(boxes) in (2, 3) and boxes[-1] in (4, None) and len(scores) == len(labels) == len(boxes) - 1
