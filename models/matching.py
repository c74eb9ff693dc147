"""How far two detectors agree on the same pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.families import Boxes
from models.families.nms import pairwise_iou

# Two boxes of one class are the same object from here on.
MATCH_IOU = 0.5

LEAST_BOXES = 20
"""Fewer say nothing about agreement."""

LEAST_CONFIDENCE = 0.05
"""Below it boxes are noise."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Boxes of the first detector that the second has too, summed over pictures, and how far matched ones differ.

    ``score_drift``, ``box_iou`` and ``box_drift_px`` (of the corner coordinate that moved most) are means over them.
    """

    matched: int
    only_first: int
    only_second: int
    score_drift: float
    box_iou: float
    box_drift_px: float = 0.0

    @property
    def boxes(self) -> int:
        """Those of the first detector."""
        return self.matched + self.only_first

    @property
    def f1(self) -> float:
        return 2 * self.matched / max(1, 2 * self.matched + self.only_first + self.only_second)

    def figures(self) -> dict[str, float]:
        """What a card says of it."""
        return {
            "f1": round(self.f1, 4),
            "boxes": self.boxes,
            "mean_score_drift": round(self.score_drift, 4),
            "mean_matched_iou": round(self.box_iou, 4),
            "mean_box_drift_px": round(self.box_drift_px, 2),
        }


def agreement(pairs: Iterable[tuple[Boxes, Boxes]]) -> Agreement:
    """Match the boxes of each pair of answers one to one within a class, best first."""
    matched = only_first = only_second = 0
    drifts: list[float] = []
    ious: list[float] = []
    moves_px: list[float] = []
    for first, second in pairs:
        overlaps = _within_class(first, second)
        for row in range(len(first)):
            column = int(overlaps[row].argmax()) if len(second) else 0
            if not len(second) or overlaps[row, column] < MATCH_IOU:
                only_first += 1
                continue
            ious.append(float(overlaps[row, column]))
            moves_px.append(float(np.abs(first.xyxy[row] - second.xyxy[column]).max()))
            drifts.append(abs(float(first.confidence[row] - second.confidence[column])))
            overlaps[:, column] = 0
            matched += 1
            only_second -= 1
        only_second += len(second)
    means = (float(np.mean(values or [0])) for values in (drifts, ious, moves_px))
    return Agreement(matched, only_first, only_second, *means)


def agreement_above(
    pairs: Sequence[tuple[Boxes, Boxes]], confidence: float, least_boxes: int = LEAST_BOXES
) -> tuple[Agreement, float]:
    """The agreement of boxes that reach ``confidence``, out of answers down to :data:`LEAST_CONFIDENCE`.

    Where there are fewer than ``least_boxes``, the threshold goes down until there are enough or it can go no further;
    the one that was used is answered too.
    """
    while True:
        seen = agreement((above(first, confidence), above(second, confidence)) for first, second in pairs)
        if seen.boxes >= least_boxes or confidence <= LEAST_CONFIDENCE:
            return seen, confidence
        confidence = max(LEAST_CONFIDENCE, confidence / 2)


def above(boxes: Boxes, confidence: float) -> Boxes:
    """Suppression spares the better of two boxes, so that it does not matter which comes first, it or the threshold."""
    return boxes.take(boxes.confidence >= confidence)


def _within_class(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    same_class = first.class_id[:, None] == second.class_id[None, :]
    return np.where(same_class, pairwise_iou(first.xyxy, second.xyxy), np.float32(0))
