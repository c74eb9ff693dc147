"""What is recorded and what is not: exact to the packet, with hand-made packets and without threads."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath

import pytest

from stream.packets import EncodedPacket
from stream.recording import preroll, tape
from stream.recording.settings import RecordSettings
from tests.recordings import FPS, NOON, Bench, files, numbers, packets, record, shown, span


def events(pre_roll_s: float = 2.0, post_roll_s: float = 1.0) -> RecordSettings:
    return RecordSettings(mode="events", pre_roll_s=pre_roll_s, post_roll_s=post_roll_s)


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("segment_s", [1.0, 3.0, 60.0])
def test_segments_hold_every_frame_once_at_its_time(tmp_path: Path, segment_s: float, b_frames: int) -> None:
    bench = record(tmp_path, packets(105, b_frames=b_frames), segment_s=segment_s)
    parts = shown(tmp_path)
    assert [number for part in parts for number in part] == span(0, 104)
    assert len(parts) == -(-10.5 // segment_s)
    rows = bench.index.find(camera="cam1")
    assert [row.path for row in rows] == files(tmp_path)
    for row, part in zip(rows, parts, strict=True):
        assert row.started_at == pytest.approx(NOON + part[0] / FPS, abs=1e-6)
        assert row.ended_at == pytest.approx(NOON + (part[-1] + 1) / FPS, abs=1e-6)
        assert row.size_bytes == row.path.stat().st_size
    assert bench.tape.gap_s == 0
    assert bench.notes == []


def test_segments_are_cut_at_the_wall_clocks_full_steps(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="continuous", segment_s=5), started_at=NOON - 3.4)
    bench.feed(packets(105))
    bench.finish()
    # 12:00:00 lies 3.4 s after the first frame: the first keyframe behind it is frame 40; the next step at 8.4 s
    assert shown(tmp_path) == [span(0, 39), span(40, 89), span(90, 104)]
    assert [path.relative_to(tmp_path).as_posix() for path in files(tmp_path)] == [
        "cam1/2026-01-01/11-59-56Z.mp4",
        "cam1/2026-01-01/12-00-00Z.mp4",
        "cam1/2026-01-01/12-00-05Z.mp4",
    ]


def test_each_file_plays_while_it_is_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="continuous"))
    bench.feed(packets(55))
    [path] = files(tmp_path)
    assert numbers(path) == span(0, 49)
    assert bench.index.unfinished("cam1")[0].path == path
    bench.finish()
    assert numbers(path) == span(0, 54)


def test_another_epoch_and_another_size_begin_a_file(tmp_path: Path) -> None:
    parts = [packets(25), packets(25, first=25, epoch=1), packets(25, first=50, epoch=1, size=(96, 64))]
    bench = record(tmp_path, [packet for part in parts for packet in part])
    assert sorted(shown(tmp_path)) == [span(0, 24), span(25, 49), span(50, 74)]
    assert bench.tape.segments == 3


def test_files_of_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    some = [replace(packet, epoch=index // 2) for index, packet in enumerate(packets(6, gop=2))]
    record(tmp_path, some)
    assert [path.name for path in files(tmp_path)] == ["12-00-00Z-2.mp4", "12-00-00Z-3.mp4", "12-00-00Z.mp4"]
    assert sorted(shown(tmp_path)) == [[0, 1], [2, 3], [4, 5]]


def test_nothing_is_written_before_the_first_keyframe(tmp_path: Path) -> None:
    bench = record(tmp_path, packets(30)[3:])
    assert shown(tmp_path) == [span(10, 29)]
    assert bench.tape.gap_s == 0


@pytest.mark.parametrize(
    ("from_s", "until_s", "recorded"),
    [
        (5.0, 6.0, span(30, 70)),  # both rolls fall on keyframes
        (5.5, 6.0, span(30, 70)),  # 3.5 s lie within the group of frame 30
        (5.0, 6.54, span(30, 75)),
        (0.5, 1.0, span(0, 20)),  # there is no more than was there
    ],
)
def test_the_rolls_of_an_event_are_exact_to_a_group_of_pictures(
    tmp_path: Path, from_s: float, until_s: float, recorded: list[int]
) -> None:
    bench = Bench(tmp_path, events(pre_roll_s=2.0, post_roll_s=1.0))
    some = packets(200)
    bench.feed(some[: round(from_s * FPS) + 1])
    bench.demand.hold("e1", from_s)
    bench.feed(some[round(from_s * FPS) + 1 : round(until_s * FPS) + 1])
    assert bench.phase == "recording"
    bench.demand.release("e1", until_s)
    bench.feed(some[round(until_s * FPS) + 1 :])
    assert bench.phase == "idle"
    bench.finish()
    assert shown(tmp_path) == [recorded]
    [path] = files(tmp_path)
    assert path.name.endswith("Z_event-e1.mp4")
    assert bench.tape.clip_of("e1") == path == bench.index.clip_of("e1")


def test_an_event_that_is_known_late_and_over_already_is_recorded(tmp_path: Path) -> None:
    bench = Bench(tmp_path, events(pre_roll_s=1.0, post_roll_s=1.0))
    some = packets(200)
    bench.feed(some[:120])
    bench.demand.hold("e1", 8.0)
    bench.demand.release("e1", 8.5)
    bench.feed(some[120:])
    bench.finish()
    assert shown(tmp_path) == [span(70, 95)]


def test_overlapping_events_are_one_recording(tmp_path: Path) -> None:
    bench = Bench(tmp_path, events())
    some = packets(200)
    bench.feed(some[:51])
    bench.demand.hold("a", 5.0)
    bench.demand.hold("b", 5.0)
    bench.feed(some[51:71])
    bench.demand.release("a", 7.0)
    bench.feed(some[71:91])
    bench.demand.release("b", 9.0)
    bench.feed(some[91:])
    bench.finish()
    assert shown(tmp_path) == [span(30, 100)]
    [row] = bench.index.find()
    assert row.events == ("a", "b")
    assert row.kind == "event"
    assert bench.tape.clip_of("a") == bench.tape.clip_of("b") == row.path


def test_an_event_whose_pre_roll_meets_the_last_recording_goes_on_in_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, events(pre_roll_s=2.0, post_roll_s=1.0))
    some = packets(200)
    bench.feed(some[:51])
    bench.demand.hold("a", 5.0)
    bench.demand.release("a", 5.5)  # recorded up to 6.5
    bench.feed(some[51:83])
    assert bench.phase == "idle"
    bench.demand.hold("b", 8.2)  # wanted from 6.2
    bench.demand.release("b", 8.2)
    bench.feed(some[83:])
    bench.finish()
    assert shown(tmp_path) == [span(30, 92)]
    assert bench.index.find()[0].events == ("a", "b")


def test_events_apart_are_files_apart_and_no_frame_is_recorded_twice(tmp_path: Path) -> None:
    bench = Bench(tmp_path, events(pre_roll_s=2.0, post_roll_s=1.0))
    some = packets(200)
    bench.feed(some[:51])
    bench.demand.hold("a", 5.0)
    bench.demand.release("a", 5.5)
    bench.feed(some[51:102])
    bench.demand.hold("b", 10.0)  # wanted from 8.0, long after 6.5
    bench.demand.release("b", 10.1)
    bench.feed(some[102:])
    bench.finish()
    assert shown(tmp_path) == [span(30, 65), span(80, 111)]
    assert [row.events for row in bench.index.find()] == [("a",), ("b",)]


def test_a_continuous_recording_is_marked_where_events_can_be_seen(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="continuous", segment_s=4, pre_roll_s=2, post_roll_s=1))
    some = packets(200)
    bench.feed(some[:87])
    bench.demand.hold("e1", 8.5)  # from 6.5 in the second file; itself in the third, which begins at 8.0
    bench.feed(some[87:117])
    bench.demand.release("e1", 11.5)  # until 12.5, in the fourth
    bench.feed(some[117:])
    bench.finish()
    assert [number % 110 for part in shown(tmp_path) for number in part] == [number % 110 for number in range(200)]
    rows = bench.index.find()
    assert [row.events for row in rows] == [(), ("e1",), ("e1",), ("e1",), ()]
    assert bench.index.clip_of("e1") == bench.tape.clip_of("e1") == rows[2].path


def test_an_event_known_after_its_file_was_complete_is_found_in_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="continuous", segment_s=4, pre_roll_s=1))
    some = packets(100)
    bench.feed(some[:82])
    bench.demand.hold("e1", 7.5)
    bench.feed(some[82:])
    bench.finish()
    assert bench.tape.clip_of("e1") == bench.index.clip_of("e1") == files(tmp_path)[1]


def test_an_event_is_not_seen_in_recordings_of_the_future(tmp_path: Path) -> None:
    """They were made before the clock was set back."""
    bench = Bench(tmp_path, RecordSettings(mode="continuous", segment_s=4, pre_roll_s=1))
    future = PurePosixPath("cam1/2026-01-02/12-00-00Z.mp4")
    bench.index.begin(future, "cam1", "continuous", NOON + 86_400)
    bench.index.finish(future, NOON + 86_460, 1000)
    some = packets(100)
    bench.feed(some[:82])
    bench.demand.hold("e1", 7.5)
    bench.feed(some[82:])
    bench.finish()
    assert [row.events for row in bench.index.find()] == [(), ("e1",), ("e1",), ()]


def test_by_hand_it_records_from_the_last_keyframe_on_in_every_mode(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="off"))
    some = packets(100)
    bench.feed(some[:34])
    assert bench.phase == "idle"
    bench.demand.start_manual()
    bench.feed(some[34:56])
    assert bench.phase == "recording"
    bench.demand.stop_manual()
    bench.feed(some[56:])
    assert bench.phase == "idle"
    bench.finish()
    assert shown(tmp_path) == [span(30, 55)]
    assert files(tmp_path)[0].name == "12-00-03Z_manual.mp4"
    assert bench.index.find()[0].kind == "manual"


def test_events_record_nothing_where_recording_is_off(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RecordSettings(mode="off"))
    bench.demand.hold("e1", 1.0)
    bench.feed(packets(50))
    bench.finish()
    assert files(tmp_path) == []


def test_a_clip_goes_on_in_another_file_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape, "LONGEST_CLIP_S", 4.0)
    bench = Bench(tmp_path, RecordSettings(mode="off", segment_s=1))
    bench.demand.start_manual()
    bench.feed(packets(105))
    bench.finish()
    assert shown(tmp_path) == [span(0, 39), span(40, 79), span(80, 104)]


def test_the_past_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = packets(100)
    monkeypatch.setattr(tape, "PRE_ROLL_BYTES", sum(len(packet.data) for packet in some[:20]))
    bench = Bench(tmp_path, events(pre_roll_s=8.0))
    bench.feed(some[:90])
    assert bench.tape.squeezed_out > 0
    bench.demand.hold("e1", 8.9)
    bench.feed(some[90:])
    bench.finish()
    [part] = shown(tmp_path)
    assert part == span(part[0], 99)
    assert 60 <= part[0] <= 80
    assert part[0] % 10 == 0


def test_one_endless_group_of_pictures_does_not_fill_the_memory() -> None:
    past = preroll.PreRoll(limit_bytes=2000)
    some = packets(60, gop=1000)
    for packet in some:
        past.append(packet)
        past.forget(5.0)
    assert past.squeezed_out == len(some) - len(past)
    assert past.squeezed_out > 0


def test_times_far_from_zero_stay_exact(tmp_path: Path) -> None:
    month_ticks = 30 * 86_400 * 90_000

    def moved(packet: EncodedPacket) -> EncodedPacket:
        return replace(packet, pts=packet.pts + month_ticks, dts=packet.dts + month_ticks)

    bench = Bench(tmp_path, RecordSettings(mode="continuous", segment_s=2))
    bench.feed(moved(packet) for packet in packets(60))
    bench.finish()
    assert shown(tmp_path) == [span(0, 19), span(20, 39), span(40, 59)]
    rows = bench.index.find()
    assert rows[1].started_at == pytest.approx(NOON + 30 * 86_400 + 2, abs=1e-6)
    assert Fraction(month_ticks, 90_000) == 30 * 86_400
