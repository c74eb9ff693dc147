"""Encoded video on its way from a source or an encoder to a recording: plain values, no libav objects."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """What a muxer must know of encoded video. ``extradata`` are the codec's parameter sets, empty where they
    travel in the packets; ``frame_rate`` is nominal, zero where nobody states it."""

    codec: str
    width: int
    height: int
    time_base: Fraction
    frame_rate: Fraction
    extradata: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPacket:
    """One coded picture. ``pts`` and ``dts`` are ticks of ``track.time_base`` on the timeline of the source's frames
    (it runs on over reconnections); ``received_s`` is the monotonic clock. Where ``epoch`` or ``track`` changes,
    the packets before and after do not belong into one file."""

    track: VideoTrack
    data: bytes
    pts: int
    dts: int
    is_keyframe: bool
    received_s: float
    epoch: int = 0

    @property
    def pts_s(self) -> float:
        return float(self.pts * self.track.time_base)


class PacketTap(Protocol):
    """Is handed every packet in the order of arrival, on the reading thread: it must return at once."""

    def packet(self, packet: EncodedPacket) -> None: ...
