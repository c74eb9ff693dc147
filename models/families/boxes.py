"""Boxes as a decoded network gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Detections in pixels of the network's input.

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
