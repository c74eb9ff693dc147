"""One file of a recording, written packet by packet."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from fractions import Fraction

import av
from av import Packet
from av.container import OutputContainer

from stream.errors import SinkError
from stream.packets import EncodedPacket, VideoTrack
from stream.recording.parameter_sets import InBand
from stream.sinks.guarded import GuardedFile
from stream.sinks.mp4 import FRAGMENTED, track_timescale

# What an MP4 holds and players play from there; in ours VP9 could not be read back, and VP8 is not allowed.
_MP4_CODECS = frozenset({"h264", "hevc", "av1", "mpeg4", "mjpeg"})
# A cluster a second, so that a killed process loses no more.
_MATROSKA = {"cluster_time_limit": "1000", "flush_packets": "1"}
# Without compression a camera fills a disk in an hour.
_UNCOMPRESSED = frozenset({"rawvideo", "v210", "v410", "yuv4", "wrapped_avframe"})
# What a muxer says of a packet that makes no sense: the next one may.
_OF_ONE_PACKET = (av.error.InvalidDataError, av.error.ArgumentError)
_FALLBACK_FRAME_S = Fraction(1, 25)


def suffix_of(codec: str) -> str | None:
    """Which kind of file holds packets of a codec, None where they cannot be recorded as they are."""
    if codec in _UNCOMPRESSED:
        return None
    return ".mp4" if codec in _MP4_CODECS else ".mkv"


class Segment:
    """A file that begins with the keyframe ``first`` at time 0, and holds packets of its track and epoch only.

    Pictures that are shown before it (they refer to what came earlier) are left out, and so are packets that the
    format cannot hold; both are counted in ``left_out``. ``durable_s`` is up to where (seconds of the source) the file
    can be played if nothing more is written, ``end_s`` up to where once it is closed; ``torn`` says that then
    something is missing at its end.

    Raises SinkError where no file can begin with this keyframe.
    """

    def __init__(self, file: GuardedFile, first: EncodedPacket, *, camera: str, started_at: float) -> None:
        self.start_s = self.durable_s = self.end_s = first.pts_s
        self.left_out = 0
        self.torn = False
        self._file = file
        self._zero = first.pts
        self._last_dts: int | None = None
        self._in_band = InBand(first.track)
        if not self._in_band.can_begin(first):
            raise SinkError(f"its {first.track.codec} video came without parameter sets")
        self._frame_ticks = _frame_ticks(first.track)
        self._begun = False
        self._container = _container(file, first.track)
        self._container.metadata["title"] = camera
        self._container.metadata["date"] = datetime.fromtimestamp(started_at, UTC).isoformat()
        self._stream = _video_stream(self._container, first.track)

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    def write(self, packet: EncodedPacket) -> None:
        """Add a packet; raises SinkError when the file fails, which then plays up to ``durable_s``."""
        if packet.pts < self._zero or not packet.data:
            self.left_out += 1
            return
        before_bytes = self.size_bytes
        try:
            self._container.mux_one(self._muxable(packet))
        except av.FFmpegError as error:
            if self._file.cause is None and not (self._begun and isinstance(error, _OF_ONE_PACKET)):
                raise SinkError(f"its file cannot be written ({error.strerror})") from error
            self.left_out += 1
        if cause := self._file.cause:
            raise SinkError(f"its file cannot be written ({(cause.strerror or str(cause)).lower()})") from cause
        self._begun = True
        self._file.checkpoint()  # fragments are written as a whole: between packets there is never half of one
        if self.size_bytes > before_bytes:
            self.durable_s = packet.pts_s
        self.end_s = max(self.end_s, float((packet.pts + self._frame_ticks) * packet.track.time_base))

    def close(self) -> None:
        """Complete the file. After a failure, or where completing it fails, it stays playable up to ``durable_s``."""
        failed_before = self._file.cause is not None
        with suppress(av.FFmpegError):  # it is said by the file's failure
            self._container.close()
        self._file.close()
        if failed_before or self._file.cause is not None:
            self.torn = True
            self.end_s = self.durable_s

    def _muxable(self, packet: EncodedPacket) -> Packet[av.stream.Stream]:
        muxed: Packet[av.stream.Stream] = Packet(self._in_band.data(packet))
        dts = packet.dts - self._zero
        if self._last_dts is not None:
            dts = max(dts, self._last_dts + 1)  # muxers refuse what does not move forward
        self._last_dts = dts
        muxed.stream, muxed.time_base = self._stream, packet.track.time_base
        muxed.dts, muxed.pts, muxed.duration = dts, max(dts, packet.pts - self._zero), self._frame_ticks
        muxed.is_keyframe = packet.is_keyframe
        return muxed


def _container(file: GuardedFile, track: VideoTrack) -> OutputContainer:
    if suffix_of(track.codec) != ".mp4":
        return av.open(file, "w", format="matroska", options=_MATROSKA)
    timescale = str(track_timescale(track.time_base))
    scales = {"video_track_timescale": timescale, "movie_timescale": timescale}
    return av.open(file, "w", format="mp4", options=FRAGMENTED | scales)


def _video_stream(container: OutputContainer, track: VideoTrack) -> av.stream.Stream:
    try:
        stream = container.add_mux_stream(
            track.codec, rate=track.frame_rate or None, width=track.width, height=track.height
        )
    except ValueError as error:
        raise SinkError(f"its {track.codec} video cannot be copied into a file") from error
    stream.time_base = track.time_base
    return stream


def _frame_ticks(track: VideoTrack) -> int:
    """How long the last picture of a file is shown."""
    frame_s = 1 / track.frame_rate if 1 <= track.frame_rate <= 240 else _FALLBACK_FRAME_S
    return max(1, round(frame_s / track.time_base))
