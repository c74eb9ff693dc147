"""From the journal through spool and courier into real MLflow stores, read back with MLflow's own client."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream.frame import Timings
from stream.locks import FileLock, is_held
from stream.telemetry import MlflowSettings
from stream.telemetry.child import CourierProcess
from stream.telemetry.journal import Journal, open_journal, open_spool, session_lock
from stream.telemetry.records import ArtifactRef, RunDescription
from stream.windows import RollingWindow, RunTotals
from tests.mlflow_server import Gate, MlflowServer
from tests.ports import HeldPort

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.slow,
    # reading back imports mlflow here, which uses what its own dependencies call outdated
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

STARTED_AT = 1_790_000_000.0
WAIT_S = 60.0


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need more than some seconds for a handful of records."""
    for name in ("LAST_RECORDS_S", "LEAST_WAIT_S"):
        monkeypatch.setattr(f"stream.telemetry.journal.{name}", WAIT_S)


def journal_at(state: Path, project: Path, uri: str | None = None, **settings: float) -> Journal:
    journal = open_journal(MlflowSettings.model_validate({"uri": uri, **settings}), project, state)
    assert journal is not None
    return journal


def description(name: str) -> RunDescription:
    return RunDescription(
        experiment="videodisco",
        run_name=name,
        started_at=STARTED_AT,
        params={"model/name": "nanodet", "provider": "CPUExecutionProvider", "config/hash": "x" * 7000},
        tags={"model/sha256": "ab" * 32, "source": "rtsp://***@camera/1"},
    )


def log_windows(journal: Journal, steps: range) -> None:
    for step in steps:
        journal.window({"fps/out": 20.0 + step, "odd": float("nan")}, step, STARTED_AT + 10.0 * step)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.02)


class Store:
    """What is in a SQLite store, by run name."""

    def __init__(self, uri: str) -> None:
        # takes a second, which only these tests should spend
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)

    def run(self, name: str) -> Run:
        experiment = self.client.get_experiment_by_name("videodisco")
        assert experiment is not None
        (run,) = self.client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
        return run

    def history(self, name: str, metric: str = "fps/out") -> list[tuple[int, float, int]]:
        entries = self.client.get_metric_history(self.run(name).info.run_id, metric)
        return sorted((entry.step, entry.value, entry.timestamp) for entry in entries)

    def files(self, name: str, folder: str | None = None) -> set[str]:
        return {entry.path for entry in self.client.list_artifacts(self.run(name).info.run_id, folder)}


def history_of(steps: range) -> list[tuple[int, float, int]]:
    return [(step, 20.0 + step, int((STARTED_AT + 10.0 * step) * 1000)) for step in steps]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder shared by the tests of local stores: making a store takes MLflow a second."""
    return tmp_path_factory.mktemp("project")


def totals() -> RunTotals:
    run = RunTotals(start_s=0.0)
    window = RollingWindow(0.0, run)
    for index in range(50):
        window.frame_in(index / 10)
        window.frame_out(index / 10, Timings(inference_s=0.01 + index / 1e4, total_s=0.02), 1)
    window.close_window(5.0)
    return run


def test_a_run_is_in_the_local_store_from_its_params_to_its_pictures(tmp_path: Path, project: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("detector: {}\n")
    journal = journal_at(tmp_path, project)
    journal.begin(description("whole"))
    log_windows(journal, range(3))
    journal.start_courier()
    wait_for(lambda: journal._spool.depth() == 1, "all but the beginning is delivered while the run goes on")
    log_windows(journal, range(3, 5))
    files = [ArtifactRef(config), ArtifactRef(config, "frames"), ArtifactRef(tmp_path / "missing.jpg")]
    journal.finish("FINISHED", {"summary/objects": 7.0}, STARTED_AT + 50, files, {"door": totals()})
    assert journal.close(WAIT_S).complete

    store = Store(f"sqlite:///{project}/mlflow.db")
    run = store.run("whole")
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (STARTED_AT * 1000, (STARTED_AT + 50) * 1000)
    assert run.data.params["model/name"] == "nanodet"
    assert run.data.params["config/hash"] == "x" * 6000
    assert run.data.tags["source"] == "rtsp://***@camera/1"
    assert store.history("whole") == history_of(range(5))
    assert store.history("whole", "odd") == []
    assert run.data.metrics["summary/objects"] == 7.0
    assert run.data.metrics["summary/door/fps/out"] == 10.0
    assert "| door | 50 | 50 | 10.00 | 10.00 | 20.0 / 20.0 / 20.0 | 0 | 50 |" in run.data.tags["mlflow.note.content"]
    assert store.files("whole") == {"config.yaml", "frames", "latency_histogram.png", "timeline.png"}
    assert store.files("whole", "frames") == {"frames/config.yaml"}
    assert (project / "mlartifacts").is_dir()
    assert not any((tmp_path / "mlflow" / "sessions").iterdir())
    assert "missing.jpg is not there any more" in (tmp_path / "mlflow" / "courier.log").read_text()


def test_a_run_left_to_the_courier_is_delivered_whole(tmp_path: Path, project: Path) -> None:
    journal = journal_at(tmp_path, project)
    with FileLock(tmp_path / "mlflow" / "courier.lock") as another_at_work:
        assert another_at_work.try_acquire()
        journal.begin(description("left"))
        journal.start_courier()
        log_windows(journal, range(4))
        journal.finish("FINISHED", {"summary/objects": 7.0}, STARTED_AT + 40)
        assert journal.leave().complete
        assert open_spool(tmp_path, max_bytes=1_000_000).depth() == 6, "nobody waited for the delivery"
        assert journal._courier.is_running()
        assert not is_held(session_lock(journal._spool.path, journal.session))
    wait_for(lambda: not journal._courier.is_running(), "the courier has ended by itself")
    assert not is_held(tmp_path / "mlflow" / "courier.lock")

    store = Store(f"sqlite:///{project}/mlflow.db")
    assert store.run("left").info.status == "FINISHED"
    assert store.run("left").data.metrics["summary/objects"] == 7.0
    assert store.history("left") == history_of(range(4))
    assert open_spool(tmp_path, max_bytes=1_000_000).depth() == 0


def test_nothing_is_left_to_a_courier_in_trouble(tmp_path: Path) -> None:
    nobodys = HeldPort()
    journal = journal_at(tmp_path, tmp_path, f"http://127.0.0.1:{nobodys.number}")
    journal.begin(description("waits"))
    journal.start_courier()
    log_windows(journal, range(2))
    wait_for(lambda: bool(journal._courier.trouble), "the courier has met nobody")
    journal.finish("FINISHED", {}, STARTED_AT + 20)
    delivery = journal.leave()
    assert not delivery.complete
    assert delivery.sentence.startswith("4 MLflow records of this run wait in ")
    assert "(the server accepts no connections)" in delivery.sentence
    assert not journal._courier.is_running()


OWNER = """
import sys, time
from pathlib import Path
from stream.telemetry import MlflowSettings
from stream.telemetry.journal import open_journal
from stream.telemetry.records import RunDescription
journal = open_journal(MlflowSettings(), Path(sys.argv[1]), Path(sys.argv[2]))
journal.begin(RunDescription("videodisco", "killed", 1_790_000_000.0))
for step in range(4):
    journal.window({"fps/out": 20.0 + step}, step, 1_790_000_000.0 + 10 * step)
while journal._spool.depth(journal.session) < 5:
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_run_is_closed_by_the_next_and_two_at_once_are_both_delivered(tmp_path: Path, project: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(project), str(tmp_path)], stdout=subprocess.PIPE)
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        owner.send_signal(signal.SIGKILL)
    first, second = journal_at(tmp_path, project), journal_at(tmp_path, project)
    for name, journal in (("first", first), ("second", second)):
        journal.begin(description(name))
        journal.start_courier()
    log_windows(first, range(3))
    log_windows(second, range(3))
    wait_for(lambda: first._spool.depth() == 2, "the dead one's run is closed and both new ones are under way")
    first.finish("FINISHED", {}, STARTED_AT + 60)
    assert first.close(WAIT_S).complete
    # the first one's courier is gone, whichever did the work: the second one's has to carry on
    log_windows(second, range(3, 6))
    second.finish("FAILED", {}, STARTED_AT + 60)
    assert second.close(WAIT_S).complete

    store = Store(f"sqlite:///{project}/mlflow.db")
    assert store.history("killed") == history_of(range(4))
    assert store.run("killed").info.status == "KILLED"
    assert store.run("killed").info.end_time == (STARTED_AT + 30) * 1000
    assert store.history("first") == history_of(range(3))
    assert store.history("second") == history_of(range(6))
    assert store.run("second").info.status == "FAILED"


START_AND_PRINT = """
journal.start_courier()
while not journal._courier.is_running():
    time.sleep(0.01)
print(journal._courier._process.pid"""


def test_the_courier_ends_when_its_parent_is_killed(tmp_path: Path, project: Path) -> None:
    script = OWNER.replace('print("ready"', START_AND_PRINT)
    owner = subprocess.Popen([sys.executable, "-c", script, str(project), str(tmp_path)], stdout=subprocess.PIPE)
    with owner:
        assert owner.stdout is not None
        courier_pid = int(owner.stdout.readline())
        owner.send_signal(signal.SIGKILL)

    def is_gone() -> bool:
        try:
            os.kill(courier_pid, 0)
            # an orphan nobody reaps stays as a zombie where the container has no init
            return Path(f"/proc/{courier_pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (ProcessLookupError, FileNotFoundError):
            return True

    wait_for(is_gone, "the orphaned courier is gone")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path)
    server.launch()
    yield server
    server.kill()


@pytest.fixture
def gate(server: MlflowServer) -> Iterator[Gate]:
    gate = Gate(server.port)
    yield gate
    gate.close()


@pytest.mark.timeout(300)
def test_a_server_that_hangs_refuses_and_goes_away_costs_no_time_and_no_window(
    tmp_path: Path, server: MlflowServer, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"

    # it accepts and says nothing: the run neither waits for it nor longer than it was told to
    gate.mode = "hang"
    hung = journal_at(state, tmp_path, gate.url, flush_s=0.2)
    slowest_s = run_briefly(hung, "hung", until=lambda: gate.connections > 0)
    assert slowest_s < 4.5, "a request takes five seconds"
    started_s = time.monotonic()
    delivery = hung.close()
    assert time.monotonic() - started_s < 8.0, "a request and its repetition take ten"
    assert not delivery.complete
    assert "5 MLflow records of this run wait in" in delivery.sentence
    assert delivery.sentence.endswith(f"the next run delivers them to {gate.url}.")

    # it refuses, again and again: one warning
    gate.mode = "403"
    caplog.clear()
    refused = journal_at(state, tmp_path, gate.url)
    run_briefly(refused, "refused", until=lambda: bool(refused._courier.trouble))
    wait_for(lambda: courier_log(state).count("refuses access (403)") > 1, "it was refused again")
    assert "refuses access (403)" in refused.close(0.5).sentence
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "refuses access (403)" in warnings[0]

    # it answers, is gone in the middle, and comes back
    server.wait()
    gate.mode = "forward"
    journal = journal_at(state, tmp_path, gate.url)
    journal.begin(description("interrupted"))
    journal.start_courier()
    log_windows(journal, range(4))
    wait_for(lambda: journal._spool.depth() == 1, "what waited from three runs is delivered")
    gate.mode = "gone"
    gate.cut()
    log_windows(journal, range(4, 8))
    wait_for(lambda: bool(journal._courier.trouble), "the courier has noticed")
    gate.mode = "forward"
    log_windows(journal, range(8, 12))
    summary = tmp_path / "summary.json"
    summary.write_text("{}")
    journal.finish("FINISHED", {}, STARTED_AT + 120, [ArtifactRef(summary)])
    assert journal.close(WAIT_S) == type(delivery)(complete=True)

    store = Store(gate.url)
    for name, steps in (("hung", range(3)), ("refused", range(3)), ("interrupted", range(12))):
        assert store.history(name) == history_of(steps)
        assert store.run(name).info.status == "FINISHED"
    assert store.files("interrupted") == {"summary.json"}


def test_a_courier_that_cannot_open_the_spool_says_why(tmp_path: Path) -> None:
    class HardOfHearing(CourierProcess):
        def _report(self, sentence: str) -> None:
            time.sleep(0.2)  # longer than the end of the process takes
            super()._report(sentence)

    spool_path = tmp_path / "spool.db"
    spool_path.mkdir()
    courier = HardOfHearing(spool_path, "session", "here")
    courier.start(os.environ)
    courier.finish(deadline_s=time.monotonic() + WAIT_S)
    assert not courier.is_running()
    assert "cannot be used" in courier.trouble, "what it said last has been heard"


def courier_log(state: Path) -> str:
    return (state / "mlflow" / "courier.log").read_text()


def run_briefly(journal: Journal, name: str, until: Callable[[], bool]) -> float:
    """A run of three windows; the seconds that its slowest call to the journal took."""
    calls: list[Callable[[], None]] = [
        lambda: journal.begin(description(name)),
        journal.start_courier,
        lambda: log_windows(journal, range(3)),
    ]
    slowest_s = max(seconds_of(call) for call in calls)
    wait_for(until, "the courier has met the server")
    return max(slowest_s, seconds_of(lambda: journal.finish("FINISHED", {}, STARTED_AT + 30)))


def seconds_of(call: Callable[[], None]) -> float:
    started_s = time.monotonic()
    call()
    return time.monotonic() - started_s
