"""What a family of detectors does: turn a network's raw outputs into boxes in network pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Outputs = Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Detections in pixels of the network's input, best first.

    ``xyxy`` is float32 ``(N, 4)``, ``confidence`` float32 ``(N,)``, ``class_id`` int64 ``(N,)``.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.confidence)

    @classmethod
    def none(cls) -> Boxes:
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))

    def take(self, rows: NDArray[Any]) -> Boxes:
        """The boxes at these row indices or under this mask."""
        return Boxes(self.xyxy[rows], self.confidence[rows], self.class_id[rows])


class Family(Protocol):
    """Decodes the outputs of one network at one input size. Holds no state that changes: any thread may call it."""

    @property
    def name(self) -> str: ...

    def decode(
        self, outputs: Outputs, *, confidence: float, iou: float, max_detections: int, classes: Sequence[int] | None
    ) -> Boxes:
        """Boxes above ``confidence`` after suppression of overlaps above ``iou`` within a class.

        ``classes`` keeps only these class ids; None keeps all.
        """
        ...


def select(candidates: Boxes, *, classes: Sequence[int] | None) -> Boxes:
    """Drop candidates of other classes, and those of a broken model that are not finite numbers."""
    finite = np.asarray(np.isfinite(candidates.xyxy).all(axis=1) & np.isfinite(candidates.confidence))
    if classes is None:
        return candidates if finite.all() else candidates.take(finite)
    return candidates.take(finite & np.isin(candidates.class_id, classes))
