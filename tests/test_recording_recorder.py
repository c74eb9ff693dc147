"""The recorder as a thread among threads: nobody waits for it, and neither a kill nor a full disk spoils its files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.packets import EncodedPacket
from stream.recording.buffer import BufferClosed, PacketBuffer, Taken
from stream.recording.disk import DiskFloor
from stream.recording.index import RecordingIndex
from stream.recording.retention import Keep, Retention
from stream.sinks.guarded import GuardedFile
from stream.sources.settings import LiveSettings
from tests.clips import decode, frame_number
from tests.conftest import missing
from tests.live_runs import Run
from tests.recorders import CLOSE_S, Recorder
from tests.recordings import FPS, NOON, TICKS, files, numbers, packets, shown
from tests.rtsp_server import CameraSpec, RtspCamera, available


def until(done: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for what another thread does."""
    ends_s = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < ends_s, "it never came to be"
        time.sleep(0.005)


def test_everything_that_was_handed_over_is_in_the_files(tmp_path: Path) -> None:
    one = Recorder(tmp_path, segment_s=2)
    one.feed(packets(105))
    one.close()
    assert [number for part in shown(tmp_path) for number in part] == list(range(105))
    statistics = one.recorder.statistics()
    assert (statistics.packets, statistics.segments, statistics.packets_dropped, statistics.gap_s) == (105, 6, 0, 0)
    assert statistics.bytes_written == sum(path.stat().st_size for path in files(tmp_path))
    assert one.recorder.state.phase == "idle"
    one.feed(packets(5))
    assert one.recorder.close(CLOSE_S), "packets after the end and a second close are nothing"


def test_without_the_sources_time_the_recorders_own_clock_counts(tmp_path: Path) -> None:
    one = Recorder(tmp_path, started_at=None)
    one.feed(packets(25))
    one.close()
    assert files(tmp_path)[0].name == "12-30-00Z.mp4"


@pytest.mark.parametrize("started_at", [NOON, None])
def test_a_clock_that_was_set_counts_from_the_next_file_on(tmp_path: Path, started_at: float | None) -> None:
    """Under the time before it, a retention of days would take them at once."""
    some = packets(60)
    one = Recorder(tmp_path, segment_s=1, started_at=started_at)
    one.feed(some[:25])
    until(lambda: one.recorder.statistics().packets == 25)
    one.now += 2 * 86_400
    one.feed(some[25:])
    one.close()
    assert [path.parent.name for path in files(tmp_path)] == ["2026-01-01"] * 3 + ["2026-01-03"] * 3
    first_after = one.index.find()[3]
    assert first_after.started_at == pytest.approx(one.now, abs=1)


def test_events_and_the_operator_reach_it_from_other_threads(tmp_path: Path) -> None:
    one = Recorder(tmp_path, mode="events", pre_roll_s=1, post_roll_s=1)
    some = packets(100)
    one.feed(some[:31])
    one.recorder.hold("e1", 3.0)
    one.feed(some[31:41])
    until(lambda: one.recorder.clip_of("e1") is not None)
    until(lambda: one.recorder.recording)
    one.recorder.release("e1", 4.0)
    one.feed(some[41:70])
    until(lambda: not one.recorder.recording)
    one.recorder.start_manual()
    one.feed(some[70:])
    one.close()
    assert one.recorder.clip_of("e1") == files(tmp_path)[0]
    assert [number for part in shown(tmp_path) for number in part][:31] == list(range(20, 51))


class HangingFile(GuardedFile):
    """A file on a disk that hangs while ``released`` is not set."""

    hangs = threading.Event()
    released = threading.Event()

    @classmethod
    def on_another_disk(cls) -> None:
        cls.hangs, cls.released = threading.Event(), threading.Event()

    def write(self, data: bytes) -> int:
        HangingFile.hangs.set()
        HangingFile.released.wait(60)
        return super().write(data)


def test_a_disk_that_hangs_makes_nobody_wait_and_costs_whole_groups_of_pictures(tmp_path: Path) -> None:
    HangingFile.on_another_disk()
    some = packets(300, gop=10)
    limit_bytes = sum(len(packet.data) for packet in some[:100])
    one = Recorder(tmp_path, open_file=lambda path: HangingFile(path, anew=True), buffer_bytes=limit_bytes)
    one.feed(some[:30])
    assert HangingFile.hangs.wait(60)
    slowest_s = 0.0
    for packet in some[30:]:
        began_s = time.perf_counter()
        one.recorder.packet(packet)
        slowest_s = max(slowest_s, time.perf_counter() - began_s)
    assert slowest_s < 30, "the disk hangs for a minute"
    dropped = one.recorder.statistics().packets_dropped
    assert dropped > 100
    HangingFile.released.set()
    late = [replace(packet, pts=packet.pts + 30 * TICKS, dts=packet.dts + 30 * TICKS) for packet in packets(60)]
    until(lambda: one.recorder.statistics().packets == len(some) - dropped)
    one.feed(late)
    one.close()
    [path] = files(tmp_path)
    pictures = decode(path)
    assert [frame_number(picture) for _, picture in pictures][-60:] == list(range(60)), "nothing broken behind the gap"
    kept = [round(time * FPS) for time, _ in pictures]
    assert len(kept) == 300 - dropped + 60
    assert kept[: 300 - dropped] == list(range(300 - dropped))
    assert kept[300 - dropped] == 300, "it goes on with a keyframe"
    assert one.recorder.statistics().gap_s == pytest.approx(dropped / FPS)
    assert one.recorder.statistics().stretches == 1
    assert one.notes == [f"the disk is too slow for the recording of cam1: {dropped / FPS:.1f} s are missing in it"]


def test_a_disk_that_never_comes_back_does_not_hold_up_the_end(tmp_path: Path) -> None:
    HangingFile.on_another_disk()
    one = Recorder(tmp_path, open_file=lambda path: HangingFile(path, anew=True))
    one.feed(packets(40))
    assert one.recorder.close(0.05) is False
    HangingFile.released.set()
    one.close()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.integers(0, 3)), max_size=60), st.integers(20, 100))
def test_the_buffer_delivers_what_can_be_decoded_and_counts_the_rest(
    script: list[tuple[bool, int, int]], limit_bytes: int
) -> None:
    """Packets (keyframe?, size) with so many taken after each; a decoder follows what comes out."""
    buffer = PacketBuffer(limit_bytes)
    base = packets(1)[0]
    out: list[Taken] = []
    sizes: list[int] = []
    for index, (is_keyframe, size_bytes, takes) in enumerate(script):
        packet = replace(base, data=b"x" * size_bytes, pts=index * TICKS, is_keyframe=is_keyframe or index == 0)
        buffer.put(packet)
        out += [taken for _ in range(takes) if (taken := buffer.take(0))]
        waiting = buffer._waiting
        sizes.append(sum(len(each.packet.data) for each in waiting) if len(waiting) > 1 else 0)
    buffer.close()
    with pytest.raises(BufferClosed):
        while taken := buffer.take(0):
            out.append(taken)
    seconds = [round(taken.packet.pts_s) for taken in out]
    assert seconds == sorted(set(seconds))
    assert len(out) + buffer.dropped == len(script)
    assert max(sizes, default=0) <= limit_bytes
    for before, taken in zip([None, *out], out, strict=False):
        expected = 0 if before is None else round(before.packet.pts_s) + 1
        if round(taken.packet.pts_s) == expected:
            assert taken.lost is None
        else:
            assert taken.packet.is_keyframe, "behind a loss only a keyframe can be decoded"
            assert taken.lost is not None
            assert (taken.lost.packets, taken.lost.from_s) == (round(taken.packet.pts_s) - expected, expected)


def test_two_recorders_of_one_camera_do_not_spoil_each_others_files(tmp_path: Path) -> None:
    first = Recorder(tmp_path)
    first.feed(packets(25))
    until(lambda: first.recorder.recording)
    second = Recorder(tmp_path)
    second.feed(packets(25))
    until(lambda: second.recorder.state.phase == "paused" and not second.recorder._buffer._waiting)
    assert second.recorder.state.reason == f"another process records it in {tmp_path / 'cam1'}"
    first.close()
    second.feed([replace(packet, epoch=1) for packet in packets(30, first=30)])
    second.close()
    assert [number for part in shown(tmp_path) for number in part] == [*range(25), *range(30, 60)]


def test_a_fault_of_ours_is_said_and_ends_only_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Path) -> GuardedFile:
        raise ZeroDivisionError("a bug")

    one = Recorder(tmp_path, open_file=fail)
    one.feed(packets(5))
    until(lambda: one.recorder.state.phase == "paused")
    assert "by a fault of ours (ZeroDivisionError: a bug)" in one.recorder.state.reason
    one.feed(packets(5))
    one.close()
    assert len(one.notes) == 1


RECORD_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from stream.recording.index import RecordingIndex
from stream.recording.recorder import SegmentRecorder
from stream.recording.settings import RecordSettings
from tests.recordings import NOON, packets
folder = Path(sys.argv[1])
settings = RecordSettings(mode="continuous", segment_s=3, min_free_gb=0)
recorder = SegmentRecorder("cam1", settings, RecordingIndex(folder), started_at=lambda: NOON, clock=lambda: NOON)
recorder.start()
some = packets(100, size=(320, 240))
began_s = time.perf_counter()
for number, packet in enumerate(some):
    due_s = number / 100  # ten times as fast as it says
    time.sleep(max(0, due_s - (time.perf_counter() - began_s)))
    recorder.packet(packet)
    print(recorder.statistics().packets, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_killed_process_loses_a_second_and_its_files_are_completed_at_the_next_start(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RECORD_UNTIL_KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        written = 0
        for line in child.stdout:
            written = int(line)
            if written >= 77:
                child.send_signal(signal.SIGKILL)
                break
        written = max([written, *map(int, child.stdout.read().split())])
    assert child.returncode == -signal.SIGKILL
    survived = [number for part in shown(tmp_path) for number in part]
    assert survived == list(range(len(survived)))
    assert written - len(survived) <= FPS + 1, "the second that was in the muxer"
    index = RecordingIndex(tmp_path)
    assert len(index.unfinished("cam1")) == 1
    index.close()
    again = Recorder(tmp_path)
    again.feed([replace(packet, pts=packet.pts + 60 * TICKS, dts=packet.dts + 60 * TICKS) for packet in packets(20)])
    again.close()
    rows = again.index.find()
    assert [row.path for row in rows] == files(tmp_path)
    assert all(row.ended_at is not None for row in rows)
    assert rows[-2].ended_at == pytest.approx(NOON + len(survived) / FPS)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of eight megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        missing("a small file system to fill", "run the tests as root, where mounting is allowed")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def heavy(count: int) -> list[EncodedPacket]:
    """A camera of two megabytes a second: each packet is followed by bytes that decoders skip."""
    filler = b"\x00\x00\x01\x0c" + b"\xff" * 200_000
    return [replace(packet, data=packet.data + filler) for packet in packets(count)]


@pytest.mark.slow
def test_a_full_disk_pauses_the_recording_until_there_is_room(small_disk: Path) -> None:
    one = Recorder(small_disk, segment_s=1, min_free_gb=2)
    some = heavy(105)
    for packet in some[:60]:
        one.recorder.packet(packet)
    until(lambda: one.recorder.state.phase == "paused")
    until(lambda: one.recorder._buffer._waiting.__len__() == 0)
    before = files(small_disk)
    whole = [number for path in before for number in numbers(path)]
    assert whole == list(range(len(whole)))
    assert len(whole) >= 25
    assert not one.recorder.wants_packets
    for path in before[:2]:
        path.unlink()
    for packet in some[60:]:
        one.recorder.packet(packet)
    until(lambda: one.recorder._buffer._waiting.__len__() == 0)
    one.close()
    after = [numbers(path) for path in files(small_disk) if path not in before]
    assert after[0][0] % 10 == 0, "it goes on with a keyframe"
    assert after[0][0] >= 60
    resumed = after[0][0]
    assert any(f"{(resumed - len(whole)) / FPS:.1f} s are missing" in note for note in one.notes), one.notes
    assert len([note for note in one.notes if "is not recorded" in note]) <= 2
    assert one.recorder.statistics().gap_s >= (resumed - len(whole)) / FPS - 1e-6


@pytest.mark.slow
def test_retention_makes_room_on_a_full_disk(small_disk: Path) -> None:
    index = RecordingIndex(small_disk)
    floor = DiskFloor(small_disk, 2.0)
    worker = Retention(index, lambda: {"cam1": Keep(age_s=1e6)}, floor, every_s=1e6, clock=lambda: NOON + 60)
    one = Recorder(small_disk, segment_s=1, min_free_gb=2, on_pause=worker.wake)
    worker.start()
    for packet in heavy(105):
        one.recorder.packet(packet)
        until(lambda: not one.recorder._buffer._waiting)
        until(lambda: one.recorder.state.phase != "paused" or floor.shortage(resuming=True) is None)
    one.close()
    assert worker.close(CLOSE_S)
    rows = index.find()
    index.close()
    assert [row.path for row in rows] == files(small_disk)
    assert rows[0].started_at > NOON, "the oldest gave way"
    assert numbers(rows[-1].path)[-1] > 80, "recording has gone on: the disk holds forty pictures"
    assert sum(len(numbers(row.path)) for row in rows) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("spec", [CameraSpec(b_frames=2), CameraSpec(codec="h265")], ids=["h264", "h265"])
def test_what_a_real_camera_sends_is_in_the_files_packet_for_packet(tmp_path: Path, spec: CameraSpec) -> None:
    if not available():
        missing("GStreamer's RTSP server", "install python3-gi and gir1.2-gst-rtsp-server-1.0")
    with RtspCamera(spec) as camera, Run(camera.url, LiveSettings(wait=True)) as run:

        def enough() -> bool:
            camera.keep()
            return len(run.frames) >= 60

        until(enough)
    one = Recorder(tmp_path, segment_s=1)
    one.feed(run.tapped.packets)
    one.close()
    pictures = [picture for path in files(tmp_path) for picture in decode(path)]
    assert len(pictures) == len(run.tapped.packets)
    assert one.recorder.statistics().packets_left_out == 0
    assert len(files(tmp_path)) >= 2
    assert {decode(path)[0][0] for path in files(tmp_path)} == {0}
