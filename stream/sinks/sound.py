"""The sound of a local file, copied beside its picture without being decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av import Packet
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Discard

from stream.errors import SourceError
from stream.frame import SourceInfo
from stream.sources.opening import open_file

# What players expect in an MP4. G.711 and other raw samples cannot go there, or hardly anything plays them.
MP4_SOUND = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})


class Sound:
    """Reads the sound packets of a file in step with its pictures; no more than one packet is held."""

    def __init__(self, container: InputContainer, on_note: Callable[[str], None]) -> None:
        self._container = container
        self._on_note = on_note
        self._output: AudioStream | None = None
        self._filter: BitStreamFilterContext | None = None
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._next: Packet[AudioStream] | None = None
        self._shift = 0

    @classmethod
    def of(cls, info: SourceInfo, on_note: Callable[[str], None]) -> Sound | None:
        """The sound that goes with a source, None where there is none or it cannot be carried over."""
        if info.audio is None or not Path(info.location).is_file():
            return None
        try:
            container = open_file(Path(info.location))
        except SourceError as error:
            on_note(f"the recording of {info.name} is silent: its sound cannot be read ({error})")
            return None
        codec = _codec_name(container)
        if codec not in MP4_SOUND:
            container.close()
            on_note(f"the recording of {info.name} is silent: MP4 cannot hold its {codec} sound")
            return None
        return cls(container, on_note)

    def add_to(self, output: OutputContainer, first: Fraction, offset: Fraction) -> None:
        """Make a track in ``output`` for the sound from ``first`` on, moved back by ``offset`` (both in seconds)."""
        source = self._container.streams.audio[0]
        for stream in self._container.streams:
            stream.discard = Discard.default if stream is source else Discard.all
        self._output = output.add_stream_from_template(source)
        if source.codec_context.name == "aac":
            # Broadcast AAC carries a header in each packet, which an MP4 must not; other AAC passes unchanged.
            self._filter = BitStreamFilterContext("aac_adtstoasc", source)
        self._shift = round(offset / (source.time_base or Fraction(1)))
        self._packets = self._read(source, first)
        self._next = next(self._packets, None)

    def until(self, time: Fraction) -> Iterator[Packet[Any]]:
        """The packets that begin before ``time`` (seconds of the source), ready to be muxed."""
        while self._output is not None and self._next is not None and _start(self._next) < time:
            packet, self._next = self._next, next(self._packets, None)
            packet.pts, packet.dts = (packet.pts or 0) - self._shift, (packet.dts or 0) - self._shift
            packet.stream = self._output
            yield packet

    def close(self) -> None:
        self._container.close()

    def _read(self, stream: AudioStream, first: Fraction) -> Iterator[Packet[AudioStream]]:
        last_dts: int | None = None
        try:
            if first > 1:
                self._container.seek(int(first * av.time_base))
            for packet in self._unwrapped(stream):
                # The muxer refuses what does not move forward, as behind a damaged spot.
                forward = packet.dts is not None and (last_dts is None or packet.dts > last_dts)
                if forward and packet.pts is not None and _start(packet) >= first:
                    last_dts = packet.dts
                    yield packet
        except av.FFmpegError as error:
            self._on_note(f"the recording's sound ends early: it cannot be read further ({error.strerror})")

    def _unwrapped(self, stream: AudioStream) -> Iterator[Packet[AudioStream]]:
        for packet in self._container.demux(stream):
            if packet.dts is None:
                continue
            yield from [packet] if self._filter is None else self._filter.filter(packet)


def _codec_name(container: InputContainer) -> str:
    """The name of the format of the first sound track, not of the decoder that would be used for it."""
    streams = container.streams.audio
    # A stream of a codec that libav does not know has no context.
    return streams[0].codec_context.codec.canonical_name if streams and streams[0].codec_context else "unknown"


def _start(packet: Packet[AudioStream]) -> Fraction:
    return (packet.pts or 0) * Fraction(packet.time_base)
