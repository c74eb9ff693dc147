"""The store: content by its hash, within its size, whole whatever happens to its writers."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stream.dataset import checking
from stream.dataset.checking import LEFT_BEHIND_S, Findings
from stream.dataset.checking import verify as verify_at
from stream.dataset.collector import encode
from stream.dataset.manifest import MANIFEST, Filter
from stream.dataset.sample import as_record, from_record
from stream.dataset.statistics import statistics_of
from stream.dataset.store import Store, hash_of
from stream.errors import SinkError, UsageError
from stream.frame import Refinement
from tests.datasets import ANYTHING, NOON, PLENTY, STRICT, files, label, put, sample, scene

DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "dataset")


def verify(store: Store, *, repair: bool = False) -> Findings:
    """Now, with what was left behind long ago."""
    return verify_at(store, time.time() + LEFT_BEHIND_S, repair=repair)


def in_store(store: Store) -> set[str]:
    return {each.sha256 for each in store.manifest.samples()}


def on_disk(store: Store) -> set[str]:
    return {path.stem for path in files(store.folder)}


def test_a_picture_is_kept_under_its_hash_with_its_record(store: Store) -> None:
    refined = Refinement("minibus", 0.81, "efficientnet-lite0")
    bus = replace(label("bus", 0.4567, (1.234, 2, 30, 40)), track_id=3, refined=refined, agreement=0.9)
    kept = put(store, 1, [bus, label()], camera="yard", sampler="doubt")
    content = store.picture_path(kept.sha256).read_bytes()
    assert hashlib.sha256(content).hexdigest() == kept.sha256
    record = json.loads(store.record_path(kept.sha256).read_text())
    assert record["labels"][0] == {
        "class": "bus",
        "class_id": 3,
        "confidence": 0.4567,
        "bbox": [1.23, 2, 30, 40],
        "track_id": 3,
        "refined": {"label": "minibus", "confidence": 0.81, "model": "efficientnet-lite0"},
        "agreement": 0.9,
    }
    assert record["model"] == {"name": "nanodet-g", "version": "1.0.0", "sha256": "ab" * 32}
    assert (record["camera"], record["sampler"], record["class"]) == ("yard", "doubt", "bus")
    [read] = store.manifest.samples()
    assert as_record(read) == record
    assert from_record(record) == read


def test_the_same_picture_is_kept_once(store: Store) -> None:
    picture = scene(1)
    draft, jpeg = sample(picture, [label()]), encode(picture, 95)
    assert store.add(draft, jpeg, ANYTHING, max_bytes=PLENTY)
    assert store.add(draft, jpeg, ANYTHING, max_bytes=PLENTY) is None, "by its hash"
    noisy = encode(picture, 60)
    assert store.shows_nothing_new(draft, STRICT)
    assert store.add(draft, noisy, STRICT, max_bytes=PLENTY) is None, "by its looks"
    elsewhere = sample(picture, [label()], camera="cam2")
    assert store.add(elsewhere, noisy, STRICT, max_bytes=PLENTY), "another camera's is another"


def test_a_crop_that_passes_for_something_else_shows_nothing_new(store: Store) -> None:
    picture = scene(1)
    assert store.add(sample(picture, [label("car")], kind="crop"), encode(picture, 90), STRICT, max_bytes=PLENTY)
    for name in ("car", "truck"):
        draft = sample(picture, [label(name)], kind="crop")
        assert store.add(draft, encode(picture, 50), STRICT, max_bytes=PLENTY) is None
    assert store.add(sample(picture, [label("car")]), encode(picture, 70), STRICT, max_bytes=PLENTY), "no frame yet"


def test_a_class_that_is_rare_is_remembered_among_many_others(store: Store) -> None:
    few = STRICT.model_copy(update={"recent": 3})
    for number in range(6):
        picture, name = scene(number), "car" if number == 0 else "person"
        assert store.add(sample(picture, [label(name)], kind="crop"), encode(picture, 90), few, max_bytes=PLENTY)
    assert store.shows_nothing_new(sample(scene(0), [label("car")], kind="crop"), few)
    assert not store.shows_nothing_new(sample(scene(1), [label("person")], kind="crop"), few), "long ago"


@pytest.mark.parametrize(("bits", "alike"), [(0, True), (6, True), (7, False), (64, False)])
def test_near_is_as_near_as_the_settings_say(store: Store, bits: int, alike: bool) -> None:
    kept = put(store, 1, [label()])
    other = replace(kept, fingerprint=kept.fingerprint ^ (2**bits - 1))
    assert store.shows_nothing_new(other, STRICT) == alike


def test_only_recent_pictures_count_as_seen(store: Store) -> None:
    put(store, 1)
    put(store, 2)
    again, recent = sample(scene(1)), STRICT.model_copy(update={"recent": 1})
    assert store.shows_nothing_new(again, STRICT)
    assert not store.shows_nothing_new(again, recent)


def test_room_is_made_in_the_class_that_takes_most(store: Store) -> None:
    persons = [put(store, number, [label("person")]) for number in range(6)]
    dogs = [put(store, 10 + number, [label("dog")]) for number in range(2)]
    size_bytes = sum(store.manifest.rows().values())
    picture = scene(99)
    smallest = size_bytes - 1
    newest = store.add(sample(picture, [label("dog")]), encode(picture, 95), ANYTHING, max_bytes=smallest)
    assert newest is not None
    gone = [each for each in persons if each.sha256 not in in_store(store)]
    assert gone == persons[: len(gone)], "the oldest persons went"
    assert in_store(store) == {each.sha256 for each in [*persons[len(gone) :], *dogs, newest]}, "and nobody else"
    assert len(gone) <= 2
    assert on_disk(store) == in_store(store)
    assert sum(store.manifest.rows().values()) <= smallest


def test_size_is_what_the_files_take(store: Store) -> None:
    for number in range(5):
        put(store, number, [label()] * number)
    taken = sum(path.stat().st_size for path in store.folder.glob("images/*/*"))
    assert sum(store.manifest.rows().values()) == taken == statistics_of(store)["bytes"]


def test_what_is_old_goes(store: Store) -> None:
    kept = [put(store, day, kept_at=NOON - day * DAY_S, taken_at=0.0) for day in range(5)]
    assert store.prune(NOON, keep_days=2.5) == 2
    assert in_store(store) == on_disk(store) == {each.sha256 for each in kept[:3]}
    assert store.prune(NOON, max_bytes=0) == 3
    assert not list(store.folder.glob("images/*/*"))


def test_samples_can_be_chosen(store: Store) -> None:
    for number in range(4):
        put(store, number, [label("dog")], camera=f"cam{number % 2}", sampler="doubt")
    put(store, 9, [label("cat")], kind="crop")
    chosen = [Filter(camera="cam1"), Filter(class_name="cat"), Filter(kind="frame"), Filter(sampler="random")]
    assert [len(list(store.manifest.samples(each))) for each in chosen] == [3, 1, 4, 1]
    newest = [each.class_name for each in store.manifest.samples(newest_first=True)]
    assert newest == ["cat", "dog", "dog", "dog", "dog"]


def test_large_sets_are_read_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.dataset.manifest.PAGE", 3)
    kept = [put(store, number).sha256 for number in range(7)]
    assert [each.sha256 for each in store.manifest.samples()] == kept
    assert [each.sha256 for each in store.manifest.samples(newest_first=True)] == kept[::-1]


def test_statistics_count_by_everything(store: Store) -> None:
    put(store, 1, [label("dog")], camera="a", taken_at=NOON)
    put(store, 2, [label("dog")], camera="b", taken_at=NOON + DAY_S, sampler="doubt")
    put(store, 3, camera="b", taken_at=NOON)
    counted = statistics_of(store)
    numbers = {by: {name: each["samples"] for name, each in names.items()} for by, names in counted["by"].items()}
    assert numbers == {
        "class": {"dog": 2, "": 1},
        "camera": {"b": 2, "a": 1},
        "strategy": {"random": 2, "doubt": 1},
        "day": {"2025-10-09": 2, "2025-10-10": 1},
    }
    assert counted["samples"] == 3


def test_the_digest_tells_data_sets_apart(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    put(one, 1)
    put(one, 2, [label()])
    put(other, 2, [label()])
    assert one.provenance()["digest"] != other.provenance()["digest"]
    put(other, 1)
    said, same = one.provenance(), other.provenance()
    assert said["digest"] == same["digest"], "whatever the order"
    assert said["samples"] == 2
    assert said["objects"] == {"person": 1}
    put(one, 3)
    assert one.provenance()["digest"] != said["digest"]


def test_several_threads_keep_each_picture_once(tmp_path: Path) -> None:
    stores = [Store(tmp_path) for _ in range(4)]

    def offer(turn: int) -> bool:
        picture = scene(turn % 10)
        draft = sample(picture, [label()])
        return stores[turn % 4].add(draft, encode(picture, 80 + turn % 15), STRICT, max_bytes=PLENTY) is not None

    with ThreadPoolExecutor(4) as threads:
        kept = list(threads.map(offer, range(60)))
    assert sum(kept) == 10
    assert verify(stores[0]) == Findings(checked=10)


def test_a_full_disk_leaves_the_store_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, 1)
    before = list(store.folder.glob("images/*/*"))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SinkError, match="no space left on device"):
        put(store, 2)
    monkeypatch.undo()
    assert list(store.folder.glob("images/*/*")) == before
    assert verify(store) == Findings(checked=1)


def test_a_manifest_that_fails_leaves_no_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, 1)

    def fail(*_arguments: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("stream.dataset.manifest.forget_surplus", fail)  # the last step, with the files in place
    with pytest.raises(SinkError, match="disk I/O error"):
        put(store, 2)
    monkeypatch.undo()
    assert verify(store) == Findings(checked=1)


def test_a_picture_that_comes_back_while_it_goes_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = Store(tmp_path), Store(tmp_path)
    put(store, 1)
    remove = Store._remove_files

    def slowly(self: Store, hashes: list[str]) -> None:
        put(other, 1)  # its row is gone, its files not yet
        remove(self, hashes)

    monkeypatch.setattr(Store, "_remove_files", slowly)
    assert store.prune(NOON, max_bytes=0) == 1
    monkeypatch.undo()
    assert verify(store) == Findings(checked=1)


def test_a_folder_without_a_data_set_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no data set in .*empty"):
        Store.existing(tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def spoil(store: Store, hashes: list[str]) -> None:
    """Everything that can go wrong with files, once each."""
    damaged, missing, without_record, without_row = hashes[:4]
    store.picture_path(damaged).write_bytes(b"\xff\xd8 no picture")
    store.picture_path(missing).unlink()
    store.record_path(without_record).unlink()
    with sqlite3.connect(store.folder / MANIFEST) as connection:
        connection.execute("DELETE FROM samples WHERE sha256 = ?", (without_row,))
    connection.close()
    (store.folder / "images" / damaged[:2] / ".partial-0123").write_bytes(b"half")


def test_verify_finds_and_repairs(store: Store) -> None:
    hashes = [put(store, number, [label()]).sha256 for number in range(6)]
    assert verify(store) == Findings(checked=6)
    spoil(store, hashes)
    wrong = Findings(checked=5, damaged=1, missing=1, without_record=1, without_row=1, leftovers=1)
    assert verify(store) == wrong
    assert verify(store) == wrong, "looking changes nothing"
    assert verify_at(store, time.time()).leftovers == 0, "somebody may be writing it"
    assert verify(store, repair=True) == replace(wrong, checked=6, adopted=1)
    assert verify(store) == Findings(checked=4)
    assert in_store(store) == on_disk(store) == set(hashes[2:])
    assert len(list(store.folder.glob("images/*/*"))) == 8


def test_a_picture_that_goes_and_comes_back_while_it_is_looked_at_is_sound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = put(store, 1)

    def gone_at_first(path: Path) -> str | None:
        monkeypatch.setattr(checking, "hash_of", hash_of)
        assert path == store.picture_path(kept.sha256)
        return None

    monkeypatch.setattr(checking, "hash_of", gone_at_first)
    assert verify(store) == Findings(checked=1)


@pytest.mark.parametrize("record", [b"", b"{}", b"[1]", b'{"sha256":"other"}', b"\xff\xfe"])
def test_a_picture_whose_record_is_no_record_cannot_be_taken_in(store: Store, record: bytes) -> None:
    [one, two] = [put(store, number) for number in range(2)]
    with sqlite3.connect(store.folder / MANIFEST) as connection:
        connection.execute("DELETE FROM samples WHERE sha256 = ?", (one.sha256,))
    connection.close()
    store.record_path(one.sha256).write_bytes(record)
    assert verify(store, repair=True).adopted == 0
    assert verify(store) == Findings(checked=1)
    assert on_disk(store) == {two.sha256}


@pytest.mark.parametrize("how", ["deleted", "damaged"])
def test_a_lost_manifest_is_made_anew(store: Store, how: str, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        put(store, number, [label("dog")])
    before, digest = in_store(store), store.provenance()["digest"]
    store.close()
    for path in store.folder.glob(f"{MANIFEST}*"):
        path.write_bytes(b"rubbish" * 1000) if how == "damaged" else path.unlink()
    anew = Store.existing(store.folder)
    assert in_store(anew) == set()
    assert verify(anew, repair=True).adopted == 5
    assert in_store(anew) == before
    assert anew.provenance()["digest"] == digest
    assert statistics_of(anew)["by"]["class"]["dog"]["samples"] == 5
    assert ("set aside" in caplog.text) == (how == "damaged")


WRITER = """
import sys
from pathlib import Path
from stream.dataset.collector import encode
from stream.dataset.store import Store, hash_of
from tests.datasets import ANYTHING, label, sample, scene
store, first = Store(Path(sys.argv[1])), int(sys.argv[2])
print("ready", flush=True)
for seed in range(first, first + 100_000):
    picture = scene(seed)
    draft = sample(picture, [label()], camera=f"cam{first}")
    if store.add(draft, encode(picture, 95), ANYTHING, max_bytes=int(sys.argv[3])) is not None:
        print(seed, flush=True)
"""


@pytest.mark.slow
def test_processes_that_are_killed_leave_no_rows_without_files(tmp_path: Path) -> None:
    """Three writers that also make room, each killed in the midst of it; verify runs beside the survivors."""
    folder, max_bytes = tmp_path / "dataset", 200_000
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, folder, str(first * 1_000_000), str(max_bytes)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in range(3)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            for _ in range(40):
                assert writer.stdout.readline(), "it writes until it is killed"
            found = verify_at(Store(folder), time.time())
            assert (found.damaged, found.missing, found.without_record) == (0, 0, 0)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    store = Store(folder)
    found = verify(store, repair=True)
    assert (found.damaged, found.missing, found.without_record) == (0, 0, 0)
    assert found.without_row + found.leftovers <= 20, "a handful of files of what was going on at each death"
    store.prune(NOON, max_bytes=max_bytes)
    assert verify(store).is_sound
    assert in_store(store) == on_disk(store)
    assert 0 < sum(store.manifest.rows().values()) <= max_bytes
    assert put(store, 5)
