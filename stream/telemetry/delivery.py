"""Delivers the records of sessions into MLflow stores. Runs in the courier only: it imports mlflow.

Every step can be repeated without a trace: a run is found again by its session tag, a metric that is logged twice
(same name, time, step and value) is one metric, a file is written over. A record leaves the spool after its delivery.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from stream.errors import VideoDiscoError
from stream.redaction import redact_url
from stream.spool import Item, Spool
from stream.telemetry import days, records
from stream.telemetry.days import SESSION_TAG
from stream.telemetry.destination import sqlite_file
from stream.telemetry.records import Record

log = logging.getLogger(__name__)

# MLflow's own limits of one request and of one value.
METRICS_A_BATCH = 1000
PARAMS_A_BATCH = 100
TAGS_A_BATCH = 100
PARAM_CHARS = 6000
TAG_CHARS = 5000
KEY_CHARS = 250

# Shown as the run's description at the top of its page.
NOTE_TAG = "mlflow.note.content"

# How many records are looked at in one step; a window has some 30 metrics, so this fills a batch.
RECORDS_A_STEP = 50

# Said by the store of a record that will be no better tomorrow.
_REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"})

# What the errors of HTTP clients and databases come down to.
_PLAIN_WORDS = (
    ("Connection refused", "the server accepts no connections"),
    ("Name or service not known", "the server's name cannot be resolved"),
    ("timed out", "the server does not answer"),
    ("error code 401", "the server refuses these credentials (401)"),
    ("error code 403", "the server refuses access (403)"),
    ("database is locked", "the database is locked by another program"),
)

T = TypeVar("T")


class NotNowError(VideoDiscoError):
    """The store cannot take records just now; nothing was lost, try later."""


class RefusedError(VideoDiscoError):
    """The store will never take this record."""


class SessionNotNowError(NotNowError):
    """The store works, but cannot take the records of this session just now."""


class RunGoneError(SessionNotNowError):
    """The store does not know the run (any more)."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session that waits in the spool: its name, and its first record with that record's id."""

    name: str
    begin_id: int
    begin: Record

    @property
    def uri(self) -> str:
        return str(self.begin["uri"])


class Deliverer:
    """Delivers sessions step by step, with one MLflow client for each store."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._clients: dict[str, MlflowClient] = {}

    def session(self, name: str) -> Session | None:
        """A session by its name; None, with its remains dropped, where its beginning has been trimmed away."""
        items = self._spool.peek(1, name)
        if not items:
            return None
        first = records.decode(items[0].payload)
        if first["kind"] == records.BEGIN:
            return Session(name, items[0].id, first)
        orphans = self._spool.peek(1_000_000, name)
        log.warning("%d records of session %s have lost their beginning and are dropped", len(orphans), name)
        self._spool.ack([item.id for item in orphans])
        return None

    def step(self, session: Session) -> bool:
        """Deliver the session's next records; whether there were any. Raises NotNowError."""
        items = self._spool.peek(RECORDS_A_STEP, session.name)[1:]
        if not items:
            return False
        client, run_id = self._run(session)
        batch = _leading_windows(items, session.begin)
        try:
            if batch:
                self._deliver_windows(client, run_id, session, batch)
            else:
                self._deliver_one(client, run_id, session, items[0])
        except RunGoneError:
            # a store that was emptied: the next step makes the run anew
            del session.begin["run_id"]
            session.begin.pop("days", None)
            self._remember(session)
            raise
        return True

    def terminate(self, session: Session) -> None:
        """Close the run of an owner that died, and forget the session. Raises NotNowError.

        A run that was deleted meanwhile, or with its whole store, is left as it is: all its records are delivered.
        """
        client, run_id = self._run(session)
        last_at = session.begin["last_at"] if "last_at" in session.begin else session.begin["started_at"]
        try:
            self._terminate(client, run_id, session, "KILLED", last_at)
        except (RefusedError, RunGoneError) as exc:
            log.warning("run %s, whose process died, cannot be closed and is let go: %s", run_id, exc)
        self._spool.ack([session.begin_id])

    def _run(self, session: Session) -> tuple[MlflowClient, str]:
        """The client of the session's store, and its MLflow run: made at the first call, remembered in the spool."""
        try:
            client = self._client(session.uri)
            if "run_id" not in session.begin:
                with _mlflow_errors():
                    session.begin["run_id"] = _establish(client, session)
                self._remember(session)
        except RefusedError as exc:
            # a deleted experiment, say, which the user can restore
            raise SessionNotNowError(str(exc)) from exc
        return client, str(session.begin["run_id"])

    def _client(self, uri: str) -> MlflowClient:
        if uri not in self._clients:
            with _mlflow_errors():
                if (database := sqlite_file(uri)) is not None:
                    # asked first, for mlflow would try a file it cannot write for a long time
                    database.parent.mkdir(parents=True, exist_ok=True)
                    database.touch()
                self._clients[uri] = MlflowClient(tracking_uri=uri)
        return self._clients[uri]

    def _remember(self, session: Session) -> None:
        self._spool.update(session.begin_id, records.encode(session.begin))

    def _deliver_windows(
        self, client: MlflowClient, run_id: str, session: Session, batch: Sequence[tuple[Item, Record]]
    ) -> None:
        """One request for all; window by window where the store refuses one of them."""
        try:
            self._log_windows(client, run_id, session, [record for _, record in batch])
        except RefusedError as exc:
            if len(batch) > 1:
                for each in batch:
                    self._deliver_windows(client, run_id, session, [each])
                return
            log.warning("a window was refused and is dropped: %s", exc)
        session.begin["last_at"] = batch[-1][1]["at"]
        self._remember(session)
        self._spool.ack([item.id for item, _ in batch])

    @staticmethod
    def _log_windows(client: MlflowClient, run_id: str, session: Session, windows: Sequence[Record]) -> None:
        """Windows of one day: into the run itself on its first day, later into the day's own and an outline here."""
        day = days.day_of(session.begin, windows[0]["at"])
        if not day:
            _log_metrics(client, run_id, _metrics_of(windows))
            return
        with _mlflow_errors():
            day_run_id = days.run_of(client, session.name, session.begin, run_id, day)
        _log_metrics(client, day_run_id, _metrics_of(windows))
        _log_metrics(client, run_id, _metrics_of(days.outline(session.begin, windows)))

    def _deliver_one(self, client: MlflowClient, run_id: str, session: Session, item: Item) -> None:
        record = records.decode(item.payload)
        done = [item.id]
        try:
            if record["kind"] == records.ARTIFACT:
                _log_file(client, run_id, Path(record["path"]), record["artifact_path"])
            elif record["kind"] == records.PICTURES:
                _log_pictures(client, run_id, record)
            elif record["kind"] == records.FINISH:
                _log_metrics(client, run_id, _metrics(record["metrics"], record["at"], 0))
                if record["note"]:
                    _set_tag(client, run_id, NOTE_TAG, record["note"])
                self._terminate(client, run_id, session, record["status"], record["at"])
                done.append(session.begin_id)
        except RefusedError as exc:
            log.warning("a record (%s) was refused and is dropped: %s", record["kind"], exc)
            done = [item.id, session.begin_id] if record["kind"] == records.FINISH else done
        self._spool.ack(done)

    @staticmethod
    def _terminate(client: MlflowClient, run_id: str, session: Session, status: str, at: float) -> None:
        with _mlflow_errors():
            days.end_last(client, session.begin, status, at)
            client.set_terminated(run_id, status=status, end_time=_milliseconds(at))


def _establish(client: MlflowClient, session: Session) -> str:
    """The id of the session's run, found by its tag or made, with its params and tags."""
    begin = session.begin
    experiment_id = _experiment_id(client, begin["experiment"], begin["artifact_root"])
    found = client.search_runs([experiment_id], f"tags.`{SESSION_TAG}` = '{session.name}'", max_results=1)
    if found:
        run_id = str(found[0].info.run_id)
    else:
        run = client.create_run(
            experiment_id,
            start_time=_milliseconds(begin["started_at"]),
            tags={**days.SOURCE_TAGS, SESSION_TAG: session.name},
            run_name=begin["run_name"],
        )
        run_id = str(run.info.run_id)
    params = [Param(key[:KEY_CHARS], str(value)[:PARAM_CHARS]) for key, value in begin["params"].items()]
    for some_params in _chunks(params, PARAMS_A_BATCH):
        client.log_batch(run_id, params=some_params)
    tags = [RunTag(key[:KEY_CHARS], str(value)[:TAG_CHARS]) for key, value in begin["tags"].items()]
    for some_tags in _chunks(tags, TAGS_A_BATCH):
        client.log_batch(run_id, tags=some_tags)
    return run_id


def _experiment_id(client: MlflowClient, name: str, artifact_root: str | None) -> str:
    if (experiment := client.get_experiment_by_name(name)) is not None:
        return str(experiment.experiment_id)
    return str(client.create_experiment(name, artifact_location=artifact_root))


def _leading_windows(items: Sequence[Item], begin: Record) -> list[tuple[Item, Record]]:
    """The windows of one day at the head of ``items`` that fit into one request; a larger one alone."""
    batch: list[tuple[Item, Record]] = []
    metrics = 0
    for item in items:
        record = records.decode(item.payload)
        if record["kind"] != records.WINDOW:
            break
        metrics += len(record["metrics"])
        if batch and metrics > METRICS_A_BATCH:
            break
        if batch and days.day_of(begin, record["at"]) != days.day_of(begin, batch[0][1]["at"]):
            break
        batch.append((item, record))
    return batch


def _metrics(values: Mapping[str, float], at: float, step: int) -> list[Metric]:
    return [Metric(name[:KEY_CHARS], value, _milliseconds(at), step) for name, value in values.items()]


def _metrics_of(windows: Sequence[Record]) -> list[Metric]:
    return [metric for each in windows for metric in _metrics(each["metrics"], each["at"], each["step"])]


def _log_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    with _mlflow_errors():
        for chunk in _chunks(metrics, METRICS_A_BATCH):
            client.log_batch(run_id, metrics=chunk)


def _set_tag(client: MlflowClient, run_id: str, key: str, value: str) -> None:
    with _mlflow_errors():
        client.set_tag(run_id, key, value[:TAG_CHARS])


def _log_file(client: MlflowClient, run_id: str, path: Path, artifact_path: str | None) -> None:
    if not path.is_file():
        log.warning("%s is not there any more and is not logged", path)
        return
    with _mlflow_errors():
        client.log_artifact(run_id, str(path), artifact_path)


def _log_pictures(client: MlflowClient, run_id: str, record: Record) -> None:
    # matplotlib takes a second and 50 MB, and is needed only at the end of a run
    from stream.telemetry import plots

    with TemporaryDirectory(prefix="videodisco-") as folder:
        try:
            paths = plots.draw(record, Path(folder))
        except (ValueError, RuntimeError, OSError) as exc:
            log.warning("the closing pictures cannot be drawn: %s", exc)
            return
        for path in paths:
            _log_file(client, run_id, path, None)


def _chunks(values: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(values), size):
        yield list(values[start : start + size])


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


@contextmanager
def _mlflow_errors() -> Iterator[None]:
    """Turns what mlflow raises into ours."""
    try:
        yield
    except MlflowException as exc:
        if exc.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise RunGoneError(_sentence(exc)) from exc
        raise (RefusedError if exc.error_code in _REFUSALS else NotNowError)(_sentence(exc)) from exc
    except Exception as exc:  # mlflow lets the errors of requests, SQLAlchemy and cloud stores through
        raise NotNowError(_sentence(exc)) from exc


def _sentence(exc: Exception) -> str:
    text = redact_url(" ".join(str(exc).split())) or type(exc).__name__
    return next((words for mark, words in _PLAIN_WORDS if mark in text), text[:300])
