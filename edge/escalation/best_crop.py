"""The best crop of a track: cut with a margin, judged as a picture, freed of what must not leave, encoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.events.lifecycle import overlap
from stream.errors import SinkError
from stream.frame import Pixels
from stream.sinks.rows import Row

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright picture."""

JUDGED_SIDE_PX = 128
"""Sharpness is judged at this size: at full size a large, soft object has less of it than a small one."""

GOOD_SIDE_PX = 160
"""A box whose shorter side is this shows a refiner with inputs of 224 px all that it can use."""

GOOD_SHARPNESS = 200.0
"""Half of what sharpness can add to a crop's quality."""

AT_BORDER_PX = 2.0
"""A box that comes so near to the picture's border is taken to go on beyond it."""

SAME_OBJECT_IOU = 0.8
"""Boxes that overlap so much are two opinions of one object, unless one is of a class that must not leave."""

COARSEST_QUALITY = 60
LEAST_SIDE_PX = 48
"""What is worse or smaller tells a refiner nothing."""

HIDDEN_CELLS = 4
"""What is hidden keeps the colours of so many cells along the crop's longer side, and nothing finer."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A crop as it may leave. ``pixels`` are BGR ``(h, w, 3)`` of its own; ``subject`` is the box within them.

    ``visible`` is the part of the box that is not hidden, ``quality`` 0-1 what it is worth as a picture.
    """

    pixels: Pixels
    row: Row
    subject: Box
    sharpness: float
    visible: float
    quality: float


def take(
    picture: Pixels, row: Row, *, margin: float, hidden: Sequence[Row], hide_margin: bool, longest_px: int
) -> Crop | None:
    """Cut ``row`` out of the BGR ``picture``, with everything hidden that lies in the boxes ``hidden``.

    None where nothing of the box lies within the picture. What is hidden is hidden before anything is judged,
    made smaller or kept.
    """
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = row.xyxy
    around_px = margin * max(x2 - x1, y2 - y1)
    frame = _clipped((x1 - around_px, y1 - around_px, x2 + around_px, y2 + around_px), width, height)
    inner = _clipped(row.xyxy, width, height)
    if frame is None or inner is None:
        return None
    left, top = frame[:2]
    pixels = picture[top : frame[3], left : frame[2]].copy()
    subject = _moved(inner, left, top)
    covered = _covered(pixels, subject, [_moved(each.xyxy, left, top) for each in hidden], hide_margin=hide_margin)
    pixels = _with_hidden(pixels, covered)
    seen = ~covered[_slices(subject)]
    sharpness = _sharpness(pixels[_slices(subject)], seen)
    return Crop(
        pixels=_made_smaller(pixels, longest_px),
        row=row,
        subject=subject,
        sharpness=sharpness,
        visible=float(seen.mean()),
        quality=_quality(row, sharpness, float(seen.mean()), width, height),
    )


def others_of(subject: Row, rows: Sequence[Row], *, denied: Sequence[bool], hide_all: bool) -> list[Row]:
    """The boxes to hide in the crop of ``subject``: those of denied classes always, all others on request.

    ``denied`` says it for each of ``rows``. Another opinion of the subject itself is not hidden.
    """
    return [
        row
        for row, is_denied in zip(rows, denied, strict=True)
        if row is not subject and (is_denied or (hide_all and overlap(row.xyxy, subject.xyxy) < SAME_OBJECT_IOU))
    ]


def encode(pixels: Pixels, quality: int, most_bytes: float = math.inf) -> bytes | None:
    """The BGR pixels as a JPEG that says nothing but them, made coarser and smaller until it is no larger than
    ``most_bytes``; None where even :data:`LEAST_SIDE_PX` are too much."""
    while True:
        encoded, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not encoded:
            raise SinkError(f"a crop of {pixels.shape[1]}x{pixels.shape[0]} cannot be made a JPEG")
        if jpeg.size <= most_bytes:
            return jpeg.tobytes()
        if quality > COARSEST_QUALITY:
            quality = COARSEST_QUALITY
            continue
        side_px = max(pixels.shape[:2]) * 3 // 4
        if side_px < LEAST_SIDE_PX:
            return None
        pixels = _made_smaller(pixels, side_px)


def _quality(row: Row, sharpness: float, visible: float, width: int, height: int) -> float:
    x1, y1, x2, y2 = row.xyxy
    size = min(1.0, max(0.0, min(x2 - x1, y2 - y1)) / GOOD_SIDE_PX)
    sharp = sharpness / (sharpness + GOOD_SHARPNESS)
    is_whole = min(x1, y1, width - x2, height - y2) > AT_BORDER_PX
    return row.confidence * (0.5 * size + 0.5 * sharp) * visible * (1.0 if is_whole else 0.5)


def _sharpness(subject: Pixels, seen: NDArray[np.bool_]) -> float:
    """The variance of the Laplacian over what is seen of the subject; 0 where nothing is."""
    height, width = subject.shape[:2]
    scale = min(1.0, JUDGED_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = cv2.cvtColor(cv2.resize(subject, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    shown = cv2.resize(seen.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    # the edge of what was hidden is no edge of the subject
    shown = cv2.erode(shown.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(bool)
    if not shown.any():
        return 0.0
    return float(cv2.Laplacian(grey, cv2.CV_32F)[shown].var())


def _covered(pixels: Pixels, subject: Box, boxes: Sequence[Box], *, hide_margin: bool) -> NDArray[np.bool_]:
    """Which pixels of the crop must not be seen."""
    height, width = pixels.shape[:2]
    covered = np.full((height, width), hide_margin)
    if hide_margin:
        covered[_slices(subject)] = False
    for box in boxes:
        if (inside := _clipped(box, width, height)) is not None:
            covered[_slices(inside)] = True
    return covered


def _with_hidden(pixels: Pixels, covered: NDArray[np.bool_]) -> Pixels:
    """Where it is covered, the mean colours of a few large cells: nothing can be had back from them."""
    if not covered.any():
        return pixels
    height, width = pixels.shape[:2]
    cell_px = max(1.0, max(height, width) / HIDDEN_CELLS)
    cells = (max(1, round(width / cell_px)), max(1, round(height / cell_px)))
    coarse = cv2.resize(pixels, cells, interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(covered[..., None], smooth, pixels).astype(np.uint8)


def _made_smaller(pixels: Pixels, longest_px: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = longest_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _clipped(box: Box, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The whole pixels that a box touches within a picture, None when there are none."""
    x1, y1 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x2, y2 = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _moved(box: tuple[float, float, float, float], left: int, top: int) -> Box:
    return (box[0] - left, box[1] - top, box[2] - left, box[3] - top)


def _slices(box: Box) -> tuple[slice, slice]:
    """Rows and columns of a box of whole pixels."""
    return slice(int(box[1]), int(box[3])), slice(int(box[0]), int(box[2]))
