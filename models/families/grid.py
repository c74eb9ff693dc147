"""The cells in which networks without boxes of their own look: one grid over the picture for each stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.spec import ModelSpec

THREE_STRIDES = (8, 16, 32)
FOUR_STRIDES = (8, 16, 32, 64)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Where cells lie: ``corner`` is ``(N, 2)``, column and row in their own grid, ``stride_px`` is ``(N, 1)``."""

    corner: NDArray[np.float32]
    stride_px: NDArray[np.float32]


def shape_of(size: tuple[int, int], stride_px: int) -> tuple[int, int]:
    """Rows and columns over a picture of (height, width); a last one that sticks out counts."""
    return -(-size[0] // stride_px), -(-size[1] // stride_px)


def cell_count(size: tuple[int, int], strides: Sequence[int]) -> int:
    return sum(rows * columns for rows, columns in (shape_of(size, stride_px) for stride_px in strides))


def strides_of(spec: ModelSpec, cells: int | None) -> tuple[int, ...] | None:
    """The strides whose grids have so many cells in all; None where none have, or the picture's size is open."""
    height, width = spec.seen_at or (spec.input.height, spec.input.width)
    if height is None or width is None or cells is None:
        return None
    size = height, width
    return next((strides for strides in (THREE_STRIDES, FOUR_STRIDES) if cell_count(size, strides) == cells), None)


def cells_at(places: NDArray[np.int64], size: tuple[int, int], strides: Sequence[int]) -> Cells:
    """The cells at these places of the list of all, which goes stride by stride, row by row."""
    shapes = np.array([shape_of(size, stride_px) for stride_px in strides])
    ends = np.cumsum(shapes.prod(axis=1))
    level = np.searchsorted(ends, places, side="right")
    inside = places - (ends - shapes.prod(axis=1))[level]
    row, column = np.divmod(inside, shapes[level, 1])
    return Cells(
        np.stack([column, row], axis=1).astype(np.float32), np.array(strides, np.float32)[level].reshape(-1, 1)
    )
