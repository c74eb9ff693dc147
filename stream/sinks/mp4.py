"""H.264 in an MP4 that plays at every moment: fragments while it is written, an ordinary file once closed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av import Packet, VideoFrame
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from stream.frame import Pixels
from stream.sinks.guarded import GuardedFile

# A killed process loses at most the fragment it is writing: a second.
FRAGMENTED = {
    "movflags": "hybrid_fragmented+delay_moov",
    "frag_duration": "1000000",
    "flush_packets": "1",
    # Else the muxer holds pictures back for 10 s where the sound has a gap or ends first.
    "max_interleave_delta": "500000",
}
# No look-ahead and no B-frames: 110 MB less memory at 1080p, and presentation order is decoding order.
_X264 = "rc-lookahead=0:sync-lookahead=0:bframes=0:keyint=infinite"
# Coarser ticks would round the edit list that lets a track start late.
_LEAST_TIMESCALE = 10_000
# A sample's duration has 32 bits, an hour in these ticks; they are libav's own for video that states no times.
_FINEST_TIMESCALE = 1_200_000
_MICROSECONDS = 1_000_000
# Rates beyond these are a container's guess, and x264 would derive an unplayable level from them.
_PLAUSIBLE_RATES = (1, 240)
_FALLBACK_RATE = Fraction(25)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a recording is encoded.

    ``ultrafast`` at 24 takes a third to a half of the processor time of ``veryfast`` at 23 for half as much space
    again and a structural similarity of 0.973 against 0.976 to 0.986 (vtest.avi, bikes.mp4, with boxes);
    ``superfast`` at 26 lies between. One thread spares the cores for detection.
    """

    preset: str = "ultrafast"
    crf: int = 24
    threads: int = 1


def track_timescale(time_base: Fraction) -> int:
    """Ticks a second in which every multiple of ``time_base`` is whole, microseconds where it is too fine for MP4."""
    ticks = time_base.denominator
    if ticks > _FINEST_TIMESCALE:
        return _MICROSECONDS
    return ticks * -(-_LEAST_TIMESCALE // ticks)


class PictureEncoder:
    """Encodes pictures as H.264 with a keyframe a second, in a codec context that has its size."""

    def __init__(self, context: VideoCodecContext, timescale: int, rate: Fraction, encoding: Encoding) -> None:
        rate = _plausible(rate)
        self._context = context
        self._timescale = timescale
        self._key_at_ticks: int | None = None
        self._planes: Pixels | None = None
        self._frame_ticks = max(1, round(timescale / rate))
        context.options = {"preset": encoding.preset, "crf": str(encoding.crf), "forced-idr": "1", "x264-params": _X264}
        context.pix_fmt, context.framerate, context.time_base = "yuv420p", rate, Fraction(1, timescale)
        context.thread_count = encoding.threads
        # OpenCV converts by BT.601 whatever the size, and players that are not told guess BT.709 for large pictures.
        context.colorspace, context.color_range = Colorspace.ITU601, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.SMPTE170M, ColorTrc.SMPTE170M

    def encode(self, picture: Pixels, ticks: int) -> list[Packet[Any]]:
        """The packets that become ready with an even-sized BGR picture shown from ``ticks`` on: mostly the last one."""
        self._planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420, self._planes), np.uint8)
        # Copied: from_numpy_buffer is wrong for heights that are no multiple of 4.
        frame = VideoFrame.from_ndarray(self._planes, format="yuv420p")
        frame.pts, frame.time_base, frame.duration = ticks, Fraction(1, self._timescale), self._frame_ticks
        # A second is counted in time, not in frames: rates vary.
        if self._key_at_ticks is None or ticks >= self._key_at_ticks:
            frame.pict_type = PictureType.I
            self._key_at_ticks = ticks + self._timescale
        return self._context.encode(frame)

    def finish(self) -> list[Packet[Any]]:
        """What is still held back; nothing can be encoded after it."""
        return self._context.encode(None)


class Mp4Writer:
    """One H.264 track, with the packets of another beside it. ``file.failure`` is checked after every step."""

    def __init__(
        self, file: GuardedFile, width: int, height: int, rate: Fraction, timescale: int, encoding: Encoding
    ) -> None:
        self._file = file
        scales = {"video_track_timescale": str(timescale), "movie_timescale": str(timescale)}
        self.container: OutputContainer = av.open(file, "w", format="mp4", options=FRAGMENTED | scales)
        self._stream = self.container.add_stream("libx264", rate=_plausible(rate), width=width, height=height)
        self._encoder = PictureEncoder(self._stream.codec_context, timescale, rate, encoding)

    def write(self, picture: Pixels, ticks: int) -> None:
        """Encode an even-sized BGR picture shown from ``ticks`` on; raises SinkError when the file fails."""
        self._mux_encoded(self._encoder.encode(picture, ticks))

    def mux(self, packets: Iterable[Packet[Any]]) -> None:
        """Write packets of any track; raises SinkError when the file fails."""
        for packet in packets:
            self.container.mux_one(packet)
        if failure := self._file.failure:
            raise failure
        self._file.checkpoint()  # fragments are written as a whole: between packets there is never half of one

    def finish(self) -> None:
        """Write what the encoder still holds; after it, :meth:`close` makes an ordinary MP4."""
        self._mux_encoded(self._encoder.finish())

    def close(self) -> None:
        """Complete the file, unless it failed before: then it stays a playable row of fragments."""
        self.container.close()

    def _mux_encoded(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            packet.stream = self._stream
        self.mux(packets)


def _plausible(rate: Fraction) -> Fraction:
    lowest, highest = _PLAUSIBLE_RATES
    return rate if lowest <= rate <= highest else _FALLBACK_RATE
