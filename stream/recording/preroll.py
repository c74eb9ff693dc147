"""The packets that are not written yet and may be: the recent past, from a keyframe on."""

from __future__ import annotations

from collections import deque

from stream.packets import EncodedPacket


def decoded_s(packet: EncodedPacket) -> float:
    """When the packet is decoded, seconds of the source: never later than it is shown, and in order of arrival."""
    return float(packet.dts * packet.track.time_base)


class PreRoll:
    """A queue of packets in order of arrival, which forgets whole groups of pictures from its beginning."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._packets: deque[EncodedPacket] = deque()
        self._bytes = 0
        self.squeezed_out = 0

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def oldest_s(self) -> float:
        return decoded_s(self._packets[0])

    @property
    def newest_s(self) -> float:
        return decoded_s(self._packets[-1])

    def append(self, packet: EncodedPacket) -> None:
        self._packets.append(packet)
        self._bytes += len(packet.data)

    def popleft(self) -> EncodedPacket:
        packet = self._packets.popleft()
        self._bytes -= len(packet.data)
        return packet

    def clear(self) -> None:
        self._packets.clear()
        self._bytes = 0

    def skip_to(self, at_s: float) -> bool:
        """Forget what comes before the last keyframe shown by ``at_s``; whether anything was forgotten."""
        keyframes = [i for i, packet in enumerate(self._packets) if packet.is_keyframe and packet.pts_s <= at_s]
        return self._drop(keyframes[-1] if keyframes else 0)

    def forget(self, remembered_s: float) -> bool:
        """Keep the last ``remembered_s`` seconds from a keyframe on, within the bytes; whether anything was forgotten.

        Time is looked at when a keyframe is the newest packet: only then there is a group more than before.
        """
        forgotten = False
        if self._packets and self._packets[-1].is_keyframe:
            forgotten = self.skip_to(self.newest_s - remembered_s)
        while self._bytes > self._limit_bytes:
            count = next((i for i, p in enumerate(self._packets) if i and p.is_keyframe), len(self._packets))
            self.squeezed_out += count
            forgotten = self._drop(count)
        return forgotten

    def _drop(self, count: int) -> bool:
        for _ in range(count):
            self.popleft()
        return count > 0
