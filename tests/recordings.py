"""Packets of clips whose grey level is the frame number, and what recordings made of them hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from av import CodecContext
from av.video.codeccontext import VideoCodecContext

from stream.packets import EncodedPacket, VideoTrack
from stream.recording.buffer import Loss, Taken
from stream.recording.demand import Demand
from stream.recording.disk import DiskFloor
from stream.recording.index import RecordingIndex
from stream.recording.library import Library, OpenFile, new_file
from stream.recording.settings import RecordSettings
from stream.recording.tape import Tape
from tests.clips import NEAR_LOSSLESS, NUMBERS, decode, flat_picture, frame_number

FPS = 10
TICKS = 90_000
NOON = 1_767_268_800.0  # 2026-01-01 12:00:00 UTC
SMALL = (64, 48)
ROOM = 10**12


@lru_cache(maxsize=32)
def packets(
    count: int,
    *,
    first: int = 0,
    codec: str = "libx264",
    size: tuple[int, int] = SMALL,
    fps: int = FPS,
    gop: int = FPS,
    b_frames: int = 0,
    epoch: int = 0,
) -> tuple[EncodedPacket, ...]:
    """Encoded pictures of the numbers from ``first`` on, at ``number / fps`` seconds, every ``gop`` a keyframe."""
    encoder = CodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = size
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, fps if codec == "mpeg4" else TICKS), Fraction(fps)
    encoder.gop_size, encoder.max_b_frames = gop, b_frames
    extra = {"libx264": {"x264-params": f"scenecut=0:keyint={gop}:min-keyint={gop}"}, "libx265": _X265}.get(codec, {})
    encoder.options = NEAR_LOSSLESS.get(codec, {}) | extra
    track = VideoTrack(_NAMES.get(codec, codec), *size, Fraction(1, TICKS), Fraction(fps))
    coded = []
    for number in range(first, first + count):
        picture = flat_picture(number, *size, encoder.pix_fmt)
        picture.pts, picture.time_base = round(number / fps / encoder.time_base), encoder.time_base
        coded += encoder.encode(picture)
    coded += encoder.encode(None)
    scale = round(TICKS * encoder.time_base)
    return tuple(
        EncodedPacket(track, bytes(p), (p.pts or 0) * scale, (p.dts or 0) * scale, p.is_keyframe, 0.0, epoch)
        for p in coded
    )


_X265 = {"preset": "ultrafast", "crf": "4", "x265-params": "log-level=none:bframes=0"}
_NAMES = {"libx264": "h264", "libx265": "hevc", "libvpx": "vp8", "libvpx-vp9": "vp9"}


@dataclass(slots=True)
class Disk:
    """A disk whose free space a test sets; it is never looked at itself."""

    total: int = 10 * ROOM
    free: int = 10 * ROOM
    error: OSError | None = None

    def __call__(self, folder: Path) -> Disk:
        if self.error is not None:
            raise self.error
        return self


@dataclass(slots=True)
class Bench:
    """A tape without threads, and what it said."""

    folder: Path
    settings: RecordSettings
    open_file: OpenFile = new_file
    started_at: float = NOON
    disk: Disk = field(default_factory=Disk)
    on_pause: Callable[[], None] = lambda: None
    notes: list[str] = field(default_factory=list)
    pauses: list[str] = field(default_factory=list)
    index: RecordingIndex = field(init=False)
    demand: Demand = field(init=False)
    tape: Tape = field(init=False)

    def __post_init__(self) -> None:
        self.index = RecordingIndex(self.folder)
        each = self.settings
        self.demand = Demand(each.mode, pre_roll_s=each.pre_roll_s, post_roll_s=each.post_roll_s)
        self.tape = Tape(
            "cam1",
            Library("cam1", self.index, annotated=each.what == "annotated", open_file=self.open_file),
            self.demand,
            DiskFloor(self.folder, each.min_free_gb, self.disk),
            segment_s=each.segment_s,
            wall_offset=lambda packet: self.started_at,
            on_note=self.notes.append,
            on_pause=self._paused,
        )

    def _paused(self) -> None:
        self.pauses.append(self.tape.reason)
        self.on_pause()

    def feed(self, some: Iterable[EncodedPacket], *, lost: Loss | None = None) -> None:
        for packet in some:
            self.tape.feed(Taken(packet, lost))
            lost = None

    @property
    def phase(self) -> str:
        return self.tape.phase

    def finish(self) -> None:
        self.tape.finish()
        self.index.close()


def record(folder: Path, some: Iterable[EncodedPacket], **settings: object) -> Bench:
    """Record packets from the first to the last."""
    bench = Bench(folder, RecordSettings.model_validate({"mode": "continuous"} | settings))
    bench.feed(some)
    bench.finish()
    return bench


def numbers(path: Path) -> list[int]:
    """The frame numbers that a file shows, checked to be at the times they should have from 0 on.

    They count on beyond what grey levels can tell apart; the first one is modulo that.
    """
    shown = decode(path)
    found: list[int] = []
    for _, picture in shown:
        number = frame_number(picture)
        found.append(number + NUMBERS * (found[-1] // NUMBERS + (number < found[-1] % NUMBERS)) if found else number)
    exact = path.suffix == ".mp4"
    for number, (time, _) in zip(found, shown, strict=True):
        due = Fraction(number - found[0], FPS)
        assert time == due if exact else abs(time - due) <= Fraction(1, 1000), (path, number, time)
    return found


def files(folder: Path) -> list[Path]:
    """The recordings below a folder in the order of their names."""
    return sorted(path for path in folder.glob("*/*/*") if path.suffix in {".mp4", ".mkv"})


def shown(folder: Path) -> list[list[int]]:
    """The frame numbers of each file."""
    return [numbers(path) for path in files(folder)]


def span(first: int, last: int) -> list[int]:
    """The numbers of a row of frames, the last one included."""
    return list(range(first, last + 1))


def at(some: Iterable[EncodedPacket], change: Callable[[EncodedPacket], EncodedPacket]) -> list[EncodedPacket]:
    return [change(packet) for packet in some]


def without_track(packet: EncodedPacket, **changes: object) -> EncodedPacket:
    return replace(packet, track=replace(packet.track, **changes))  # type: ignore[arg-type] # checked by the dataclass
