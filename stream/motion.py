"""Whether anything moves in front of a fixed camera, from small grey pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.frame import Pixels

SMALL_HEIGHT_PX = 90
"""Pictures are compared at this height: a person who fills a tenth of the picture is nine pixels tall."""

BACKGROUND_WEIGHT = 0.08
"""How much of each picture goes into the background. What stops belongs to it after some twenty pictures."""

LEAST_DIFFERENCE = 12.0
"""Grey levels by which a point must differ at least; compression alone makes two to four."""

NOISE_FACTOR = 5.0
"""A point must also differ by so many times the picture's mean difference: at night everything flickers."""

MOST_DIFFERENCE = 40.0
"""A point that differs by more has changed, however much the rest has: the light went on."""

LEAST_POINTS = 4
"""So many neighbouring small points must differ: single ones are noise."""


class MotionDetector:
    """Compares each picture with a running average of those before it. For one thread.

    Changes of the light count as motion: looking once too often costs little, missing somebody costs more.
    """

    def __init__(self) -> None:
        self._background: NDArray[np.float32] | None = None

    def moving(self, luma: Pixels) -> bool:
        """Whether ``luma`` ``(height, width)`` differs from the pictures before; true for the first and after a
        change of size."""
        small = _shrunk(luma)
        if self._background is None or self._background.shape != small.shape:
            self._background = small
            return True
        difference = cv2.absdiff(small, self._background)
        cv2.accumulateWeighted(small, self._background, BACKGROUND_WEIGHT)
        noise = NOISE_FACTOR * float(cv2.mean(difference)[0])
        threshold = min(max(LEAST_DIFFERENCE, noise), MOST_DIFFERENCE)
        if float(cv2.minMaxLoc(difference)[1]) <= threshold:
            return False
        changed = np.asarray(difference > threshold, np.uint8)
        # A region's size by its neighbours: a box sum of 3x3 that reaches the least number of points.
        neighbours = cv2.boxFilter(changed, -1, (3, 3), normalize=False)
        return bool(cv2.minMaxLoc(neighbours)[1] >= LEAST_POINTS)


def _shrunk(luma: Pixels) -> NDArray[np.float32]:
    """A float picture :data:`SMALL_HEIGHT_PX` high. Single points of large pictures are enough for its means."""
    height, width = luma.shape
    step = max(1, height // (2 * SMALL_HEIGHT_PX))
    small_width = max(1, round(width * SMALL_HEIGHT_PX / height))
    small = cv2.resize(luma[::step, ::step], (small_width, SMALL_HEIGHT_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)
