"""A run's folder: what a resumed run keeps, and what a run that begins anew takes away."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from edge.config import RunSettings
from edge.run_folder import RunFolder, open_run_folder
from stream.config import build
from stream.errors import OutputError, UsageError
from tests import clips
from tests.clips import Clip
from tests.commands import predictions, summary, videodisco

PLAIN = ("--no-mlflow", "--quiet")


def three_clips(folder: Path) -> list[Path]:
    return [clips.write_clip(folder / f"{name}.mp4", Clip(frames=8)) for name in ("one", "two", "three")]


def declare(folder: Path, **states: str) -> None:
    """Change how sources ended, as if an output of theirs had failed."""
    content = summary(folder)
    for entry in content["sources"]:
        entry["state"] = states.get(Path(entry["name"]).stem, entry["state"])
    (folder / "summary.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.slow
def test_a_resumed_run_keeps_only_what_was_finished_wherever_it_stands(bikes_clip: Path, tmp_path: Path) -> None:
    sources = [*three_clips(tmp_path), bikes_clip]
    arguments: tuple[str | Path, ...] = ("run", *sources, "--end", "0.32", "--save-csv", *PLAIN)
    assert videodisco(*arguments, cwd=tmp_path).code == 0
    folder = tmp_path / "runs" / "run"
    csv = (folder / "predictions.csv").read_text().splitlines()
    declare(folder, one="incomplete", three="incomplete")
    assert videodisco(*arguments, "--resume", cwd=tmp_path).code == 0
    assert Counter(line["source"] for line in predictions(folder)) == dict.fromkeys(
        ("one.mp4", "two.mp4", "three.mp4", "bikes.mp4"), 8
    )
    again = (folder / "predictions.csv").read_text().splitlines()
    assert again[0] == csv[0]
    assert sorted(again) == sorted(csv)
    # Where the finished parts stand now is what the next resumed run must know.
    declare(folder, bikes="incomplete")
    assert videodisco(*arguments, "--resume", cwd=tmp_path).code == 0
    assert Counter(line["source"] for line in predictions(folder)).total() == 32
    assert sorted((folder / "predictions.csv").read_text().splitlines()) == sorted(csv)


@pytest.mark.slow
def test_writing_into_an_existing_folder_begins_its_files_anew(bikes_clip: Path, tmp_path: Path) -> None:
    for end in ("0.4", "0.2"):
        arguments: tuple[str | Path, ...] = ("run", bikes_clip, "--end", end, "--save-csv", "--exist-ok", *PLAIN)
        assert videodisco(*arguments, cwd=tmp_path).code == 0
    folder = tmp_path / "runs" / "run"
    assert [line["frame"] for line in predictions(folder)] == list(range(5))
    boxes = sum(len(line["detections"]) for line in predictions(folder))
    assert len((folder / "predictions.csv").read_text().splitlines()) == 1 + boxes


@pytest.mark.slow
def test_files_that_differ_in_their_suffix_alone_do_not_share_outputs(tmp_path: Path) -> None:
    first = clips.write_clip(tmp_path / "clip.mp4", Clip(frames=8))
    second = clips.write_clip(tmp_path / "clip.mkv", Clip(frames=5))
    done = videodisco("run", first, second, "--save", *PLAIN, cwd=tmp_path)
    assert done.code == 0, done.err
    recorded = (tmp_path / "runs" / "run").glob("*_annotated.mp4")
    assert sorted(len(clips.decode(path)) for path in recorded) == [5, 8]


@pytest.mark.slow
def test_a_resumed_run_must_have_the_same_settings(tmp_path: Path) -> None:
    one, two, _ = three_clips(tmp_path)
    assert videodisco("run", one, *PLAIN, cwd=tmp_path).code == 0
    written = (tmp_path / "runs" / "run" / "predictions.jsonl").read_bytes()
    done = videodisco("run", one, two, "--conf", "0.7", "--resume", *PLAIN, cwd=tmp_path)
    assert done.code == 2
    assert "other settings" in done.sentence
    assert "without --resume" in done.sentence
    assert (tmp_path / "runs" / "run" / "predictions.jsonl").read_bytes() == written
    assert videodisco("run", one, two, "--workers", "1", "--resume", *PLAIN, cwd=tmp_path).code == 0


@pytest.mark.slow
def test_a_skipped_source_still_counts_its_losses(tmp_path: Path) -> None:
    one, *_ = three_clips(tmp_path)
    assert videodisco("run", one, *PLAIN, cwd=tmp_path).code == 0
    folder = tmp_path / "runs" / "run"
    content = summary(folder)
    content["sources"][0]["losses"]["damaged_frames"] = 2
    (folder / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    assert videodisco("run", one, "--resume", *PLAIN, cwd=tmp_path).code == 5
    assert summary(folder)["sources"][0]["losses"]["damaged_frames"] == 2


def settings_in(project: Path, **values: object) -> RunSettings:
    return build(RunSettings, {"output": {"project": str(project)}, **values}, origin="test")


def finished(project: Path, **ends: int) -> RunFolder:
    """A run's folder with twelve bytes of predictions, of which each source claims those up to its end."""
    folder = open_run_folder(settings_in(project))
    folder.predictions.write_bytes(b"111\n222\n333\n")
    no_csv = {"csv_begin_byte": None, "csv_end_byte": None}
    offsets = [
        {"location": name, "state": "done", "predictions_begin_byte": end - 4, "predictions_end_byte": end, **no_csv}
        for name, end in ends.items()
    ]
    folder.write_summary({"complete": True, "sources": offsets})
    return folder


def test_what_was_finished_is_not_forgotten_by_a_run_that_ends_before_it(tmp_path: Path) -> None:
    finished(tmp_path, one=4, three=12)
    folder = open_run_folder(settings_in(tmp_path, resume=True))
    assert folder.predictions.read_bytes() == b"111\n333\n"
    folder.write_summary({"complete": False, "sources": [{"location": "two", "state": "stopped"}]})
    folder.release()
    again = open_run_folder(settings_in(tmp_path, resume=True))
    assert again.finished.keys() == {"one", "three"}
    assert again.predictions.read_bytes() == b"111\n333\n"


@pytest.mark.parametrize(
    ("written", "newest"),
    [
        (["run", "run2", "run10"], "run10"),
        (["run", "run3"], "run3"),  # the second was removed
        (["run2", "run"], "run"),  # the first was removed, and its name taken again
        (["run", "run2026", "run02", "running"], "run"),  # other names
    ],
)
def test_the_run_that_was_written_last_is_resumed(tmp_path: Path, written: list[str], newest: str) -> None:
    for moment, name in enumerate(written, start=1):
        (tmp_path / name).mkdir()
        summarised = tmp_path / name / "summary.json"
        summarised.write_text("{}")
        os.utime(summarised, (moment, moment))
    with pytest.raises(UsageError, match=rf"/{newest} was made with other settings"):
        open_run_folder(settings_in(tmp_path, resume=True))


def test_a_summary_that_does_not_fit_its_predictions_is_refused(tmp_path: Path) -> None:
    folder = finished(tmp_path, one=4, four=16)
    folder.release()
    with pytest.raises(OutputError, match="start a new run without --resume"):
        open_run_folder(settings_in(tmp_path, resume=True))
    assert folder.predictions.read_bytes() == b"111\n222\n333\n"
    assert {path.name for path in folder.path.iterdir()} == {"predictions.jsonl", "summary.json"}


def test_a_damaged_summary_is_refused(tmp_path: Path) -> None:
    finished(tmp_path, one=4).summary.write_text("[]")
    with pytest.raises(OutputError, match="start a new run without --resume"):
        open_run_folder(settings_in(tmp_path, resume=True))


def test_two_runs_never_write_into_the_same_folder(tmp_path: Path) -> None:
    output = {"project": tmp_path, "name": "same", "exist_ok": True}
    settings = build(RunSettings, {"sources": ["a.mp4"], "output": output}, origin="test")
    first = open_run_folder(settings)
    first.predictions.write_text("{}\n")
    with pytest.raises(OutputError, match="another run is writing into"):
        open_run_folder(settings)
    with pytest.raises(OutputError, match="another run is writing into"):
        open_run_folder(settings.model_copy(update={"resume": True}))
    assert first.predictions.read_text() == "{}\n"
    del first
    assert open_run_folder(settings).path == tmp_path / "same"
