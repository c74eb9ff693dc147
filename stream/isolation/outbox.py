"""What waits in the child to be sent: bounded, so that a parent that is slow costs frames and never the decoding."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from stream.frame import Frame
from stream.isolation.link import MOST_PAYLOAD_BYTES
from stream.isolation.messages import LayOut, Opened, Over
from stream.packets import EncodedPacket

MOST_FRAMES = 64
"""Frames without pixels that wait; those with pixels are bounded by the slots."""

MOST_UNANSWERED = 2
"""Frames sent and not taken yet: what is sent cannot be replaced by something newer any more."""

MOST_PACKET_BYTES, MOST_PACKETS = MOST_PAYLOAD_BYTES, 1500
"""Packets that wait: some ten seconds of the largest cameras, a minute of ordinary ones."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A frame and where its pixels are; no slot, no pixels."""

    frame: Frame
    slot: int | None


Outgoing: TypeAlias = "Placed | EncodedPacket | LayOut | Opened | Over"


class Outbox:
    """Frames, packets and words in order each; words after all frames and packets before them.

    One thread puts, one takes, one tells of receipts. When frames wait too long the oldest give way; packets give way
    up to the next keyframe. Both are counted.
    """

    def __init__(self) -> None:
        self.dropped_frames = 0
        self.dropped_packets = 0
        self._changed = threading.Condition()
        self._frames: deque[Placed] = deque()
        self._unanswered: deque[int | None] = deque()
        self._packets: deque[EncodedPacket] = deque()
        self._packet_bytes = 0
        self._until_keyframe = False
        self._words: deque[LayOut | Opened | Over] = deque()
        self._free: list[int] = []

    def lay_out(self, slots: int) -> None:
        """There is new room, and nothing in it: the parent has taken all frames."""
        with self._changed:
            self._free = list(range(slots))[::-1]

    def claim(self) -> int:
        """A slot to write into, the one used last first: memory that is not needed is never touched."""
        with self._changed:
            while not self._free:
                self._drop_oldest()
            return self._free.pop()

    def put_frame(self, placed: Placed) -> None:
        with self._changed:
            if len(self._frames) >= MOST_FRAMES:
                self._drop_oldest()
            self._frames.append(placed)
            self._changed.notify()

    def packet(self, packet: EncodedPacket) -> None:
        """As :class:`stream.packets.PacketTap`."""
        with self._changed:
            if len(self._packets) >= MOST_PACKETS or self._packet_bytes + len(packet.data) > MOST_PACKET_BYTES:
                self.dropped_packets += len(self._packets)
                self._packets.clear()
                self._packet_bytes = 0
                self._until_keyframe = True
            if (self._until_keyframe and not packet.is_keyframe) or len(packet.data) > MOST_PACKET_BYTES:
                self.dropped_packets += 1
                return
            self._until_keyframe = False
            self._packets.append(packet)
            self._packet_bytes += len(packet.data)
            self._changed.notify()

    def put_word(self, word: LayOut | Opened | Over) -> None:
        with self._changed:
            self._words.append(word)
            self._changed.notify()

    def answered(self, frames: int) -> None:
        """The parent has taken so many frames."""
        with self._changed:
            for _ in range(min(frames, len(self._unanswered))):
                self._release(self._unanswered.popleft())
            self._changed.notify()

    def take(self, timeout_s: float) -> Outgoing | None:
        """What is to be sent next; None when there is nothing for so long."""
        with self._changed:
            if (found := self._next()) is None:
                self._changed.wait(timeout_s)
                found = self._next()
            return found

    def _next(self) -> Outgoing | None:
        if self._packets:
            packet = self._packets.popleft()
            self._packet_bytes -= len(packet.data)
            return packet
        if self._frames and len(self._unanswered) < MOST_UNANSWERED:
            placed = self._frames.popleft()
            self._unanswered.append(placed.slot)
            return placed
        if self._words and not self._frames:
            return self._words.popleft()
        return None

    def _drop_oldest(self) -> None:
        self._release(self._frames.popleft().slot)
        self.dropped_frames += 1

    def _release(self, slot: int | None) -> None:
        if slot is not None:
            self._free.append(slot)
