"""One connection from its first packet to its loss: clean pictures on the source's timeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.stream import VideoStream

from stream.live_clock import TIME_BASE, Freshness, LiveClock, Stamp, Standing
from stream.packets import EncodedPacket, PacketTap, VideoTrack
from stream.sources.backoff import Failure
from stream.sources.clean import Attendance, Cause, CleanDecoder
from stream.sources.connection import Connection, DisconnectedError, check_size

MAX_DECODE_ERRORS = 30
"""Errors without one clean picture between them before the connection is given up."""

_NO_PICTURE_READS = 2
"""Packets without a picture are borne for so many read limits: cameras with keyframes ten seconds apart exist."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A clean picture. ``pts`` is on the timeline; ``late`` says that it is too old to be shown."""

    picture: av.VideoFrame
    pts: int
    epoch: int
    decode_s: float
    late: bool


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a playback asks and tells while it runs, all on its thread.

    ``keyframes_are_enough`` is asked before each packet is decoded, ``packet`` told of each one's arrival.
    """

    keyframes_are_enough: Callable[[], bool]
    packet: Callable[[float], None]
    tap: PacketTap | None


class Playback:
    """Reads one connection. ``epoch`` grows where the stream changes within it; ``skipped`` counts what is left out."""

    def __init__(
        self,
        connection: Connection,
        clock: LiveClock,
        skipped: dict[Cause, int],
        hooks: Hooks,
        *,
        epoch: int,
        max_staleness_s: float,
        picture_limit_s: float,
    ) -> None:
        self.connection = connection
        self.epoch = epoch
        self._clock = clock
        self._skipped = skipped
        self._hooks = hooks
        self._picture_limit_s = picture_limit_s
        self._decoder = CleanDecoder(connection.context, skipped)
        self._freshness = Freshness(max_staleness_s)
        self._track: VideoTrack | None = None
        self._former_size: tuple[int, int] | None = None
        clock.begin(Fraction(connection.stream.time_base or TIME_BASE), connection.frame_rate, paced=connection.paced)

    def shots(self, quit_: threading.Event) -> Iterator[Shot]:
        """Pictures until the end of a file, or until ``quit_``. Raises DisconnectedError."""
        picture_s = time.monotonic()
        for packet, waited_s in self._arrivals():
            now_s = time.monotonic()
            self._hooks.packet(now_s)
            stamp = self._stamp(packet, now_s, waited_s)
            waited_s += self._hold_back(stamp, now_s, quit_)
            if quit_.is_set():
                return
            held_s = time.monotonic()
            self._freshness.judge(self._clock.lag_s(stamp, held_s, waited_s), held_s)
            attendance = self._attendance()
            shots = self._decoded(packet, attendance)
            self._hand_on(packet)
            if shots or attendance is Attendance.IDLE:
                picture_s = time.monotonic()
            self._check(time.monotonic() - picture_s)
            yield from shots
        for picture in self._decoder.drain():
            yield self._shot(picture, 0.0)

    def _arrivals(self) -> Iterator[tuple[av.Packet[VideoStream], float]]:
        """Packets, each with how long it was waited for."""
        asked_s = time.monotonic()
        for packet in self.connection.packets():
            yield packet, time.monotonic() - asked_s
            asked_s = time.monotonic()

    def _stamp(self, packet: av.Packet[VideoStream], now_s: float, waited_s: float) -> Stamp:
        """Move the packet onto the timeline."""
        if self.connection.untimed:
            stamp = self._clock.arrived(now_s, waited_s)
        else:
            stamp = self._clock.stamp(packet.pts, packet.dts, now_s, waited_s)
        packet.pts, packet.dts = stamp.pts, stamp.dts
        return stamp

    def _hold_back(self, stamp: Stamp, now_s: float, quit_: threading.Event) -> float:
        """Wait until the packet of a source that can be read in advance is due; how long that took."""
        early_s = self._clock.due_s(stamp) - now_s if self.connection.paced else 0.0
        if early_s <= 0:
            return 0.0
        quit_.wait(early_s)
        self._hooks.packet(time.monotonic())
        return early_s

    def _attendance(self) -> Attendance:
        if self._freshness.standing is Standing.FAR:
            return Attendance.BEHIND
        return Attendance.IDLE if self._hooks.keyframes_are_enough() else Attendance.ALL

    def _decoded(self, packet: av.Packet[VideoStream], attendance: Attendance) -> list[Shot]:
        started_s = time.monotonic()
        pictures = self._decoder.decode(packet, attendance)
        decode_s = time.monotonic() - started_s
        self._notice_change(packet)
        return [self._shot(picture, decode_s / len(pictures)) for picture in pictures]

    def _shot(self, picture: av.VideoFrame, decode_s: float) -> Shot:
        check_size(picture.width, picture.height)
        late = self._freshness.standing is not Standing.FRESH
        self._skipped[Cause.LATE] += late
        return Shot(picture, self._clock.shown(picture.pts), self._epoch_of(picture), decode_s, late)

    def _epoch_of(self, picture: av.VideoFrame) -> int:
        """A change of size reaches the packets before it reaches the pictures that the decoder still held."""
        size, context = (picture.width, picture.height), self.connection.context
        held = size == self._former_size and size != (context.width, context.height)
        return self.epoch - 1 if held else self.epoch

    def _notice_change(self, packet: av.Packet[VideoStream]) -> None:
        """Begin a new epoch where the coded pictures change their size or their parameter sets."""
        context, track = self.connection.context, self._track
        extradata = bytes(packet.get_sidedata("new_extradata")) if packet.has_sidedata("new_extradata") else None
        if context.width < 1:
            return  # nothing could be decoded yet, and the source did not say either
        if track is None:
            extradata = extradata or context.extradata
        elif (track.width, track.height) != (context.width, context.height) or extradata not in {None, track.extradata}:
            # Parameter sets of before do not fit any more; new ones come beside a packet or within it.
            self._former_size = (track.width, track.height)
            self.epoch += 1
        else:
            return
        self._track = VideoTrack(
            codec=context.codec.canonical_name,
            width=context.width,
            height=context.height,
            time_base=TIME_BASE,
            frame_rate=self.connection.frame_rate,
            extradata=extradata or b"",
        )

    def _hand_on(self, packet: av.Packet[VideoStream]) -> None:
        """To the tap, from the first keyframe on and after its decoding, which shows what track it belongs to."""
        tap, track = self._hooks.tap, self._track
        if tap is None or track is None or not self._decoder.begun:
            return
        tap.packet(
            EncodedPacket(
                track=track,
                data=bytes(packet),
                pts=packet.pts or 0,
                dts=packet.dts or 0,
                is_keyframe=packet.is_keyframe,
                received_s=time.monotonic(),
                epoch=self.epoch,
            )
        )

    def _check(self, barren_s: float) -> None:
        """Give up a connection that carries packets but no pictures; a file is read to its end."""
        if self.connection.finite:
            return
        if self._decoder.errors > MAX_DECODE_ERRORS:
            raise DisconnectedError(Failure.UNREACHABLE, "what it sends cannot be decoded")
        if barren_s > _NO_PICTURE_READS * self._picture_limit_s:
            raise DisconnectedError(
                Failure.UNREACHABLE,
                f"it has sent no whole picture for {barren_s:.0f} s; shorten the distance of its keyframes",
            )
