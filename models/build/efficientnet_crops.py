"""Crops of clips as a refiner sees them: what the bundled detector finds, with a margin, and each whole picture."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from models.build.clips import Pixels, canvas_of, letterboxed_frames
from models.build.evaluate import Detector
from models.catalogue import FLOAT

# Of the box's width and height, added on each side.
MARGIN = 0.1


def crops(clip: Path, indices: Collection[int]) -> Iterator[Pixels]:
    """Crops of chosen frames, uint8 ``(h, w, 3)`` BGR, of any size."""
    detect = Detector(FLOAT)
    small = letterboxed_frames(clip, indices)
    for picture, laid_out in zip(_pictures(clip, indices), small, strict=True):
        height, width = picture.shape[:2]
        boxes = canvas_of(width, height, square=False).to_source(detect(laid_out).xyxy)
        yield picture
        yield from (cut(picture, box) for box in boxes)


def cut(picture: Pixels, box: NDArray[np.float32]) -> Pixels:
    """The part of ``picture`` in an xyxy ``box`` in pixels, with the margin that fits."""
    left, top, right, bottom = (float(value) for value in box)
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    rows = slice(max(0, int(top - down)), int(bottom + down) + 1)
    return picture[rows, max(0, int(left - across)) : int(right + across) + 1]


def _pictures(clip: Path, indices: Collection[int]) -> Iterator[Pixels]:
    with av.open(str(clip)) as container:
        for index, frame in enumerate(islice(container.decode(video=0), max(indices, default=-1) + 1)):
            if index in indices:
                yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
