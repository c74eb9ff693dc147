"""A live camera's pictures with their boxes, encoded for its recorder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av import Packet
from av.video.codeccontext import VideoCodecContext

from stream.errors import SinkError
from stream.frame import Frame, FrameResult, Pixels, SourceInfo
from stream.overlay import Overlay
from stream.packets import EncodedPacket, VideoTrack
from stream.recording.recorder import SegmentRecorder
from stream.sinks.mp4 import Encoding, PictureEncoder, track_timescale
from stream.sinks.recorder import ignore_stage, padded_to_even


class AnnotatedSink:
    """Draws and encodes the results of a live source into packets for a :class:`SegmentRecorder`.

    Pictures are wanted only while the recorder can use them: always around events with a pre-roll, since it has to be
    there before they begin. A picture of another size begins new video, as a reconnection does. The recorder belongs
    to whoever made it: this sink does not close it.
    """

    name = "recording"
    optional = False

    def __init__(
        self,
        recorder: SegmentRecorder,
        overlay: Overlay,
        *,
        encoding: Encoding | None = None,
        on_stage: Callable[[str, float], None] = ignore_stage,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._recorder = recorder
        self._overlay = overlay
        self._encoding = encoding or Encoding()
        self._on_stage = on_stage
        self._clock = clock
        self._frame_rate = Fraction(0)
        self._video: _Video | None = None
        self._drawn: Pixels | None = None

    @property
    def wants_picture(self) -> bool:
        return self._recorder.wants_packets

    @property
    def outputs(self) -> list[Path]:
        return [self._recorder.folder]

    def open(self, info: SourceInfo) -> None:
        self._frame_rate = info.frame_rate

    def write(self, result: FrameResult) -> None:
        """Hand the recorder what the encoder gives. Raises SinkError when it fails."""
        frame = result.frame
        if frame.picture is None or not self.wants_picture:
            return
        started_s = self._clock()
        self._drawn = self._overlay.draw(frame.picture, result, into=self._drawn)
        drawn = padded_to_even(self._drawn)
        drawn_s = self._clock()
        self._on_stage("draw", drawn_s - started_s)
        try:
            self._encode(drawn, frame)
        except av.FFmpegError as error:
            raise SinkError(f"cannot encode the recording of {frame.source}: {error.strerror}") from error
        self._on_stage("encode", self._clock() - drawn_s)

    def close(self) -> None:
        """Hand over the last picture."""
        video, self._video = self._video, None
        if video is None:
            return
        try:
            self._hand_over(video.finish())
        except av.FFmpegError as error:
            raise SinkError(f"cannot complete the recording: {error.strerror}") from error

    def _encode(self, drawn: Pixels, frame: Frame) -> None:
        if self._video is None or not self._video.fits(drawn, frame):
            self.close()
            self._video = _Video(drawn, frame, self._frame_rate, self._encoding)
        self._hand_over(self._video.encode(drawn, frame))

    def _hand_over(self, packets: Iterable[EncodedPacket]) -> None:
        for packet in packets:
            self._recorder.packet(packet)


class _Video:
    """Encoded video of one size and epoch."""

    def __init__(self, drawn: Pixels, first: Frame, frame_rate: Fraction, encoding: Encoding) -> None:
        height, width = drawn.shape[:2]
        self._size = (width, height)
        self._epoch = first.epoch
        self._time_base = first.time_base
        self._timescale = track_timescale(first.time_base)
        self._last_ticks: int | None = None
        context = VideoCodecContext.create("libx264", "w")
        context.width, context.height = width, height
        self._encoder = PictureEncoder(context, self._timescale, frame_rate, encoding)
        self._track = VideoTrack("h264", width, height, Fraction(1, self._timescale), frame_rate)

    def fits(self, drawn: Pixels, frame: Frame) -> bool:
        size = (drawn.shape[1], drawn.shape[0])
        return (size, frame.epoch, frame.time_base) == (self._size, self._epoch, self._time_base)

    def encode(self, drawn: Pixels, frame: Frame) -> list[EncodedPacket]:
        ticks = round(frame.pts * frame.time_base * self._timescale)
        if self._last_ticks is not None:
            ticks = max(ticks, self._last_ticks + 1)
        self._last_ticks = ticks
        return self._plain(self._encoder.encode(drawn, ticks), frame.received_s)

    def finish(self) -> list[EncodedPacket]:
        return self._plain(self._encoder.finish(), 0.0)

    def _plain(self, packets: list[Packet[Any]], received_s: float) -> list[EncodedPacket]:
        return [
            EncodedPacket(
                track=self._track,
                data=bytes(packet),
                pts=packet.pts or 0,
                dts=packet.dts or 0,
                is_keyframe=packet.is_keyframe,
                received_s=received_s,
                epoch=self._epoch,
            )
            for packet in packets
        ]
