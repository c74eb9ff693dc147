"""Recorded files, frame by frame: what is decoded, when it was, and what could not be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest

from stream.errors import NoVideoError, SourceError
from stream.frame import Frame, NetworkView, SourceInfo
from stream.sources.base import SourceLosses
from stream.sources.file import FileRange, FileSource
from tests import clips
from tests.clips import Clip

WHOLE = FileRange()


@contextmanager
def opened(path: Path, part: FileRange = WHOLE) -> Iterator[tuple[FileSource, SourceInfo]]:
    source = FileSource(path, name=path.name, wants_pictures=lambda _index: True, part=part)
    info = source.open()
    try:
        yield source, info
    finally:
        source.close()


def square_view(_width: int, _height: int) -> NetworkView:
    return NetworkView(64, 64, rgb=False)


def read(path: Path, part: FileRange = WHOLE) -> tuple[list[Frame], SourceLosses]:
    with opened(path, part) as (source, _):
        return list(source.frames(square_view)), source.losses


def numbers(frames: list[Frame]) -> list[int]:
    return [clips.frame_number(frame.picture) for frame in frames if frame.picture is not None]


def test_every_frame_once_in_order_with_its_time(tmp_path: Path) -> None:
    frames, losses = read(clips.write_clip(tmp_path / "clip.mp4", Clip(frames=60, b_frames=2)))
    assert numbers(frames) == list(range(60))
    assert [frame.index for frame in frames] == list(range(60))
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(n, 25) for n in range(60)]
    assert losses == SourceLosses()


def test_variable_frame_rate_and_a_late_start_keep_their_times(tmp_path: Path) -> None:
    ticks = (500, 540, 700, 701, 1400)
    path = clips.write_clip(tmp_path / "vfr.mkv", Clip(frames=5, pts=ticks, time_base=Fraction(1, 1000)))
    frames, _ = read(path)
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(tick, 1000) for tick in ticks]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied_to_picture_network_and_size(tmp_path: Path, degrees: int) -> None:
    path = clips.write_clip(
        tmp_path / "turned.mp4", Clip(frames=2, width=320, height=160, rotation_degrees=degrees, marked=True)
    )
    with opened(path) as (source, info):
        frame = next(iter(source.frames(square_view)))
    size = (320, 160) if degrees == 180 else (160, 320)
    assert (info.width, info.height) == (frame.width, frame.height) == size
    assert frame.picture is not None
    assert frame.picture.shape == (size[1], size[0], 3)
    corner = {90: (0, -1), 180: (-1, -1), 270: (-1, 0)}[degrees]
    assert frame.picture[corner].mean() > 200
    assert frame.letterbox is not None
    assert frame.network is not None
    box = frame.letterbox
    inner = frame.network[box.top : box.top + box.inner_height, box.left : box.left + box.inner_width]
    assert inner[corner].mean() > 200


def test_the_network_sees_a_letterboxed_picture(tmp_path: Path) -> None:
    frames, _ = read(clips.write_clip(tmp_path / "clip.mp4", Clip(frames=1, first_number=50)))
    network = frames[0].network
    assert network is not None
    assert network.shape == (64, 64, 3)
    assert (network[:8] == 114).all(), "grey above the picture"
    assert clips.frame_number(network) == 50


def test_only_every_nth_frame_is_for_the_network(tmp_path: Path) -> None:
    frames, _ = read(clips.write_clip(tmp_path / "clip.mp4", Clip(frames=10)), FileRange(stride=3))
    assert [frame.index for frame in frames if frame.network is not None] == [0, 3, 6, 9]
    assert len(frames) == 10


def test_start_and_end_cut_between_frames(tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", Clip(frames=100, gop=30))
    frames, _ = read(path, FileRange(start_s=1.0, end_s=2.0))
    assert numbers(frames) == list(range(25, 50))
    assert frames[0].index == 0


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mpg", "avi", "h264"])
@pytest.mark.parametrize("start_s", [0.04, 1.0, 1.56, 3.2])
def test_a_start_is_found_in_every_container(tmp_path: Path, suffix: str, start_s: float) -> None:
    """Transport streams are searched to any packet, bare streams not at all."""
    if suffix == "h264":
        path = clips.write_sizes(tmp_path / "clip.h264", [(320, 240)], frames_each=100)
    else:
        codec = {"mpg": "mpeg2video", "avi": "mpeg4"}.get(suffix, "libx264")
        b_frames = 0 if suffix == "avi" else 2
        path = clips.write_clip(tmp_path / f"clip.{suffix}", Clip(frames=100, gop=40, b_frames=b_frames, codec=codec))
    whole, _ = read(path)
    frames, losses = read(path, FileRange(start_s=start_s))
    assert [frame.pts for frame in frames] == [frame.pts for frame in whole][round(start_s * 25) :]
    assert numbers(frames) == numbers(whole)[-len(frames) :]
    assert not losses.any_frames


def test_recordings_joined_end_to_end_keep_their_pace(tmp_path: Path) -> None:
    one = clips.write_clip(tmp_path / "one.ts", Clip(frames=50)).read_bytes()
    (tmp_path / "joined.ts").write_bytes(one + one)
    frames, losses = read(tmp_path / "joined.ts")
    times = [frame.pts_s for frame in frames]
    assert len(times) == 100
    assert times[-1] - times[0] == pytest.approx(99 / 25, abs=0.1)
    assert losses.pts_not_forward == 1


def test_metadata_in_another_encoding_does_not_matter(tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "clip.avi", Clip(frames=5, codec="mpeg4"))
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"L\xe4vf", 1))
    assert len(read(path)[0]) == 5


def test_damage_near_the_end_loses_nothing_else_and_is_counted(tmp_path: Path) -> None:
    whole = clips.write_clip(tmp_path / "whole.mkv", Clip(frames=40, codec="mpeg4", gop=1))
    frames, losses = read(clips.corrupt_packets(whole, tmp_path / "spoilt.mkv", [36]))
    assert set(range(40)) - {36} <= set(numbers(frames))
    assert losses.any_frames


def test_what_was_mended_is_told_for_a_part_as_well(tmp_path: Path) -> None:
    path = clips.write_sizes(tmp_path / "bare.h264", [(320, 240)], frames_each=50)
    _, whole = read(path)
    _, part = read(path, FileRange(end_s=1.0))
    assert whole.pts_missing == 50
    assert 24 <= part.pts_missing <= 27


def test_a_file_of_damaged_packets_only_is_refused(tmp_path: Path) -> None:
    whole = clips.write_clip(tmp_path / "whole.mkv", Clip(frames=20, codec="mpeg4", gop=1))
    spoilt = clips.corrupt_packets(whole, tmp_path / "spoilt.mkv", range(20))
    with pytest.raises(NoVideoError):
        read(spoilt)


def test_a_start_behind_the_end_is_one_sentence(tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", Clip(frames=25))
    with pytest.raises(NoVideoError, match=r"no frame between --start and --end; it lasts 1\.0 s"):
        read(path, FileRange(start_s=9.0))


def test_a_change_of_size_goes_through(tmp_path: Path) -> None:
    frames, _ = read(clips.write_sizes(tmp_path / "sizes.ts", [(320, 240), (160, 96)], frames_each=10))
    assert [(frame.width, frame.height) for frame in frames] == [(320, 240)] * 10 + [(160, 96)] * 10
    assert numbers(frames) == list(range(20))


def test_odd_sizes(tmp_path: Path) -> None:
    frames, _ = read(clips.write_clip(tmp_path / "odd.mp4", Clip(frames=3, width=321, height=241, pix_fmt="yuv444p")))
    assert frames[0].picture is not None
    assert frames[0].picture.shape == (241, 321, 3)


def test_one_pixel(tmp_path: Path) -> None:
    frames, _ = read(
        clips.write_clip(tmp_path / "dot.mkv", Clip(frames=3, width=1, height=1, codec="ffv1", pix_fmt="yuv444p"))
    )
    assert [frame.picture.shape for frame in frames if frame.picture is not None] == [(1, 1, 3)] * 3


def test_missing_times_are_mended_and_counted(tmp_path: Path) -> None:
    frames, losses = read(clips.write_sizes(tmp_path / "bare.h264", [(320, 240)], frames_each=20))
    times = [frame.pts for frame in frames]
    assert numbers(frames) == list(range(20))
    assert times == sorted(set(times))
    assert not losses.any_frames


def test_corrupt_packets_are_skipped_and_counted(tmp_path: Path) -> None:
    whole = clips.write_clip(tmp_path / "whole.mkv", Clip(frames=40, codec="mpeg4", gop=1))
    frames, losses = read(clips.corrupt_packets(whole, tmp_path / "spoilt.mkv", [10, 20]))
    assert losses.any_frames
    assert losses.corrupt_packets + losses.damaged_frames >= 2
    assert set(range(40)) - {10, 20} <= set(numbers(frames))


def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    path = clips.truncate(clips.write_clip(tmp_path / "cut.ts", Clip(frames=50, codec="mpeg2video")), 0.5)
    frames, _ = read(path)
    assert 5 < len(frames) < 50
    assert numbers(frames) == list(range(len(frames)))


def test_sound_is_described(tmp_path: Path) -> None:
    with opened(clips.write_clip(tmp_path / "sound.mp4", Clip(frames=5, audio="aac"))) as (_, info):
        assert info.audio is not None
        assert info.audio.codec == "aac"


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as caught, opened(path):
        pass
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere.mp4")


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "is empty" in refusal(path)


def test_a_text_file_called_mp4(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("this is no film\n" * 100)
    assert "not a video" in refusal(path)


def test_a_truncated_mp4(tmp_path: Path) -> None:
    path = clips.truncate(clips.write_clip(tmp_path / "cut.mp4", Clip(frames=50)), 0.5)
    assert "cut off before its index" in refusal(path)


def test_sound_without_a_picture(tmp_path: Path) -> None:
    assert "holds no video, only audio" in refusal(clips.write_audio_only(tmp_path / "song.m4a"))


def test_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "pipe or a device" in refusal(tmp_path / "pipe.mp4")


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    path.write_bytes(b"x")
    with pytest.raises(SourceError, match="rename it"), opened(path):
        pass


def test_a_download_that_stopped_is_told(tmp_path: Path) -> None:
    """An MP4 with its index in front, cut off: every packet that is there is whole."""
    path = clips.write_clip(tmp_path / "clip.mp4", Clip(frames=100, container_options=(("movflags", "faststart"),)))
    with av.open(str(path)) as container:
        cut = [packet.pos for packet in container.demux(video=0) if packet.pos is not None][50]
    with path.open("r+b") as file:
        file.truncate(cut)
    frames, losses = read(path)
    assert len(frames) == 50
    assert losses.truncated is not None
    assert "announces 100 frames and holds 50" in losses.truncated
    assert read(path, FileRange(end_s=1.0))[1].truncated is None


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "mov"])
def test_a_whole_file_is_not_called_cut_off(tmp_path: Path, suffix: str) -> None:
    late = Clip(frames=20, pts=[40 * n + 700 for n in range(19)] + [9000], time_base=Fraction(1, 1000))
    clip = Clip(frames=20, codec="mpeg4") if suffix == "avi" else late
    _, losses = read(clips.write_clip(tmp_path / f"clip.{suffix}", clip))
    assert losses.truncated is None


def test_a_playlist_cannot_reach_the_network(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/clip.ts\n#EXT-X-ENDLIST\n")
    refusal(path)
