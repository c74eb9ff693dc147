"""The journal and its parts, without a store: what is recorded, what failing costs, what is never shown."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.errors import SinkError, UsageError
from stream.locks import is_held
from stream.spool import Spool
from stream.telemetry import MlflowSettings, records
from stream.telemetry.courier import BACKOFF_MAX_S, BACKOFF_MIN_S, Backoff, Courier, Orders
from stream.telemetry.destination import Destination, destination
from stream.telemetry.journal import QUEUE_RECORDS, Journal, open_journal, session_lock
from stream.telemetry.process import ProcessFigures
from stream.telemetry.records import RunDescription

if TYPE_CHECKING:
    from stream.telemetry.delivery import Session

NOWHERE = Destination("http://127.0.0.1:9", None)
DESCRIPTION = RunDescription("videodisco", "a run", started_at=1.0)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need more than a second for a handful of records."""
    monkeypatch.setattr("stream.telemetry.journal.LEAST_WAIT_S", 60.0)


def until(done: Callable[[], bool]) -> None:
    """Wait for what the journal's thread does."""
    deadline_s = time.monotonic() + 60.0
    while not done():
        assert time.monotonic() < deadline_s, "it never came to be"
        time.sleep(0.005)


def open_spool(folder: Path, max_bytes: int = 1_000_000) -> Spool:
    return Spool(folder / "spool.db", max_bytes=max_bytes, max_age_s=1e9)


def kinds(spool: Spool) -> list[str]:
    return [records.decode(item.payload)["kind"] for item in spool.peek(1000)]


def test_a_session_is_recorded_in_order_and_waits_where_nobody_delivers(tmp_path: Path) -> None:
    journal = Journal(open_spool(tmp_path), MlflowSettings(), NOWHERE)
    journal.begin(DESCRIPTION)
    journal.window({"fps/in": 25.0, "bad": float("inf")}, step=0, at=10.0)
    journal.finish("FINISHED", {"fps/in": 25.0}, at=11.0, artifacts=[records.ArtifactRef(tmp_path / "x.json")])
    spool = open_spool(tmp_path)
    until(lambda: spool.depth() == 4)
    assert is_held(session_lock(tmp_path / "spool.db", journal.session))
    delivery = journal.close(wait_s=0.0)
    assert not delivery.complete
    assert delivery.sentence.startswith(f"4 MLflow records of this run wait in {tmp_path / 'spool.db'}; ")
    assert kinds(spool) == ["begin", "window", "artifact", "finish"]
    assert spool.topics() == [journal.session]
    assert records.decode(spool.peek(2)[1].payload)["metrics"] == {"fps/in": 25.0}
    assert records.decode(spool.peek(4)[3].payload)["metrics"] == {"fps/in": 25.0}
    assert not is_held(session_lock(tmp_path / "spool.db", journal.session))


def test_a_journal_that_never_began_has_nothing_to_close(tmp_path: Path) -> None:
    journal = Journal(open_spool(tmp_path), MlflowSettings(), NOWHERE)
    journal.start_courier()
    assert journal.close().complete
    assert kinds(open_spool(tmp_path)) == []


class BrokenSpool(Spool):
    """A spool whose disk is full."""

    def append(self, topic: str, payload: bytes, now_s: float, value: float = 0.0) -> int:
        raise SinkError("The spool cannot be used (disk is full); check the disk's space and the permissions.")


def test_a_full_disk_is_one_warning_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(BrokenSpool(tmp_path / "spool.db", max_bytes=1, max_age_s=1.0), MlflowSettings(), NOWHERE)
    journal.begin(DESCRIPTION)
    for step in range(5):
        journal.window({}, step, 0.0)
    delivery = journal.close(wait_s=0.0)
    assert journal.lost == 6
    assert delivery.sentence == "6 MLflow records were lost."
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "disk is full" in caplog.text


class HungSpool(Spool):
    """A spool on a disk that does not answer until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, max_bytes=1_000_000, max_age_s=1e9)
        self.hangs = threading.Event()
        self.let_go = threading.Event()

    def append(self, topic: str, payload: bytes, now_s: float, value: float = 0.0) -> int:
        self.hangs.set()
        self.let_go.wait(60)
        return super().append(topic, payload, now_s, value)


def test_a_disk_that_hangs_holds_nobody_up_and_what_is_too_much_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = HungSpool(tmp_path / "spool.db")
    journal = Journal(spool, MlflowSettings(), NOWHERE)
    started_s = time.monotonic()
    journal.begin(DESCRIPTION)
    for step in range(QUEUE_RECORDS + 50):
        journal.window({"fps/in": 1.0}, step, 0.0)
    assert time.monotonic() - started_s < 30.0, "the disk hangs for a minute"
    assert journal.lost in (50, 51)  # the thread has taken the beginning, or not yet
    assert len(caplog.records) == 1
    spool.let_go.set()
    journal.close(wait_s=0.0)
    assert len(kinds(open_spool(tmp_path))) == QUEUE_RECORDS + 51 - journal.lost


def test_a_full_spool_keeps_the_beginning_and_the_end_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(open_spool(tmp_path, max_bytes=1500), MlflowSettings(), NOWHERE)
    journal.begin(DESCRIPTION)
    for step in range(20):
        journal.window({"m": 1.0, "note": 2.0 * step}, step, float(step))
    journal.finish("FINISHED", {}, at=99.0)
    journal.close(wait_s=0.0)
    spool = open_spool(tmp_path)
    assert kinds(spool)[0] == "begin"
    assert kinds(spool)[-1] == "finish"
    assert 1 < kinds(spool).count("window") < 20
    assert spool.size_bytes <= 1500
    assert journal.lost == 20 - kinds(spool).count("window")
    assert len(caplog.records) == 1
    assert "dropped 1 by bytes" in caplog.text


class SlowSpool(Spool):
    """A spool on a disk that takes its time for every record."""

    def append(self, topic: str, payload: bytes, now_s: float, value: float = 0.0) -> int:
        time.sleep(0.0005)
        return super().append(topic, payload, now_s, value)


def test_the_end_of_a_run_with_many_artifacts_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.telemetry.journal.LAST_RECORDS_S", 60.0)  # what a busy machine may take
    journal = Journal(SlowSpool(tmp_path / "spool.db", max_bytes=1_000_000, max_age_s=1e9), MlflowSettings(), NOWHERE)
    journal.begin(DESCRIPTION)
    count = QUEUE_RECORDS + 150
    journal.finish("FINISHED", {}, 1.0, [records.ArtifactRef(tmp_path / f"{n}.jpg") for n in range(count)])
    journal.close(wait_s=0.0)
    assert journal.lost == 0
    assert [item.value for item in open_spool(tmp_path).peek(1000)] == [3.0, *[1.0] * count, 2.0]


def test_the_end_of_a_run_does_not_wait_for_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.telemetry.journal.LAST_RECORDS_S", 0.2)
    spool = HungSpool(tmp_path / "spool.db")
    journal = Journal(spool, MlflowSettings(), NOWHERE)
    journal.begin(DESCRIPTION)
    assert spool.hangs.wait(60)
    started_s = time.monotonic()
    journal.finish("FINISHED", {}, 1.0, [records.ArtifactRef(tmp_path / "x.jpg")] * (QUEUE_RECORDS + 50))
    assert 0.2 <= time.monotonic() - started_s < 30.0, "the disk hangs for a minute"
    assert journal.lost == 51
    spool.let_go.set()
    journal.close(wait_s=0.0)


def test_open_journal_is_none_when_off_or_where_no_spool_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_journal(MlflowSettings(enabled=False), tmp_path, tmp_path) is None
    assert not caplog.records
    (tmp_path / "file").write_text("")
    assert open_journal(MlflowSettings(), tmp_path, tmp_path / "file") is None
    assert "This run is not logged to MLflow" in caplog.text


def test_the_frame_process_never_imports_mlflow() -> None:
    script = "import sys, stream.telemetry.journal, stream.telemetry.process\n"
    script += "print({'mlflow', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_settings_refuse_what_they_do_not_know_and_say_their_bounds() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        MlflowSettings.model_validate({"url": "x"})
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.5"):
        MlflowSettings(window_s=0.1)


def test_the_environment_fills_in_what_is_not_set() -> None:
    environment = {
        "MLFLOW_TRACKING_URI": "http://env:5000",
        "MLFLOW_EXPERIMENT_NAME": "from-env",
        "MLFLOW_RUN": "",
    }
    settings = MlflowSettings(experiment="mine", flush_s=3).with_environment(environment)
    assert (settings.uri, settings.experiment, settings.run_name) == ("http://env:5000", "mine", None)
    assert settings.flush_s == 3
    assert MlflowSettings().with_environment({"MLFLOW_RUN": "mine"}).run_name == "mine"


def test_the_description_of_the_run_name_says_what_happens_without_one() -> None:
    description = MlflowSettings.model_fields["run_name"].description
    assert description == "The MLflow run's name; without one, that of the run's folder."


def test_the_default_store_is_a_file_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = destination(MlflowSettings(), Path("runs"))
    assert where.uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert where.artifact_root == (tmp_path / "runs" / "mlartifacts").as_uri()
    relative = destination(MlflowSettings(uri="sqlite:///other/m.db"), Path("runs"))
    assert relative.uri == f"sqlite:///{tmp_path}/other/m.db"
    assert destination(MlflowSettings(uri="https://host:1"), Path("runs")).artifact_root is None


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "ftp://user:secret@host/x"])
def test_what_is_no_tracking_store_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="is no tracking store") as caught:
        destination(MlflowSettings(uri=uri), Path("runs"))
    assert "secret" not in str(caught.value)


def test_credentials_are_in_the_spool_and_nowhere_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = Destination("http://me:hunter2@127.0.0.1:9", None)
    journal = Journal(open_spool(tmp_path), MlflowSettings(), where)
    journal.begin(DESCRIPTION)
    delivery = journal.close(wait_s=0.0)
    assert "hunter2" not in delivery.sentence + caplog.text
    assert b"hunter2" in open_spool(tmp_path).peek(1)[0].payload
    assert "hunter2" not in " ".join(map(repr, (journal._courier, vars(journal._courier))))


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_within_their_bounds(failures: int, luck: float) -> None:
    backoff = Backoff()
    for _ in range(failures):
        backoff.fail(now_s=100.0, luck=luck)
    pause_s = backoff.due_s - 100.0
    assert BACKOFF_MIN_S <= pause_s <= min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0**failures)


def test_a_store_that_is_away_for_days_is_still_tried() -> None:
    backoff = Backoff()
    for _ in range(5000):
        backoff.fail(now_s=100.0, luck=0.999)
    assert 100 + BACKOFF_MIN_S <= backoff.due_s <= 100 + BACKOFF_MAX_S


def test_orders_are_heard() -> None:
    orders = Orders(io.BytesIO(b"look\n"))
    orders.listen()
    assert (orders.finishing, orders.stopped) == (False, True)
    finishing = Orders(io.BytesIO(b"look\nfinish\n"))
    finishing.listen()
    assert finishing.finishing
    finishing.wait(60)  # returns at once: something was said


def test_process_figures_are_of_this_process() -> None:
    figures = ProcessFigures()
    busy_until_s = time.process_time() + 0.05  # it is counted in hundredths
    while time.process_time() < busy_until_s:
        pass
    sample = figures.sample()
    assert sample.keys() == {"cpu/percent", "memory/rss_mb"}
    assert sample["cpu/percent"] > 0
    assert 10 < sample["memory/rss_mb"] < 10_000


@pytest.mark.slow
def test_a_courier_that_cannot_work_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A state folder in which the courier's lock cannot be made."""
    journal = Journal(open_spool(tmp_path), MlflowSettings(), NOWHERE)
    (tmp_path / "courier.lock").mkdir()
    journal.begin(DESCRIPTION)
    journal.start_courier()
    delivery = journal.close(wait_s=60.0)
    assert not delivery.complete
    assert "courier.lock" in delivery.sentence
    assert len([record for record in caplog.records if "courier.lock" in record.getMessage()]) == 1


def test_own_session_goes_first_when_its_run_has_ended(tmp_path: Path) -> None:
    orders = Orders(io.BytesIO(b"finish\n"))
    courier = Courier(open_spool(tmp_path), "own", orders, deliverer=None, reports=io.StringIO())  # type: ignore[arg-type]  # only the order is asked for
    assert courier._in_order(["old", "own", "new"]) == ["old", "own", "new"]
    orders.listen()
    assert courier._in_order(["old", "own", "new"]) == ["own", "old", "new"]


class FlakyDeliverer:
    """Delivers a session in one step, unless it is told to fail; counts the attempts in ``tried``."""

    def __init__(self, spool: Spool, uri: str, failures: dict[str, list[Exception]]) -> None:
        self.tried: list[str] = []
        self._spool = spool
        self._uri = uri
        self._failures = failures

    def session(self, name: str) -> Session | None:
        from stream.telemetry.delivery import Session

        items = self._spool.peek(1, name)
        return Session(name, items[0].id, {"uri": self._uri}) if items else None

    def step(self, session: Session) -> bool:
        self.tried.append(session.name)
        if waiting := self._failures.get(session.name):
            raise waiting.pop(0)
        self._spool.ack([session.begin_id])
        return True


def test_a_courier_left_behind_outlasts_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stream.telemetry.delivery import NotNowError

    monkeypatch.setattr("stream.telemetry.courier.BACKOFF_MIN_S", 0.01)
    spool = open_spool(tmp_path)
    spool.append("own", b"{}", 0.0)
    read_end, write_end = os.pipe()
    os.close(read_end)  # the parent has ended, and its end of the pipe with it
    orders = Orders(io.BytesIO(b"leave\n"))
    orders.listen()
    deliverer = FlakyDeliverer(spool, "http://store", {"own": [NotNowError("the server accepts no connections")]})
    with os.fdopen(write_end, "w") as reports:
        Courier(spool, "own", orders, deliverer, reports).run()  # type: ignore[arg-type]  # plays the real one's part
    assert deliverer.tried == ["own", "own"]
    assert spool.depth() == 0


def test_a_report_that_nobody_reads_does_not_end_the_courier(tmp_path: Path) -> None:
    """As when the parent ends before its order to carry on without it was read."""
    from stream.telemetry.delivery import NotNowError

    spool = open_spool(tmp_path)
    spool.append("own", b"{}", 0.0)
    read_end, write_end = os.pipe()
    os.close(read_end)
    orders = Orders(io.BytesIO())
    deliverer = FlakyDeliverer(spool, "http://store", {"own": [NotNowError("the server does not answer")]})
    with os.fdopen(write_end, "wb", buffering=0) as raw, io.TextIOWrapper(raw, write_through=True) as reports:
        courier = Courier(spool, "own", orders, deliverer, reports)  # type: ignore[arg-type]  # plays the real one's part
        assert not courier._round()


def test_a_session_that_cannot_be_delivered_holds_up_no_other_of_its_store(tmp_path: Path) -> None:
    from stream.telemetry.delivery import RunGoneError

    spool = open_spool(tmp_path)
    for name in ("old", "own"):
        spool.append(name, b"{}", 0.0)
    deliverer = FlakyDeliverer(spool, "http://store", {"old": [RunGoneError("no such run")] * 9})
    courier = Courier(spool, "own", Orders(io.BytesIO()), deliverer, io.StringIO())  # type: ignore[arg-type]  # plays the real one's part
    assert courier._round()
    assert deliverer.tried == ["old", "own"]
    assert not courier._round()
    assert deliverer.tried == ["old", "own"]  # the old one pauses


def test_sessions_of_a_store_that_fails_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that may be the store's, or of one session's files only."""
    from stream.telemetry.delivery import NotNowError

    spool = open_spool(tmp_path)
    for name in ("old", "own"):
        spool.append(name, b"{}", 0.0)
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    deliverer = FlakyDeliverer(spool, "http://store", {"old": [NotNowError("no place for files")] * 9})
    courier = Courier(spool, "own", Orders(io.BytesIO()), deliverer, io.StringIO())  # type: ignore[arg-type]  # plays the real one's part
    assert not courier._round()
    assert deliverer.tried == ["old"]  # then the store pauses
    now_s[0] += BACKOFF_MAX_S + 1
    assert courier._round()
    assert deliverer.tried == ["old", "own", "old"]


def test_the_begin_record_holds_all_that_a_later_run_needs() -> None:
    record = records.decode(records.encode(records.begin(DESCRIPTION, NOWHERE)))
    assert record == {
        "kind": "begin",
        "uri": "http://127.0.0.1:9",
        "artifact_root": None,
        "experiment": "videodisco",
        "run_name": "a run",
        "started_at": 1.0,
        "params": {},
        "keep_days": None,
        "tags": {},
    }
