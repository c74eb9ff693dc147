"""A recorded video, decoded frame by frame."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from stream.errors import DecodeError, NoVideoError
from stream.frame import AudioInfo, Frame, SourceInfo
from stream.sources.base import SourceLosses, ViewPlanner
from stream.sources.decoding import PictureDecoder
from stream.sources.opening import open_file, video_stream
from stream.sources.pictures import PictureConverter, upright_size
from stream.timestamps import PtsRepair

LEAST_MISSING_S = 0.5
"""What a container may announce beyond its last frame, by rounding or a long last frame, without being cut off."""

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
        self._decoder: PictureDecoder | None = None
        self._pts = PtsRepair(_UNKNOWN_TIME_BASE, Fraction(0))
        self._decoded: Generator[av.VideoFrame, None, None] | None = None
        self._missing_end: str | None = None
        self._converter = PictureConverter()

    @property
    def losses(self) -> SourceLosses:
        decoder = self._decoder
        if decoder is None:
            return SourceLosses()
        return SourceLosses(
            corrupt_packets=decoder.corrupt_packets,
            damaged_frames=decoder.damaged_frames,
            pts_missing=self._pts.missing,
            pts_not_forward=self._pts.not_forward,
            truncated=decoder.truncated or self._missing_end,
        )

    def open(self) -> SourceInfo:
        """Open the file and decode up to the first frame of the range: only a picture proves that there is one."""
        try:
            if self._part.start_s > 0 and (info := self._begin(search=True)):
                return info
            self.close()
            info = self._begin(search=False)
            if info is None:
                raise NoVideoError(self._nothing_found())
            return info
        except DecodeError as exc:
            self.close()
            raise NoVideoError(str(exc)) from exc
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._decoded is not None:
            self._decoded.close()  # it holds the demuxer, which must not outlive its container
            self._decoded = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
        started_s = time.monotonic()
        for index, (picture, pts) in enumerate(self._pictures):
            decode_s = time.monotonic() - started_s
            yield self._frame(picture, pts, index, plan, decode_s)
            started_s = time.monotonic()

    def _begin(self, *, search: bool) -> SourceInfo | None:
        """Stand before the first frame of the range; None where there is none, or a search went past it."""
        container = self._container = open_file(self._path)
        stream = video_stream(container, self._path)
        self._time_base = Fraction(stream.time_base or _UNKNOWN_TIME_BASE)
        self._pts = PtsRepair(self._time_base, frame_rate(stream))
        self._decoder = PictureDecoder(container, stream, self._path)
        first_pts, end_pts = self._bounds(stream)
        if search and not _search(container, stream, first_pts or 0):
            return None
        self._decoded = self._decoder.pictures()
        head = next(self._decoded, None)
        # Some formats are searched to any packet instead of a keyframe: what was decoded first shows it.
        if head is None or (search and (head.pts is None or head.pts > (first_pts or 0))):
            return None
        pictures = self._in_range(itertools.chain([head], self._decoded), first_pts, end_pts)
        first = next(pictures, None)
        if first is None:
            return None
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

    def _bounds(self, stream: VideoStream) -> tuple[int | None, int | None]:
        """The least pts that belongs to the range and the least behind it, in ticks; None where there is no bound."""
        begin = stream.start_time or 0
        first = begin + self._ticks(self._part.start_s) if self._part.start_s > 0 else None
        return first, None if self._part.end_s is None else begin + self._ticks(self._part.end_s)

    def _ticks(self, seconds: float) -> int:
        """Seconds as the user wrote them (1.56 is 39/25 exactly, which no float is), rounded up to whole ticks."""
        return math.ceil(Fraction(repr(seconds)) / self._time_base)

    def _in_range(
        self, pictures: Iterator[av.VideoFrame], first: int | None, end: int | None
    ) -> Iterator[tuple[av.VideoFrame, int]]:
        for picture in pictures:
            pts = self._pts.repair(picture.pts)
            if end is not None and pts >= end:
                return
            if first is None or pts >= first:
                yield picture, pts
        self._missing_end = self._end_that_is_missing()

    def _end_that_is_missing(self) -> str | None:
        """Whether the file announces more than it holds, both in frames (edits hide some) and in time."""
        if self._container is None or self._pts.last is None:
            return None
        stream = video_stream(self._container, self._path)
        announced_s = float(((stream.start_time or 0) + (stream.duration or 0)) * self._time_base)
        missing_s = announced_s - float(self._pts.last * self._time_base)
        if stream.frames <= self._pts.seen + 1 or missing_s < LEAST_MISSING_S:
            return None
        return (
            f"{self._path} announces {stream.frames} frames and holds {self._pts.seen}: "
            "it was cut off, or is still being written"
        )

    def _nothing_found(self) -> str:
        if self._pts.seen and self._container is not None:
            length_s = duration_s(self._container, video_stream(self._container, self._path))
            length = f"it lasts {length_s:.1f} s" if length_s else "its length is unknown"
            return f"{self._path} has no frame between --start and --end; {length}"
        return f"{self._path} names a video, but holds no picture that can be decoded"


def _search(container: InputContainer, stream: VideoStream, pts: int) -> bool:
    """Move to the keyframe before ``pts``; False where the format has no index to search by."""
    try:
        container.seek(pts, stream=stream)
    except av.error.FFmpegError:
        return False
    return True


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
