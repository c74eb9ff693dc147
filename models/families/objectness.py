"""Rows of box, objectness and classes, as YOLOv5 and YOLOX have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Likely:
    """The rows worth decoding: their places, their four box numbers, the score and id of their best class."""

    places: NDArray[np.int64]
    boxes: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]


def likely(rows: NDArray[Any], confidence: float) -> Likely:
    """Rows ``(N, 5 + classes)`` whose objectness times best class probability is above ``confidence``."""
    # No product is above the objectness, which drops nearly all before any class is looked at.
    places = np.flatnonzero(rows[:, 4] > confidence)
    seen = rows[places].astype(np.float32)
    scores = seen[:, 5:] * seen[:, 4:5]
    best = scores.argmax(axis=1)
    score = np.take_along_axis(scores, best[:, None], axis=1)[:, 0]
    kept = score > confidence
    return Likely(places[kept], seen[kept, :4], score[kept], best[kept])
