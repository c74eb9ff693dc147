"""What lies between the thread that reads a camera and the one that writes to the disk."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from stream.packets import EncodedPacket


class BufferClosed(Exception):  # noqa: N818 - it marks an end, not an error
    """Everything was taken, and nothing more comes."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Packets that found no room, from ``from_s`` (seconds of the source) up to the packet that follows."""

    packets: int
    from_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A packet, and what was lost right before it."""

    packet: EncodedPacket
    lost: Loss | None = None


class PacketBuffer:
    """Packets in order from one thread to another, bounded by their bytes; :meth:`put` never waits.

    Where the taker is too slow, everything from the packet without room up to a keyframe is dropped and counted, so
    that what gets through can be decoded. Half of the buffer must be free again first: else a disk that is slightly
    too slow would tear each group of pictures.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: deque[Taken] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._losing: Loss | None = None
        self._closed = False
        self.dropped = 0
        self.stretches = 0

    def put(self, packet: EncodedPacket) -> None:
        """Hand over a packet at once; after :meth:`close` it is ignored."""
        with self._changed:
            if self._closed:
                return
            if not self._has_room(packet):
                self._lose(packet)
                return
            lost, self._losing = self._losing, None
            self._waiting.append(Taken(packet, lost))
            self._bytes += len(packet.data)
            self._changed.notify()

    def take(self, timeout_s: float) -> Taken | None:
        """The next packet, None when none came in time. Raises BufferClosed after the last one."""
        with self._changed:
            if not self._waiting and not self._closed:
                self._changed.wait(timeout_s)
            if self._waiting:
                taken = self._waiting.popleft()
                self._bytes -= len(taken.packet.data)
                return taken
            if self._closed:
                raise BufferClosed
            return None

    def close(self) -> None:
        """Nothing more comes; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _has_room(self, packet: EncodedPacket) -> bool:
        if self._losing is None:
            return not self._waiting or self._bytes + len(packet.data) <= self._limit_bytes
        half_free = not self._waiting or self._bytes + len(packet.data) <= self._limit_bytes // 2
        return packet.is_keyframe and half_free

    def _lose(self, packet: EncodedPacket) -> None:
        self.dropped += 1
        if self._losing is None:
            self.stretches += 1
            self._losing = Loss(1, packet.pts_s)
        else:
            self._losing = Loss(self._losing.packets + 1, self._losing.from_s)
