"""Runs that go on for days. Runs in the courier only: it imports mlflow.

The first day of a session is its MLflow run itself. Each later day is a child run of its own, so that no run grows
without bound and old days can go; the run itself then gets an outline, one window an hour. What is known of the days is
kept in the session's ``begin`` record: ``days`` maps a day's number to its MLflow run.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from stream.telemetry.records import Record

DAY_S = 86_400.0
OUTLINE_S = 3600.0

SESSION_TAG = "videodisco.session"
SOURCE_TAGS = {"mlflow.source.name": "videodisco", "mlflow.source.type": "LOCAL"}


def day_of(begin: Record, at: float) -> int:
    """Which day of its session the time ``at`` (seconds since the epoch) belongs to; the first one is 0."""
    return max(0, int((at - begin["started_at"]) // DAY_S))


def outline(begin: Record, windows: Sequence[Record]) -> list[Record]:
    """The first window of each hour; ``begin`` remembers the last one."""
    chosen: list[Record] = []
    for each in windows:
        if each["at"] // OUTLINE_S != begin.get("outlined_at", 0.0) // OUTLINE_S:
            begin["outlined_at"] = each["at"]
            chosen.append(each)
    return chosen


def run_of(client: MlflowClient, session: str, begin: Record, parent_id: str, day: int) -> str:
    """The MLflow run of a day: made at the first call, which ends the day before and lets days go that are too old."""
    known: dict[str, str] = begin.setdefault("days", {})
    if str(day) not in known:
        start = begin["started_at"] + day * DAY_S
        end_last(client, begin, "FINISHED", start)
        known[str(day)] = _established(client, session, begin, parent_id, day, start)
        _forget_old(client, begin, day)
    return known[str(day)]


def end_last(client: MlflowClient, begin: Record, status: str, at: float) -> None:
    """Close the latest day, if there is one and somebody has not deleted it."""
    known: dict[str, str] = begin.get("days", {})
    if known:
        with _unless_gone():
            client.set_terminated(known[max(known, key=int)], status=status, end_time=round(at * 1000))


def _established(client: MlflowClient, session: str, begin: Record, parent_id: str, day: int, start: float) -> str:
    """Found by its tag, for the courier may have died after making it."""
    experiment_id = str(client.get_run(parent_id).info.experiment_id)
    tag = f"{session}/{day}"
    found = client.search_runs([experiment_id], f"tags.`{SESSION_TAG}` = '{tag}'", ViewType.ACTIVE_ONLY, max_results=1)
    if found:
        return str(found[0].info.run_id)
    date = dt.datetime.fromtimestamp(start, tz=dt.UTC).strftime("%Y-%m-%d")
    run = client.create_run(
        experiment_id,
        start_time=round(start * 1000),
        tags={**begin["tags"], **SOURCE_TAGS, SESSION_TAG: tag, MLFLOW_PARENT_RUN_ID: parent_id},
        run_name=f"{begin['run_name'] or session[:8]} {date}",
    )
    return str(run.info.run_id)


def _forget_old(client: MlflowClient, begin: Record, today: int) -> None:
    keep: int | None = begin.get("keep_days")
    for day in [] if keep is None else [day for day in begin["days"] if int(day) <= today - keep]:
        with _unless_gone():
            client.delete_run(begin["days"][day])
        del begin["days"][day]


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Lets a run be that somebody has deleted, alone (the store then calls it not active) or with the whole store."""
    try:
        yield
    except MlflowException as exc:
        if exc.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
