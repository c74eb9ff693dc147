"""NanoDet with one pair of outputs per stride: class probabilities, and a distribution per side of the box."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.families.base import Family, Outputs, names_for
from models.families.boxes import Boxes
from models.families.grid import shape_of
from models.spec import ModelSpec, OutputSpec, Preparation
from stream.errors import ModelError

LAYOUT = "for every stride scores_<stride> 1 x (rows x columns or cells) x classes and boxes_<stride> with 4 x bins"

NANODET_PREPARATION = Preparation(rgb=False, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
"""What the upstream's networks are trained with; a build that normalises inside takes uint8 and none of it."""

_SCORES = re.compile(r"^(?:scores|cls_pred_stride)_(\d{1,3})$")
_BOXES = re.compile(r"^(?:boxes|dis_pred_stride)_(\d{1,3})$")


@dataclass(frozen=True, slots=True)
class Level:
    """One stride's outputs: their places in the output list. They describe a grid over the picture, row by row."""

    stride_px: int
    scores: int
    boxes: int


@dataclass(frozen=True)
class NanoDet(Family):
    """Decodes cells whose best class is likely enough; the rest is never touched."""

    preparation: Preparation = NANODET_PREPARATION
    levels: Sequence[Level] = ()

    name: ClassVar[str] = "nanodet"

    def candidates(self, outputs: Outputs, size: tuple[int, int], confidence: float, /) -> Boxes:
        parts = [_likely(outputs, level, size, confidence) for level in self.levels]
        class_id = np.concatenate([part.scores.argmax(axis=1) for part in parts])
        if not len(class_id):
            return Boxes.none()
        best = np.concatenate([part.scores.max(axis=1) for part in parts]).astype(np.float32, copy=False)
        xyxy = _boxes(
            np.concatenate([part.centres for part in parts]),
            np.concatenate([part.logits for part in parts]).astype(np.float32, copy=False),
            np.repeat([level.stride_px for level in self.levels], [len(part.scores) for part in parts]),
        )
        return Boxes(xyxy, best, class_id)


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of one level that are worth decoding: ``(n, classes)``, ``(n, 4 * bins)``, and ``(n, 2)`` in cells."""

    scores: NDArray[Any]
    logits: NDArray[Any]
    centres: NDArray[np.float64]


def _likely(outputs: Outputs, level: Level, size: tuple[int, int], confidence: float) -> _Cells:
    grid = outputs[level.scores][:1]
    classes = grid.shape[-1]
    # One comparison of everything and no maximum: it takes a quarter of the time, as few cells hold anything.
    hits = np.flatnonzero(grid.ravel() > confidence) // classes
    cells = hits[np.diff(hits, prepend=-1) > 0]
    _, columns = shape_of(size, level.stride_px)
    return _Cells(
        grid.reshape(-1, classes)[cells],
        outputs[level.boxes][:1].reshape(grid.size // classes, -1)[cells],
        np.stack([cells % columns, cells // columns], axis=1) + 0.5,
    )


def _boxes(
    centres: NDArray[np.float64], logits: NDArray[np.float32], stride_px: NDArray[np.int64]
) -> NDArray[np.float32]:
    distances = expected(logits)
    corners = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
    return (corners * stride_px[:, None]).astype(np.float32)


def expected(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The expectation of each side's distribution: ``(n, 4 * bins)`` logits to ``(n, 4)`` distances in cells."""
    sides = logits.reshape(len(logits), 4, -1)
    weights = np.exp(sides - sides.max(axis=2, keepdims=True))
    means: NDArray[np.float32] = weights @ np.arange(sides.shape[2], dtype=np.float32) / weights.sum(axis=2)
    return means


def recognise(spec: ModelSpec) -> NanoDet | None:
    """The family for this model, or None if its outputs are laid out otherwise.

    Raises:
        ModelError: they are named like NanoDet's, but the two outputs of a stride do not fit each other.
    """
    scores, boxes = _by_stride(spec.outputs, _SCORES), _by_stride(spec.outputs, _BOXES)
    if not scores or scores.keys() != boxes.keys() or len(scores) + len(boxes) != len(spec.outputs):
        return None
    levels = [_level(spec, stride_px, scores[stride_px], boxes[stride_px]) for stride_px in sorted(scores)]
    return NanoDet(names_for(spec, spec.outputs[levels[0].scores].shape[-1]), levels=levels)


def _by_stride(outputs: Sequence[OutputSpec], pattern: re.Pattern[str]) -> dict[int, int]:
    """Places in the output list by stride."""
    found = ((pattern.match(output.name), place) for place, output in enumerate(outputs))
    return {int(match[1]): place for match, place in found if match and int(match[1])}


def _level(spec: ModelSpec, stride_px: int, scores: int, boxes: int) -> Level:
    score_shape, box_shape = spec.outputs[scores].shape, spec.outputs[boxes].shape
    sides = box_shape[-1] if box_shape else None
    if len(score_shape) not in (3, 4) or len(box_shape) != len(score_shape) or not sides or sides % 4:
        seen = f"{spec.outputs[scores]} and {spec.outputs[boxes]}"
        raise ModelError(f"{spec.name} has outputs named like NanoDet's that are none: {seen}. Expected are {LAYOUT}")
    return Level(stride_px, scores, boxes)
