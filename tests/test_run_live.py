"""``videodisco run`` on cameras, as a user runs it: a real RTSP server, signals, a configuration that changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest
import yaml

from stream.errors import EXIT_NO_SOURCE, EXIT_SIGINT, EXIT_SIGTERM, EXIT_USAGE
from tests.commands import command, environment, predictions, summary, videodisco
from tests.conftest import missing
from tests.rtsp_server import CameraSpec, RtspCamera, available

pytestmark = pytest.mark.slow

DEADLINE_S = 90.0
SECRET = "p@ss%2Fw:rd"  # noqa: S105 - the test's own


class Running:
    """The command at work; what it says is kept in a file."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self._said = said

    @property
    def said(self) -> str:
        return self._said.read_text(encoding="utf-8")

    def until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline_s, self.said
            time.sleep(0.05)

    def lines(self, source: str | None = None) -> int:
        """Frames told so far."""
        if not (self.folder / "predictions.jsonl").exists():
            return 0
        found = (self.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        return sum(source is None or f'"source":"{source}"' in line for line in found if line.endswith("\n"))

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(2 * DEADLINE_S)


@contextmanager
def running(*arguments: str | Path, cwd: Path, extra: dict[str, str] | None = None) -> Iterator[Running]:
    said = cwd / "said.txt"
    with said.open("wb") as out:
        process = subprocess.Popen(
            command("run", *arguments), cwd=cwd, env=environment(extra), stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield Running(process, said, cwd / "runs" / "run")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    if not available():
        missing("GStreamer's RTSP server", "install Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
    with RtspCamera(CameraSpec(rate=15)) as server:
        yield server


def configured(path: Path, cameras: dict[str, Any], **values: Any) -> Path:
    content = {"cameras": cameras, "mlflow": {"enabled": False}, **values}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, EXIT_SIGINT), (signal.SIGTERM, EXIT_SIGTERM)])
def test_a_camera_runs_until_a_signal_and_leaves_whole_files(
    camera: RtspCamera, tmp_path: Path, number: int, code: int
) -> None:
    with running(camera.url, "--save", "--no-mlflow", "--motion", "off", cwd=tmp_path) as run:
        run.until(lambda: run.lines() > 40)
        assert run.end(number) == code
        assert "Traceback" not in run.said
    found = predictions(run.folder)
    assert [line["frame"] for line in found] == sorted(line["frame"] for line in found)
    assert all(line["time"] for line in found)
    assert summary(run.folder)["sources"][0]["state"] == "done"
    pictures = 0
    for recorded in (run.folder / "recordings").rglob("*.mp4"):  # two where a minute of the clock ended meanwhile
        with av.open(str(recorded)) as container:
            pictures += sum(1 for _ in container.decode(video=0))
    assert pictures >= len(found) - 15, (
        "at most the pictures before the first keyframe and the model's start are missing"
    )


def test_credentials_appear_nowhere(tmp_path: Path) -> None:
    if not available():
        missing("GStreamer's RTSP server", "install Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
    spec = CameraSpec(user="user.name", password="p@ss/w:rd")  # noqa: S106 - the test's own
    with RtspCamera(spec) as server:
        url = server.url.replace("rtsp://", f"rtsp://user.name:{SECRET}@")
        with running(url, "--debug", cwd=tmp_path) as run:
            run.until(lambda: run.lines() > 5)
            server.stop()
            run.until(lambda: "backing off" in run.said)
            run.end(signal.SIGTERM)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    for word in (SECRET, "p@ss", "ss%2Fw", "ss/w"):
        for path in written:
            assert word.encode() not in path.read_bytes(), path
            assert word not in path.name


def test_a_wrong_password_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    if not available():
        missing("GStreamer's RTSP server", "install Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
    spec = CameraSpec(user="admin", password="right")  # noqa: S106 - the test's own
    with RtspCamera(spec) as server:
        ended = videodisco("run", server.url.replace("rtsp://", "rtsp://admin:guess@"), "--no-mlflow", cwd=tmp_path)
    assert ended.code == EXIT_NO_SOURCE
    assert "password" in ended.sentence
    assert "guess" not in ended.sentence
    assert not (tmp_path / "runs" / "run").exists()


def test_nobody_at_the_address_ends_the_run_and_with_wait_does_not(tmp_path: Path) -> None:
    if not available():
        missing("GStreamer's RTSP server", "install Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
    server = RtspCamera()
    config = configured(
        tmp_path / "c.yaml", {"late": {"source": server.url, "first_connect_limit_s": 0.5, "open_timeout_s": 0.5}}
    )
    ended = videodisco("run", "--config", config, cwd=tmp_path)
    assert ended.code == EXIT_NO_SOURCE
    assert str(server.port) in ended.sentence
    with running("--config", config, "--wait", cwd=tmp_path) as run:
        run.until(lambda: "backing off" in run.said)
        with server:
            run.until(lambda: run.lines() > 5)
            assert run.end(signal.SIGINT) == EXIT_SIGINT


def test_a_changed_configuration_is_taken_over_on_sighup(camera: RtspCamera, tmp_path: Path) -> None:
    config = configured(tmp_path / "c.yaml", {"one": {"source": camera.url, "motion": "off"}})
    with running("--config", config, cwd=tmp_path) as run:
        run.until(lambda: run.lines("one") > 5)
        configured(config, {"one": {"source": camera.url, "motion": "off"}, "two": {"source": camera.url}})
        os.kill(run.process.pid, signal.SIGHUP)
        run.until(lambda: run.lines("two") > 5)
        config.write_text("cameras: {one: {sauce: ketchup}}", encoding="utf-8")
        os.kill(run.process.pid, signal.SIGHUP)
        run.until(lambda: "nothing is changed" in run.said)
        assert "sauce" in run.said
        reached = run.lines("one")
        run.until(lambda: run.lines("one") > reached + 5)
        assert run.end(signal.SIGINT) == EXIT_SIGINT
    frames = [line["frame"] for line in predictions(run.folder) if line["source"] == "one"]
    assert frames == sorted(set(frames)), "it was never begun anew"


@pytest.mark.timeout(300)  # MLflow is imported twice, and delivers within a minute and a half
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # MLflow's own
def test_mlflow_hears_of_every_camera(camera: RtspCamera, tmp_path: Path) -> None:
    # A server each: GStreamer's dies now and then where two come at the same moment.
    with RtspCamera() as other:
        config = configured(
            tmp_path / "c.yaml",
            {"yard": {"source": camera.url, "motion": "off"}, "door": {"source": other.url, "motion": "off"}},
            mlflow={"enabled": True, "window_s": 1, "wait": True, "flush_s": 90},
        )
        with running("--config", config, cwd=tmp_path) as run:
            # More than a second of each, and another window at the end.
            run.until(lambda: run.lines("yard") > 40 and run.lines("door") > 60)
            assert run.end(signal.SIGINT) == EXIT_SIGINT, run.said
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (experiment,) = (found for found in client.search_experiments() if found.name == "videodisco")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "KILLED"
    for name in ("yard/fps/out", "door/latency_ms/total/p95", "fps/out", "yard/source/live", "door/frames/dropped"):
        assert len(client.get_metric_history(logged.info.run_id, name)) >= 2, name


def test_files_and_cameras_are_not_mixed_without_being_told_how(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    ended = videodisco("run", "a.mp4", "rtsp://127.0.0.1/x", cwd=tmp_path)
    assert ended.code == EXIT_USAGE
    assert "--realtime" in ended.sentence


def test_a_window_without_a_screen_is_a_sentence_and_the_run_goes_on(vtest_clip: Path, tmp_path: Path) -> None:
    without = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}
    ended = videodisco(
        "run", vtest_clip, "--realtime", "--show", "--end", "2", "--no-mlflow", cwd=tmp_path, extra=without
    )
    assert ended.code == 0, ended.err
    assert "without a window" in ended.err
    assert predictions(tmp_path / "runs" / "run")


def told(folder: Path) -> list[dict[str, Any]]:
    """Events so far."""
    if not (folder / "events.jsonl").exists():
        return []
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_events_of_real_people_are_told_with_their_pictures_and_clips(vtest_clip: Path, tmp_path: Path) -> None:
    config = configured(
        tmp_path / "c.yaml",
        {"square": {"source": str(vtest_clip), "record": {"mode": "events", "pre_roll_s": 1, "post_roll_s": 1}}},
    )
    with running("--config", config, cwd=tmp_path) as run:
        folder = run.folder
        run.until(lambda: any(change["type"] == "end" and change["class"] == "person" for change in told(folder)))
        assert run.end(signal.SIGINT) == EXIT_SIGINT, run.said
    changes = told(folder)
    assert {change["type"] for change in changes} >= {"new", "end"}
    ended = [change for change in changes if change["type"] == "end"]
    assert any(change["class"] == "person" for change in ended)
    for change in ended:
        assert (folder / change["snapshot"]).stat().st_size > 1000
        with av.open(str(folder / change["clip"])) as clip:
            assert sum(1 for _ in clip.decode(video=0)) > 5
