"""The recording keeps every frame, its time and its sound, and plays wherever it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream.errors import SinkError
from stream.frame import AudioInfo, FrameResult, Pixels, SourceInfo
from stream.overlay import Overlay
from stream.sinks.mp4 import track_timescale
from stream.sinks.recorder import VideoSink, letterboxed, padded_to_even
from tests.clips import Clip, decode, frame_number, write_clip
from tests.results import boxes, grey, result, source


def record(path: Path, info: SourceInfo, results: Iterable[FrameResult], *, zero_based: bool = False) -> list[str]:
    """Record results and hand back the notes."""
    notes: list[str] = []
    sink = VideoSink(path, Overlay(), zero_based=zero_based, on_note=notes.append)
    sink.open(info)
    try:
        for each in results:
            sink.write(each)
    finally:
        sink.close()
    return notes


def boxes_of(path: Path) -> list[str]:
    """The names of the top-level boxes of an MP4."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        names.append(data[at + 4 : at + 8].decode("latin1"))
        at += size if size != 1 else int.from_bytes(data[at + 8 : at + 16])
    return names


@pytest.mark.parametrize(
    ("time_base", "pts"),
    [
        (Fraction(1, 25), list(range(30))),
        (Fraction(1, 12800), [512 * n for n in range(30)]),
        (Fraction(1001, 30000), list(range(30))),
        (Fraction(1, 1000), [33, 67, 100, 133, 900, 901, 2500]),
        (Fraction(1, 90000), [126000 + 3003 * n for n in range(30)]),
        (Fraction(1, 90000), [7, 13, 90000, 90001, 400000]),
        (Fraction(1, 1_000_000), [1_234_567, 1_267_900, 5_000_001]),
        (Fraction(1, 10), [5, 6, 9]),
        (Fraction(1, 90000), [90000 * 3600 + 3600 * n for n in range(30)]),
    ],
)
def test_every_frame_keeps_its_exact_time(tmp_path: Path, time_base: Fraction, pts: list[int]) -> None:
    path = tmp_path / "annotated.mp4"
    record(path, source(), [result(n, pts=tick, time_base=time_base) for n, tick in enumerate(pts)])
    decoded = decode(path)
    assert [time for time, _ in decoded] == [tick * time_base for tick in pts]
    assert [frame_number(picture) for _, picture in decoded] == list(range(len(pts)))


def test_a_zero_based_recording_begins_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "annotated.mp4"
    record(path, source(), [result(n, pts=1_000_000 + 512 * n) for n in range(5)], zero_based=True)
    assert [time for time, _ in decode(path)] == [Fraction(n, 25) for n in range(5)]


def test_times_before_zero_are_moved_to_zero(tmp_path: Path) -> None:
    path = tmp_path / "annotated.mp4"
    record(path, source(), [result(n, pts=512 * (n - 3)) for n in range(5)])
    assert [time for time, _ in decode(path)] == [Fraction(n, 25) for n in range(5)]


def test_times_finer_than_mp4_holds_are_rounded_and_stay_apart(tmp_path: Path) -> None:
    path, time_base = tmp_path / "annotated.mp4", Fraction(1, 1_000_000_000)
    record(path, source(), [result(n, pts=tick, time_base=time_base) for n, tick in enumerate([0, 300, 40_000_400])])
    assert [time for time, _ in decode(path)] == [Fraction(tick, 1_000_000) for tick in (0, 1, 40_000)]


@pytest.mark.parametrize("denominator", [1, 7, 10, 25, 12800, 30000, 90000, 1_000_000, 1_200_000])
def test_every_tick_of_a_source_is_whole_in_its_track(denominator: int) -> None:
    assert track_timescale(Fraction(1, denominator)) % denominator == 0
    assert 10_000 <= track_timescale(Fraction(1, denominator)) <= 1_200_000


def test_it_is_an_ordinary_mp4_that_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "annotated.mp4"
    record(path, source(), (result(n) for n in range(80)))
    names = boxes_of(path)
    assert names[0] == "ftyp"
    assert names.count("moov") == 1
    assert "moof" not in names
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.codec_tag == "avc1"
        assert stream.codec_context.colorspace == 5  # BT.601
        assert stream.codec_context.color_range == 1
        assert container.duration == pytest.approx(80 / 25 * av.time_base, abs=1000)


def test_key_frames_come_each_second_of_time_whatever_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "annotated.mp4"
    pts = [n * 512 for n in range(50)] + [50 * 512 + n * 6400 for n in range(20)]
    record(path, source(), [result(n, pts=tick) for n, tick in enumerate(pts)])
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    keys = [float(packet.pts * packet.time_base) for packet in packets if packet.is_keyframe and packet.pts is not None]
    assert keys[:4] == [0.0, 1.0, 2.0, 3.0]
    assert max(np.diff(keys)) <= 1.0
    assert all(packet.pts == packet.dts for packet in packets)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 1), (17, 13), (321, 240), (320, 241), (16, 2)])
def test_odd_sizes_are_padded_to_even(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "annotated.mp4"
    record(path, source(), (result(n, picture=grey(n, width, height)) for n in range(5)))
    decoded = decode(path)
    assert decoded[0][1].shape == (height + height % 2, width + width % 2, 3)
    assert [frame_number(picture) for _, picture in decoded] == list(range(5))


def test_padding_repeats_the_edge() -> None:
    picture = np.arange(3 * 3 * 3, dtype=np.uint8).reshape(3, 3, 3)
    padded = padded_to_even(picture)
    assert padded.shape == (4, 4, 3)
    assert np.array_equal(padded[:3, :3], picture)
    assert np.array_equal(padded[3, 3], picture[2, 2])


def test_another_size_is_letterboxed_into_the_first_and_noted_once(tmp_path: Path) -> None:
    path = tmp_path / "annotated.mp4"
    results = [result(n) for n in range(5)] + [result(n, picture=grey(n, 100, 200)) for n in range(5, 10)]
    notes = record(path, source(), results)
    decoded = decode(path)
    assert [frame_number(picture) for _, picture in decoded] == list(range(10))
    assert decoded[7][1].shape == (240, 320, 3)
    assert decoded[7][1][120, 10].max() < 8
    assert notes == ["cam1 changed its picture to 100x200: it is recorded within the first size, 320x240"]


def test_letterboxing_is_centred_and_undistorted() -> None:
    boxed = letterboxed(np.full((100, 50, 3), 200, np.uint8), 200, 100)
    assert [int(column) for column in boxed[50, :, 0].nonzero()[0][[0, -1]]] == [75, 124]


def test_boxes_are_drawn_and_the_shared_picture_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "annotated.mp4"
    picture = grey(0)
    picture.setflags(write=False)
    record(path, source(), [result(0, boxes([[50, 50, 200, 200]]), picture=picture)])
    assert np.ptp(decode(path)[0][1].astype(int), axis=2).max() > 50  # colour on what was grey


def test_stages_are_told(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    ticks = iter(range(100))
    sink = VideoSink(
        tmp_path / "a.mp4",
        Overlay(),
        on_stage=lambda stage, seconds: told.append((stage, seconds)),
        clock=lambda: float(next(ticks)),
    )
    sink.open(source())
    sink.write(result(0))
    sink.close()
    assert told == [("draw", 1.0), ("encode", 1.0)]


def record_clip(clip: Path, path: Path, audio: AudioInfo, kept: range, *, zero_based: bool = False) -> list[str]:
    """Record the frames ``kept`` of a clip of ours as the pipeline would."""
    with av.open(str(clip)) as container:
        time_base = container.streams.video[0].time_base
        frames = [(frame.pts, frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]
    assert time_base is not None
    info = source(location=clip, time_base=time_base, audio=audio)
    results = (
        result(n, pts=frames[n][0], time_base=time_base, picture=np.asarray(frames[n][1], np.uint8)) for n in kept
    )
    return record(path, info, results, zero_based=zero_based)


def sound_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.pts is not None]
    return [float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "aac"), (".ts", "aac"), (".mkv", "libopus"), (".mp4", "libmp3lame"), (".mkv", "ac3"), (".mkv", "flac")],
)
def test_sound_is_carried_over(tmp_path: Path, suffix: str, codec: str) -> None:
    clip = write_clip(tmp_path / f"clip{suffix}", Clip(frames=75, audio=codec))
    path = tmp_path / "annotated.mp4"
    stored = codec.removeprefix("lib").replace("mp3lame", "mp3")
    assert record_clip(clip, path, AudioInfo("a decoder's name", 48_000, 1), range(75)) == []
    times, frames = sound_times(path), decode(path)
    first_s = float(frames[0][0])
    assert times[0] == pytest.approx(first_s, abs=0.05)
    assert times[-1] == pytest.approx(first_s + 3.0, abs=0.15)
    assert len(frames) == 75
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name.startswith(stored)
        assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(3 * 48_000, abs=5000)


def test_sound_is_trimmed_with_the_picture(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", Clip(frames=200, audio="aac"))
    path = tmp_path / "annotated.mp4"
    record_clip(clip, path, AudioInfo("aac", 48_000, 1), range(50, 100))
    times = sound_times(path)
    assert times[0] == pytest.approx(2.0, abs=0.03)
    assert times[-1] == pytest.approx(4.0, abs=0.06)
    assert decode(path)[0][0] == 2


def test_sound_moves_with_the_picture_to_zero(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", Clip(frames=200, audio="aac"))
    path = tmp_path / "annotated.mp4"
    record_clip(clip, path, AudioInfo("aac", 48_000, 1), range(50, 100), zero_based=True)
    assert sound_times(path)[0] == pytest.approx(0.0, abs=0.03)
    assert decode(path)[0][0] == 0


def test_telephone_sound_is_dropped_with_a_note(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mov", Clip(audio="pcm_mulaw"))
    path = tmp_path / "annotated.mp4"
    notes = record_clip(clip, path, AudioInfo("pcm_mulaw", 8_000, 1), range(30))
    assert notes == ["the recording of cam1 is silent: MP4 cannot hold its pcm_mulaw sound"]
    assert len(decode(path)) == 30


def test_sound_that_ends_early_does_not_end_the_picture(tmp_path: Path) -> None:
    silent = write_clip(tmp_path / "silent.mp4", Clip(frames=100))
    short = write_clip(tmp_path / "short.mp4", Clip(frames=25, audio="aac"))
    info = source(location=short, audio=AudioInfo("aac", 48_000, 1))
    path = tmp_path / "annotated.mp4"
    record(path, info, (result(n, picture=picture) for n, (_, picture) in enumerate(decode(silent))))
    assert len(decode(path)) == 100
    assert sound_times(path)[-1] == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_sound_does_not_end_the_picture(tmp_path: Path, seed: int) -> None:
    clip = write_clip(tmp_path / "clip.ts", Clip(frames=75, audio="aac"))
    data = bytearray(clip.read_bytes())
    noise = np.random.default_rng(seed)
    for at in noise.integers(2000, len(data) - 200, 40):
        data[at : at + 100] = noise.bytes(100)
    clip.write_bytes(data)
    path, info = tmp_path / "annotated.mp4", source(location=clip, audio=AudioInfo("aac", 48_000, 1))
    record(path, info, (result(n) for n in range(75)))
    assert [frame_number(picture) for _, picture in decode(path)] == list(range(75))


def test_without_frames_no_file_is_left(tmp_path: Path) -> None:
    record(tmp_path / "annotated.mp4", source(), [])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path, Overlay())
    with pytest.raises(SinkError, match=f"cannot write {tmp_path}: is a directory; choose another folder"):
        sink.open(source())
    sink.close()
    assert tmp_path.is_dir()


RECORD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from stream.overlay import Overlay
from stream.sinks.recorder import VideoSink
from tests.results import boxes, result, source
sink = VideoSink(Path(sys.argv[1]), Overlay())
sink.open(source())
for n in range(220):
    sink.write(result(n, boxes([[10, 10, 90, 90]])))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_all_but_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "annotated.mp4"
    child = subprocess.run([sys.executable, "-c", RECORD_AND_DIE, str(path)], check=False, cwd=Path.cwd())
    assert child.returncode == -signal.SIGKILL
    times = [time for time, _ in decode(path)]
    assert len(times) >= 220 - 27
    assert times == [Fraction(n, 25) for n in range(len(times))]


def noise(number: int) -> Pixels:
    return np.random.default_rng(number).integers(0, 256, (240, 320, 3), np.uint8)
