"""``videodisco dataset`` as its user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import videodisco
from stream.dataset.store import Store
from tests.datasets import NOON, label, put


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Where the command looks by itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    store = Store(tmp_path / "runs" / "dataset")
    for number in range(4):
        put(store, number, [label("dog")] * number, camera=f"cam{number % 2}", taken_at=NOON + number * 3600)
    return store


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert videodisco.main(["dataset", *arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code == 2 else captured.out


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    return json.loads(said(capsys, *arguments, "--json", code=code))


def test_list_shows_the_newest_first(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "list").splitlines()
    assert lines[1].split()[1:] == ["2025-10-09", "12:00:00", "cam1", "frame", "dog", "random", "3"]
    assert len(lines) == 5
    assert [each["camera"] for each in told(capsys, "list", "--limit", "3")] == ["cam1", "cam0", "cam1"]
    assert len(told(capsys, "list", "--camera", "cam0", "--class", "dog")) == 1


def test_a_lost_manifest_is_said_so_with_the_way_out(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.close()
    for path in (store.folder / "manifest.db").parent.glob("manifest.db*"):
        path.unlink()
    for command in (["list"], ["stats"], ["export", "yolo", "out"]):
        assert "verify --repair --folder runs/dataset" in said(capsys, *command, code=2)
    assert "4" in said(capsys, "verify", "--repair")
    assert len(told(capsys, "list")) == 4


def test_an_export_that_leaves_something_out_ends_with_losses(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    [first, *_] = told(capsys, "list")
    store.picture_path(first["sha256"]).unlink()
    assert "1 picture was left out" in said(capsys, "export", "coco", "out", code=5)


def test_a_file_of_somebody_else_is_found(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (store.folder / "images" / "stranger.txt").write_text("?")
    assert told(capsys, "verify", code=5)["leftovers"] == 1


def test_stats_count(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    counted = told(capsys, "stats")
    assert counted["samples"] == 4
    assert counted["by"]["class"]["dog"]["samples"] == 3
    table = said(capsys, "stats")
    for word in ("class", "dog", "(none)", "camera", "cam0", "strategy", "random", "day", "2025-10-09", "together"):
        assert word in table


@pytest.mark.parametrize("layout", ["coco", "yolo", "folders"])
def test_export_says_what_it_wrote(store: Store, capsys: pytest.CaptureFixture[str], layout: str) -> None:
    out = said(capsys, "export", layout, "out", "--val", "0")
    assert "train        4 pictures         6 labels" in out
    assert "nothing is in val" in out
    assert Path("out/provenance.json").exists()
    assert told(capsys, "export", layout, "more", "--kind", "frame", "--conf", "0.9")["classes"] == []


def test_prune_wants_to_know_what_stays(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--max-gb, --keep-days or both" in said(capsys, "prune", code=2)
    assert said(capsys, "prune", "--max-gb", "1") == "0 removed\n"
    assert said(capsys, "prune", "--max-gb", "0.000003") != "0 removed\n"
    assert sum(store.manifest.rows().values()) <= 3000


def test_verify_tells_by_its_exit_code(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "all is well" in said(capsys, "verify")
    path = store.picture_path(next(iter(store.manifest.samples())).sha256)
    path.write_bytes(b"rubbish")
    assert told(capsys, "verify", code=5)["damaged"] == 1
    assert "videodisco dataset verify --repair puts it right" in said(capsys, "verify", code=5)
    assert "put right" in said(capsys, "verify", "--repair")
    assert told(capsys, "verify") == {
        "checked": 3,
        "damaged": 0,
        "missing": 0,
        "without_record": 0,
        "without_row": 0,
        "leftovers": 0,
        "adopted": 0,
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["stats", "--folder", "nowhere"], "there is no data set in nowhere"),
        (["export", "voc", "out"], "there is no layout 'voc'; there are coco, yolo, folders"),
        (["list", "--kind", "clips"], "there is no kind 'clips'"),
        (["export", "coco", "runs"], "runs is there already"),
        (["export", "coco", "out", "--camera", "cam7"], "there is nothing to export"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    store: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    complaint = said(capsys, *arguments, code=2)
    assert sentence in complaint
    assert complaint.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_said(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert "cannot write file/out" in said(capsys, "export", "coco", "file/out", code=2)
