"""The refiner's crops for the data set: what is kept of them, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cloud import collecting
from cloud.collecting import Collecting, box_in_crop
from cloud.config import CloudDatasetSettings, CloudSettings
from cloud.questions import Question, Verdict
from cloud.refiners.base import Opinion
from models.classifier import Guess
from stream import wire
from stream.config import build
from stream.dataset.collector import Collector
from stream.dataset.manifest import EVERYTHING
from stream.dataset.sample import Sample
from stream.errors import SinkError, UsageError
from stream.frame import Refinement
from tests.refining import OBEDIENT, ObedientRefiner, crop, item, jpeg, key_of, until
from tests.test_cloud_service import TOKENS, bearer, running

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC).timestamp()
DISAGREES = {"name": "d", "type": "disagreement", "less_than": 0.5}
ANYTHING = {"name": "a", "type": "random"}


def verdict(agreement: float | None) -> Verdict:
    return Verdict(Opinion("moving van", 0.6, (Guess("moving van", 0.6),), agreement), OBEDIENT)


def question(number: int, **said: Any) -> Question:
    data = jpeg(number)
    return Question(key_of(number), data, "truck", item(key_of(number)).model_copy(update=said))


class Kept:
    """A data set that is being collected."""

    def __init__(self, folder: Path, *strategies: dict[str, Any]) -> None:
        settings = CloudDatasetSettings.model_validate(
            {"enabled": True, "sampling_strategies": strategies, "duplicates": {"distance": -1}}
        )
        self.collector = Collector(settings, folder)
        self.collecting = Collecting(self.collector, wall_clock=lambda: NOW)

    def tell(self, question: Question, agreement: float | None, client: str = "") -> None:
        self.collecting.tell(client, question, verdict(agreement))

    @property
    def samples(self) -> list[Sample]:
        """What was kept once all was offered."""
        self.collecting._thread.submit(lambda: None).result()
        return list(self.collector.store.manifest.samples(EVERYTHING))


def test_a_crop_is_kept_as_it_came_with_what_both_sides_say(tmp_path: Path) -> None:
    kept = Kept(tmp_path, DISAGREES)
    asked = question(1)
    kept.tell(asked, 0.25, client="north")
    (sample,) = kept.samples
    assert kept.collector.store.picture_path(sample.sha256).read_bytes() == asked.jpeg
    assert (sample.kind, sample.class_name, sample.sampler) == ("crop", "truck", "d")
    assert sample.origin.camera == "north/gate"
    assert sample.origin.model.name == "edge"
    assert sample.origin.taken_at == datetime(2026, 11, 23, 9, 30, tzinfo=UTC).timestamp()
    (label,) = sample.labels
    assert (label.class_name, label.class_id, label.confidence, label.track_id) == ("truck", 7, 0.5, 7)
    assert label.agreement == 0.25
    assert label.refined == Refinement("moving van", 0.6, "obedient")


def test_only_what_a_strategy_wants_is_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path, DISAGREES, {"name": "c", "type": "close_to_threshold", "threshold": 0.9})
    kept.tell(question(1), 0.75)
    kept.tell(question(2), None)
    kept.tell(question(3), 0.1)
    kept.tell(question(4, confidence=0.85), 0.75)
    assert sorted(sample.sampler for sample in kept.samples) == ["c", "d"]
    assert kept.collecting.figures() == {"kept": 2, "duplicates": 0, "lost": 0, "above_limit": 0, "left_out": 0}


def test_limits_hold_for_all_clients_together(tmp_path: Path) -> None:
    kept = Kept(tmp_path, {**ANYTHING, "limits": [{"type": "hourly", "value": 2}]})
    for number in range(6):
        kept.tell(question(number), None, client=f"edge {number}")
    assert len(kept.samples) == 2


def test_a_clock_that_is_wrong_dates_nothing_into_the_future(tmp_path: Path) -> None:
    kept = Kept(tmp_path, ANYTHING)
    kept.tell(question(1, time=datetime(9999, 12, 31, 23, 59, tzinfo=UTC)), None)
    kept.tell(question(2, time=datetime(1, 1, 1, tzinfo=UTC)), None)
    assert sorted(sample.origin.taken_at for sample in kept.samples) == [0.0, NOW]


def test_a_full_disk_is_counted_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SinkError("the disk is full")

    kept = Kept(tmp_path, ANYTHING)
    with monkeypatch.context() as broken:
        broken.setattr(kept.collector.store, "add", full)
        kept.tell(question(1), None)
        kept.tell(question(2), None)
        assert kept.samples == []
    kept.tell(question(3), None)
    assert len(kept.samples) == 1
    assert kept.collecting.count("lost") == 2
    assert caplog.text.count("the disk is full") == 1


def test_who_tells_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "MOST_WAITING", 3)
    kept = Kept(tmp_path, ANYTHING)
    gate = threading.Event()
    monkeypatch.setattr(kept.collector, "wants_picture_now", lambda: gate.wait() and False)
    for number in range(5):
        kept.tell(question(number), None)
    assert kept.collecting.count("left_out") == 2
    gate.set()
    assert kept.samples == []


@pytest.mark.parametrize(
    ("bbox", "size", "expected"),
    [
        ((100, 80, 200, 140), (130, 90), (15, 15, 115, 75)),
        ((5, 80, 105, 140), (120, 90), (5, 15, 105, 75)),
        ((530, 410, 630, 470), (125, 85), (15, 15, 115, 75)),
        ((100, 80, 200, 140), (101, 60), (0.5, 0, 100.5, 60)),
        ((100, 80, 500, 280), (260, 160), (0, 0, 260, 160)),
        ((100, 80, 500, 280), (448, 276), (0, 0, 448, 276)),
    ],
    ids=["margin", "left end", "right end", "no margin", "smaller", "a little smaller"],
)
def test_the_object_is_found_in_its_crop(
    bbox: tuple[float, ...], size: tuple[int, int], expected: tuple[float, ...]
) -> None:
    assert box_in_crop(item(key_of(1)).model_copy(update={"bbox": bbox}), *size) == expected


def test_it_is_off_unless_asked_for_and_knows_no_tracks() -> None:
    assert not CloudSettings().dataset.enabled
    assert {each.type for each in CloudSettings().dataset.sampling_strategies} == {
        "disagreement",
        "close_to_threshold",
        "random",
    }
    tracks = {"name": "t", "type": "low_agreement_track"}
    with pytest.raises(UsageError, match="no tracks"):
        build(CloudSettings, {"dataset": {"sampling_strategies": [tracks]}}, origin="cloud.yaml")


def test_the_service_keeps_each_crop_once(tmp_path: Path) -> None:
    dataset = {"enabled": True, "sampling_strategies": [ANYTHING], "duplicates": {"distance": -1}}
    tokens = [{"name": name, "token": token} for name, token in TOKENS.items()]

    async def scenario() -> None:
        async with running(tmp_path, ObedientRefiner(), dataset=dataset, http={"tokens": tokens}) as here:
            north = bearer(TOKENS["north"])
            crops = [crop(key_of(number), jpeg(number)) for number in range(3)]
            for _ in range(2):
                answers = await here.client.refine(*crops, crop(key_of(9), b"bad"), Authorization=north)
                assert isinstance(answers[key_of(0)], wire.Refined)
            kept = here.service._collecting
            assert kept is not None
            await until(lambda: kept.count("kept") == 3)
            assert await here.figure('videodisco_dataset_crops{outcome="kept"}', Authorization=north) == 3

    asyncio.run(scenario())
    with closing(sqlite3.connect(tmp_path / "runs" / "dataset" / "manifest.db")) as manifest:
        assert manifest.execute("SELECT camera FROM samples").fetchall() == [("north/gate",)] * 3
