"""Suppressing boxes that overlap a better one of the same class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.families.boxes import Boxes

# The overlaps of all pairs are computed at once: a thousand candidates cost milliseconds, more is noise anyway.
MAX_CANDIDATES = 1000


def suppress(candidates: Boxes, *, iou: float, max_detections: int) -> Boxes:
    """Greedy per-class suppression: a box stays unless a better one that stays overlaps it by more than ``iou``.

    Ties in confidence are decided by order. Only the best :data:`MAX_CANDIDATES` are looked at.
    """
    best_first = np.argsort(-candidates.confidence, kind="stable")[:MAX_CANDIDATES]
    ranked = candidates.take(best_first)
    kept = _greedy(_rivals(ranked, iou), max_detections)
    return ranked.take(np.array(kept, np.intp))


def _rivals(ranked: Boxes, iou: float) -> NDArray[np.bool_]:
    """``(N, N)``: which pairs are of one class and overlap too much."""
    same_class = ranked.class_id[:, None] == ranked.class_id[None, :]
    return np.asarray(same_class & (pairwise_iou(ranked.xyxy, ranked.xyxy) > iou))


def _greedy(rivals: NDArray[np.bool_], max_detections: int) -> list[int]:
    kept: list[int] = []
    gone = np.zeros(len(rivals), np.bool_)
    crowded = rivals.sum(axis=1) > 1
    for row in range(len(rivals)):
        if len(kept) == max_detections:
            break
        if gone[row]:
            continue
        kept.append(row)
        if crowded[row]:
            gone |= rivals[row]
    return kept


def pairwise_iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every box ``(N, 4)`` with every box ``(M, 4)``: ``(N, M)``, 0 where both are empty."""
    shared = _shared(first, second, 0) * _shared(first, second, 1)
    union = _areas(first)[:, None] + _areas(second)[None, :] - shared
    overlap: NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _shared(first: NDArray[np.float32], second: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """How long the common part of every pair is along x (0) or y (1); one axis at a time keeps rows contiguous."""
    end = np.minimum.outer(first[:, axis + 2], second[:, axis + 2])
    end -= np.maximum.outer(first[:, axis], second[:, axis])
    return np.maximum(end, 0, out=end)


def _areas(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = np.maximum(xyxy[:, 2] - xyxy[:, 0], 0) * np.maximum(xyxy[:, 3] - xyxy[:, 1], 0)
    return areas
