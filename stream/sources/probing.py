"""Looking into a media file without processing it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from stream.errors import SourceError
from stream.frame import SourceInfo
from stream.sources.file import FileSource
from stream.sources.listing import expand
from stream.sources.opening import open_file, video_stream

KEYFRAME_WINDOW_PACKETS = 1000
"""Packets looked at to tell the distance of keyframes: some 40 s of video, read in milliseconds."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a file holds. ``gop_frames`` is the longest distance between keyframes seen, None with fewer than two;
    ``b_frames`` whether pictures are stored out of order."""

    info: SourceInfo
    size_bytes: int
    gop_frames: int | None
    b_frames: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; fractions as text."""
        values = asdict(self.info) | {"size_bytes": self.size_bytes, "gop_frames": self.gop_frames}
        values["b_frames"] = self.b_frames
        return {key: str(value) if isinstance(value, Fraction) else value for key, value in values.items()}


def probe_file(argument: str) -> Probe:
    """Open the one file that ``argument`` means, decode its first picture and read the head of its packets.

    Raises:
        SourceError: it does not open, or means several files.
    """
    listed = expand([argument])
    if len(listed) != 1:
        raise SourceError(f"{argument} means {len(listed)} files; name one of them")
    path = listed[0].path
    source = FileSource(path, name=listed[0].name, wants_pictures=lambda _index: False)
    info = source.open()
    source.close()
    with open_file(path) as container:
        gop_frames, b_frames = _packet_order(container, video_stream(container, path))
    return Probe(info, path.stat().st_size, gop_frames, b_frames)


def rows(probe: Probe) -> list[tuple[str, str]]:
    """Name and value of each fact, for a table."""
    info = probe.info
    turned = f" (turned by {info.rotation_degrees} degrees)" if info.rotation_degrees else ""
    rate = f"{float(info.frame_rate):g} fps" if info.frame_rate else "not stated"
    sound = f"{info.audio.codec}, {info.audio.sample_rate_hz} Hz, {info.audio.channels} ch" if info.audio else "none"
    gop = f"every {probe.gop_frames} frames at most" if probe.gop_frames else "one, or not marked"
    return [
        ("file", f"{info.location} ({probe.size_bytes / 1e6:.1f} MB)"),
        ("container", info.container),
        ("codec", info.codec + (", B-frames" if probe.b_frames else "")),
        ("size", f"{info.width}x{info.height}{turned}"),
        ("rate", rate),
        ("length", f"{info.duration_s:.2f} s" if info.duration_s else "not stated"),
        ("frames", str(info.frame_count) if info.frame_count else "not stated"),
        ("keyframes", gop),
        ("sound", sound),
    ]


def _packet_order(container: InputContainer, stream: VideoStream) -> tuple[int | None, bool]:
    longest: int | None = None
    since_key: int | None = None
    reordered = False
    try:
        for number, packet in enumerate(container.demux(stream)):
            if packet.dts is None or number >= KEYFRAME_WINDOW_PACKETS:
                break
            reordered = reordered or (packet.pts is not None and packet.pts != packet.dts)
            if packet.is_keyframe:
                longest = since_key if longest is None else max(longest, since_key or 0)
                since_key = 0
            since_key = None if since_key is None else since_key + 1
    except av.error.FFmpegError:
        pass  # a damaged tail does not change what the head says
    return longest, reordered
