"""annotated.mp4: the pictures with their boxes, at the times of the source, with its sound."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from stream.errors import SinkError
from stream.frame import Frame, FrameResult, Pixels, SourceInfo
from stream.geometry import Letterbox
from stream.overlay import Overlay
from stream.sinks.guarded import GuardedFile
from stream.sinks.mp4 import Encoding, Mp4Writer, track_timescale
from stream.sinks.sound import Sound

_log = logging.getLogger(__name__)


def ignore_stage(stage: str, seconds: float) -> None:
    """For a recorder whose stages nobody counts."""


class VideoSink:
    """Records annotated pictures as H.264 (yuv420p) in an MP4, under its final name from the start.

    Each frame keeps the time it has in the source, so that a decoded ``pts_s`` of the recording is the ``pts_s`` of
    predictions.jsonl; a source that starts late gives a recording that starts late. ``zero_based`` moves the first
    frame to 0 instead, as live sources want it. Sizes are padded to even; a picture of another size than
    the first is letterboxed into it. ``on_stage`` is told the seconds of "draw" and "encode" for each frame,
    ``on_note`` what the user should know without it being a failure.
    """

    name = "recorder"
    wants_picture = True
    optional = False

    def __init__(
        self,
        path: Path,
        overlay: Overlay,
        *,
        encoding: Encoding | None = None,
        zero_based: bool = False,
        on_stage: Callable[[str, float], None] = ignore_stage,
        on_note: Callable[[str], None] = _log.warning,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._path = path
        self._overlay = overlay
        self._encoding = encoding or Encoding()
        self._zero_based = zero_based
        self._on_stage = on_stage
        self._on_note = on_note
        self._clock = clock
        self._info: SourceInfo | None = None
        self._file: GuardedFile | None = None
        self._recording: _Recording | None = None
        self._drawn: Pixels | None = None
        self._failed = False

    @property
    def outputs(self) -> list[Path]:
        return [self._path]

    def open(self, info: SourceInfo) -> None:
        self._info = info
        self._file = GuardedFile(self._path)

    def write(self, result: FrameResult) -> None:
        frame = result.frame
        if frame.picture is None:
            return
        started_s = self._clock()
        drawn = self._drawn = self._overlay.draw(frame.picture, result, into=self._drawn)
        drawn_s = self._clock()
        self._on_stage("draw", drawn_s - started_s)
        with self._failing():
            if self._recording is None:
                self._recording = self._begin(frame)
            self._recording.add(drawn, frame)
        self._on_stage("encode", self._clock() - drawn_s)

    def close(self) -> None:
        """Complete the file, or leave it as playable fragments after a failure; one without frames is removed."""
        file, recording = self._file, self._recording
        self._file = self._recording = None
        if file is None:
            return
        try:
            if recording is not None:
                self._end(recording)
        finally:
            file.close()
            if recording is None:
                self._path.unlink(missing_ok=True)
        if file.failure is not None and not self._failed:
            raise file.failure

    def _begin(self, frame: Frame) -> _Recording:
        if self._info is None or self._file is None:
            raise RuntimeError("write before open")
        return _Recording(self._info, self._file, frame, self._encoding, self._on_note, zero_based=self._zero_based)

    def _end(self, recording: _Recording) -> None:
        if self._failed:
            # Told already; libav only repeats it.
            with suppress(av.FFmpegError):
                recording.close()
            return
        with self._failing():
            try:
                recording.finish()
            finally:
                recording.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What goes wrong within is remembered, and becomes ours where it is libav's."""
        try:
            yield
        except SinkError:
            self._failed = True
            raise
        except av.FFmpegError as error:
            self._failed = True
            raise SinkError(f"cannot record {self._path}: {error.strerror}; run without --save to go on") from error


class _Recording:
    """A recording that has begun: its size and its first time are settled."""

    def __init__(
        self,
        info: SourceInfo,
        file: GuardedFile,
        first: Frame,
        encoding: Encoding,
        on_note: Callable[[str], None],
        *,
        zero_based: bool,
    ) -> None:
        self._name = info.name
        self._on_note = on_note
        self._size = (first.width, first.height)
        self._other_sizes: set[tuple[int, int]] = set()
        self._timescale = track_timescale(first.time_base)
        self._last_ticks = -1
        start = first.pts * first.time_base
        # An MP4 cannot show what lies before 0.
        self._offset = start if zero_based or start < 0 else Fraction(0)
        self._end = start
        width, height = _even(first.width), _even(first.height)
        self._writer = Mp4Writer(file, width, height, info.frame_rate, self._timescale, encoding)
        self._sound = self._add_sound(info, start)

    def _add_sound(self, info: SourceInfo, start: Fraction) -> Sound | None:
        sound = Sound.of(info, self._on_note)
        if sound is None:
            return None
        try:
            sound.add_to(self._writer.container, start, self._offset)
        except (av.FFmpegError, ValueError) as error:
            sound.close()
            self._on_note(f"the recording of {self._name} is silent: its sound cannot be copied ({error})")
            return None
        return sound

    def add(self, picture: Pixels, frame: Frame) -> None:
        time_s = frame.pts * frame.time_base
        # The muxer wants every time later than the one before; equal ones come from rounding to microseconds.
        ticks = max(self._last_ticks + 1, round((time_s - self._offset) * self._timescale))
        self._last_ticks, self._end = ticks, time_s
        if self._sound is not None:
            self._writer.mux(self._sound.until(time_s))
        self._writer.write(self._laid_out(picture), ticks)

    def finish(self) -> None:
        """Write what is held back: the end of the sound, the encoder's last picture."""
        if self._sound is not None:
            self._writer.mux(self._sound.until(self._end))
        self._writer.finish()

    def close(self) -> None:
        """Release everything, completing the file where it did not fail."""
        try:
            self._writer.close()
        finally:
            if self._sound is not None:
                self._sound.close()

    def _laid_out(self, picture: Pixels) -> Pixels:
        """The picture in the recording's (even) size."""
        height, width = picture.shape[:2]
        if (width, height) != self._size:
            self._note_size((width, height))
            picture = letterboxed(picture, *self._size)
        return padded_to_even(picture)

    def _note_size(self, size: tuple[int, int]) -> None:
        if size in self._other_sizes:
            return
        self._other_sizes.add(size)
        now, first = f"{size[0]}x{size[1]}", f"{self._size[0]}x{self._size[1]}"
        self._on_note(f"{self._name} changed its picture to {now}: it is recorded within the first size, {first}")


def letterboxed(picture: Pixels, width: int, height: int) -> Pixels:
    """The picture scaled without distortion into a black ``(height, width, 3)`` one."""
    box = Letterbox.fit(picture.shape[1], picture.shape[0], width, height)
    canvas = np.zeros((height, width, 3), np.uint8)
    inner = canvas[box.top : box.top + box.inner_height, box.left : box.left + box.inner_width]
    inner[:] = cv2.resize(picture, (box.inner_width, box.inner_height), interpolation=cv2.INTER_AREA)
    return canvas


def padded_to_even(picture: Pixels) -> Pixels:
    """The picture with its last column and row repeated where a side is odd, which yuv420p cannot hold."""
    right, below = picture.shape[1] % 2, picture.shape[0] % 2
    if not (right or below):
        return picture
    return np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)


def _even(length_px: int) -> int:
    return length_px + length_px % 2
