"""What gives way is what should, and nothing else is ever touched."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.recording import retention
from stream.recording.demand import Kind
from stream.recording.disk import GIGABYTE, DiskFloor
from stream.recording.index import Recording, RecordingIndex
from stream.recording.names import candidates
from stream.recording.retention import EVENTFUL_WEIGHT, Keep, Retention, Stock, plan
from stream.recording.settings import RecordSettings
from tests.clips import decode
from tests.recordings import NOON, Bench, Disk, files, packets, record

DAY_S = 86_400.0
MINUTE_S = 60.0


def recording(start: float, size_bytes: int, *, camera: str = "cam1", events: tuple[str, ...] = ()) -> Recording:
    return Recording(Path(f"/r/{camera}/{start}"), camera, "continuous", start, start + MINUTE_S, size_bytes, events)


def stock(keep: Keep, recordings: Sequence[Recording]) -> Stock:
    return Stock(keep, recordings, sum(each.size_bytes for each in recordings))


@st.composite
def stocks(draw: st.DrawFn) -> list[Stock]:
    made = []
    for number in range(draw(st.integers(0, 3))):
        starts = draw(st.lists(st.integers(0, 5000), unique=True, max_size=15))
        recordings = [
            recording(
                start,
                draw(st.integers(0, 50)),
                camera=f"cam{number}",
                events=("e",) if draw(st.booleans()) else (),
            )
            for start in starts
        ]
        age_s, size_bytes = draw(st.none() | st.integers(1, 4000)), draw(st.none() | st.integers(0, 500))
        made.append(stock(Keep(age_s, size_bytes), recordings))
    return made


@given(stocks(), st.integers(0, 6000), st.integers(0, 800))
def test_the_plan_keeps_every_promise(all_stocks: list[Stock], now: int, missing_bytes: int) -> None:
    doomed = plan(all_stocks, now, missing_bytes)
    paths = {each.path for each in doomed}
    assert len(paths) == len(doomed), "nothing twice"
    for each in all_stocks:
        kept = [recording for recording in each.recordings if recording.path not in paths]
        gone = [recording for recording in each.recordings if recording.path in paths]
        ages = {recording.path: now - (recording.started_at + MINUTE_S) for recording in each.recordings}
        if not each.keep.rotates:
            assert not gone, "what is kept for ever stays"
        if each.keep.age_s is not None:
            assert all(ages[recording.path] <= each.keep.age_s for recording in kept), "nothing older stays"
        if each.keep.size_bytes is not None:
            assert sum(recording.size_bytes for recording in kept) <= each.keep.size_bytes
        aged = {path for path, age in ages.items() if each.keep.age_s is not None and age > each.keep.age_s}
        for eventful in (False, True):
            spared = [ages[r.path] for r in kept if r.eventful == eventful]
            given_up = [ages[r.path] for r in gone if r.eventful == eventful and r.path not in aged]
            assert max(spared, default=-1e9) <= min(given_up, default=1e9), "the oldest of a kind goes first"
    rotating_kept = [r for each in all_stocks if each.keep.rotates for r in each.recordings if r.path not in paths]
    freed_bytes = sum(each.size_bytes for each in doomed)
    assert freed_bytes >= missing_bytes or not rotating_kept, "room is made as long as there is something to give"


@given(stocks(), st.integers(0, 6000), st.integers(0, 800))
def test_the_plan_takes_no_more_than_it_must(all_stocks: list[Stock], now: int, missing_bytes: int) -> None:
    doomed = plan(all_stocks, now, missing_bytes)
    if not doomed:
        return
    last = doomed[-1]
    [home] = [each for each in all_stocks if last.path in {recording.path for recording in each.recordings}]
    too_old = home.keep.age_s is not None and now - (last.started_at + MINUTE_S) > home.keep.age_s
    before = [each for each in doomed if each.path != last.path]
    left_bytes = home.total_bytes - sum(each.size_bytes for each in before if each.camera == last.camera)
    too_much = home.keep.size_bytes is not None and left_bytes > home.keep.size_bytes
    too_full = sum(each.size_bytes for each in before) < missing_bytes
    assert too_old or too_much or too_full


def test_events_outlive_the_rest_twice_and_never_crowd_it_out() -> None:
    """A camera that makes a recording a minute, one of ten with an event, with room for a hundred."""
    kept: list[Recording] = []
    for minute in range(1000):
        kept.append(recording(minute * MINUTE_S, 1, events=("e",) if minute % 10 == 0 else ()))
        now = (minute + 1) * MINUTE_S
        gone = {each.path for each in plan([stock(Keep(size_bytes=100), kept)], now)}
        kept = [each for each in kept if each.path not in gone]
    plain, eventful = ([each for each in kept if each.eventful == kind] for kind in (False, True))
    oldest_plain_s = 60_000 - plain[0].started_at
    oldest_eventful_s = 60_000 - eventful[0].started_at
    assert oldest_eventful_s == pytest.approx(EVENTFUL_WEIGHT * oldest_plain_s, rel=0.1)
    assert plain[-1].started_at == 999 * MINUTE_S


def test_what_the_settings_mean() -> None:
    assert Keep.of(RecordSettings(keep_days=2, keep_gb=1.5)) == Keep(2 * DAY_S, 1_500_000_000)
    assert not Keep.of(RecordSettings()).rotates


@pytest.mark.parametrize(
    ("total", "free", "floor", "missing"),
    [
        (1000 * GIGABYTE, 2 * GIGABYTE, None, 500_000_000),  # below 2 GB it pauses, 2.5 GB lets it go on
        (1000 * GIGABYTE, 2 * GIGABYTE - 1, "has 2.00 GB free, 2.00 GB are to stay so", 500_000_001),
        (1000 * GIGABYTE, 3 * GIGABYTE, None, 0),
        (8_000_000, 399_999, "has 0.4 MB free, 0.4 MB are to stay so", 160_001),  # 5 % of a small disk
        (8_000_000, 560_000, None, 0),
    ],
)
def test_the_floor_of_a_disk(tmp_path: Path, total: int, free: int, floor: str | None, missing: int) -> None:
    disk = DiskFloor(tmp_path, 2.0, Disk(total, free))
    assert disk.shortage(resuming=False) == (f"the disk of {tmp_path} {floor}" if floor else None)
    assert (disk.shortage(resuming=True) is None) == (missing == 0)
    assert disk.missing_bytes() == missing


@dataclass
class Shelf:
    """An index with files of a few bytes."""

    index: RecordingIndex

    def add(
        self, start: float, size_bytes: int = 1000, *, camera: str = "cam1", kind: Kind = "continuous", event: str = ""
    ) -> Path:
        path: PurePosixPath = next(candidates(camera, start, kind, event, annotated=False, suffix=".mp4"))
        self.index.begin(path, camera, kind, start)
        file = self.index.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0" * size_bytes)
        self.index.finish(path, start + MINUTE_S, size_bytes)
        return file


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(RecordingIndex(tmp_path / "recordings"))


def keeper(shelf: Shelf, keep: Keep, notes: list[str] | None = None, disk: Disk | None = None) -> Retention:
    floor = DiskFloor(shelf.index.folder, 2.0, disk or Disk())
    said = [] if notes is None else notes
    return Retention(shelf.index, lambda: {"cam1": keep, "cam2": keep}, floor, on_note=said.append)


def test_a_recorded_day_leaves_exactly_what_was_to_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day through the recorder itself: a picture every ten seconds, a file a minute, an event at each half hour.

    The last six hours are kept; retention looks every half hour of the day.
    """
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # no power is cut, and the disk would take seconds
    minute = [replace(packet, is_keyframe=index == 0) for index, packet in enumerate(packets(6))]
    bench = Bench(tmp_path, RecordSettings(mode="continuous", segment_s=60, post_roll_s=5, pre_roll_s=15))
    worker = Retention(bench.index, lambda: {"cam1": Keep(age_s=6 * 3600)}, DiskFloor(tmp_path, 2.0, Disk()))
    deleted = 0
    for number in range(24 * 60):
        if number % 60 == 30:
            bench.demand.hold(f"e{number // 60}", number * MINUTE_S - 1)
            bench.demand.release(f"e{number // 60}", number * MINUTE_S + 20)
        for index, packet in enumerate(minute):
            ticks = round((number * MINUTE_S + index * 10) * 90_000)
            bench.feed([replace(packet, pts=ticks, dts=ticks)])
        if number % 30 == 29:
            deleted += worker.sweep(NOON + (number + 1) * MINUTE_S).files
    bench.finish()
    assert bench.tape.segments == 24 * 60
    assert bench.tape.gap_s == 0
    kept = bench.index.find(camera="cam1", limit=2000)
    # of the file that ends six hours ago to the second nothing is older; the newest was open at the last look
    assert [each.started_at for each in kept] == [NOON + n * MINUTE_S for n in range(24 * 60 - len(kept), 24 * 60)]
    assert 6 * 60 <= len(kept) <= 6 * 60 + 1
    assert deleted == 24 * 60 - len(kept)
    assert [each.path for each in kept] == files(tmp_path)
    assert {path.name for path in tmp_path.glob("cam1/*")} == {"2026-01-02", ".recording"}
    assert sum(each.eventful for each in kept) == 6 * 2, "an event at each half hour, seen in the file before as well"
    for each in (kept[0], kept[180], kept[-1]):
        assert [float(time) for time, _ in decode(each.path)] == [0, 10, 20, 30, 40, 50]


def test_a_size_is_kept_by_giving_up_the_oldest(shelf: Shelf) -> None:
    made = [shelf.add(NOON + minute * MINUTE_S) for minute in range(20)]
    swept = keeper(shelf, Keep(size_bytes=5500)).sweep(NOON + 1200)
    assert (swept.files, swept.size_bytes) == (15, 15_000)
    assert files(shelf.index.folder) == made[15:]


def test_a_full_disk_takes_the_oldest_of_all_cameras_that_rotate(shelf: Shelf) -> None:
    made = [shelf.add(NOON + minute * MINUTE_S, camera=f"cam{1 + minute % 2}") for minute in range(10)]
    eternal = [shelf.add(NOON - 3600 - minute * MINUTE_S, camera="attic") for minute in range(3)]
    disk = Disk(total=100 * GIGABYTE, free=2_500_000_000 - 3500)
    keeper(shelf, Keep(age_s=DAY_S), disk=disk).sweep(NOON + 600)
    assert set(files(shelf.index.folder)) == {*made[4:], *eternal}


def test_without_a_limit_nothing_is_deleted_even_on_a_full_disk(shelf: Shelf) -> None:
    made = shelf.add(NOON - 100 * DAY_S)
    assert keeper(shelf, Keep(), disk=Disk(free=0)).sweep(NOON).files == 0
    assert made.exists()


def test_what_is_being_written_is_never_deleted(shelf: Shelf) -> None:
    old = shelf.add(NOON - 100 * DAY_S)
    shelf.index.begin(PurePosixPath(old.relative_to(shelf.index.folder)), "cam1", "continuous", NOON - 100 * DAY_S)
    assert keeper(shelf, Keep(age_s=1, size_bytes=1)).sweep(NOON).files == 0
    assert old.exists()


def test_a_file_that_is_gone_already_is_only_forgotten(shelf: Shelf) -> None:
    shelf.add(NOON - DAY_S).unlink()
    assert keeper(shelf, Keep(age_s=60)).sweep(NOON).files == 1
    assert shelf.index.find() == []


def test_other_files_in_the_folder_are_left_alone(shelf: Shelf) -> None:
    old = shelf.add(NOON - 2 * DAY_S)
    mine = old.parent / "mine.mp4"
    mine.write_bytes(b"not in the index")
    keeper(shelf, Keep(age_s=60)).sweep(NOON)
    assert mine.exists()
    assert not old.exists()


@pytest.mark.parametrize("escape", ["../outside.mp4", "/outside.mp4"])
def test_nothing_outside_the_folder_is_deleted(shelf: Shelf, tmp_path: Path, escape: str) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"precious")
    target = escape if escape.startswith("..") else str(outside)
    shelf.index.begin(PurePosixPath(target), "cam1", "continuous", 0)
    shelf.index.finish(PurePosixPath(target), 60, 8)
    notes: list[str] = []
    keeper(shelf, Keep(age_s=60), notes).sweep(NOON)
    assert outside.exists()
    assert "is not deleted" in notes[0]


def test_a_link_that_leads_out_of_the_folder_is_not_followed(shelf: Shelf, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (shelf.index.folder / "cam1").mkdir()
    (shelf.index.folder / "cam1" / "2026-01-01").symlink_to(elsewhere)
    made = shelf.add(NOON)
    notes: list[str] = []
    keeper(shelf, Keep(age_s=60), notes).sweep(NOON + DAY_S)
    assert made.exists()
    assert "leads out of" in notes[0]


def test_what_cannot_be_deleted_is_said_once_and_kept_in_the_index(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add(NOON - DAY_S)

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    notes: list[str] = []
    worker = keeper(shelf, Keep(age_s=60), notes)
    for _ in range(3):
        assert worker.sweep(NOON).files == 0
    assert len(notes) == 1
    assert "cannot be deleted: Permission denied" in notes[0]
    assert len(shelf.index.find()) == 1


def test_more_than_it_considers_at_a_time_goes_in_one_sweep(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CANDIDATES", 10)
    for minute in range(45):
        shelf.add(NOON + minute * MINUTE_S, 10)
    assert keeper(shelf, Keep(age_s=60)).sweep(NOON + 2 * DAY_S).files == 45


class Watched(Retention):
    """One that says each time when it has looked through the recordings."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.swept = threading.Semaphore(0)

    def sweep(self, now: float) -> retention.Swept:
        try:
            return super().sweep(now)
        finally:
            self.swept.release()


def test_the_worker_looks_at_once_when_it_is_woken_and_takes_in_lost_files(tmp_path: Path) -> None:
    record(tmp_path, packets(25))
    [path] = files(tmp_path)
    for each in tmp_path.glob("recordings.db*"):
        each.unlink()
    shelf = Shelf(RecordingIndex(tmp_path))
    now = NOON
    floor = DiskFloor(tmp_path, 2.0, Disk())
    worker = Watched(shelf.index, lambda: {"cam1": Keep(age_s=DAY_S)}, floor, every_s=1e6, clock=lambda: now)
    worker.start()
    assert worker.swept.acquire(timeout=60)
    assert [each.path for each in shelf.index.find()] == [path]
    now = NOON + 2 * DAY_S
    worker.wake()
    assert worker.swept.acquire(timeout=60)
    assert worker.close(60)
    assert not path.exists()
    assert shelf.index.find() == []


def test_folders_that_cannot_be_listed_do_not_end_the_deleting(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    old = shelf.add(NOON)
    notes: list[str] = []

    def glob_on_a_failing_disk(_self: Path, _pattern: str) -> Iterator[Path]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "glob", glob_on_a_failing_disk)
    floor = DiskFloor(shelf.index.folder, 2.0, Disk())
    keeps = {"cam1": Keep(age_s=DAY_S)}
    worker = Watched(shelf.index, lambda: keeps, floor, clock=lambda: NOON + 2 * DAY_S, on_note=notes.append)
    worker.start()
    assert worker.swept.acquire(timeout=60)
    assert worker.close(60)
    assert not old.exists()
    [note] = notes
    assert "cannot look through" in note


def test_a_recording_of_the_future_is_the_youngest() -> None:
    """The clock was set back: what was recorded before has times to come."""
    future = replace(recording(NOON + DAY_S, 1), events=("e",))
    past = recording(NOON - DAY_S, 1)
    assert plan([stock(Keep(size_bytes=1), [future, past])], NOON) == [past]


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is 14 hours ahead of UTC."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_days_are_utc(shelf: Shelf) -> None:
    made = shelf.add(NOON + 11.5 * 3600)
    assert made.parent.name == f"{datetime.fromtimestamp(NOON, UTC):%Y-%m-%d}"
