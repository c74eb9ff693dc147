"""Synthetic clips whose grey level is the frame number, written with PyAV.

Frame ``i`` is a flat picture of luma ``16 + 2 * (i % 110)``, so that a decoded picture tells which frame it is
(:func:`frame_number`), whatever the container did to the order and the times. Steps of two survive the rounding
of colour conversions and of being encoded once more.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av import AudioFrame, Packet, VideoFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

# Frame numbers wrap here: steps of two fill the range between black (luma 16) and white (235) of limited-range video.
NUMBERS = 110
AUDIO_RATE_HZ = 48_000
# Enough bits that a change of one grey level survives quantisation.
NEAR_LOSSLESS = {"libx264": {"crf": "4", "preset": "ultrafast"}, "mpeg4": {"qmin": "1", "qmax": "2"}}


@dataclass(frozen=True, slots=True)
class Clip:
    """What a clip is made of.

    ``pts`` are ticks of ``time_base``, one per frame; without them frames follow at ``rate``. ``marked`` paints
    the top-left quarter of the coded picture white, to see which way up it is. ``rotation_degrees`` is
    the clockwise turn a player must apply (the phone's 90 stores the picture on its side). Odd sizes
    want ``pix_fmt="yuv444p"``.
    """

    frames: int = 30
    width: int = 320
    height: int = 240
    rate: Fraction = Fraction(25)
    pts: Sequence[int] | None = None
    time_base: Fraction | None = None
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    gop: int = 12
    b_frames: int = 0
    rotation_degrees: int = 0
    marked: bool = False
    audio: str | None = None
    first_number: int = 0
    container_options: tuple[tuple[str, str], ...] = ()

    def times(self) -> tuple[Sequence[int], Fraction]:
        """The pts of each frame and their time base."""
        time_base = self.time_base or 1 / self.rate
        return (self.pts or range(self.frames)), time_base


def frame_number(picture: Picture) -> int:
    """Which frame (modulo 110) a BGR or grey picture shows, read a little off its middle."""
    height, width = picture.shape[:2]
    middle = picture[height // 2 : height // 2 + 9, width // 2 : width // 2 + 9]
    return round(float(middle.mean()) * 219 / 255 / 2)


def write_clip(path: Path, clip: Clip | None = None) -> Path:
    """Write ``clip`` into the container that ``path``'s suffix names."""
    clip = clip or Clip()
    with av.open(str(path), "w", options=_exact_times(path, clip) | dict(clip.container_options)) as container:
        video = _add_video(container, clip)
        audio = _add_audio(container, clip.audio) if clip.audio else None
        sound = _sound_packets(audio, _duration_s(clip)) if audio else iter(())
        _interleave(container, _video_packets(video, clip), sound)
    return path


def write_audio_only(path: Path, codec: str = "aac", seconds: float = 1.0) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        for packet in _sound_packets(_add_audio(container, codec), seconds):
            container.mux(packet)
    return path


def write_sizes(path: Path, sizes: Iterable[tuple[int, int]], frames_each: int = 10) -> Path:
    """H.264 whose picture size changes mid-file: ``.h264`` without times, or ``.ts`` at 25 fps.

    Frames are numbered through: the second size starts at number ``frames_each``.
    """
    sizes = list(sizes)
    packets = [packet for part, size in enumerate(sizes) for packet in _annexb(size, frames_each, part * frames_each)]
    if path.suffix == ".h264":
        path.write_bytes(b"".join(map(bytes, packets)))
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_mux_stream("h264", rate=25, width=sizes[0][0], height=sizes[0][1])
        for packet in packets:
            packet.stream = stream
            container.mux(packet)
    return path


def truncate(path: Path, kept: float) -> Path:
    """Cut the file to a fraction of its bytes, in place: an ordinary MP4 loses its index that way."""
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * kept))
    return path


def corrupt_packets(source: Path, target: Path, numbers: Iterable[int]) -> Path:
    """Copy a clip with the payload of the given video packets (in file order) replaced by noise."""
    spoilt, noise = set(numbers), np.random.default_rng(7)
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in reader.demux(stream) if packet.dts is not None):
            if number in spoilt:
                packet = _noisy(packet, noise)
            packet.stream = copy
            writer.mux(packet)
    return target


def decode(path: Path) -> list[tuple[Fraction, Picture]]:
    """Every picture of a file with its exact time in seconds, as BGR: the plain reading a test compares with."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [
        (
            Fraction(frame.pts or 0) * Fraction(frame.time_base or 0),
            np.asarray(frame.to_ndarray(format="bgr24"), np.uint8),
        )
        for frame in frames
    ]


def _exact_times(path: Path, clip: Clip) -> dict[str, str]:
    """An MP4's late start is an edit list in the movie's own time scale, milliseconds unless told."""
    return {"movie_timescale": str(clip.times()[1].denominator)} if path.suffix in {".mp4", ".mov"} else {}


def _add_video(container: OutputContainer, clip: Clip) -> VideoStream:
    _, time_base = clip.times()
    stream = container.add_stream(clip.codec, rate=clip.rate, options=NEAR_LOSSLESS.get(clip.codec, {}))
    if not isinstance(stream, VideoStream):
        raise TypeError(f"{clip.codec} is not a video codec")
    stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, clip.pix_fmt
    stream.codec_context.time_base = time_base
    stream.codec_context.gop_size, stream.codec_context.max_b_frames = clip.gop, clip.b_frames
    if clip.rotation_degrees:
        stream.set_display_rotation(-clip.rotation_degrees)  # libav counts anticlockwise
    return stream


def _video_packets(stream: VideoStream, clip: Clip) -> Iterator[Packet[Any]]:
    ticks, time_base = clip.times()
    for index, pts in enumerate(ticks):
        picture = flat_picture(clip.first_number + index, clip.width, clip.height, clip.pix_fmt, marked=clip.marked)
        picture.pts, picture.time_base = pts, time_base
        yield from stream.encode(picture)
    yield from stream.encode(None)


def flat_picture(number: int, width: int, height: int, pix_fmt: str = "yuv420p", *, marked: bool = False) -> VideoFrame:
    """A picture of one grey (chroma, where there is any, stays neutral)."""
    frame = VideoFrame(width, height, pix_fmt)
    for index, plane in enumerate(frame.planes):
        rows = np.full((plane.height, plane.line_size), 128 if index else 16 + 2 * (number % NUMBERS), np.uint8)
        if marked and index == 0:
            rows[: height // 2, : width // 2] = 235
        plane.update(rows.tobytes())
    return frame


def _add_audio(container: OutputContainer, codec: str) -> AudioStream:
    rate_hz = 8_000 if codec.startswith(("pcm_mulaw", "pcm_alaw")) else AUDIO_RATE_HZ
    stream = container.add_stream(codec, rate=rate_hz, layout="mono")
    if not isinstance(stream, AudioStream):
        raise TypeError(f"{codec} is not a sound codec")
    return stream


def _sound_packets(stream: AudioStream, seconds: float) -> Iterator[Packet[Any]]:
    """A 440 Hz tone."""
    rate_hz, block = stream.codec_context.sample_rate, 1024
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate_hz)
    for start in range(0, int(seconds * rate_hz), block):
        wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(start, start + block) / rate_hz)
        frame = AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
        for resampled in resampler.resample(frame):
            yield from stream.encode(resampled)
    yield from stream.encode(None)


def _interleave(container: OutputContainer, *packets: Iterator[Packet[Any]]) -> None:
    for packet in heapq.merge(*packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
        container.mux(packet)


def _duration_s(clip: Clip) -> float:
    ticks, time_base = clip.times()
    return float((max(ticks) - min(ticks)) * time_base + 1 / clip.rate)


def _annexb(size: tuple[int, int], frames: int, first: int) -> list[Packet[Any]]:
    """Packets that carry their own parameter sets, as a camera that was set anew sends them."""
    encoder = VideoCodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.max_b_frames, encoder.options = 0, NEAR_LOSSLESS["libx264"]
    packets: list[Packet[Any]] = []
    for number in range(first, first + frames):
        picture = flat_picture(number, *size)
        picture.pts, picture.time_base = number, encoder.time_base
        packets += encoder.encode(picture)
    return packets + encoder.encode(None)


def _noisy(packet: Packet[Any], noise: np.random.Generator) -> Packet[Any]:
    broken: Packet[Any] = Packet(noise.bytes(packet.size))
    broken.pts, broken.dts, broken.time_base = packet.pts, packet.dts, packet.time_base
    broken.duration, broken.is_keyframe = packet.duration, packet.is_keyframe
    return broken
