"""The clips that other tests lean on are what they say."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests import clips
from tests.clips import Clip, decode, frame_number, write_clip


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_each_frame_shows_its_number(tmp_path: Path, suffix: str) -> None:
    decoded = decode(write_clip(tmp_path / f"a{suffix}", Clip(frames=40)))
    assert [frame_number(picture) for _, picture in decoded] == list(range(40))


def test_all_grey_levels_are_told_apart(tmp_path: Path) -> None:
    decoded = decode(write_clip(tmp_path / "a.mp4", Clip(frames=230, width=32, height=32)))
    assert [frame_number(picture) for _, picture in decoded] == [number % 110 for number in range(230)]


def test_variable_times_and_b_frames(tmp_path: Path) -> None:
    pts = [5, 9, 10, 30, 31, 32, 60, 90]
    clip = Clip(pts=pts, time_base=Fraction(1, 90), b_frames=2)
    decoded = decode(write_clip(tmp_path / "a.mp4", clip))
    assert [time for time, _ in decoded] == [Fraction(tick, 90) for tick in pts]
    assert [frame_number(picture) for _, picture in decoded] == list(range(8))


def test_rotation_is_clockwise_degrees_for_the_player(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", Clip(rotation_degrees=90, marked=True))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert frame.rotation == -90  # libav counts anticlockwise
    picture = np.asarray(frame.to_ndarray(format="gray"))
    assert picture[10, 10] > 200 > picture[-10, 10]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 13), (319, 241)])
def test_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    decoded = decode(write_clip(tmp_path / "a.mp4", Clip(width=width, height=height, pix_fmt="yuv444p")))
    assert [frame_number(picture) for _, picture in decoded] == list(range(30))
    assert decoded[0][1].shape == (height, width, 3)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".avi", "pcm_s16le"), (".mov", "pcm_mulaw")])
def test_sound_is_as_long_as_the_picture(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_clip(tmp_path / f"a{suffix}", Clip(frames=50, audio=codec))
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == codec
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("suffix", [".ts", ".h264"])
def test_size_changes_mid_file(tmp_path: Path, suffix: str) -> None:
    path = clips.write_sizes(tmp_path / f"a{suffix}", [(320, 240), (160, 120)])
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [frame.width for frame in frames] == [320] * 10 + [160] * 10


def test_a_truncated_mp4_has_lost_its_index(tmp_path: Path) -> None:
    path = clips.truncate(write_clip(tmp_path / "a.mp4"), 0.8)
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(path))


def test_audio_only(tmp_path: Path) -> None:
    with av.open(str(clips.write_audio_only(tmp_path / "a.m4a"))) as container:
        assert len(container.streams.video) == 0
        assert len(container.streams.audio) == 1


def test_corrupt_packets_lose_pictures_but_not_the_file(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.mp4", Clip(frames=36))
    broken = clips.corrupt_packets(whole, tmp_path / "b.mp4", range(15, 18))
    errors, numbers = 0, []
    with av.open(str(broken)) as container:
        for packet in container.demux(video=0):
            try:
                numbers += [
                    frame_number(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)) for frame in packet.decode()
                ]
            except av.error.InvalidDataError:
                errors += 1
    assert errors == 3
    assert numbers[:15] == list(range(15))
    assert numbers[-12:] == list(range(24, 36))
