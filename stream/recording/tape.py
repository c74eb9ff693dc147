"""Decides packet by packet what goes into which file of one camera."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from stream.errors import SinkError
from stream.packets import EncodedPacket
from stream.recording.buffer import Loss, Taken
from stream.recording.demand import Demand, Hold
from stream.recording.disk import DiskFloor
from stream.recording.library import Library
from stream.recording.preroll import PreRoll, decoded_s
from stream.recording.segment import Segment, suffix_of

Phase = Literal["recording", "idle", "paused"]

PRE_ROLL_BYTES = 32_000_000
"""What the recent past may take: a quarter of a minute of a 16 Mbit/s camera."""

LONGEST_CLIP_S = 600.0
"""A recording of an event or by hand goes on in a new file after this: a parked car would fill one all night."""

RETRY_S = 10.0
"""How long a file that failed for another reason than space is left alone."""

KNOWN_CLIPS = 1000
"""Events whose file is remembered without the index."""


@dataclass(slots=True)
class Gap:
    """Seconds that should have been recorded and were not."""

    total_s: float = 0.0
    since_s: float | None = None

    def begin(self, at_s: float) -> None:
        if self.since_s is None:
            self.since_s = at_s

    def end(self, at_s: float) -> float:
        """How long the gap was that ends here."""
        length_s = 0.0 if self.since_s is None else max(0.0, at_s - self.since_s)
        self.total_s, self.since_s = self.total_s + length_s, None
        return length_s


@dataclass(frozen=True, slots=True)
class _Open:
    """The file that is being written; ``offset_s`` leads from the source's time to the wall clock."""

    path: PurePosixPath
    segment: Segment
    offset_s: float
    clip: bool
    marked: set[str]


class Tape:
    """The recording of one camera, for one thread; it reads no clock of its own.

    Every packet goes first into the pre-roll, and from there into a file or into oblivion. A file stays open while the
    pre-roll still follows on it, so that an event which begins soon after another goes on in the same file and no
    packet is recorded twice. What fails pauses the recording until the disk takes it again, at a keyframe.
    ``wall_offset`` gives the wall clock of the source's second 0 as known at a packet.
    """

    def __init__(
        self,
        camera: str,
        library: Library,
        demand: Demand,
        floor: DiskFloor,
        *,
        segment_s: float,
        wall_offset: Callable[[EncodedPacket], float],
        on_note: Callable[[str], None],
        on_pause: Callable[[], None],
    ) -> None:
        self.standing: tuple[Phase, str] = ("idle", "")
        self.segments = 0
        self.packets = 0
        self.bytes_written = 0
        self.left_out = 0
        self.gap = Gap()
        self._camera = camera
        self._library = library
        self._demand = demand
        self._floor = floor
        self._segment_s = segment_s
        self._wall_offset = wall_offset
        self._on_note = on_note
        self._on_pause = on_pause
        self._past = PreRoll(PRE_ROLL_BYTES)
        self._file: _Open | None = None
        self._last: EncodedPacket | None = None
        self._retry_at_s = -math.inf
        self._offset_s = 0.0
        self._recent: deque[tuple[Path, float, float]] = deque(maxlen=8)
        self._clips: OrderedDict[str, Path] = OrderedDict()

    @property
    def phase(self) -> Phase:
        return self.standing[0]

    @property
    def reason(self) -> str:
        """Why it is paused. Ask ``standing`` for the phase and its reason at one moment, from any thread."""
        return self.standing[1]

    @property
    def squeezed_out(self) -> int:
        """Packets of the pre-roll that were given up for want of memory."""
        return self._past.squeezed_out

    @property
    def gap_s(self) -> float:
        """Seconds that are missing so far, those of a pause that lasts included."""
        since_s, last = self.gap.since_s, self._last  # read once: the recorder's thread goes on
        running_s = 0.0 if since_s is None or last is None else max(0.0, last.pts_s - since_s)
        return self.gap.total_s + running_s

    def clip_of(self, event_id: str) -> Path | None:
        """The file in which a recent event begins; from any thread."""
        return self._clips.get(event_id)

    def feed(self, taken: Taken) -> None:
        """Take the next packet."""
        packet = taken.packet
        at_s = decoded_s(packet)
        if self._last is not None and (self._last.epoch, self._last.track) != (packet.epoch, packet.track):
            self._begin_anew()
        self._demand.observe(at_s)
        if taken.lost is not None:
            self._lost(taken.lost, packet)
        self._last = packet
        if packet.is_keyframe and self._demand.any:
            self._check(packet.pts_s)
        self._hear(packet.pts_s)
        # Without a keyframe before it nothing can be made of a packet.
        if self._past or self._file is not None or packet.is_keyframe:
            self._past.append(packet)
            self._advance()
        elif self._demand.wanted(at_s):
            self._missed(packet)
        self._demand.forget_before(self._past.oldest_s if self._past else at_s)
        self._settle_phase(at_s)

    def tick(self) -> None:
        """No packet has come for a while: look whether the disk has room again."""
        if self.phase == "paused" and self._last is not None:
            self._check(self._last.pts_s)

    def finish(self) -> None:
        """Complete the file; nothing is taken after it."""
        self._close_file()
        if self._last is not None:
            self.gap.end(self._last.pts_s)
        self._past.clear()
        self._library.release()
        if self.phase == "recording":
            self.standing = ("idle", "")

    def _begin_anew(self) -> None:
        """Packets of another epoch or track follow: what waits cannot be joined with them."""
        self._close_file()
        self._past.clear()

    def _settle_phase(self, at_s: float) -> None:
        if self.gap.since_s is not None and not self._demand.wanted(at_s):
            self.gap.end(at_s)
        if self.phase != "paused":
            self.standing = ("recording" if self._file is not None and not self._past else "idle", "")

    def _lost(self, lost: Loss, packet: EncodedPacket) -> None:
        if self.gap.since_s is None and self._demand.wanted(lost.from_s):
            self.gap.begin(lost.from_s)
            length_s = self.gap.end(packet.pts_s)
            self._on_note(
                f"the disk is too slow for the recording of {self._camera}: {length_s:.1f} s are missing in it"
            )

    def _advance(self) -> None:
        """Write what is wanted of the past, forget what is too old to be wanted."""
        while self._past:
            from_s = self._demand.first_wanted_s(self._past.oldest_s, self._past.newest_s)
            if from_s is None:
                break
            if self._past.skip_to(from_s):
                self._close_file()
            while self._past and (self._past.oldest_s < from_s or self._demand.wanted(self._past.oldest_s)):
                self._write(self._past.popleft())
        if self._past and self._past.forget(self._demand.remembered_s):
            self._close_file()

    def _write(self, packet: EncodedPacket) -> None:
        if packet.is_keyframe and self.phase != "paused":
            self._at_keyframe(packet)
        if self._file is None:
            self._missed(packet)
            return
        try:
            self._file.segment.write(packet)
        except SinkError as error:
            self._fail(error, packet.pts_s)
            return
        self.packets += 1
        for hold in self._demand.holds_at(packet.pts_s):
            self._mark(hold, self._file)

    def _missed(self, packet: EncodedPacket) -> None:
        # Before the first keyframe of a connection there is nothing that could be recorded.
        if self.phase == "paused":
            self.gap.begin(packet.pts_s)

    def _at_keyframe(self, packet: EncodedPacket) -> None:
        if self._file is not None and self._is_due(packet, self._file):
            self._close_file()
        if self._file is None:
            try:
                self._open_file(packet)
            except SinkError as error:
                self._fail(error, packet.pts_s)

    def _is_due(self, packet: EncodedPacket, file: _Open) -> bool:
        """Whether a new file is to begin: at each full segment of the wall clock, clips after their longest time."""
        start_s, at_s = file.segment.start_s, packet.pts_s
        if file.clip:
            return at_s - start_s >= max(LONGEST_CLIP_S, self._segment_s)
        return (at_s + file.offset_s) // self._segment_s != (start_s + file.offset_s) // self._segment_s

    def _open_file(self, packet: EncodedPacket) -> None:
        if trouble := self._library.claim():
            raise SinkError(trouble)
        suffix = suffix_of(packet.track.codec)
        if suffix is None:
            raise SinkError(f"its {packet.track.codec} pictures cannot be copied into a file; record them annotated")
        at_s, kind = packet.pts_s, self._demand.kind
        self._offset_s = self._wall_offset(packet)
        hold = self._demand.first_hold_after(at_s)
        event_id = None if hold is None else hold.event_id
        path, file = self._library.begin(kind, event_id, at_s + self._offset_s, suffix)
        try:
            segment = Segment(file, packet, camera=self._camera, started_at=at_s + self._offset_s)
        except SinkError:
            file.close()
            self._library.discard(path)
            raise
        self._file = _Open(path, segment, self._offset_s, clip=kind != "continuous", marked=set())
        self.segments += 1
        self._gap_ended(at_s)

    def _close_file(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        segment = file.segment
        segment.close()
        self.left_out += segment.left_out
        self.bytes_written += segment.size_bytes
        if segment.torn:
            self.gap.begin(segment.end_s)
        if segment.end_s <= segment.start_s:
            self._library.discard(file.path)
            return
        self._recent.append((self._library.absolute(file.path), segment.start_s, segment.end_s))
        self._library.finish(file.path, segment.end_s + file.offset_s, segment.size_bytes)

    def _check(self, now_s: float) -> None:
        """Pause where recording cannot go on, and end the pause where it can."""
        paused = self.phase == "paused"
        self._library.settle()
        if paused and now_s < self._retry_at_s:
            return
        trouble = self._library.claim() or self._floor.shortage(resuming=paused)
        if trouble and not paused:
            self._pause(trouble)
        elif trouble is None and paused:
            self.standing = ("idle", "")
            if self.gap.since_s is None:
                self._on_note(f"{self._camera} can be recorded again")

    def _fail(self, error: SinkError, at_s: float) -> None:
        """Nothing can be written: pause, with what is whole in the file as the recording's end."""
        # asked before the pause is told: whoever hears of it may have made room by the time it returns
        for_want_of_space = self._floor.shortage(resuming=True) is not None
        self._pause(str(error))
        self.gap.begin(at_s)
        self._retry_at_s = at_s + (0.0 if for_want_of_space else RETRY_S)

    def _pause(self, reason: str) -> None:
        self._close_file()
        self.standing = ("paused", reason)
        self._on_note(f"{self._camera} is not recorded: {reason}; recording goes on by itself when it can")
        self._on_pause()

    def _gap_ended(self, at_s: float) -> None:
        if self.gap.since_s is not None:
            self._on_note(f"{self._camera} is recorded again; {self.gap.end(at_s):.1f} s are missing")

    def _hear(self, now_s: float) -> None:
        """Mark what is recorded already of the events that have begun."""
        for hold in self._demand.news():
            start, at, end = (each_s + self._offset_s for each_s in (hold.start_s, hold.from_s, now_s))
            # No later ones: a clock that was set back leaves recordings of the future.
            self._library.mark_between(start, end, hold.event_id, at)
            for path, start_s, end_s in self._recent:
                if start_s <= hold.from_s < end_s:
                    self._remember(hold.event_id, path)
            if self._file is not None and hold.start_s < self._file.segment.end_s:
                self._mark(hold, self._file)

    def _mark(self, hold: Hold, file: _Open) -> None:
        """The event is to be seen in this file; it begins in the first one, unless that is known better."""
        if hold.event_id in file.marked:
            return
        file.marked.add(hold.event_id)
        self._library.mark(file.path, hold.event_id, hold.from_s + file.offset_s)
        if hold.event_id not in self._clips:
            self._remember(hold.event_id, self._library.absolute(file.path))

    def _remember(self, event_id: str, path: Path) -> None:
        self._clips[event_id] = path
        while len(self._clips) > KNOWN_CLIPS:
            self._clips.popitem(last=False)
