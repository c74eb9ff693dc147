"""What the service says of itself: its run in MLflow, and how asking the cloud goes."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge.escalation.figures import Agreement, EscalationFigures
from edge.escalation.settings import BudgetSettings
from edge.service.configuration import ConfigDocument
from edge.service.escalation import escalation_answer, escalation_families
from edge.service.hub import Hub
from edge.service.program import ServeProgram
from stream.errors import ModelError
from stream.spool import Spool
from stream.telemetry import MlflowSettings, records
from stream.telemetry.destination import Destination, page_of
from stream.telemetry.journal import Journal
from stream.telemetry.records import RunDescription
from tests import clips
from tests.clips import Clip
from tests.refine_server import RefineServer
from tests.service_runs import WAIT_S, Serving, until

MLFLOW_S = 150.0
"""A busy machine takes a minute to import it and to make its store."""

# MLflow


@pytest.mark.parametrize(
    ("settings", "page"),
    [
        ({"uri": "http://me:s3cret@runs.example:5000/mlflow/"}, "http://runs.example:5000/mlflow"),
        ({"uri": "http://mlflow:5000", "ui_url": "https://runs.example/"}, "https://runs.example"),
        ({"uri": "sqlite:///runs/mlflow.db"}, None),
        ({"uri": "postgresql://me:s3cret@database/x"}, None),
        ({"uri": "databricks"}, None),
        ({}, None),
    ],
)
def test_mlflows_page_is_known_without_credentials(settings: dict[str, str], page: str | None) -> None:
    assert page_of(MlflowSettings.model_validate(settings)) == page


@pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://x/", "http://", "http://me:s3cret@x/", "http://x/?a=b"])
def test_a_link_that_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        MlflowSettings(ui_url=url)


def test_a_journal_knows_its_run_once_the_courier_has_made_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", max_bytes=1_000_000, max_age_s=1e9)
    journal = Journal(spool, MlflowSettings(), Destination("http://127.0.0.1:9", None))
    assert journal.run_id() is None
    journal.begin(RunDescription("videodisco", "serve", started_at=1.0))
    first = until(lambda: spool.peek(1, journal.session))[0]
    assert journal.run_id() is None
    spool.update(first.id, records.encode({**records.decode(first.payload), "run_id": "0123abcd"}))
    assert journal.run_id() == "0123abcd"
    journal.close(0.0)


def test_without_mlflow_there_is_no_link_to_it(tmp_path: Path) -> None:
    with Serving(tmp_path) as service:
        about = service.get("/about").json
        assert (about["folder"], about["mlflow"]) == ("serve", None)
        assert service.get("/escalation").json["enabled"] is False


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_run_is_named_and_linked_once_mlflow_has_it(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "yard.mp4", Clip(frames=50))
    content = {"cameras": {"yard": {"source": str(clip), "loop": True, "motion": "off", "detect_fps": 1}}}
    mlflow = {"enabled": True, "ui_url": "https://runs.example/mlflow/", "window_s": 0.5, "wait": True}
    mlflow["flush_s"] = MLFLOW_S
    with Serving(tmp_path, content, options={"mlflow": mlflow}) as service:
        run_id = until(lambda: service.get("/about").json["mlflow"]["run_id"], MLFLOW_S)
        said = service.get("/about").json["mlflow"]
        with closing(sqlite3.connect(tmp_path / "mlflow.db", timeout=WAIT_S)) as store:
            assert store.execute("SELECT run_uuid, name FROM runs").fetchall() == [(run_id, "serve")]
        assert said == {
            "experiment": "videodisco",
            "run_name": "serve",
            "run_id": run_id,
            "url": "https://runs.example/mlflow",
            "run_url": f"https://runs.example/mlflow/#/runs/{run_id}",
        }
    assert service.hub.running.deliver() == ""


# Asking the cloud


def test_figures_are_said_in_full() -> None:
    figures = EscalationFigures(
        decided=9,
        chosen={"within_band": 5, "audit": 1},
        refused={"below_band": 3},
        sent=7,
        refined=4,
        errors=1,
        spooled=1,
        held={"bytes_per_hour": 2},
        state="open",
        reason="nothing listens there",
        agreement={("yard", "dog"): Agreement(4, 0.75, 0.5), ("gate", "car"): Agreement(2, 1.0, 1.0)},
    )
    said = escalation_answer(figures, shadow=False, budget=BudgetSettings(items_per_day=50)).model_dump(by_alias=True)
    assert {name: said[name] for name in ("enabled", "asked", "answered", "waiting", "state", "reason")} == {
        "enabled": True,
        "asked": 6,
        "answered": 5,
        "waiting": 1,
        "state": "open",
        "reason": "nothing listens there",
    }
    assert said["budget"]["items_per_day"] == 50
    assert [(each["camera"], each["class"], each["recent"]) for each in said["agreements"]] == [
        ("gate", "car", 1.0),
        ("yard", "dog", 0.5),
    ]
    assert said["agreement"] == pytest.approx((4 * 0.5 + 2) / 6)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in escalation_families(figures)
        for sample in family.samples
    }
    assert found["videodisco_escalation_agreement", "yard", "dog"] == 0.5
    assert found["videodisco_escalation_compared_total", "yard", "dog"] == 4
    assert found["videodisco_escalation_refused_total", "below_band"] == 3
    assert found["videodisco_escalation_held_total", "bytes_per_hour"] == 2
    assert found["videodisco_escalation_state", "open"] == 1
    assert found["videodisco_escalation_state", "closed"] == 0


@pytest.mark.slow
def test_answers_of_a_refiner_are_counted_by_camera_and_class(tmp_path: Path, bikes_clip: Path) -> None:
    policy = {"confidence_low": 0.0, "confidence_high": 1.0, "min_sharpness": 0, "settle_s": 0.2, "classes": ["car"]}
    with RefineServer() as refiner:
        content = {
            "cameras": {"street": {"source": str(bikes_clip), "loop": True}},
            "escalation": {"enabled": True, "shadow": False, "url": refiner.url, "policy": policy},
        }
        with Serving(tmp_path, content) as service:
            said = until(lambda: (found := service.get("/escalation").json)["agreements"] and found)
            assert said["enabled"]
            assert not said["shadow"]
            assert said["state"] == "closed"
            assert said["asked"] >= said["refined"] >= 1
            (agreement,) = said["agreements"]
            assert (agreement["camera"], agreement["class"], agreement["recent"]) == ("street", "car", 1.0)
            assert service.get("/cameras/street").json["agreement"] == 1.0
            line = 'videodisco_escalation_agreement{camera="street",class="car"} 1.0'
            assert line in service.get("/metrics").body.decode().splitlines()


def test_a_model_that_is_refused_leaves_no_folder_behind_but_one_that_was_there(tmp_path: Path) -> None:
    async def refused() -> None:
        options = {
            "detector": {"model": str(tmp_path / "nope.onnx")},
            "output": {"project": tmp_path / "runs"},
            "mlflow": {"enabled": False},
            "serve": {"http": {"port": 0}},
        }
        document = ConfigDocument(None, options)
        with pytest.raises(ModelError):
            await ServeProgram(Hub(document.load(), document)).run()

    asyncio.run(refused())
    assert not list((tmp_path / "runs").iterdir())
    (tmp_path / "runs" / "serve").mkdir()
    asyncio.run(refused())
    assert (tmp_path / "runs" / "serve").is_dir()
