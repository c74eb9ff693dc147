"""From packets to pictures: what can be decoded is, what cannot is counted."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from stream.errors import DecodeError
from stream.machine import usable_cores

MAX_BARREN_PACKETS = 500
"""Packets in a row that give an error and no picture before a file is given up: some twenty seconds of video."""

LARGE_PICTURE_PX = 1920 * 1088
"""Above this one core decodes no faster than the network looks, and frame threads are worth what they cost."""


class PictureDecoder:
    """The pictures of one open stream in the order of their times.

    Large pictures are decoded by frame threads; smaller ones are not, since with them libav keeps damage near a
    file's end to itself, and drops good pictures behind it.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, path: Path) -> None:
        self.corrupt_packets = 0
        self.damaged_frames = 0
        self.truncated: str | None = None
        self._container = container
        self._stream = stream
        self._path = path
        context = stream.codec_context
        large = context.width * context.height > LARGE_PICTURE_PX
        context.thread_type = "AUTO" if large else "SLICE"
        context.thread_count = usable_cores()

    def pictures(self) -> Generator[av.VideoFrame, None, None]:
        """Decode to the end. Raises DecodeError when too many packets in a row are damaged."""
        barren = 0
        for packet in self._packets():
            pictures = self._decode(packet)
            barren = barren + 1 if pictures is None else 0
            if barren > MAX_BARREN_PACKETS:
                raise DecodeError(f"{self._path}: {barren} packets in a row could not be decoded; the rest is given up")
            for picture in pictures or ():
                self.damaged_frames += picture.is_corrupt
                yield picture

    def _packets(self) -> Iterator[av.Packet[VideoStream] | None]:
        """All packets and the end mark, which brings out what the decoder still holds: None after a failed read."""
        try:
            yield from self._container.demux(self._stream)
        except (av.error.FFmpegError, OSError) as exc:
            self.truncated = f"{self._path}: reading stopped before the end: {exc.strerror or exc}"
            yield None

    def _decode(self, packet: av.Packet[VideoStream] | None) -> list[av.VideoFrame] | None:
        """The packet's pictures, often none; None when it is damaged."""
        try:
            return self._stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            self.corrupt_packets += 1
            return None
