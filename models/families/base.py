"""What a family of detectors does: turn a network's raw outputs into boxes in network pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.coco import COCO_CLASSES
from models.families.boxes import Boxes
from models.families.nms import suppress
from models.spec import ModelSpec, Preparation
from stream.errors import ModelError

Outputs = Sequence[NDArray[Any]]
PLAIN = Preparation()


@dataclass(frozen=True)
class Family(ABC):
    """Decodes the outputs of one network. Holds no state that changes: any thread may call it.

    ``names`` are the class names by the ids that are answered, empty where nobody knows them; ``preparation`` is what
    the network wants of its pictures where its metadata does not say.
    """

    names: Sequence[str] = ()
    preparation: Preparation = PLAIN

    name: ClassVar[str]
    suppresses: ClassVar[bool] = True
    """False where the network itself leaves one box of each object: ``iou`` then means nothing."""

    def decode(
        self,
        outputs: Outputs,
        size: tuple[int, int],
        *,
        confidence: float,
        iou: float,
        max_detections: int,
        classes: Sequence[int] | None,
    ) -> Boxes:
        """Boxes above ``confidence`` after suppression of overlaps above ``iou`` within a class, best first.

        ``size`` is the (height, width) of the picture the network saw, ``classes`` the class ids to keep, None for all.
        Of several pictures the first is decoded.

        Raises:
            ModelError: the model answered a class that its names do not reach.
        """
        candidates = _select(self.candidates(outputs, size, confidence), classes=classes)
        self._check(candidates)
        if self.suppresses:
            return suppress(candidates, iou=iou, max_detections=max_detections)
        return candidates.take(np.argsort(-candidates.confidence, kind="stable")[:max_detections])

    @abstractmethod
    def candidates(self, outputs: Outputs, size: tuple[int, int], confidence: float, /) -> Boxes:
        """Everything above ``confidence``, in any order and with its overlaps."""

    def _check(self, boxes: Boxes) -> None:
        if len(boxes) and self.names and not 0 <= boxes.class_id.min() <= boxes.class_id.max() < len(self.names):
            raise ModelError(
                f"the model answers classes up to {boxes.class_id.max()}, but its metadata names {len(self.names)}"
            )


def _select(candidates: Boxes, *, classes: Sequence[int] | None) -> Boxes:
    """Drop candidates of other classes, and those of a broken model that are not finite numbers."""
    finite = np.asarray(np.isfinite(candidates.xyxy).all(axis=1) & np.isfinite(candidates.confidence))
    if classes is None:
        return candidates if finite.all() else candidates.take(finite)
    return candidates.take(finite & np.isin(candidates.class_id, classes))


def names_for(spec: ModelSpec, classes: int | None) -> Sequence[str]:
    """The model's own names, COCO's for a model of 80 classes without any, or none."""
    return spec.names or (COCO_CLASSES if classes == len(COCO_CLASSES) else ())


def corners(boxes: NDArray[Any]) -> NDArray[np.float32]:
    """Boxes ``(N, 4)`` of centre, width and height as left, top, right, bottom."""
    centre, half = boxes[:, :2].astype(np.float32), boxes[:, 2:4].astype(np.float32) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def table(spec: ModelSpec) -> tuple[int | None, int | None] | None:
    """Rows and columns of a model's one output ``batch x rows x columns``, or None if it has no such one."""
    if len(spec.outputs) != 1 or len(spec.outputs[0].shape) != 3:
        return None
    return spec.outputs[0].shape[1], spec.outputs[0].shape[2]
