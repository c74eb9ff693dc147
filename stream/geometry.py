"""Letterbox geometry: how a picture of any size is laid into a network's input, and boxes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Placement = Literal["centre", "top_left", "stretch"]
"""Where a picture lies on its canvas: undistorted in the middle or at the top left, or stretched to fill all of it."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A picture scaled and laid on a canvas, without distortion unless it is stretched.

    Attributes are pixels. The picture covers ``[left, left + inner_width) x [top, top + inner_height)`` of
    the canvas; the rest is padding.
    """

    source_width: int
    source_height: int
    width: int
    height: int
    left: int
    top: int
    inner_width: int
    inner_height: int

    @classmethod
    def fit(
        cls, source_width: int, source_height: int, width: int, height: int, placement: Placement = "centre"
    ) -> Letterbox:
        """Lay a ``source_width x source_height`` picture into a ``width x height`` canvas."""
        if min(source_width, source_height, width, height) < 1:
            raise ValueError(f"sizes must be positive, got {source_width}x{source_height} into {width}x{height}")
        if placement == "stretch":
            return cls(source_width, source_height, width, height, 0, 0, width, height)
        scale = min(width / source_width, height / source_height)
        inner_width = min(width, max(1, round(source_width * scale)))
        inner_height = min(height, max(1, round(source_height * scale)))
        spare = (width - inner_width, height - inner_height)
        left, top = (spare[0] // 2, spare[1] // 2) if placement == "centre" else (0, 0)
        return cls(source_width, source_height, width, height, left, top, inner_width, inner_height)

    def to_source(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes ``(N, 4)`` xyxy from canvas pixels to source pixels, clipped to the picture."""
        scale_x = self.source_width / self.inner_width
        scale_y = self.source_height / self.inner_height
        boxes = xyxy.astype(np.float32, copy=True)
        boxes[:, 0::2] = ((boxes[:, 0::2] - self.left) * scale_x).clip(0, self.source_width)
        boxes[:, 1::2] = ((boxes[:, 1::2] - self.top) * scale_y).clip(0, self.source_height)
        return boxes

    def to_canvas(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes ``(N, 4)`` xyxy from source pixels to canvas pixels; the inverse of :meth:`to_source`."""
        boxes = xyxy.astype(np.float32, copy=True)
        boxes[:, 0::2] = boxes[:, 0::2] * (self.inner_width / self.source_width) + self.left
        boxes[:, 1::2] = boxes[:, 1::2] * (self.inner_height / self.source_height) + self.top
        return boxes


def snug_canvas(width: int, height: int, *, longest_px: int, stride_px: int) -> tuple[int, int]:
    """The smallest (height, width) canvas in steps of ``stride_px`` that holds a picture scaled to ``longest_px``.

    A 16:9 picture needs little more than half of a square canvas: the rest would be grey that a fully
    convolutional network computes on for nothing.
    """
    scale = longest_px / max(width, height)
    return _up(height * scale, stride_px), _up(width * scale, stride_px)


def _up(length_px: float, stride_px: int) -> int:
    return max(1, -(-round(length_px) // stride_px)) * stride_px
