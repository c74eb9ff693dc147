"""A recorded video, decoded frame by frame."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from stream.errors import DecodeError, NoVideoError
from stream.frame import AudioInfo, Frame, SourceInfo
from stream.machine import usable_cores
from stream.sources.base import SourceLosses, ViewPlanner
from stream.sources.opening import open_file, video_stream
from stream.sources.pictures import PictureConverter, upright_size
from stream.timestamps import PtsRepair

log = logging.getLogger(__name__)

MAX_BARREN_PACKETS = 500
"""Packets in a row that give an error and no picture before a file is given up: some twenty seconds of video."""

_UNKNOWN_TIME_BASE = Fraction(1, 90_000)


@dataclass(frozen=True, slots=True)
class FileRange:
    """Which part of a file to read: seconds from its beginning, and every how many frames to detect."""

    start_s: float = 0.0
    end_s: float | None = None
    stride: int = 1


WHOLE_FILE = FileRange()


class FileSource:
    """Every frame of a file, in order, as :class:`stream.sources.base.Source`.

    Undecodable packets are skipped and counted, missing or backward times mended and counted, rotation applied.
    ``wants_pictures`` says of a frame's index whether a sink wants its whole picture: converting it costs more
    than decoding it.
    """

    def __init__(
        self, path: Path, *, name: str, wants_pictures: Callable[[int], bool], part: FileRange = WHOLE_FILE
    ) -> None:
        self.name = name
        self._path = path
        self._wants_pictures = wants_pictures
        self._part = part
        self._container: InputContainer | None = None
        self._losses = SourceLosses()
        self._converter = PictureConverter()

    @property
    def losses(self) -> SourceLosses:
        return self._losses

    def open(self) -> SourceInfo:
        container = self._container = open_file(self._path)
        try:
            stream = video_stream(container, self._path)
            stream.codec_context.thread_type = "AUTO"  # frame threads delay the first picture: a file does not mind
            stream.codec_context.thread_count = usable_cores()
            return self._begin(container, stream)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
        started_s = time.monotonic()
        for index, (picture, pts) in enumerate(self._pictures):
            decode_s = time.monotonic() - started_s
            yield self._frame(picture, pts, index, plan, decode_s)
            started_s = time.monotonic()

    def _begin(self, container: InputContainer, stream: VideoStream) -> SourceInfo:
        """Decode up to the first frame of the range: only a picture proves that there is one to be had."""
        self._time_base = Fraction(stream.time_base or _UNKNOWN_TIME_BASE)
        self._pts = PtsRepair(self._time_base, frame_rate(stream))
        pictures = self._in_range(self._decoded(container, stream), *self._bounds(container, stream))
        first = next(pictures, None)
        if first is None:
            raise NoVideoError(self._nothing_found(container, stream))
        self._pictures = itertools.chain([first], pictures)
        return describe(container, stream, first[0], path=self._path, name=self.name)

    def _frame(self, picture: av.VideoFrame, pts: int, index: int, plan: ViewPlanner, decode_s: float) -> Frame:
        width, height = upright_size(picture)
        # The first plan loads the model, which is no frame's waiting time: so it is made before the clock is read.
        view = plan(width, height) if index % self._part.stride == 0 else None
        received_s = time.monotonic()
        network, letterbox = self._converter.network(picture, view) if view else (None, None)
        whole = self._converter.picture(picture) if self._wants_pictures(index) else None
        return Frame(
            source=self.name,
            index=index,
            pts=pts,
            time_base=self._time_base,
            received_s=received_s,
            width=width,
            height=height,
            network=network,
            letterbox=letterbox,
            picture=whole,
            decode_s=decode_s,
            preprocess_s=time.monotonic() - received_s,
        )

    def _bounds(self, container: InputContainer, stream: VideoStream) -> tuple[float, float]:
        """First and end pts in seconds, having moved to the keyframe before the first."""
        begin_s = float((stream.start_time or 0) * self._time_base)
        end_s = float("inf") if self._part.end_s is None else begin_s + self._part.end_s
        if self._part.start_s <= 0:
            return float("-inf"), end_s
        first_s = begin_s + self._part.start_s
        try:
            container.seek(int(first_s / self._time_base), stream=stream)
        except av.error.FFmpegError:
            # Some formats have no index to seek by: decoding from the beginning finds the same frame.
            log.info("%s cannot be searched; reading it from the beginning", self._path)
        return first_s, end_s

    def _in_range(
        self, pictures: Iterator[av.VideoFrame], first_s: float, end_s: float
    ) -> Iterator[tuple[av.VideoFrame, int]]:
        for picture in pictures:
            pts = self._pts.repair(picture.pts)
            pts_s = float(pts * self._time_base)
            if pts_s >= end_s:
                return
            if pts_s >= first_s:
                yield picture, pts

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        barren = 0
        for packet in self._packets(container, stream):
            try:
                pictures = packet.decode()
            except av.error.InvalidDataError:
                barren += 1
                self._count(corrupt_packets=self._losses.corrupt_packets + 1)
                if barren > MAX_BARREN_PACKETS:
                    raise DecodeError(
                        f"{self._path}: {barren} packets in a row could not be decoded; the rest is given up"
                    ) from None
                continue
            for picture in pictures:
                barren = 0
                if picture.is_corrupt:
                    self._count(damaged_frames=self._losses.damaged_frames + 1)
                yield picture
        self._count(pts_missing=self._pts.missing, pts_not_forward=self._pts.not_forward)

    def _packets(self, container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
        try:
            yield from container.demux(stream)
        except (av.error.FFmpegError, OSError) as exc:
            self._count(truncated=f"reading stopped: {exc.strerror or exc}")

    def _count(self, **changes: int | str) -> None:
        self._losses = replace(self._losses, **changes)  # type: ignore[arg-type]  # names checked by dataclass

    def _nothing_found(self, container: InputContainer, stream: VideoStream) -> str:
        if self._pts.seen:
            duration = duration_s(container, stream)
            length = f"it lasts {duration:.1f} s" if duration else "its length is unknown"
            return f"{self._path} has no frame between --start and --end; {length}"
        return (
            f"{self._path} names a video of kind {stream.codec_context.name} but holds no picture that can be decoded"
        )


def describe(
    container: InputContainer, stream: VideoStream, first: av.VideoFrame, *, path: Path, name: str
) -> SourceInfo:
    """What an open file and its first picture say of the video."""
    rate = frame_rate(stream)
    duration = duration_s(container, stream)
    width, height = upright_size(first)
    return SourceInfo(
        name=name,
        location=str(path),
        container=container.format.name,
        codec=stream.codec_context.name,
        width=width,
        height=height,
        frame_rate=rate,
        time_base=Fraction(stream.time_base or _UNKNOWN_TIME_BASE),
        frame_count=stream.frames or (round(duration * rate) if duration and rate else None),
        duration_s=duration,
        rotation_degrees=first.rotation,
        audio=_audio(container),
        started_at=_creation_time(container),
    )


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames a second by the container's word, 0 where it says nothing."""
    return Fraction(stream.average_rate or stream.guessed_rate or 0)


def duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _audio(container: InputContainer) -> AudioInfo | None:
    for stream in container.streams.audio:
        context = stream.codec_context
        if context is not None:
            return AudioInfo(context.name, context.sample_rate or 0, context.channels or 0)
    return None


def _creation_time(container: InputContainer) -> float | None:
    """Seconds since the epoch, None where the file says nothing or the epoch itself (a muxer's placeholder)."""
    try:
        created = datetime.fromisoformat(container.metadata.get("creation_time", ""))
    except ValueError:
        return None
    return created.timestamp() or None
