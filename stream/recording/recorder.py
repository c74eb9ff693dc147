"""The recorder of one live camera: packets in from any thread, files out on its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream.packets import EncodedPacket
from stream.recording.buffer import BufferClosed, PacketBuffer
from stream.recording.demand import Demand
from stream.recording.disk import DiskFloor
from stream.recording.index import RecordingIndex
from stream.recording.library import Library, OpenFile, new_file
from stream.recording.settings import RecordSettings
from stream.recording.tape import Phase, Tape

log = logging.getLogger(__name__)

BUFFER_BYTES = 32_000_000
"""What may wait for the disk: half a minute of an 8 Mbit/s camera."""

CLOCK_SET_S = 3600.0
"""A wall clock this far from what was known has been set since, as on a machine that came up without the time: what is
recorded under the old time would be deleted as too old. No packet waits so long."""

TICK_S = 1.0
"""How often a recorder that gets nothing looks after its disk."""


@dataclass(frozen=True, slots=True)
class RecordingState:
    """``recording``, ``idle`` (nothing is wanted right now) or ``paused`` with the reason."""

    phase: Phase
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RecordingStatistics:
    """Counts since the recorder's start.

    ``packets_dropped`` in ``stretches`` found the disk too slow; ``packets_left_out`` could not be held by a file
    (pictures that refer to what lies before it, damaged ones); ``pre_roll_squeezed_out`` could not be kept in memory.
    ``gap_s`` are the seconds that should have been recorded and were not, whatever the cause.
    """

    segments: int
    packets: int
    bytes_written: int
    packets_dropped: int
    stretches: int
    packets_left_out: int
    pre_roll_squeezed_out: int
    gap_s: float


class SegmentRecorder:
    """Records the packets of one camera, of its own encoding or of an annotated one, as :class:`PacketTap`.

    A file plays under its final name at every moment, so it never has another one; the index says which one is still
    being written. Whatever the disk does, the callers are not made to wait.

    ``started_at`` gives the wall clock of pts 0 in seconds since the epoch, None while it is unknown: then, and when
    the wall clock has been set since, the recorder's own ``clock`` counts. Times of events are seconds on the frames'
    timeline. ``on_pause`` is told when recording pauses, for a retention that may make room.
    """

    def __init__(
        self,
        camera: str,
        settings: RecordSettings,
        index: RecordingIndex,
        *,
        started_at: Callable[[], float | None],
        on_note: Callable[[str], None] = log.warning,
        on_pause: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        floor: DiskFloor | None = None,
        open_file: OpenFile = new_file,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self._camera = camera
        self._started_at = started_at
        self._on_note = on_note
        self._clock = clock
        self._own_offset_s: float | None = None
        self._crash = ""
        self._buffer = PacketBuffer(buffer_bytes)
        self._demand = Demand(settings.mode, pre_roll_s=settings.pre_roll_s, post_roll_s=settings.post_roll_s)
        self._library = Library(camera, index, annotated=settings.what == "annotated", open_file=open_file)
        self._tape = Tape(
            camera,
            self._library,
            self._demand,
            floor or DiskFloor(index.folder, settings.min_free_gb),
            segment_s=settings.segment_s,
            wall_offset=self._wall_offset,
            on_note=on_note,
            on_pause=on_pause,
        )
        self._thread = threading.Thread(target=self._run, name=f"record:{camera}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def packet(self, packet: EncodedPacket) -> None:
        """Take a packet and return at once."""
        self._buffer.put(packet)

    def start_manual(self) -> None:
        """Record whatever the mode until :meth:`stop_manual`, from the last keyframe on."""
        self._demand.start_manual()

    def stop_manual(self) -> None:
        self._demand.stop_manual()

    @property
    def manual(self) -> bool:
        """Whether :meth:`start_manual` holds."""
        return self._demand.manual

    def hold(self, event_id: str, from_s: float) -> None:
        """An event has begun at ``from_s``: record it, with its pre-roll. In the mode ``off`` this does nothing."""
        self._demand.hold(event_id, from_s)

    def release(self, event_id: str, until_s: float) -> None:
        """An event was over at ``until_s``: record its post-roll, and be done with it."""
        self._demand.release(event_id, until_s)

    def clip_of(self, event_id: str) -> Path | None:
        """The file in which an event begins: known soon after :meth:`hold`, and for the last thousand events.

        Older ones are in the index.
        """
        return self._tape.clip_of(event_id)

    @property
    def folder(self) -> Path:
        """Where the camera's recordings are."""
        return self._library.folder

    @property
    def recording(self) -> bool:
        return self._tape.phase == "recording"

    @property
    def wants_packets(self) -> bool:
        """Whether packets that have to be made for it should be made now."""
        return self._tape.phase != "paused" and self._demand.wants_pictures

    @property
    def state(self) -> RecordingState:
        return RecordingState("paused", self._crash) if self._crash else RecordingState(*self._tape.standing)

    def statistics(self) -> RecordingStatistics:
        tape = self._tape
        return RecordingStatistics(
            segments=tape.segments,
            packets=tape.packets,
            bytes_written=tape.bytes_written,
            packets_dropped=self._buffer.dropped,
            stretches=self._buffer.stretches,
            packets_left_out=tape.left_out,
            pre_roll_squeezed_out=tape.squeezed_out,
            gap_s=tape.gap_s,
        )

    def close(self, timeout_s: float) -> bool:
        """Write what waits and complete the file; False where the disk still hangs: then the thread is left behind."""
        self._buffer.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._library.claim()
            self._record()
        except Exception as exc:
            log.exception("recording %s failed", self._camera)
            self._crash = f"it failed by a fault of ours ({type(exc).__name__}: {exc})"
            self._on_note(f"{self._camera} is not recorded any more: {self._crash}")
            self._buffer.close()

    def _record(self) -> None:
        try:
            while True:
                taken = self._buffer.take(TICK_S)
                if taken is None:
                    self._tape.tick()
                else:
                    self._tape.feed(taken)
        except BufferClosed:
            pass
        finally:
            self._tape.finish()

    def _wall_offset(self, packet: EncodedPacket) -> float:
        """The wall clock at pts 0: as the source told, or as it was here once, until the clock is set."""
        now_s = self._clock() - packet.pts_s
        for known_s in (self._started_at(), self._own_offset_s):
            if known_s is not None and abs(now_s - known_s) < CLOCK_SET_S:
                return known_s
        self._own_offset_s = now_s
        return now_s
