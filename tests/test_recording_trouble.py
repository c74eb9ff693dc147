"""What stops a recording, and how it goes on: a disk that is slow, full, failing or gone, an index in use."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from stream.errors import SinkError
from stream.recording.buffer import Loss
from stream.recording.index import RecordingIndex
from stream.recording.settings import RecordSettings
from stream.sinks.guarded import GuardedFile
from tests.recordings import FPS, NOON, Bench, Disk, files, numbers, packets, record, shown, span

GB = 1_000_000_000


def test_packets_lost_before_the_recorder_are_a_gap_in_the_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="continuous"))
    some = packets(60)
    bench.feed(some[:13])
    bench.feed(some[40:], lost=Loss(27, some[13].pts_s))
    bench.finish()
    assert shown(tmp_path) == [span(0, 12) + span(40, 59)]
    assert bench.tape.gap_s == pytest.approx(2.7)
    assert bench.notes == ["the disk is too slow for the recording of cam1: 2.7 s are missing in it"]


def test_below_the_floor_it_pauses_once_and_goes_on_with_a_margin(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="continuous", min_free_gb=2))
    some = packets(100)
    bench.feed(some[:20])
    bench.disk.free = 2 * GB - 1
    bench.feed(some[20:50])
    assert bench.phase == "paused"
    assert bench.tape.gap_s == pytest.approx(2.9)
    bench.disk.free = 2 * GB + GB // 4  # above the floor, but not by the margin
    bench.feed(some[50:60])
    assert bench.phase == "paused"
    bench.disk.free = 3 * GB
    bench.tape.tick()
    assert bench.phase == "idle"
    bench.feed(some[60:])
    assert bench.phase == "recording"
    bench.finish()
    assert shown(tmp_path) == [span(0, 19), span(60, 99)]
    assert bench.tape.gap_s == pytest.approx(4.0)
    assert bench.notes == [
        f"cam1 is not recorded: the disk of {tmp_path} has 2.00 GB free, 2.00 GB are to stay so; "
        "recording goes on by itself when it can",
        "cam1 is recorded again; 4.0 s are missing",
    ]
    assert len(bench.pauses) == 1


def test_while_nothing_is_wanted_a_pause_costs_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="events", pre_roll_s=2, post_roll_s=1))
    some = packets(100)
    bench.disk.free = 0
    bench.feed(some[:50])
    assert (bench.phase, bench.tape.gap_s) == ("paused", 0)
    bench.demand.hold("e1", 5.0)
    bench.demand.release("e1", 5.9)
    bench.feed(some[50:100])
    assert bench.phase == "paused"
    bench.finish()
    # the pre-roll from 3.0 on (the group of frame 30) up to the end of the post-roll
    assert bench.tape.gap_s == pytest.approx(7.0 - 3.0, abs=0.11)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_reached_is_a_pause(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="continuous"))
    bench.disk.error = OSError(errno.EIO, "Input/output error")
    bench.feed(packets(10))
    assert bench.tape.reason == f"{tmp_path} cannot be reached (input/output error)"
    bench.finish()


def test_a_cameras_folder_that_cannot_be_reached_is_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network drive that is gone while the system still remembers the size of its disk."""
    bench = Bench(tmp_path, RecordSettings(mode="continuous"))
    bench.feed(packets(1))  # claims the folder

    def exists_on_a_lost_drive(_self: Path) -> bool:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as lost:
        lost.setattr(Path, "exists", exists_on_a_lost_drive)
        bench.feed(packets(1, epoch=1))
        assert bench.phase == "paused"
        assert "stale file handle" in bench.tape.reason
    bench.feed(packets(150, epoch=2)[1:])
    bench.finish()
    assert shown(tmp_path)[-1] == list(range(100, 150))


class FullFile(GuardedFile):
    """A file that takes so many bytes and no more."""

    room_bytes = 0

    def write(self, data: bytes) -> int:
        if self._failure is None and self._file.tell() + len(data) > FullFile.room_bytes:
            self._file = _Full(self._file)  # type: ignore[assignment] # stands in for the file from here on
        return super().write(data)


class _Full:
    def __init__(self, file: object) -> None:
        self._inner = file

    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_a_disk_that_fills_up_within_a_file_leaves_what_is_whole(tmp_path: Path) -> None:
    some = packets(150)
    FullFile.room_bytes = sum(len(packet.data) for packet in some[:45])
    bench = Bench(tmp_path, RecordSettings(mode="continuous"), open_file=lambda path: FullFile(path, anew=True))
    bench.feed(some[:60])
    assert bench.phase == "paused"
    assert bench.tape.reason == "its file cannot be written (no space left on device)"
    [path] = files(tmp_path)
    whole = numbers(path)
    assert whole == span(0, len(whole) - 1)
    assert 20 <= len(whole) <= 45
    [row] = bench.index.find()
    assert row.ended_at == pytest.approx(NOON + len(whole) / FPS)
    assert row.size_bytes == path.stat().st_size
    FullFile.room_bytes = 10**9
    bench.feed(some[60:])
    bench.finish()
    resumed = numbers(files(tmp_path)[1])
    assert resumed == span(20, 39), "frame 130, the first keyframe after the time without a try"
    assert bench.tape.gap_s == pytest.approx(13.0 - len(whole) / FPS), "what the torn end held counts as well"


def test_where_room_is_made_before_the_pause_is_noted_nothing_waits_for_the_next_try(tmp_path: Path) -> None:
    disk = Disk()

    class Filling(FullFile):
        def write(self, data: bytes) -> int:
            disk.free = FullFile.room_bytes
            return super().write(data)

    def make_room() -> None:
        disk.free = FullFile.room_bytes = 10 * GB

    make_room()
    bench = Bench(
        tmp_path,
        RecordSettings(mode="continuous"),
        open_file=lambda path: Filling(path, anew=True),
        disk=disk,
        on_pause=make_room,
    )
    bench.feed(packets(60)[:31])
    FullFile.room_bytes = 0
    bench.feed(packets(60)[31:])
    bench.finish()
    assert bench.pauses == ["its file cannot be written (no space left on device)"]
    assert shown(tmp_path)[-1] == span(50, 59), "from the next keyframe on"


def test_a_file_that_failed_before_its_first_second_is_removed(tmp_path: Path) -> None:
    FullFile.room_bytes = 0
    bench = Bench(tmp_path, RecordSettings(mode="continuous"), open_file=lambda path: FullFile(path, anew=True))
    bench.feed(packets(30))
    bench.finish()
    assert files(tmp_path) == []
    assert bench.index.find() == []
    assert bench.tape.gap_s == pytest.approx(2.9)


def test_a_file_that_cannot_be_completed_is_a_gap_from_its_last_whole_second_on(tmp_path: Path) -> None:
    some = packets(60)
    bench = Bench(
        tmp_path, RecordSettings(mode="continuous", segment_s=3), open_file=lambda path: FullFile(path, anew=True)
    )
    FullFile.room_bytes = 10**9
    bench.feed(some[:30])
    FullFile.room_bytes = 0  # the third second waits in the muxer, and the index of the file is to be written
    bench.feed(some[30:31])
    assert shown(tmp_path) == [span(0, 19)]
    assert bench.tape.gap_s == pytest.approx(1.0), "the next file begins with the keyframe at 3.0"
    assert bench.index.find()[0].ended_at == pytest.approx(NOON + 2.0)
    bench.finish()


def test_a_failure_that_is_not_for_want_of_space_is_tried_again_seldom(tmp_path: Path) -> None:
    opened: list[Path] = []

    def refuse(path: Path) -> GuardedFile:
        opened.append(path)
        raise SinkError("no")

    bench = Bench(tmp_path, RecordSettings(mode="continuous"), open_file=refuse)
    bench.feed(packets(105))
    assert len(opened) == 2
    assert bench.index.find() == []
    bench.finish()
    assert bench.tape.gap_s == pytest.approx(10.4)


def test_what_cannot_be_copied_says_so(tmp_path: Path) -> None:
    some = [replace(packet, track=replace(packet.track, codec="rawvideo")) for packet in packets(5)]
    bench = record(tmp_path, some)
    assert bench.notes[0].startswith(
        "cam1 is not recorded: its rawvideo pictures cannot be copied into a file; record them annotated"
    )


def test_an_index_that_fails_does_not_stop_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="continuous", segment_s=2))
    some = packets(100)
    bench.feed(some[:15])
    failing = True

    def fail(self: RecordingIndex, *arguments: object) -> None:
        if failing:
            raise SinkError("the index is on a full disk")
        genuine(self, *arguments)  # type: ignore[arg-type] # handed on as they came

    genuine = RecordingIndex.finish
    monkeypatch.setattr(RecordingIndex, "finish", fail)
    bench.feed(some[15:60])
    assert len(files(tmp_path)) == 3
    assert len(bench.index.find()) == 1, "the rows behind the one that failed wait for it"
    failing = False
    bench.feed(some[60:])
    bench.finish()
    assert [row.ended_at is not None for row in bench.index.find()] == [True] * 5
    assert [number for part in shown(tmp_path) for number in part] == span(0, 99)
