"""From a live source's packets to pictures without damage: whatever follows a loss waits for a clean keyframe."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import av
import av.error
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream


class Cause(StrEnum):
    """Why a picture did not come out."""

    CORRUPT = "corrupt"
    """It, or one that it builds upon, was damaged."""

    BEFORE_KEYFRAME = "before_keyframe"
    """The connection began in the middle of a group of pictures."""

    LATE = "late"
    """It would have been too old."""

    IDLE = "idle"
    """Nothing moves and nobody looks: keyframes were enough. No loss."""


class Attendance(StrEnum):
    """Which pictures are decoded."""

    ALL = "all"
    IDLE = "idle"
    """Keyframes: more is not needed."""
    BEHIND = "behind"
    """Keyframes: there is no time for more."""


class CleanDecoder:
    """Decodes one connection's packets. ``skipped`` counts by cause and outlives the connection.

    ``errors`` counts packets that gave an error since the last clean picture; ``begun`` says that there was a
    keyframe.
    """

    def __init__(self, context: VideoCodecContext, skipped: dict[Cause, int]) -> None:
        self.errors = 0
        self.begun = False
        self._context = context
        self._skipped = skipped
        # What stands in the way of decoding: everything up to the next keyframe is skipped because of it.
        self._obstacle: Cause | None = Cause.BEFORE_KEYFRAME
        # The decoder's own output begins with a keyframe too: it may still hold pictures of before.
        self._clean = False
        self._drained = False

    def decode(self, packet: av.Packet[VideoStream], attendance: Attendance) -> list[av.VideoFrame]:
        """The clean pictures that ``packet`` completes, in the order of their times; often none."""
        if packet.is_corrupt:
            self._damaged()
            self._skipped[Cause.CORRUPT] += 1
            return []
        if not packet.is_keyframe and attendance is not Attendance.ALL:
            self._obstacle = Cause.IDLE if attendance is Attendance.IDLE else Cause.LATE
        if not packet.is_keyframe and self._obstacle is not None:
            self._skipped[self._obstacle] += 1
            return []
        if self._obstacle is not None or self._drained:
            self._begin_anew()
        pictures = self._pictures(packet)
        if not pictures and packet.is_keyframe and attendance is not Attendance.ALL:
            # With B-frames the decoder would hold it back until pictures come that nobody decodes.
            pictures = self._pictures(None)
            self._drained = True
        return self._only_clean(pictures)

    def drain(self) -> list[av.VideoFrame]:
        """What the decoder still holds at the end of a file."""
        if self._obstacle is not None or self._drained or not self._context.is_open:
            return []
        self._drained = True
        return self._only_clean(self._pictures(None))

    def _pictures(self, packet: av.Packet[VideoStream] | None) -> list[av.VideoFrame]:
        try:
            return self._context.decode(packet)
        except (av.error.FFmpegError, OSError):
            self.errors += 1
            self._damaged()
            self._skipped[Cause.CORRUPT] += 1
            return []

    def _only_clean(self, pictures: Sequence[av.VideoFrame]) -> list[av.VideoFrame]:
        clean = []
        for picture in pictures:
            if picture.is_corrupt:
                self._damaged()
            elif picture.key_frame:
                self._clean = True
            if self._clean:
                self.errors = 0
                clean.append(picture)
            else:
                self._skipped[self._obstacle or Cause.BEFORE_KEYFRAME] += 1
        return clean

    def _damaged(self) -> None:
        self._obstacle = Cause.CORRUPT
        self._clean = False

    def _begin_anew(self) -> None:
        """At a keyframe: forget what the decoder holds of before."""
        if self._context.is_open:
            self._context.flush_buffers()
        self.begun = True
        self._obstacle = None
        self._clean = False
        self._drained = False
