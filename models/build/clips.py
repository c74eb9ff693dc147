"""Frames of clips as a detector sees them, for calibrating and measuring."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from stream.geometry import Letterbox, snug_canvas

Pixels = NDArray[np.uint8]

LONGEST_PX = 416
STRIDE_PX = 32
# The grey that is laid around a picture.
PADDING_LEVEL = 114


def frame_count(clip: Path) -> int:
    """Frames the container announces.

    Raises:
        ValueError: it announces none.
    """
    with av.open(str(clip)) as container:
        count = container.streams.video[0].frames
    if not count:
        raise ValueError(f"{clip} does not say how many frames it holds")
    return count


def calibration_indices(count: int, wanted: int = 20) -> range:
    """About ``wanted`` frames spread over the clip."""
    return range(0, count, -(-count // wanted))


def held_out_indices(count: int, wanted: int = 60) -> list[int]:
    """About ``wanted`` frames spread over the clip, none of which is calibrated on."""
    used = set(calibration_indices(count))
    step = max(2, count // wanted)
    return [index for index in range(step // 2, count, step) if index not in used]


def letterboxed_frames(clip: Path, indices: Collection[int], *, square: bool = False) -> Iterator[Pixels]:
    """Chosen frames as uint8 ``(height, width, 3)`` BGR on a snug or a square canvas."""
    reformatter = VideoReformatter()
    with av.open(str(clip)) as container:
        for index, frame in enumerate(islice(container.decode(video=0), max(indices, default=-1) + 1)):
            if index in indices:
                yield _lay(frame, reformatter, canvas_of(frame.width, frame.height, square=square))


def canvas_of(width: int, height: int, *, square: bool) -> Letterbox:
    """How a ``width x height`` picture is laid into the network's input."""
    size = (LONGEST_PX, LONGEST_PX)
    if not square:
        size = snug_canvas(width, height, longest_px=LONGEST_PX, stride_px=STRIDE_PX)
    return Letterbox.fit(width, height, size[1], size[0])


def _lay(frame: av.VideoFrame, reformatter: VideoReformatter, box: Letterbox) -> Pixels:
    scaled = reformatter.reformat(
        frame, box.inner_width, box.inner_height, "bgr24", interpolation="BILINEAR", threads=1
    )
    canvas = np.full((box.height, box.width, 3), PADDING_LEVEL, np.uint8)
    canvas[box.top : box.top + box.inner_height, box.left : box.left + box.inner_width] = scaled.to_ndarray()
    return canvas
