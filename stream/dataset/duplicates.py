"""Which pictures show nothing new.

The fingerprint is a difference hash: a grid of 9 x 8 mean brightnesses, and of each whether its right neighbour is
clearly brighter. Ten lines of ours in place of a library that would bring wavelets along and half a second of import.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from stream.dataset.sample import Box, Label
from stream.frame import Pixels

GRID = 8
"""A fingerprint has the square of this in bits."""

CLEARLY_BRIGHTER = 2
"""Levels of 255. Without it the noise of flat parts (sky, asphalt, night) would decide half of the bits."""

STAYED_IOU = 0.1
"""A box that overlaps its former place by this has stayed: somebody who walks is out of it within about a second."""


def fingerprint_of(picture: Pixels) -> int:
    """What a BGR picture ``(h, w, 3)`` looks like, in 64 bits: alike pictures differ in few of them."""
    small = cv2.resize(picture, (GRID + 1, GRID), interpolation=cv2.INTER_AREA)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.int16)
    bits = grey[:, 1:] - grey[:, :-1] > CLEARLY_BRIGHTER
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distance(one: int, other: int) -> int:
    """In how many bits two fingerprints differ."""
    return (one ^ other).bit_count()


def same_scene(ones: Sequence[Label], others: Sequence[Label]) -> bool:
    """Whether at least half of the objects of either are about where they are in the other.

    A fixed camera's pictures all look alike from afar; what makes one new is who stands where.
    """
    left = list(others)
    matched = 0
    for each in ones:
        partner = next((other for other in left if _stayed(each, other)), None)
        if partner is not None:
            left.remove(partner)
            matched += 1
    return 2 * matched >= max(len(ones), len(others))


def _stayed(one: Label, other: Label) -> bool:
    return one.class_name == other.class_name and _iou(one.bbox, other.bbox) >= STAYED_IOU


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / max(_area(one) + _area(other) - shared, 1e-9)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
