"""``videodisco run`` as a user runs it: what comes out, and what is said when it cannot."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tests import clips
from tests.clips import Clip
from tests.commands import Ended, predictions, summary, videodisco
from videodisco import main

pytestmark = pytest.mark.slow

PLAIN = ("--no-mlflow", "--quiet")


def untimed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "timings_ms"} for line in lines]


@pytest.fixture(scope="module")
def pedestrians(vtest_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run over the first half of vtest.avi."""
    cwd = tmp_path_factory.mktemp("pedestrians")
    done = videodisco("run", vtest_clip, "--save", "--end", "40", *PLAIN, cwd=cwd)
    assert (done.code, done.err) == (0, "")
    return cwd / "runs" / "run"


def test_frames_lines_and_recorded_pictures_are_the_same_number_with_the_same_times(pedestrians: Path) -> None:
    lines = predictions(pedestrians)
    assert [line["frame"] for line in lines] == list(range(400))
    with av.open(str(pedestrians / "annotated.mp4")) as container:
        recorded = [Fraction(frame.pts or 0) * Fraction(frame.time_base or 0) for frame in container.decode(video=0)]
    assert recorded == [Fraction(frame, 10) for frame in range(400)]
    assert [line["pts_s"] for line in lines] == pytest.approx([float(time) for time in recorded])
    assert summary(pedestrians)["frames"] == 400
    assert summary(pedestrians)["complete"] is True


def test_people_are_tracked_with_stable_identities(pedestrians: Path) -> None:
    tracks: Counter[int] = Counter()
    for line in predictions(pedestrians):
        tracks.update(d["track_id"] for d in line["detections"] if d["class"] == "person" and "track_id" in d)
    # About a dozen people come by, who hide behind each other and a lamp post; four are there nearly all the time.
    assert len(tracks) < 25
    assert sum(count for _, count in tracks.most_common(8)) > 0.7 * sum(tracks.values())
    assert tracks.most_common(3)[-1][1] > 250


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


def sentence_of(done: Ended, cwd: Path, code: int) -> str:
    assert done.code == code, done.err
    assert done.out == ""
    assert not (cwd / "runs" / "run").exists(), "nothing was started"
    return done.sentence


def refused(cwd: Path, code: int, *arguments: str | Path) -> str:
    return sentence_of(videodisco("run", *arguments, *PLAIN, cwd=cwd), cwd, code)


Refuse = Callable[..., str]


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Refuse]:
    """The same within this process, for a process takes a second to begin."""
    monkeypatch.chdir(tmp_path)
    interval_s = sys.getswitchinterval()

    def refuse(code: int, *arguments: str | Path) -> str:
        ended_with = main(["run", *map(str, arguments), *PLAIN])
        return sentence_of(Ended(ended_with, *capsys.readouterr()), tmp_path, code)

    yield refuse
    sys.setswitchinterval(interval_s)
    gc.unfreeze()


def test_no_source_at_all(refuse: Refuse) -> None:
    assert "no source is named" in refuse(2)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "nowhere.mp4 does not exist" in refused(tmp_path, 3, "nowhere.mp4")


def test_a_pattern_without_a_match(refuse: Refuse) -> None:
    assert "no file matches" in refuse(3, "*.mkv")


def test_an_empty_folder(tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no video file" in refuse(3, "empty")


def test_a_one_pixel_video_runs(tmp_path: Path) -> None:
    dot = clips.write_clip(tmp_path / "dot.mkv", Clip(frames=3, width=1, height=1, codec="ffv1", pix_fmt="yuv444p"))
    done = videodisco("run", dot, "--save", *PLAIN, cwd=tmp_path)
    assert done.code == 0, done.err
    assert len(predictions(tmp_path / "runs" / "run")) == 3
    assert len(clips.decode(tmp_path / "runs" / "run" / "annotated.mp4")) == 3


def test_a_wrong_class_name(short: Path, refuse: Refuse) -> None:
    sentence = refuse(2, short, "--classes", "persson")
    assert "persson" in sentence
    assert "person" in sentence.replace("persson", "")


def test_a_class_number_out_of_range(short: Path, refuse: Refuse) -> None:
    assert "80" in refuse(2, short, "--classes", "80")


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
def test_a_wrong_value_names_the_bounds(short: Path, option: str, value: str, words: str, refuse: Refuse) -> None:
    assert words in refuse(2, short, option, value)


def test_an_end_before_the_start(short: Path, refuse: Refuse) -> None:
    assert "must be after" in refuse(2, short, "--start", "5", "--end", "2")


def test_an_unknown_key_in_the_configuration(short: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "c.yaml").write_text("detector: {confidance: 0.3}\n")
    assert "unknown key 'detector.confidance'" in refuse(2, short, "--config", "c.yaml")


def test_an_unset_variable_in_the_configuration(short: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "c.yaml").write_text("mlflow: {uri: '${NO_SUCH_VARIABLE}'}\n")
    assert "NO_SUCH_VARIABLE" in refuse(2, short, "--config", "c.yaml")


def test_an_unknown_model(short: Path, tmp_path: Path) -> None:
    assert "nanodet-g-416" in refused(tmp_path, 4, short, "--model", "yolov99")


def test_a_file_that_is_no_model(short: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "fake.onnx").write_text("this is text\n")
    assert "fake.onnx" in refuse(4, short, "--model", "fake.onnx")


def test_a_provider_that_is_not_there(short: Path, refuse: Refuse) -> None:
    assert "cpu" in refuse(4, short, "--device", "coreml")


def test_a_project_that_is_a_file(short: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "notes").write_text("x")
    assert "--project" in refuse(2, short, "--project", "notes")


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
