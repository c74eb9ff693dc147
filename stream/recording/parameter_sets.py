"""Parameter sets of copied video, put where every muxer and decoder finds them: into each keyframe."""

from __future__ import annotations

from collections.abc import Iterator

from stream.packets import EncodedPacket, VideoTrack

_START = b"\x00\x00\x01"
_LONG_START = b"\x00" + _START
# The types of NAL units: of sequence parameter sets, and the lowest and highest of coded pictures.
_H264_SPS, _H264_PICTURES = 7, (1, 5)
_HEVC_SPS, _HEVC_PICTURES = 33, (0, 31)


class InBand:
    """Rewrites the packets of one track so that each keyframe brings its own parameter sets.

    H.264 and H.265 leave as Annex B, whether they came so or length-prefixed (as in MP4, FLV and HLS). Parameter sets
    that were sent apart, as an RTSP server does in its description, are put before keyframes that lack them.
    """

    def __init__(self, track: VideoTrack) -> None:
        self._codec = track.codec
        self._length_bytes = 0
        self._sets = track.extradata
        if track.codec in ("h264", "hevc") and track.extradata[:1] == b"\x01":
            self._length_bytes, units = _unpacked(track.codec, track.extradata)
            self._sets = b"".join(_LONG_START + unit for unit in units)

    def data(self, packet: EncodedPacket) -> bytes:
        """The packet's bytes as they go into a file."""
        data = packet.data
        if self._length_bytes:
            data = b"".join(_LONG_START + unit for unit in _length_prefixed(data, self._length_bytes))
        if packet.is_keyframe and self._sets and not self._brings_sets(data):
            return self._sets + data
        return data

    def can_begin(self, keyframe: EncodedPacket) -> bool:
        """Whether a decoder can begin with this keyframe."""
        return bool(self._sets) or self._brings_sets(keyframe.data)

    def _brings_sets(self, data: bytes) -> bool:
        match self._codec:
            case "h264":
                types = (data[at] & 0x1F for at in _unit_starts(data))
                return _comes_before(_H264_SPS, _H264_PICTURES, types)
            case "hevc":
                types = (data[at] >> 1 & 0x3F for at in _unit_starts(data))
                return _comes_before(_HEVC_SPS, _HEVC_PICTURES, types)
            case "mpeg4":
                return not self._sets or data.startswith(self._sets)
            case _:
                return True


def _comes_before(wanted: int, pictures: tuple[int, int], types: Iterator[int]) -> bool:
    for kind in types:
        if kind == wanted:
            return True
        if pictures[0] <= kind <= pictures[1]:
            return False
    return False


def _unit_starts(data: bytes) -> Iterator[int]:
    """Where the NAL units of Annex B begin, behind their start codes."""
    at = data.find(_START)
    while 0 <= at < len(data) - len(_START):
        yield at + len(_START)
        at = data.find(_START, at + len(_START))


def _length_prefixed(data: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at + length_bytes < len(data):
        size = int.from_bytes(data[at : at + length_bytes])
        at += length_bytes
        yield data[at : at + size]
        at += size


def _unpacked(codec: str, record: bytes) -> tuple[int, list[bytes]]:
    """The bytes of a length prefix and the sets of an ``avcC`` or ``hvcC`` record; no sets from a torn one."""
    at = 4 if codec == "h264" else 21
    length_bytes = (record[at] & 3) + 1 if len(record) > at else 4
    try:
        return length_bytes, list(_avcc_units(record) if codec == "h264" else _hvcc_units(record))
    except IndexError:
        return length_bytes, []


def _avcc_units(record: bytes) -> Iterator[bytes]:
    at = 5
    for mask in (0x1F, 0xFF):  # sequence, then picture parameter sets
        count = record[at] & mask
        at += 1
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2])
            yield record[at + 2 : at + 2 + size]
            at += 2 + size


def _hvcc_units(record: bytes) -> Iterator[bytes]:
    at = 23
    for _ in range(record[22]):
        count = record[at + 1] << 8 | record[at + 2]
        at += 3
        for _ in range(count):
            size = record[at] << 8 | record[at + 1]
            yield record[at + 2 : at + 2 + size]
            at += 2 + size
