"""Exports: what trainers read is what was kept."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import supervision as sv
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stream.dataset.export import export
from stream.dataset.export.plan import HOUR_S, ExportSettings, make_plan, split_of
from stream.dataset.manifest import Filter
from stream.dataset.store import Store
from stream.errors import SinkError, UsageError
from stream.frame import Refinement
from tests.datasets import NOON, decoded, label, put, sample, scene

ALL_TRAIN = ExportSettings(val_share=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two cameras over five hours: people and dogs, and empty pictures."""
    store = Store(tmp_path / "dataset")
    for number in range(20):
        labels = [label("person", 0.3 + 0.03 * number, (1.5, 2.25, 20.75, 60)), label("dog", 0.9, (40, 8, 96, 64))]
        about: dict[str, Any] = {"camera": f"cam{number % 2}", "taken_at": NOON + number // 4 * HOUR_S}
        put(store, number, labels[: number % 3], **about)
    return store


def boxes_by_file(loaded: sv.DetectionDataset) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """Class names and boxes of each picture, by its file's name."""
    found = {}
    for path, _, detections in loaded:
        ids: list[int] = [] if detections.class_id is None else detections.class_id.tolist()
        named = zip((loaded.classes[number] for number in ids), map(tuple, detections.xyxy.tolist()), strict=True)
        found[Path(path).name] = sorted(named)
    return found


def expected(store: Store, split: str | None = None, settings: ExportSettings | None = None) -> dict[str, Any]:
    settings = settings or ExportSettings()
    return {
        f"{each.sha256[:24]}.jpg": sorted((one.class_name, one.bbox) for one in each.labels)
        for each in store.manifest.samples()
        if split is None or split_of(each, val_share=settings.val_share) == split
    }


def as_coco(folder: Path, split: str) -> sv.DetectionDataset:
    return sv.DetectionDataset.from_coco(
        str(folder / "images" / split), str(folder / "annotations" / f"instances_{split}.json")
    )


def as_yolo(folder: Path, split: str) -> sv.DetectionDataset:
    return sv.DetectionDataset.from_yolo(
        str(folder / "images" / split), str(folder / "labels" / split), str(folder / "data.yaml")
    )


@pytest.mark.parametrize(("layout", "load"), [("coco", as_coco), ("yolo", as_yolo)])
def test_supervision_reads_what_was_kept(store: Store, tmp_path: Path, layout: str, load: Any) -> None:
    settings = ExportSettings(val_share=0.4)
    report = export(store, layout, tmp_path / "out", settings)
    for split in ("train", "val"):
        loaded, wanted = load(report.folder, split), expected(store, split, settings)
        found = boxes_by_file(loaded)
        assert loaded.classes == ["dog", "person"]
        assert found.keys() == wanted.keys()
        assert wanted, "both are there"
        for name, ones in wanted.items():
            assert [one[0] for one in found[name]] == [one[0] for one in ones]
            for (_, box), (_, other) in zip(found[name], ones, strict=True):
                assert box == pytest.approx(other, abs=0.01)


def test_pictures_are_copied_as_they_are(store: Store, tmp_path: Path) -> None:
    folder = export(store, "coco", tmp_path / "out", ALL_TRAIN).folder
    for each in store.manifest.samples():
        copy = folder / "images" / "train" / f"{each.sha256[:24]}.jpg"
        assert copy.read_bytes() == store.picture_path(each.sha256).read_bytes()
        copy.write_bytes(b"edited")
        assert store.picture_path(each.sha256).read_bytes() != b"edited"


def test_coco_keeps_scores_and_counts_categories_from_one(store: Store, tmp_path: Path) -> None:
    folder = export(store, "coco", tmp_path / "out", ALL_TRAIN).folder
    content = json.loads((folder / "annotations/instances_train.json").read_text())
    assert [(each["id"], each["name"]) for each in content["categories"]] == [(1, "dog"), (2, "person")]
    person = next(each for each in content["annotations"] if each["category_id"] == 2)
    assert person["bbox"] == [1.5, 2.25, 19.25, 57.75]
    assert person["area"] == pytest.approx(19.25 * 57.75, abs=0.01)
    assert 0.3 <= person["score"] < 1
    assert len({each["id"] for each in content["annotations"]}) == len(content["annotations"]) == 19


def test_yolo_has_a_file_for_empty_pictures_too(store: Store, tmp_path: Path) -> None:
    folder = export(store, "yolo", tmp_path / "out", ALL_TRAIN).folder
    empty = [path for path in (folder / "labels/train").iterdir() if not path.read_text()]
    assert len(empty) == 7
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert data["names"] == {0: "dog", 1: "person"}
    assert (folder / data["train"]).is_dir()
    assert (folder / data["val"]).is_dir()
    assert "path" not in data, "it is looked up from where the training was started"


def test_folders_hold_every_object_by_its_class(store: Store, tmp_path: Path) -> None:
    crop = put(store, 99, [label("bus", 0.6, (4, 4, 90, 60))], kind="crop")
    folder = export(store, "folders", tmp_path / "out", ALL_TRAIN).folder
    found = {name.name: len(list(name.iterdir())) for name in (folder / "train").iterdir()}
    assert found == {"person": 13, "dog": 6, "bus": 1}
    [bus] = (folder / "train/bus").iterdir()
    assert bus.read_bytes() == store.picture_path(crop.sha256).read_bytes()
    shapes = {decoded(path.read_bytes()).shape for path in (folder / "train/person").iterdir()}
    assert shapes == {(58, 20, 3)}


def test_labels_can_be_those_of_the_cloud_and_strong_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "dataset")
    refined = replace(label("bus", 0.4), refined=Refinement("minibus", 0.8, "m"))
    put(store, 1, [refined, label("dog", 0.2), label("cat", 0.9)])
    settings = replace(ALL_TRAIN, refined=True, min_confidence=0.3)
    assert export(store, "yolo", tmp_path / "out", settings).provenance["classes"] == ["cat", "minibus"]


def test_pictures_that_are_no_longer_what_they_were_are_left_out_by_name(tmp_path: Path) -> None:
    store = Store(tmp_path / "dataset")
    whole, altered, gone = (put(store, number, [label("dog")]) for number in range(3))
    store.picture_path(altered.sha256).write_bytes(store.picture_path(whole.sha256).read_bytes())
    store.picture_path(gone.sha256).unlink()
    report = export(store, "yolo", tmp_path / "out", ALL_TRAIN)
    assert set(report.left_out) == set(report.provenance["left_out"]) == {altered.sha256, gone.sha256}
    assert [path.stem for path in (tmp_path / "out/images/train").iterdir()] == [whole.sha256[:24]]


def test_a_single_hour_is_to_train_with_wherever_it_was_drawn(tmp_path: Path) -> None:
    store = Store(tmp_path / "dataset")
    drawn = put(store, 1, [label("dog")])
    seed = next(seed for seed in range(100) if split_of(drawn, val_share=0.2, seed=seed) == "val")
    plan = make_plan(store, ExportSettings(seed=seed))
    assert [item.split for item in plan.items] == ["train"]
    assert [item.split for item in make_plan(store, ExportSettings(val_share=1.0)).items] == ["val"]


def test_the_note_says_where_it_comes_from(store: Store, tmp_path: Path) -> None:
    report = export(store, "coco", tmp_path / "out", ExportSettings(Filter(camera="cam0"), val_share=0.4))
    note = json.loads((tmp_path / "out/provenance.json").read_text())
    assert note == report.provenance
    assert note["digest"] == store.provenance(Filter(camera="cam0"))["digest"]
    assert note["cameras"] == {"cam0": 10}
    assert note["models"] == {"nanodet-g 1.0.0 abababababab": 10}
    assert sum(each["pictures"] for each in note["splits"].values()) == note["samples"] == 10
    lines = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()]
    assert Counter(line["split"] for line in lines) == {
        split: each["pictures"] for split, each in note["splits"].items()
    }
    assert {line["camera"] for line in lines} == {"cam0"}
    assert report.params()["dataset_digest"] == note["digest"]
    assert all(isinstance(value, str) for value in report.params().values())


@given(
    camera=st.sampled_from(["a", "b"]), hour=st.integers(0, 500_000), seconds=st.lists(st.floats(0, 3599), min_size=2)
)
def test_a_camera_hour_is_never_on_both_sides(camera: str, hour: int, seconds: list[float]) -> None:
    pictures = [sample(scene(1), camera=camera, taken_at=hour * HOUR_S + second) for second in seconds]
    assert len({split_of(each, val_share=0.5) for each in pictures}) == 1


def test_the_split_is_about_as_large_as_wished_and_grows_with_it() -> None:
    hours = [sample(scene(1), taken_at=number * HOUR_S) for number in range(2000)]
    few = {each.origin.taken_at for each in hours if split_of(each, val_share=0.2) == "val"}
    more = {each.origin.taken_at for each in hours if split_of(each, val_share=0.3) == "val"}
    other = {each.origin.taken_at for each in hours if split_of(each, val_share=0.2, seed=1) == "val"}
    assert abs(len(few) - 400) < 80
    assert few < more
    assert len(few & other) < 150
    assert not any(split_of(each, val_share=0.0) == "val" for each in hours)
    assert all(split_of(each, val_share=1.0) == "val" for each in hours)


def test_exporting_twice_gives_the_same(store: Store, tmp_path: Path) -> None:
    one, other = (export(store, "coco", tmp_path / name, ExportSettings()).folder for name in ("one", "other"))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert all((one / path).read_bytes() == (other / path).read_bytes() for path in files)


def test_nothing_is_written_over(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is there already"):
        export(store, "coco", tmp_path / "out", ALL_TRAIN)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_of_an_export_that_fails_nothing_is_left(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device", str(source))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(SinkError, match="no space left"):
        export(store, "yolo", tmp_path / "out", ALL_TRAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_an_empty_choice_is_said(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to export"):
        export(store, "coco", tmp_path / "out", ExportSettings(Filter(camera="nowhere")))


def test_a_picture_that_is_gone_is_left_out_everywhere(store: Store, tmp_path: Path) -> None:
    gone = next(iter(store.manifest.samples()))
    store.picture_path(gone.sha256).unlink()
    folder = export(store, "coco", tmp_path / "out", ALL_TRAIN).folder
    assert len(as_coco(folder, "train")) == 19
