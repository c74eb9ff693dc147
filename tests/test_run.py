"""``videodisco run`` as a user runs it: what comes out, and what is said when it cannot."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests import clips
from tests.clips import Clip
from tests.commands import predictions, summary, videodisco

pytestmark = pytest.mark.slow

PLAIN = ("--no-mlflow", "--quiet")


def untimed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "timings_ms"} for line in lines]


@pytest.fixture(scope="module")
def pedestrians(vtest_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run over all of vtest.avi."""
    cwd = tmp_path_factory.mktemp("pedestrians")
    done = videodisco("run", vtest_clip, "--save", *PLAIN, cwd=cwd)
    assert (done.code, done.err) == (0, "")
    return cwd / "runs" / "run"


def test_frames_lines_and_recorded_pictures_are_the_same_number_with_the_same_times(pedestrians: Path) -> None:
    lines = predictions(pedestrians)
    assert [line["frame"] for line in lines] == list(range(795))
    recorded = [time for time, _ in clips.decode(pedestrians / "annotated.mp4")]
    assert recorded == [Fraction(frame, 10) for frame in range(795)]
    assert [line["pts_s"] for line in lines] == pytest.approx([float(time) for time in recorded])
    assert summary(pedestrians)["frames"] == 795
    assert summary(pedestrians)["complete"] is True


def test_people_are_tracked_with_stable_identities(pedestrians: Path) -> None:
    tracks: Counter[int] = Counter()
    for line in predictions(pedestrians):
        tracks.update(d["track_id"] for d in line["detections"] if d["class"] == "person" and "track_id" in d)
    # The scene has about 19 people, who hide behind each other and a lamp post.
    assert len(tracks) < 80
    assert sum(count for _, count in tracks.most_common(19)) > 0.6 * sum(tracks.values())
    assert tracks.most_common(1)[0][1] > 150


def test_a_street_with_everything_kept(bikes_clip: Path, tmp_path: Path) -> None:
    options = ("--save-txt", "--save-conf", "--save-crop", "--save-csv", "--end", "2")
    done = videodisco("run", bikes_clip, *options, "--no-mlflow", cwd=tmp_path)
    assert done.code == 0, done.err
    folder = tmp_path / "runs" / "run"
    lines = predictions(folder)
    assert len(lines) == 50
    found = Counter(d["class"] for line in lines for d in line["detections"])
    assert {"car", "person", "bicycle"} & set(found)
    labelled = {int(path.stem.rsplit("_", 1)[1]) for path in (folder / "labels").iterdir()}
    assert labelled == {line["frame"] for line in lines if line["detections"]}
    assert len(list((folder / "crops").rglob("*.jpg"))) == sum(found.values())
    assert len((folder / "predictions.csv").read_text().splitlines()) == 1 + sum(found.values())
    assert "50 frames" in done.out
    assert "predictions.jsonl" in done.out


def test_two_runs_say_the_same(bikes_clip: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert videodisco("run", bikes_clip, "--end", "3", *PLAIN, cwd=tmp_path).code == 0
    first, second = (untimed(predictions(tmp_path / "runs" / name)) for name in ("run", "run2"))
    assert first == second


def test_a_strided_run_writes_and_records_every_frame(bikes_clip: Path, tmp_path: Path) -> None:
    assert videodisco("run", bikes_clip, "--vid-stride", "4", "--end", "2", "--save", *PLAIN, cwd=tmp_path).code == 0
    lines = predictions(tmp_path / "runs" / "run")
    assert [line["frame"] for line in lines if not line.get("carried")] == list(range(0, 50, 4))
    assert len(lines) == len(clips.decode(tmp_path / "runs" / "run" / "annotated.mp4")) == 50
    assert any(line["detections"] for line in lines if line.get("carried"))


def test_only_the_classes_asked_for(bikes_clip: Path, tmp_path: Path) -> None:
    assert videodisco("run", bikes_clip, "--classes", "person,2", "--end", "3", *PLAIN, cwd=tmp_path).code == 0
    found = {d["class"] for line in predictions(tmp_path / "runs" / "run") for d in line["detections"]}
    assert found
    assert found <= {"person", "car"}


@pytest.mark.parametrize(
    "options", [(), ("--model", "nanodet-g-416", "--workers", "1", "--tracker", "ocsort", "--imgsz", "320")]
)
def test_the_models_identity_is_in_every_line(bikes_clip: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    assert videodisco("run", bikes_clip, "--end", "0.4", *options, *PLAIN, cwd=tmp_path).code == 0
    for line in predictions(tmp_path / "runs" / "run"):
        assert line["model"]["name"].startswith("nanodet-g-416")
        assert len(line["model"]["sha256"]) == 64


def test_several_sources_one_of_them_bad(bikes_clip: Path, tmp_path: Path) -> None:
    good = clips.write_clip(tmp_path / "good.mp4", Clip(frames=10))
    (tmp_path / "bad.mp4").write_text("no film\n")
    done = videodisco("run", good, tmp_path / "bad.mp4", bikes_clip, "--end", "0.4", "--save", *PLAIN, cwd=tmp_path)
    assert done.code == 5
    assert "bad.mp4 is not a video" in done.sentence
    folder = tmp_path / "runs" / "run"
    assert Counter(line["source"] for line in predictions(folder)) == {"good.mp4": 10, "bikes.mp4": 10}
    assert {path.name for path in folder.glob("*.mp4")} == {"good_annotated.mp4", "bikes_annotated.mp4"}
    assert [entry["state"] for entry in summary(folder)["sources"]] == ["done", "refused", "done"]


def test_resume_skips_what_is_done_and_redoes_the_rest(tmp_path: Path) -> None:
    one, two = (clips.write_clip(tmp_path / name, Clip(frames=20)) for name in ("one.mp4", "two.mp4"))
    assert videodisco("run", one, "--save-csv", *PLAIN, cwd=tmp_path).code == 0
    folder = tmp_path / "runs" / "run"
    whole = untimed(predictions(folder))
    # A run that was killed in its second source has left lines of it behind.
    with (folder / "predictions.jsonl").open("a") as file:
        file.write('{"source":"two.mp4","frame":0}\n{"source":"two.mp4","fra')
    done = videodisco("run", one, two, "--save-csv", "--resume", "--no-mlflow", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "1 skipped" in done.out
    lines = untimed(predictions(folder))
    assert lines[:20] == whole
    assert [(line["source"], line["frame"]) for line in lines[20:]] == [("two.mp4", frame) for frame in range(20)]


def test_a_configuration_file_and_options_over_it(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", Clip(frames=10))
    config = tmp_path / "mine.yaml"
    config.write_text(f"sources: ['{clip}']\noutput: {{name: mine, csv: true}}\nmlflow: {{enabled: false}}\n")
    assert videodisco("run", "--config", config, "--name", "over", "--quiet", cwd=tmp_path).code == 0
    assert (tmp_path / "runs" / "over" / "predictions.csv").exists()


# -- what cannot be done is one sentence ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("short") / "short.mp4", Clip(frames=10))


def refused(cwd: Path, code: int, *arguments: str | Path) -> str:
    done = videodisco("run", *arguments, *PLAIN, cwd=cwd)
    assert done.code == code, done.err
    assert done.out == ""
    assert not (cwd / "runs" / "run").exists(), "nothing was started"
    return done.sentence


def test_no_source_at_all(tmp_path: Path) -> None:
    assert "no source is named" in refused(tmp_path, 2)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "nowhere.mp4 does not exist" in refused(tmp_path, 3, "nowhere.mp4")


def test_a_pattern_without_a_match(tmp_path: Path) -> None:
    assert "no file matches" in refused(tmp_path, 3, "*.mkv")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no video file" in refused(tmp_path, 3, "empty")


def test_a_one_pixel_video_runs(tmp_path: Path) -> None:
    dot = clips.write_clip(tmp_path / "dot.mkv", Clip(frames=3, width=1, height=1, codec="ffv1", pix_fmt="yuv444p"))
    done = videodisco("run", dot, "--save", *PLAIN, cwd=tmp_path)
    assert done.code == 0, done.err
    assert len(predictions(tmp_path / "runs" / "run")) == 3
    assert len(clips.decode(tmp_path / "runs" / "run" / "annotated.mp4")) == 3


def test_a_wrong_class_name(short: Path, tmp_path: Path) -> None:
    sentence = refused(tmp_path, 2, short, "--classes", "persson")
    assert "persson" in sentence
    assert "person" in sentence.replace("persson", "")


def test_a_class_number_out_of_range(short: Path, tmp_path: Path) -> None:
    assert "80" in refused(tmp_path, 2, short, "--classes", "80")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--conf", "1.5", "less than or equal to 1"),
        ("--vid-stride", "0", "greater than or equal to 1"),
        ("--tracker", "sorty", "bytetrack"),
        ("--device", "tpu", "coreml"),
        ("--name", "a/b", "not a path"),
    ],
)
def test_a_wrong_value_names_the_bounds(short: Path, tmp_path: Path, option: str, value: str, words: str) -> None:
    assert words in refused(tmp_path, 2, short, option, value)


def test_an_end_before_the_start(short: Path, tmp_path: Path) -> None:
    assert "must be after" in refused(tmp_path, 2, short, "--start", "5", "--end", "2")


def test_an_unknown_key_in_the_configuration(short: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("detector: {confidance: 0.3}\n")
    assert "unknown key 'detector.confidance'" in refused(tmp_path, 2, short, "--config", "c.yaml")


def test_an_unset_variable_in_the_configuration(short: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("mlflow: {uri: '${NO_SUCH_VARIABLE}'}\n")
    assert "NO_SUCH_VARIABLE" in refused(tmp_path, 2, short, "--config", "c.yaml")


def test_an_unknown_model(short: Path, tmp_path: Path) -> None:
    assert "nanodet-g-416" in refused(tmp_path, 4, short, "--model", "yolov99")


def test_a_file_that_is_no_model(short: Path, tmp_path: Path) -> None:
    (tmp_path / "fake.onnx").write_text("this is text\n")
    assert "fake.onnx" in refused(tmp_path, 4, short, "--model", "fake.onnx")


def test_a_provider_that_is_not_there(short: Path, tmp_path: Path) -> None:
    assert "cpu" in refused(tmp_path, 4, short, "--device", "coreml")


def test_a_project_that_is_a_file(short: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("x")
    assert "--project" in refused(tmp_path, 2, short, "--project", "notes")


def test_an_unwritable_project(short: Path, tmp_path: Path) -> None:
    assert "/proc/runs" in refused(tmp_path, 2, short, "--project", "/proc/runs")


def test_a_tracking_server_that_is_none(short: Path, tmp_path: Path) -> None:
    done = videodisco("run", short, "--mlflow-uri", "ftp://u:secret@host", "--quiet", cwd=tmp_path)
    assert done.code == 2
    assert "is no tracking store" in done.sentence
    assert "secret" not in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("mlflow", ["--no-mlflow", "--mlflow"])
def test_a_home_that_cannot_be_made_refuses_no_run(short: Path, tmp_path: Path, mlflow: str) -> None:
    (tmp_path / "file").touch()
    done = videodisco("run", short, mlflow, cwd=tmp_path, extra={"VIDEODISCO_HOME": str(tmp_path / "file" / "home")})
    assert done.code == 0, done.err
    assert len(predictions(tmp_path / "runs" / "run")) == 10
    assert ("This run is not logged to MLflow" in done.err) == (mlflow == "--mlflow")
