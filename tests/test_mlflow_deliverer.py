"""What the courier does step by step, in this process, on a real SQLite store: repeats, refusals, lost runs."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream.spool import Spool
from stream.telemetry import records
from stream.telemetry.destination import Destination
from stream.telemetry.records import Record, RunDescription

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from stream.telemetry.delivery import Deliverer

pytestmark = [
    pytest.mark.slow,
    # mlflow uses what its own dependencies call outdated
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

AT = 1_790_000_000.0


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Destination:
    folder = tmp_path_factory.mktemp("store")
    return Destination(f"sqlite:///{folder}/mlflow.db", (folder / "mlartifacts").as_uri())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool.db", max_bytes=10_000_000, max_age_s=1e12)


@pytest.fixture
def deliverer(spool: Spool) -> Deliverer:
    from stream.telemetry.delivery import Deliverer

    return Deliverer(spool)


@pytest.fixture
def client(where: Destination) -> MlflowClient:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=where.uri)


def record(spool: Spool, session: str, *entries: Record) -> None:
    for entry in entries:
        spool.append(session, records.encode(entry), AT)


def begin(where: Destination, name: str, experiment: str = "e", params: dict[str, str] | None = None) -> Record:
    return records.begin(RunDescription(experiment, name, AT, params or {}), where)


def deliver_all(deliverer: Deliverer, name: str) -> int:
    """Steps until nothing is left to do; how many there were."""
    steps = 0
    while (session := deliverer.session(name)) is not None and deliverer.step(session):
        steps += 1
    return steps


def run_named(client: MlflowClient, name: str) -> Run:
    (run,) = client.search_runs([str(n) for n in range(1, 9)], f"attributes.run_name = '{name}'")
    return run


def steps_of(client: MlflowClient, name: str, metric: str = "m") -> list[int]:
    history = client.get_metric_history(str(run_named(client, name).info.run_id), metric)
    return [entry.step for entry in history]


def test_batches_stay_within_the_limits(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient
) -> None:
    params = {f"p{n}": "v" for n in range(230)}
    large = {f"m{n}": float(n) for n in range(2300)}
    windows = [records.window({f"k{n}": 1.0 for n in range(400)}, step, AT) for step in range(5)]
    end = records.finish("FINISHED", {}, AT)
    record(spool, "s", begin(where, "large", params=params), records.window(large, 0, AT), *windows, end)
    assert deliver_all(deliverer, "s") == 5  # the large one, 2 + 2 + 1 windows, the end
    run = run_named(client, "large")
    assert len(run.data.params) == 230
    assert {name for name in run.data.metrics if name.startswith("m")} == large.keys()
    assert steps_of(client, "large", "k7") == [0, 1, 2, 3, 4]
    assert spool.depth() == 0


def test_a_step_that_is_repeated_leaves_no_trace(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient
) -> None:
    """As when the courier dies after the store has taken a batch and before the spool knows."""
    window = records.window({"m": 1.0}, 0, AT)
    for _ in range(2):
        record(spool, "again", begin(where, "again", params={"a": "b"}), window)
        deliver_all(deliverer, "again")
        spool.ack([item.id for item in spool.peek(10)])  # forgets the run's id, too
    assert steps_of(client, "again") == [0]
    assert run_named(client, "again").data.params == {"a": "b"}


def test_a_run_the_store_has_forgotten_is_made_anew(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient
) -> None:
    from stream.telemetry.delivery import NotNowError

    stale = begin(where, "anew") | {"run_id": "0" * 32}
    record(spool, "anew", stale, records.window({"m": 1.0}, 0, AT))
    with pytest.raises(NotNowError):
        deliver_all(deliverer, "anew")
    deliver_all(deliverer, "anew")
    assert steps_of(client, "anew") == [0]


def test_a_refused_window_takes_no_other_with_it(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    bad = records.window({"no/../such": 1.0}, 1, AT)
    good = [records.window({"m": 1.0}, step, AT) for step in (0, 2)]
    record(spool, "bad", begin(where, "bad"), good[0], bad, good[1], records.finish("FINISHED", {}, AT))
    deliver_all(deliverer, "bad")
    assert steps_of(client, "bad") == [0, 2]
    assert run_named(client, "bad").info.status == "FINISHED"
    assert spool.depth() == 0
    assert [entry.levelno for entry in caplog.records if "refused" in entry.getMessage()] == [logging.WARNING]


def test_a_run_the_user_deleted_is_let_go(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient
) -> None:
    record(spool, "gone", begin(where, "gone"), records.window({"m": 1.0}, 0, AT))
    deliver_all(deliverer, "gone")
    client.delete_run(str(run_named(client, "gone").info.run_id))
    record(spool, "gone", records.window({"m": 1.0}, 1, AT), records.finish("FINISHED", {}, AT))
    deliver_all(deliverer, "gone")
    assert spool.depth() == 0


def killed(spool: Spool, deliverer: Deliverer, where: Destination, name: str) -> None:
    """A session whose owner has died, with all its windows delivered."""
    record(spool, name, begin(where, name), records.window({"m": 1.0}, 0, AT))
    deliver_all(deliverer, name)


def terminate(deliverer: Deliverer, name: str) -> None:
    session = deliverer.session(name)
    assert session is not None
    deliverer.terminate(session)


def test_a_killed_run_the_user_deleted_is_let_go(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    killed(spool, deliverer, where, "killed")
    client.delete_run(str(run_named(client, "killed").info.run_id))
    terminate(deliverer, "killed")
    assert spool.depth() == 0
    assert "cannot be closed" in caplog.text


def test_a_killed_run_of_a_store_that_was_emptied_is_let_go(
    spool: Spool, deliverer: Deliverer, where: Destination, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from stream.telemetry.delivery import Deliverer

    killed(spool, deliverer, where, "emptied")
    item = spool.peek(1)[0]
    with (
        closing(sqlite3.connect(where.uri.removeprefix("sqlite:///"))) as store,
        closing(sqlite3.connect(tmp_path / "emptied.db", isolation_level=None)) as emptied,
    ):
        store.backup(emptied)
        emptied.execute("DELETE FROM runs")
    uri = f"sqlite:///{tmp_path}/emptied.db"
    spool.update(item.id, records.encode(records.decode(item.payload) | {"uri": uri}))
    terminate(Deliverer(spool), "emptied")
    assert spool.depth() == 0
    assert "cannot be closed" in caplog.text


def test_a_store_that_mlflow_does_not_take_holds_up_its_own_sessions_only(spool: Spool, deliverer: Deliverer) -> None:
    from stream.telemetry.delivery import SessionNotNowError

    record(spool, "s", begin(Destination("nosuch://host", None), "x"), records.window({"m": 1.0}, 0, AT))
    with pytest.raises(SessionNotNowError):
        deliver_all(deliverer, "s")


def test_a_deleted_experiment_keeps_its_records_waiting(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient
) -> None:
    from stream.telemetry.delivery import SessionNotNowError

    experiment_id = client.create_experiment("deleted")
    client.delete_experiment(experiment_id)
    record(spool, "d", begin(where, "d", experiment="deleted"), records.window({"m": 1.0}, 0, AT))
    with pytest.raises(SessionNotNowError):
        deliver_all(deliverer, "d")
    client.restore_experiment(experiment_id)
    deliver_all(deliverer, "d")
    assert spool.depth() == 1  # the beginning stays until the end


def test_a_session_without_its_beginning_is_dropped(
    spool: Spool, deliverer: Deliverer, caplog: pytest.LogCaptureFixture
) -> None:
    record(spool, "headless", records.window({"m": 1.0}, 0, AT), records.finish("FINISHED", {}, AT))
    assert deliverer.session("headless") is None
    assert spool.depth() == 0
    assert "2 records of session headless" in caplog.text


def test_a_store_that_cannot_be_written_is_not_now(spool: Spool, deliverer: Deliverer, tmp_path: Path) -> None:
    from stream.telemetry.delivery import NotNowError

    (tmp_path / "file").write_text("")
    nowhere = Destination(f"sqlite:///{tmp_path}/file/mlflow.db", None)
    record(spool, "s", begin(nowhere, "x"), records.window({"m": 1.0}, 0, AT))
    with pytest.raises(NotNowError):
        deliver_all(deliverer, "s")
    assert spool.depth() == 2


DAY_S = 86_400.0


def test_a_run_of_several_days_has_a_child_for_each_day_and_an_outline_itself(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient
) -> None:
    every_s = 1200.0
    steps = int(2.5 * DAY_S / every_s)
    windows = [records.window({"m": float(step)}, step, AT + step * every_s) for step in range(steps)]
    record(spool, "long", begin(where, "long"), *windows, records.finish("FINISHED", {}, AT + 2.5 * DAY_S))
    deliver_all(deliverer, "long")

    parent = run_named(client, "long")
    first, second = run_named(client, "long 2026-09-22"), run_named(client, "long 2026-09-23")
    a_day = int(DAY_S / every_s)
    assert steps_of(client, "long 2026-09-22") == list(range(a_day, 2 * a_day))
    assert steps_of(client, "long 2026-09-23") == list(range(2 * a_day, steps))
    outline = steps_of(client, "long")
    assert outline[:a_day] == list(range(a_day))
    assert len(outline) - a_day == pytest.approx(36, abs=1)  # one an hour of a day and a half
    for child in (first, second):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
    assert first.info.end_time == second.info.start_time == round((AT + 2 * DAY_S) * 1000)


def test_days_are_kept_as_long_as_they_were_asked_for(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient
) -> None:
    windows = [records.window({"m": 1.0}, day, AT + day * DAY_S) for day in range(5)]
    record(spool, "kept", begin(where, "kept") | {"keep_days": 2}, *windows)
    deliver_all(deliverer, "kept")
    children = client.search_runs([run_named(client, "kept").info.experiment_id], "attributes.run_name LIKE 'kept 2%'")
    assert sorted(str(run.info.run_name) for run in children) == ["kept 2026-09-24", "kept 2026-09-25"]


def test_a_day_that_somebody_deleted_is_made_anew_and_one_that_is_over_is_let_go(
    spool: Spool, deliverer: Deliverer, where: Destination, client: MlflowClient
) -> None:
    record(spool, "holes", begin(where, "holes"), records.window({"m": 1.0}, 0, AT + DAY_S))
    deliver_all(deliverer, "holes")
    client.delete_run(run_named(client, "holes 2026-09-22").info.run_id)
    record(
        spool, "holes", records.window({"m": 1.0}, 1, AT + 2 * DAY_S), records.finish("FINISHED", {}, AT + 3 * DAY_S)
    )
    deliver_all(deliverer, "holes")
    assert run_named(client, "holes").info.status == "FINISHED"
    assert steps_of(client, "holes 2026-09-23") == [1]
