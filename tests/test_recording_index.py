"""The index knows every recording, page by page, and is found again when it or its process is gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import OutputError, SinkError
from stream.recording import names, salvage
from stream.recording.demand import Kind
from stream.recording.index import INDEX_NAME, RecordingIndex
from stream.recording.settings import RecordSettings
from tests.recordings import NOON, Bench, files, numbers, packets, record


def add(index: RecordingIndex, name: str, start: float, end: float | None, camera: str = "cam1") -> PurePosixPath:
    path = PurePosixPath(camera) / "2026-01-01" / f"{name}.mp4"
    index.begin(path, camera, "continuous", start)
    if end is not None:
        index.finish(path, end, 100)
    return path


@pytest.fixture
def index(tmp_path: Path) -> RecordingIndex:
    return RecordingIndex(tmp_path)


def names_of(index: RecordingIndex, **query: object) -> list[str]:
    return [each.path.stem for each in index.find(**query)]  # type: ignore[arg-type] # a test's own query


def test_recordings_are_found_by_time_and_camera(index: RecordingIndex) -> None:
    for number in range(5):
        add(index, f"r{number}", number * 60, number * 60 + 60)
    add(index, "other", 60, 120, camera="cam2")
    add(index, "open", 300, None)
    assert names_of(index, camera="cam1") == ["r0", "r1", "r2", "r3", "r4", "open"]
    assert names_of(index, start=60, end=120) == ["r1", "other"]
    assert names_of(index, camera="cam1", start=90, end=121) == ["r1", "r2"]
    assert names_of(index, camera="cam1", start=1000) == ["open"], "it is still being written"


def test_pages_follow_on_each_other(index: RecordingIndex) -> None:
    for number in range(7):
        add(index, f"r{number}", number // 2, 100)  # two begin at the same moment
    seen: list[str] = []
    page = index.find(limit=3)
    while page:
        seen += [each.path.stem for each in page]
        page = index.find(limit=3, after=page[-1])
    assert seen == [f"r{number}" for number in range(7)]


def test_an_event_is_seen_first_where_it_begins(index: RecordingIndex, tmp_path: Path) -> None:
    paths = [add(index, f"r{number}", number * 60, number * 60 + 60) for number in range(3)]
    for path in paths:
        index.mark(path, "e1", 70.0)
    index.mark(paths[2], "late", 30.0)
    assert index.clip_of("e1") == tmp_path / paths[1]
    assert index.clip_of("late") == tmp_path / paths[2]
    assert index.clip_of("none") is None
    index.forget([paths[1]])
    assert index.clip_of("e1") == tmp_path / paths[0], "a mark goes with its recording"


def test_totals_leave_out_what_is_being_written(index: RecordingIndex) -> None:
    add(index, "a", 0, 10)
    add(index, "b", 10, 20)
    add(index, "c", 20, None)
    add(index, "d", 5, 6, camera="cam2")
    assert [(each.camera, each.size_bytes, each.oldest_end) for each in index.totals()] == [
        ("cam1", 200, 10.0),
        ("cam2", 100, 6.0),
    ]


def test_two_processes_see_the_same(index: RecordingIndex, tmp_path: Path) -> None:
    other = RecordingIndex(tmp_path)
    add(index, "a", 0, 10)
    assert [each.path.stem for each in other.find()] == ["a"]


def test_a_lost_index_is_made_anew_from_the_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path, record_settings("continuous", segment_s=2))
    bench.feed(packets(55))
    bench.finish()
    before = [(each.path, each.camera, each.kind, each.size_bytes) for each in bench.index.find()]
    times = [(each.started_at, each.ended_at) for each in bench.index.find()]
    bench.index.close()
    for path in tmp_path.glob(f"{INDEX_NAME}*"):
        path.unlink()
    found = RecordingIndex(tmp_path)
    assert found.reconcile() == (3, 0)
    assert [(each.path, each.camera, each.kind, each.size_bytes) for each in found.find()] == before
    for each, (started_at, ended_at) in zip(found.find(), times, strict=True):
        assert each.started_at == pytest.approx(started_at, abs=1e-5)
        assert each.ended_at == pytest.approx(ended_at, abs=1e-3)
    assert found.reconcile() == (0, 0)


def record_settings(mode: str, **others: object) -> RecordSettings:
    return RecordSettings.model_validate({"mode": mode} | others)


def test_events_in_names_come_back_with_a_lost_index(tmp_path: Path) -> None:
    bench = Bench(tmp_path, record_settings("events", pre_roll_s=1))
    bench.demand.hold("e-7", 1.0)
    bench.feed(packets(30))
    bench.finish()
    (tmp_path / INDEX_NAME).unlink()
    index = RecordingIndex(tmp_path)
    index.reconcile()
    assert index.clip_of("e-7") == files(tmp_path)[0]


def test_only_our_files_are_taken_in_and_rows_without_a_file_are_forgotten(tmp_path: Path) -> None:
    bench = record(tmp_path, packets(25))
    [path] = files(tmp_path)
    (path.parent / "holiday.mp4").write_bytes(path.read_bytes())
    (path.parent / "13-00-00Z.mp4").write_bytes(b"no video")
    add(bench.index, "gone", 0, 10)
    assert bench.index.reconcile() == (0, 1)
    assert [each.path for each in bench.index.find()] == [path]


def test_a_damaged_index_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record(tmp_path, packets(25))
    (tmp_path / INDEX_NAME).write_bytes(b"this is no database" * 100)
    index = RecordingIndex(tmp_path)
    assert index.reconcile() == (1, 0)
    assert "is damaged" in caplog.text
    assert len(list(tmp_path.glob("*.corrupt-*"))) >= 1


def test_an_index_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="check the disk's space and the permissions"):
        RecordingIndex(tmp_path / "file")


def test_a_locked_index_is_ours_to_say(index: RecordingIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(tmp_path / INDEX_NAME, isolation_level=None)
    other.execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("stream.database.BUSY_TIMEOUT_S", 0.01)
    index.close()
    with pytest.raises(SinkError, match="cannot be used"):
        add(index, "a", 0, 10)
    other.close()
    add(index, "a", 0, 10)


@pytest.mark.parametrize("torn_bytes", [0, 1, 5, 100, 400])
def test_what_a_killed_process_left_is_completed(tmp_path: Path, torn_bytes: int) -> None:
    bench = Bench(tmp_path, record_settings("continuous"))
    bench.feed(packets(55))
    [path] = files(tmp_path)
    data = path.read_bytes()  # as it is in the fifth second, the last of it torn
    bench.finish()
    path.write_bytes(data[: len(data) - torn_bytes])
    index = RecordingIndex(tmp_path)
    [row] = index.find()
    index.begin(PurePosixPath(path.relative_to(tmp_path)), "cam1", "continuous", row.started_at)
    assert index.salvage("cam1") == 1
    whole = numbers(path)
    assert whole == list(range(50 if torn_bytes == 0 else 40))
    [row] = index.find()
    assert row.ended_at == pytest.approx(NOON + len(whole) / 10)
    assert row.size_bytes == path.stat().st_size


def test_what_holds_nothing_is_removed(index: RecordingIndex, tmp_path: Path) -> None:
    empty, missing = add(index, "empty", 0, None), add(index, "missing", 0, None)
    (tmp_path / empty).parent.mkdir(parents=True)
    (tmp_path / empty).write_bytes(b"")
    assert index.salvage("cam1") == 2
    assert index.find() == []
    assert not (tmp_path / empty).exists()
    assert not (tmp_path / missing).exists()


def test_a_matroska_file_that_was_not_closed_is_looked_through(tmp_path: Path) -> None:
    found = salvage.look(left_open(tmp_path, "libvpx"))
    assert found is not None
    assert 2.0 <= found.duration_s <= 3.5


def test_a_leftover_that_cannot_be_read_holds_up_nothing(
    index: RecordingIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = left_open(tmp_path, "libx264")
    unreadable = tmp_path / add(index, "unreadable", NOON - 60, None)
    unreadable.mkdir()
    index.begin(PurePosixPath(path.relative_to(tmp_path)), "cam1", "continuous", NOON)
    assert index.salvage("cam1") == 2
    [row] = index.find()
    assert (row.path, row.ended_at) == (path, NOON + 3)
    assert unreadable.exists()
    assert str(unreadable) in caplog.text


def test_what_is_recorded_while_the_folders_are_listed_stays_in_the_index(
    index: RecordingIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glob = Path.glob

    def glob_while_recording(self: Path, pattern: str) -> Iterator[Path]:
        yield from glob(self, pattern)
        made = self / add(index, "meanwhile", 0, 10)
        made.parent.mkdir(parents=True)
        made.touch()

    monkeypatch.setattr(Path, "glob", glob_while_recording)
    assert index.reconcile() == (0, 0)
    assert names_of(index) == ["meanwhile"]


def left_open(folder: Path, codec: str) -> Path:
    """A recording of some seconds as a killed process leaves it."""
    bench = Bench(folder, record_settings("continuous"))
    bench.feed(packets(35, codec=codec))
    [path] = files(folder)
    data = path.read_bytes()
    bench.finish()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("codec", ["libx264", "libvpx"])
def test_a_leftover_with_a_damaged_name_is_still_a_recording(tmp_path: Path, codec: str) -> None:
    path = left_open(tmp_path, codec)
    path.write_bytes(path.read_bytes().replace(b"cam1", b"c\xe4m1", 1))
    found = salvage.look(path)
    assert found is not None
    assert found.duration_s >= 2
    assert found.started_at == NOON


@pytest.mark.parametrize(
    ("codec", "sound", "damaged"),
    [
        ("libx264", b"mdhd\x00", b"mdhd\x09"),
        ("libvpx", b"B\xf2\x81\x04", b"B\xf2\x81\xff"),
    ],
    ids=["mp4", "matroska"],
)
def test_a_leftover_that_libav_knows_nothing_of_holds_nothing(
    tmp_path: Path, codec: str, sound: bytes, damaged: bytes
) -> None:
    path = left_open(tmp_path, codec)
    whole = path.read_bytes()
    assert sound in whole
    path.write_bytes(whole.replace(sound, damaged))
    assert salvage.look(path) is None


@given(
    st.text(min_size=1, max_size=300),
    st.floats(0, 4e9),
    st.sampled_from(["continuous", "manual", "event"]),
    st.text(max_size=300),
    st.booleans(),
)
def test_every_name_can_be_read_back(camera: str, started_at: float, kind: Kind, event: str, annotated: bool) -> None:
    made = names.candidates(camera, started_at, kind, event, annotated=annotated, suffix=".mp4")
    for path in (next(made), next(made)):
        named = names.parse(path)
        assert named is not None
        assert -1e-6 <= started_at - named.started_at < 1, "a name has whole seconds, of times to the microsecond"
        assert named.kind == kind
        assert len(path.name.encode()) <= 255


@pytest.mark.parametrize(
    "path", ["a.mp4", "cam/2026-01-01/x.mp4", "cam/2026-13-01/10-00-00Z.mp4", "cam/x/10-00-00Z.mp4"]
)
def test_other_names_are_not_ours(path: str) -> None:
    assert names.parse(PurePosixPath(path)) is None
