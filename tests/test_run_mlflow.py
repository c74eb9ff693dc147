"""What a run leaves in MLflow, with and without waiting for it, and when there is no server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from stream.home import home
from stream.locks import is_held
from stream.telemetry.journal import open_spool
from tests import clips
from tests.clips import Clip
from tests.commands import Ended, command, environment, predictions, videodisco
from tests.ports import HeldPort

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.slow,
    # reading back imports mlflow here, which uses what its own dependencies call outdated
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

PATIENCE_S = 60.0
COURIER = "stream.telemetry.courier"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clips.write_clip(tmp_path / "clip.mp4", Clip(frames=60))


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """A configuration for machines on which a delivery takes longer than a user would wait."""
    config = tmp_path / "patient.yaml"
    config.write_text(f"mlflow: {{flush_s: {PATIENCE_S}}}\n")
    return config


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.05)


def wait_for_courier() -> None:
    """Until the child that a run left behind has done its work."""
    spool = open_spool(home(), max_bytes=1_000_000)
    wait_for(lambda: spool.depth() == 0, "all is delivered")
    wait_for(lambda: not is_held(home() / "mlflow" / "courier.lock"), "the courier has ended")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs, for to make a store takes MLflow seconds."""
    return tmp_path_factory.mktemp("project")


def logged(project: Path, name: str) -> tuple[MlflowClient, Run]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("videodisco")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    return client, run


def test_everything_is_there_when_the_run_waited_for_it(clip: Path, patient: Path, project: Path) -> None:
    options = ("--save", "--quiet", "--config", patient, "--mlflow-wait", "--project", project, "--name", "awaited")
    done = videodisco("run", clip, *options, cwd=project)
    assert (done.code, done.err) == (0, "")
    client, run = logged(project, "awaited")
    assert run.info.status == "FINISHED"
    assert run.data.params["model_name"].startswith("nanodet-g-416")
    assert (
        run.data.params["model_sha256"]
        == run.data.tags["model_sha256"]
        == predictions(project / "awaited")[0]["model"]["sha256"]
    )
    assert run.data.params["provider"] == "CPUExecutionProvider"
    assert {"config_hash", "host", "source"} <= run.data.params.keys()
    for name in (
        "fps/in",
        "fps/out",
        "latency_ms/inference/p95",
        "latency_ms/encode/p50",
        "memory/rss_mb",
        "cpu/percent",
    ):
        assert run.data.metrics[name] > 0, name
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {
        "config.yaml",
        "summary.json",
        "predictions.jsonl",
        "latency_histogram.png",
        "timeline.png",
        "samples",
    }
    assert {file.path for file in client.list_artifacts(run.info.run_id, "samples")} == {
        "samples/clip_10.jpg",
        "samples/clip_40.jpg",
    }


def test_a_run_that_does_not_wait_is_delivered_all_the_same(clip: Path, project: Path) -> None:
    done = videodisco("run", clip, "--quiet", "--project", project, "--name", "left", cwd=project)
    assert (done.code, done.err) == (0, "")
    wait_for_courier()
    _, run = logged(project, "left")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["summary/fps/out"] > 0


def courier_of(run: subprocess.Popen[str]) -> psutil.Process:
    (courier,) = [each for each in psutil.Process(run.pid).children() if COURIER in each.cmdline()]
    return courier


def test_without_a_server_the_run_is_whole_and_its_records_wait(clip: Path, patient: Path, tmp_path: Path) -> None:
    nobodys = HeldPort()
    uri = f"http://user:pa55word@127.0.0.1:{nobodys.number}"
    run = subprocess.Popen(
        command("run", clip, "--quiet", "--config", patient, "--mlflow-uri", uri, "--mlflow-wait"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = home() / "mlflow" / "courier.log"
    wait_for(lambda: log.exists() and log.read_text().count("not now") > 1, "it was tried again")
    courier_of(run).kill()  # the run waits no longer than somebody tries
    out, err = run.communicate(timeout=PATIENCE_S)
    done = Ended(run.returncode, out, err)
    assert done.code == 0
    assert len(predictions(tmp_path / "runs" / "run")) == 60
    assert "records of this run wait in" in done.sentence
    assert done.err.count("WARNING") == 1
    assert "pa55word" not in done.err + done.out
    assert "pa55word" not in (tmp_path / "runs" / "run" / "config.yaml").read_text()


def test_the_kept_configuration_runs_again(clip: Path, tmp_path: Path) -> None:
    assert videodisco("run", clip, "--quiet", "--no-mlflow", "--vid-stride", "2", cwd=tmp_path).code == 0
    first = tmp_path / "runs" / "run"
    assert videodisco("run", "--quiet", "--config", first / "config.yaml", cwd=tmp_path).code == 0
    carried = [line.get("carried", False) for line in predictions(tmp_path / "runs" / "run2")]
    assert carried == [line.get("carried", False) for line in predictions(first)]
