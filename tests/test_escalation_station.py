"""Asking the cloud as a station does it: a real camera on loopback, a refiner that answers when it is told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from aiohttp import web

from edge import tracker
from edge.cameras.station import CameraStation, Lasting
from edge.config import RunSettings
from edge.run_folder import RunFolder
from edge.tracker import TrackerName
from stream.config import build
from stream.dataset.store import Store
from stream.frame import Frame, ModelIdentity, NetworkView
from stream.pipeline import Detected
from tests.escalation import lines
from tests.http_camera import HttpCamera
from tests.refine_server import Asked, RefineServer, answer, verdict

pytestmark = pytest.mark.slow

WAIT_S = 120.0

PATIENT = {
    "motion": "off",
    "stall_s": 300,
    "open_timeout_s": 60,
    "read_timeout_s": 300,
    "first_connect_limit_s": 600,
}
"""A camera whose pictures stay away because the machine is busy is not lost."""


@pytest.fixture(autouse=True)
def _tracks_outlive_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    def patient(name: TrackerName, rate: float) -> Any:
        made: Any = library_tracker(name, rate)
        made.maximum_time_without_update = 600.0
        return made

    library_tracker = tracker._library_tracker
    monkeypatch.setattr(tracker, "_library_tracker", patient)


class Eye:
    """Sees a dog while ``sees`` is set."""

    identity = ModelIdentity("eye", "1", "0" * 64)

    def __init__(self) -> None:
        self.sees = True

    def view(self, width: int, height: int) -> NetworkView:
        return NetworkView(64, 64, rgb=False)

    def detect(self, frame: Frame) -> Detected:
        count = int(self.sees)
        return Detected(
            sv.Detections(
                xyxy=np.array([[20, 20, 80, 100]], np.float32)[:count],
                confidence=np.array([0.6], np.float32)[:count],
                class_id=np.array([16])[:count],
                data={"class_name": np.array(["dog"])[:count]},
            )
        )


class Oracle:
    """Calls each track by its number once it is let, and agrees with the edge as much as it is told to."""

    def __init__(self, agreement: float = 1.0) -> None:
        self.let = threading.Event()
        self._agreement = agreement

    async def __call__(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        while not self.let.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        said = [verdict(item) | {"label": f"dog {item['track_id']}"} for item in asked.items]
        return answer([each | {"agreement": self._agreement} for each in said])


class Yard:
    """A station with one camera, and all there is around it."""

    def __init__(
        self,
        folder: Path,
        camera: HttpCamera,
        server: RefineServer,
        *,
        lasting: RunFolder | None = None,
        **values: Any,
    ) -> None:
        self.camera, self.server, self.eye = camera, server, Eye()
        events = {"min_hits": 1, "end_after_s": 0.5, "stationary_after_s": 3600}
        settings = {
            "cameras": {"yard": {"source": f"{camera.url}/mjpeg", "events": events}},
            "defaults": PATIENT,
            "output": {"project": folder},
            "mlflow": {"enabled": False},
            "escalation": {
                "enabled": True,
                "shadow": False,
                "url": server.url,
                "policy": {"min_sharpness": 0, "settle_s": 0.2, "track_cooldown_s": 1000},
                "client": {"linger_s": 0.0, "timeout_s": 300, "connect_timeout_s": 60},
            },
        }
        self.station = CameraStation(
            build(RunSettings, settings | values, origin="the test"),
            wrap_detector=lambda _real: self.eye,
            lasting=None if lasting is None else Lasting(lasting),
        )

    def run(self, during: Callable[[Yard], Awaitable[None]]) -> None:
        async def scenario() -> None:
            running = asyncio.create_task(self.station.run())
            try:
                await asyncio.wait_for(during(self), WAIT_S)
            finally:
                self.station.stop()
                await running

        asyncio.run(scenario())

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110 - what is waited for is told to nobody
            await asyncio.sleep(0.02)

    @property
    def events(self) -> list[dict[str, Any]]:
        return lines(self.station.folder.path / "events.jsonl")

    @property
    def ended(self) -> list[int]:
        """The tracks of events that are over."""
        return [event["track_id"] for event in self.events if event["type"] == "end"]

    def refined(self, track_id: int) -> list[tuple[str, str | None]]:
        """What was told of a track's event, and with which label."""
        events = [event for event in self.events if event["track_id"] == track_id]
        return [(event["type"], event["refined"] and event["refined"]["label"]) for event in events]

    def frames(self) -> list[dict[str, Any]]:
        return lines(self.station.folder.path / "predictions.jsonl")

    def labels(self) -> set[tuple[int, str]]:
        """Who wore which label in any frame."""
        found = [each for row in self.frames() for each in row["detections"] if "refined" in each]
        return {(each["track_id"], each["refined"]["label"]) for each in found}


@contextmanager
def yard(folder: Path, oracle: Oracle, **values: Any) -> Iterator[Yard]:
    with HttpCamera() as camera, RefineServer(oracle) as server:
        yield Yard(folder, camera, server, **values)


def test_an_answer_that_comes_after_the_event_is_told_of_it(tmp_path: Path) -> None:
    async def during(yard: Yard) -> None:
        await yard.until(lambda: yard.server.asked)
        yard.eye.sees = False
        await yard.until(lambda: yard.ended)
        oracle.let.set()
        await yard.until(lambda: yard.refined(0)[-1][0] == "update")

    oracle = Oracle()
    with yard(tmp_path, oracle) as here:
        here.run(during)
        assert here.refined(0)[-2:] == [("end", None), ("update", "dog 0")]
        end, update = here.events[-2:]
        assert (update["id"], update["end_time"]) == (end["id"], end["end_time"])
        assert here.labels() == set(), "no frame shows it any more"


def test_a_camera_lost_amid_a_track_leaves_no_wrong_label(tmp_path: Path) -> None:
    """The answer about what was there before comes when something else is there, in the same place."""

    async def during(yard: Yard) -> None:
        await yard.until(lambda: yard.server.asked)
        yard.camera.ended.set()
        await yard.until(lambda: yard.ended)
        assert len(yard.server.asked) == 1
        yard.camera.ended.clear()
        await yard.until(lambda: {event["track_id"] for event in yard.events} > {0})
        oracle.let.set()
        await yard.until(lambda: yard.labels() and yard.refined(0)[-1][1])

    oracle = Oracle()
    with yard(tmp_path, oracle) as here:
        here.run(during)
        (second,) = {event["track_id"] for event in here.events} - {0}
        assert here.refined(0)[-2:] == [("end", None), ("update", "dog 0")]
        assert here.labels() == {(second, f"dog {second}")}
        late = {line["track_id"]: line["late"] for line in lines(here.station.folder.path / "refinements.jsonl")}
        assert late == {0: True, second: False}


def test_a_camera_that_is_lost_before_its_time_is_up_asks_at_once(tmp_path: Path) -> None:
    async def during(yard: Yard) -> None:
        await yard.until(lambda: sum(1 for row in yard.frames() if row["detections"]) > 10)
        yard.camera.ended.set()
        await yard.until(lambda: yard.server.asked)

    policy = {"min_sharpness": 0, "min_hits": 1, "settle_s": 60}
    with HttpCamera() as camera, RefineServer() as server:
        escalation = {"enabled": True, "shadow": False, "url": server.url, "policy": policy}
        Yard(tmp_path, camera, server, escalation=escalation).run(during)
        assert [item["track_id"] for asked in server.asked for item in asked.items] == [0]


def test_a_service_that_was_started_anew_names_the_events_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(yard: Yard) -> None:
        await yard.until(lambda: yard.server.asked)

    async def named(yard: Yard) -> None:
        await yard.until(lambda: yard.labels())
        await yard.until(lambda: (yard.events[0]["id"], "dog 0") in [(e["id"], _label(e)) for e in yard.events])

    monkeypatch.setattr("edge.cameras.assembly.CLOSE_S", 0.2)
    folder, oracle = tmp_path / "serve", Oracle()
    folder.mkdir()
    with HttpCamera() as camera, RefineServer(oracle) as server:
        Yard(tmp_path, camera, server, lasting=RunFolder(folder, "")).run(asked)
        before = lines(folder / "events.jsonl")
        assert [(event["type"], event["refined"]) for event in before] == [("new", None), ("end", None)]
        oracle.let.set()
        again = Yard(tmp_path, camera, server, lasting=RunFolder(folder, ""))
        again.run(named)
    told = [event for event in again.events if event["id"] == before[0]["id"]]
    assert [(event["type"], _label(event)) for event in told] == [("new", None), ("end", None), ("update", "dog 0")]
    assert told[-1]["end_time"] == before[-1]["end_time"]


def _label(event: dict[str, Any]) -> str | None:
    return event["refined"] and str(event["refined"]["label"])


def test_a_disagreement_between_edge_and_cloud_is_kept_to_learn_from(tmp_path: Path) -> None:
    strategies = [
        {"name": "no dogs", "type": "disagreement", "less_than": 0.5, "limits": [{"type": "hourly", "value": 1}]},
        {"name": "doubtful", "type": "low_agreement_track", "limits": [{"type": "hourly", "value": 1}]},
    ]
    oracle = Oracle(agreement=0.1)
    folder = tmp_path / "set"

    def kept() -> dict[str, Any]:
        with_store = Store(folder)
        try:
            return {sample.sampler: sample for sample in with_store.manifest.samples()}
        finally:
            with_store.close()

    async def during(yard: Yard) -> None:
        await yard.until(lambda: yard.server.asked)
        assert kept() == {}
        oracle.let.set()
        await yard.until(lambda: len(kept()) == 2)

    dataset = {"enabled": True, "folder": folder, "sampling_strategies": strategies, "duplicates": {"distance": -1}}
    with yard(tmp_path, oracle, dataset=dataset) as here:
        here.run(during)
    (label,) = kept()["no dogs"].labels
    assert (label.class_name, label.agreement) == ("dog", 0.1)
    (label,) = kept()["doubtful"].labels
    assert label.track_agreement == pytest.approx(0.1)
