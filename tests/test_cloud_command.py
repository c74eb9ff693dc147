"""``videodisco cloud`` as its operator knows it: one line, a clean end, and nothing twice however it ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import videodisco
from cloud.figures import STAGES
from stream import wire
from stream.errors import EXIT_MODEL, EXIT_SIGINT, EXIT_SIGTERM, EXIT_USAGE
from tests import commands
from tests.commands import command, environment
from tests.refining import WAIT_S, client_of, crop, jpeg, key_of, stored, until
from tests.test_cloud_refiners import service_of_ones_own

pytestmark = pytest.mark.slow

END_S = 10.0
QUICKLY = ("--no-mlflow", "--port", "0", "--project", "runs")


class Child:
    """A running ``videodisco cloud``."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def end(self, number: int) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@contextmanager
def cloud(folder: Path, *options: str, extra: dict[str, str] | None = None) -> Iterator[Child]:
    """Started and ready, as its one line says."""
    with subprocess.Popen(
        command("cloud", *options),
        cwd=folder,
        env=environment(extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                assert process.stderr is not None
                pytest.fail(f"it ended: {process.stderr.read()}")
            yield Child(process, line.split()[-1])
        finally:
            process.kill()


def database() -> Path:
    return Path(os.environ["VIDEODISCO_HOME"]) / "cloud" / "results.db"


def rows() -> list[tuple[str, str, float]]:
    """What is stored, while it is being written as well."""
    try:
        return stored(database())
    except sqlite3.OperationalError:
        return []


def ask(url: str, *crops: wire.Crop) -> dict[str, wire.Answer]:
    async def once() -> dict[str, wire.Answer]:
        async with client_of(url) as client:
            return dict(await client.refine(*crops))

    return asyncio.run(once())


def test_it_serves_until_it_is_told_to_end_and_remembers_afterwards(tmp_path: Path) -> None:
    crops = [crop(key_of(number), jpeg(number)) for number in range(8)]
    with cloud(tmp_path, *QUICKLY) as first:
        before = ask(first.url, *crops)
        begun_s = time.monotonic()
        assert first.end(signal.SIGTERM) == EXIT_SIGTERM
        assert time.monotonic() - begun_s < END_S
    kept = rows()
    with cloud(tmp_path, *QUICKLY) as second:
        assert ask(second.url, *crops) == before
        assert second.end(signal.SIGINT) == EXIT_SIGINT
    assert rows() == kept
    assert len(kept) == len(crops)


def test_killed_between_answer_and_reply_it_answers_the_same_and_leaves_one_row(tmp_path: Path) -> None:
    """The reply goes out when the last crop is done, and whoever looks at them is done with three of them."""
    crops = [crop(key_of(number), jpeg(number)) for number in range(wire.MAX_ITEMS)]
    looked, let = [0], asyncio.Event()

    async def look(_: web.Request) -> web.StreamResponse:
        looked[0] += 1
        if looked[0] > 3:
            await let.wait()
        return web.json_response({"label": f"the {looked[0]}th", "confidence": 0.5})

    async def ask_and_kill(child: Child) -> None:
        async with client_of(child.url) as client:
            asked = asyncio.create_task(client.send(*crops))
            await until(lambda: len(rows()) == 3)
            child.process.kill()
            with pytest.raises(aiohttp.ClientError):
                await asked

    async def scenario() -> tuple[dict[str, wire.Answer], dict[str, wire.Answer]]:
        async with service_of_ones_own(look) as url:
            (tmp_path / "patient.yaml").write_text(
                "batches: {deadline_s: 120, max_size: 1}\n"
                f"refiner: {{kind: endpoint, endpoint: {{url: '{url}', timeout_s: 60, connections: 1}}}}\n"
            )
            with cloud(tmp_path, *QUICKLY, "--config", "patient.yaml") as first:
                await ask_and_kill(first)
            kept.extend(rows())
            let.set()
            with cloud(tmp_path, *QUICKLY, "--config", "patient.yaml") as second:
                async with client_of(second.url) as client:
                    answers, again = [dict(await client.refine(*crops)) for _ in range(2)]
                assert second.end(signal.SIGTERM) == EXIT_SIGTERM
        return answers, again

    kept: list[tuple[str, str, float]] = []
    answers, again = asyncio.run(scenario())
    assert len(kept) == 3
    after = rows()
    assert again == answers
    assert all(isinstance(answer, wire.Refined) for answer in answers.values())
    assert [key for key, _, _ in after] == sorted(key_of(number) for number in range(len(crops)))
    assert set(kept) <= set(after), "what was stored before the kill is what was answered after it"
    for key, text, _ in after:
        answer = answers[key]
        assert isinstance(answer, wire.Refined)
        assert json.loads(text)["opinion"]["label"] == answer.label


def test_behind_a_token_of_the_environment_it_ends_in_time_with_clients_that_say_nothing(tmp_path: Path) -> None:
    token = "of-the-environment"  # noqa: S105 - a test's own

    async def knock(url: str) -> None:
        async with client_of(url) as client:
            assert (await client.send(crop(key_of(1)))).status == 401
            assert (await client.send(crop(key_of(1)), Authorization=f"Bearer {token}")).status == 200

    with cloud(tmp_path, *QUICKLY, "--host", "0.0.0.0", extra={"VIDEODISCO_CLOUD_TOKEN": token}) as child:  # noqa: S104 - that is what is tested
        port = int(child.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST /v1/refine HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
            asyncio.run(knock(f"http://127.0.0.1:{port}"))
            begun_s = time.monotonic()
            assert child.end(signal.SIGTERM) == EXIT_SIGTERM
            assert time.monotonic() - begun_s < END_S


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--host", "0.0.0.0"], EXIT_USAGE, "token"),  # noqa: S104 - that is what is refused
        (["--token", "short"], EXIT_USAGE, "16 characters"),
        (["--batch", "0"], EXIT_USAGE, "batches.max_size"),
        (["--config", "no.yaml"], EXIT_USAGE, "no.yaml"),
        (["--model", "no-such-model"], EXIT_MODEL, "no-such-model"),
        (["--kind", "detector", "--model", "efficientnet-lite0"], EXIT_MODEL, "efficientnet-lite0"),
        (["--kind", "detector"], EXIT_USAGE, "name the detector"),
        (["--project", "file/runs"], EXIT_USAGE, "file/runs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_is_said_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert videodisco.main(["cloud", "--no-mlflow", "--port", "0", *options]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = commands.videodisco("cloud", "--no-mlflow", "--port", port, cwd=tmp_path)
    assert ended.code == EXIT_USAGE
    assert port in ended.sentence
    assert not list((tmp_path / "runs").iterdir()), "nothing was begun"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # MLflow's own
def test_mlflow_hears_of_it(tmp_path: Path) -> None:
    (tmp_path / "cloud.yaml").write_text(
        "mlflow: {window_s: 0.5, wait: true, flush_s: 300}\nsamples: {share: 1}\nhttp: {port: 0}\n"
    )
    with cloud(tmp_path, "--config", "cloud.yaml") as child:
        ask(child.url, *(crop(key_of(number), jpeg(number)) for number in range(6)))
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(320) == EXIT_SIGTERM
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    params, metrics = run.data.params, run.data.metrics
    assert run.info.status == "FINISHED"
    assert params["role"] == "refiner"
    assert params["model_name"].startswith("efficientnet-lite0")
    assert params["model_version"] == "1"
    assert len(params["model_sha256"]) == 64
    assert metrics["summary/items/refined"] == 6
    windows = {name: client.get_metric_history(run.info.run_id, name) for name in metrics}
    most = {name: max(point.value for point in points) for name, points in windows.items()}
    assert sum(point.value for point in windows["items/refined"]) == 6
    assert most["rate/refined"] > 0
    assert most["batch/size"] >= 1
    assert 0 <= most["agreement/mean"] <= 1
    stages = [f"latency_ms/{stage}/{rank}" for stage in STAGES for rank in ("p50", "p95", "p99")]
    assert {*stages, *(f"summary/{name}" for name in stages)} <= set(metrics)
    assert any(name.startswith("labels/") for name in metrics)
    (samples,) = client.list_artifacts(run.info.run_id, "predictions")
    kept = tmp_path / "runs" / "mlartifacts"
    (path,) = kept.rglob(Path(samples.path).name)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 6
    assert {line["model"]["sha256"] for line in lines} == {params["model_sha256"]}
