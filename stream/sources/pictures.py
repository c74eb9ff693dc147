"""From a decoded libav picture to numpy: one swscale pass for each size that is wanted."""

from __future__ import annotations

from typing import cast

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from stream.frame import NetworkView, Pixels
from stream.geometry import Letterbox

PADDING_GREY = 114
"""The grey around a letterboxed picture, as YOLO and its family are trained with."""


_LUMA_FIRST = frozenset(
    {
        *("gray", "nv12", "nv21", "yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p"),
        *("yuvj411p", "yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p", "yuva420p"),
    }
)
"""Formats of eight bits whose first plane is the picture's brightness."""


class PictureConverter:
    """Turns decoded frames upright and into the sizes that network and sinks want.

    Not thread-safe: the decode thread owns it. Each purpose has a reformatter of its own, since a change of
    parameters makes swscale set itself up anew.
    """

    def __init__(self) -> None:
        self._to_network = VideoReformatter()
        self._to_picture = VideoReformatter()
        self._to_grey = VideoReformatter()

    def network(self, frame: av.VideoFrame, view: NetworkView) -> tuple[Pixels, Letterbox]:
        """The letterboxed uint8 ``(view.height, view.width, 3)`` picture and its geometry."""
        width, height = upright_size(frame)
        box = Letterbox.fit(width, height, view.width, view.height, view.placement)
        turned = frame.rotation % 180 != 0
        scaled = self._to_network.reformat(
            frame,
            width=box.inner_height if turned else box.inner_width,
            height=box.inner_width if turned else box.inner_height,
            format="rgb24" if view.rgb else "bgr24",
            interpolation=Interpolation.BILINEAR,  # measured: quicker than FAST_BILINEAR here, and closer to AREA
            threads=1,
        )
        inner = _upright(_pixels(scaled), frame.rotation)
        if (box.inner_height, box.inner_width) == (view.height, view.width):
            return np.ascontiguousarray(inner), box
        canvas = np.full((view.height, view.width, 3), PADDING_GREY, np.uint8)
        canvas[box.top : box.top + box.inner_height, box.left : box.left + box.inner_width] = inner
        return canvas, box

    def picture(self, frame: av.VideoFrame) -> Pixels:
        """The whole upright picture, uint8 ``(height, width, 3)`` BGR, contiguous and ours alone."""
        converted = self._to_picture.reformat(frame, format="bgr24", threads=1)
        pixels = _upright(_pixels(converted), frame.rotation)
        # Without a conversion to_ndarray shows the decoder's own memory, which the next frame overwrites.
        return pixels.copy() if converted is frame else np.ascontiguousarray(pixels)

    def luma(self, frame: av.VideoFrame) -> Pixels:
        """The upright picture's brightness, uint8 ``(height, width)``: the decoder's own memory where it keeps such a
        plane. Look at it while ``frame`` is at hand, and never write into it."""
        if frame.format.name not in _LUMA_FIRST:
            return _upright(_pixels(self._to_grey.reformat(frame, format="gray", threads=1)), frame.rotation)
        plane = frame.planes[0]
        memory = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload] # a buffer, which its stub does not say
        rows = cast("Pixels", memory.reshape(-1, plane.line_size))
        return _upright(rows[: frame.height, : frame.width], frame.rotation)


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of the picture once its rotation is applied."""
    return (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)


def _upright(pixels: Pixels, rotation_degrees: int) -> Pixels:
    return np.rot90(pixels, k=(rotation_degrees // 90) % 4) if rotation_degrees % 360 else pixels


def _pixels(frame: av.VideoFrame) -> Pixels:
    return cast("Pixels", frame.to_ndarray())  # the packed 8-bit formats asked for here are uint8
