"""A model that took over and fails or lags at work: the former one is back, in the settings as well."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edge.report import RunReport
from edge.swap import JUDGED_BY, SwappableDetector
from stream.errors import ModelError
from stream.frame import Frame, NetworkView
from stream.pipeline import Detected, Detector
from stream.pool import GivenUpError
from tests import clips
from tests.clips import Clip
from tests.service_runs import Serving, encoded, until
from tests.test_camera_station import Watched, settings
from tests.test_swap import FLOAT, INT8, Named, prepared_for

HOURS_S = 9999.0
"""What no machine takes for a look, however busy it is; told, not taken."""


class Lags(Named):
    """Says that it takes hours for each frame, but in its trial."""

    def detect(self, frame: Frame) -> Detected:
        found = super().detect(frame)
        return found if frame.source == "trial" else Detected(found.detections, HOURS_S)


class Fails(Named):
    """Fails at each frame, but in its trial."""

    kind: type[Exception] = ModelError

    def detect(self, frame: Frame) -> Detected:
        if frame.source != "trial":
            raise self.kind("bad at work")
        return super().detect(frame)


class Crashes(Fails):
    """The same by an error that is none of ours."""

    kind = ValueError


class FailsToOpen(Named):
    """Cannot get ready for the pictures of a camera."""

    def __init__(self, name: str, side: int = 64) -> None:
        super().__init__(name, side)
        self._views = 0

    def view(self, width: int, height: int) -> NetworkView:
        self._views += 1
        if self._views > 1:  # the trial's first picture asks once
            raise ModelError("no memory left")
        return super().view(width, height)


# Frame by frame.


def swapped(old: Detector, new: Detector) -> tuple[SwappableDetector, list[None]]:
    """A new model that is judged, and how often it was said that the former one is back."""
    detector, back = SwappableDetector(old), list[None]()
    detector.swap(new, on_failure=lambda: back.append(None))
    return detector, back


@pytest.mark.parametrize("bad", [Fails, Crashes])
def test_a_frame_at_which_a_new_model_fails_is_looked_at_by_the_former_one(bad: type[Fails]) -> None:
    old, new = Named("old"), bad("new")
    detector, back = swapped(old, new)
    frame = prepared_for(detector)
    assert detector.detect(frame).model == old.identity
    assert old.seen == [frame]
    assert (detector.current, len(back)) == (old, 1)
    assert "bad at work" in (detector.failure_of(new) or "")
    assert detector.failure_of(old) is None
    assert not detector.trust(new)


def test_a_frame_prepared_for_a_model_that_failed_alone_is_given_up_with_its_cause() -> None:
    old, new = Named("old", 64), Fails("new", 96)
    detector, back = swapped(old, new)
    on_their_way = [prepared_for(detector, index) for index in range(3)]
    for frame in on_their_way:
        with pytest.raises(GivenUpError, match="model_failed"):
            detector.detect(frame)
    assert len(back) == 1
    assert detector.detect(prepared_for(detector, 3)).model == old.identity
    assert [frame.index for frame in old.seen] == [3]


def test_a_new_model_that_cannot_get_ready_gives_way_to_the_former_one() -> None:
    old, new = Named("old", 64), FailsToOpen("new", 96)
    new.view(128, 96)
    detector, back = swapped(old, new)
    assert detector.view(128, 96) == old.view(128, 96)
    assert (detector.current, len(back)) == (old, 1)


def test_a_frame_on_its_way_to_the_former_model_shows_what_the_new_one_cannot() -> None:
    old, new = Named("old", 64), FailsToOpen("new", 96)
    detector = SwappableDetector(old)
    on_its_way = prepared_for(detector)
    new.view(128, 96)
    detector.swap(new, on_failure=lambda: None)
    assert detector.detect(on_its_way).model == old.identity
    assert detector.current is old


def test_an_error_of_a_model_that_is_trusted_or_that_was_there_before_is_an_error() -> None:
    old, new = Fails("old", 64), Fails("new", 96)
    detector = SwappableDetector(old)
    on_its_way = prepared_for(detector)
    detector.swap(new, on_failure=lambda: None)
    with pytest.raises(ModelError):
        detector.detect(on_its_way)
    assert detector.current is new, "it is not to blame"
    assert detector.trust(new)
    with pytest.raises(ModelError):
        detector.detect(prepared_for(detector))
    assert (detector.current, detector.failure_of(new)) == (new, None)


def test_another_swap_ends_the_doubt_about_the_one_before() -> None:
    old, new = Named("old"), Fails("new")
    detector, _ = swapped(old, new)
    detector.detect(prepared_for(detector))
    third = Named("third")
    detector.swap(third)
    assert detector.trust(new)
    assert detector.detect(prepared_for(detector)).model == third.identity


# A running station.


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "quick.mp4", Clip(frames=50, rate=Fraction(50)))


Make = Callable[[str], Named]


def wrapping(make_float: Make) -> Callable[[Detector], Detector]:
    """Puts a fake in the place of each model, of the float one what is given."""
    return lambda inner: (make_float if inner.identity.name == FLOAT else Named)(inner.identity.name)


def model_of(watched: Watched, name: str) -> tuple[str, str | None]:
    """What a camera looks with, and what its own settings name."""
    camera = next(each for each in watched.station.cameras if each.name == name)
    assert camera.detector is not None
    return camera.detector.identity.name, camera.settings.model


def swaps_of(report: RunReport) -> list[tuple[str, str, str]]:
    lines = map(json.loads, (report.folder / "swaps.jsonl").read_text(encoding="utf-8").splitlines())
    return [(line["camera"], line["from"]["name"], line["to"]["name"]) for line in lines]


def side_of(kind: type[Named], side: int) -> Make:
    return lambda name: kind(name, side)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "lost"),
    [(Fails, False), (side_of(Fails, 96), True), (Lags, False)],
    ids=["fails", "fails-at-another-size", "lags"],
)
def test_a_model_that_fails_or_lags_at_work_is_taken_back_and_the_settings_say_so(
    clip: Path, tmp_path: Path, make: Make, lost: bool
) -> None:
    camera = {"cam": {"source": str(clip), "loop": True}}
    old, new = (settings(tmp_path, camera, detector={"model": model}) for model in (INT8, FLOAT))
    drops: dict[str, int] = {}
    reached = 0

    async def during(watched: Watched) -> None:
        nonlocal reached
        await watched.until(lambda: watched.frames("cam") > 5)
        (told,) = await watched.station.apply(new)
        assert "gave way" in told
        await watched.until(lambda: any("is back" in note for note in watched.notes))
        await watched.until(lambda: watched.station.settings == old)
        assert model_of(watched, "cam") == (INT8, None)
        before = watched.frames("cam")
        await watched.until(lambda: watched.frames("cam") > before + 10)
        assert await watched.station.apply(old) == [], "it is as it was"
        (told,) = await watched.station.apply(new)
        assert "gave way" in told, "it is tried again"
        reached = watched.frames("cam")
        drops.update(watched.station.cameras[0].drops)

    watched = Watched(old, wrap=wrapping(make))
    report = watched.run(during)
    assert (report.exit_code, report.sources[0].errors) == (0, ())
    assert swaps_of(report)[:3] == [("cam", INT8, FLOAT), ("cam", FLOAT, INT8), ("cam", INT8, FLOAT)]
    lines = [json.loads(line) for line in (report.folder / "predictions.jsonl").read_text().splitlines()]
    numbers = [line["frame"] for line in lines[:reached]]
    assert numbers == sorted(set(numbers)), "the camera was never begun anew"
    assert numbers[-1] + 1 - len(numbers) <= sum(drops.values()), "no frame is missing that is not counted"
    assert ("model_failed" in drops) == lost, "a former one that wants to see the same looked at the very frame"


@pytest.mark.slow
def test_all_cameras_go_back_where_one_cannot_use_the_model(clip: Path, tmp_path: Path) -> None:
    class FailsAtGate(Fails):
        def detect(self, frame: Frame) -> Detected:
            return super().detect(frame) if frame.source == "gate" else Named.detect(self, frame)

    looped = {"source": str(clip), "loop": True}
    cameras = {"gate": looped, "yard": looped, "road": looped}
    old, new = (settings(tmp_path, cameras, detector={"model": model}) for model in (INT8, FLOAT))
    own = {**cameras, "road": {**looped, "model": "nanodet-g-416-int8"}, "late": looped}
    later = settings(tmp_path, own, detector={"model": FLOAT})

    async def during(watched: Watched) -> None:
        await watched.until(lambda: all(watched.frames(name) > 5 for name in cameras))
        held = watched.station.changing
        await watched.station.apply(new)
        async with held:  # whoever changes something meanwhile is not disturbed
            await watched.until(lambda: any("gate: model" in note for note in watched.notes))
            assert watched.station.settings == new
            await watched.station.take_over(later)
            await watched.until(lambda: watched.frames("late") > 0)
            assert model_of(watched, "late") == (FLOAT, None)
        await watched.until(lambda: watched.station.settings.detector.model == INT8)
        async with held:
            assert {name: model_of(watched, name) for name in own} == {
                "gate": (INT8, None),
                "yard": (INT8, None),
                "road": (INT8, INT8),
                "late": (INT8, None),
            }
        assert any("yard: model" in note and "gate" in note for note in watched.notes)

    watched = Watched(old, wrap=wrapping(FailsAtGate))
    report = watched.run(during)
    assert report.exit_code == 0
    assert ("yard", FLOAT, INT8) in swaps_of(report)


@pytest.mark.slow
def test_a_model_that_works_stays_and_the_former_one_is_let_go(clip: Path, tmp_path: Path) -> None:
    camera = {"cam": {"source": str(clip), "loop": True}}
    old, new = (settings(tmp_path, camera, detector={"model": model}) for model in (INT8, FLOAT))
    made: list[Named] = []

    def make(name: str) -> Named:
        made.append(Named(name))
        return made[-1]

    async def during(watched: Watched) -> None:
        await watched.until(lambda: watched.frames("cam") > 5)
        await watched.station.apply(new)
        assert set(watched.station.assembly.models) == {INT8, FLOAT}, "it may have to go back"
        await watched.until(lambda: set(watched.station.assembly.models) == {FLOAT})
        assert sum(frame.source == "cam" for frame in made[-1].seen) >= JUDGED_BY
        assert watched.notes == []

    Watched(old, wrap=wrapping(make)).run(during)


# A service.


@pytest.fixture
def config(clip: Path, tmp_path: Path) -> Path:
    content: dict[str, Any] = {
        "cameras": {"cam": {"source": str(clip), "loop": True, "motion": "off", "max_staleness_s": 60, "stall_s": 60}},
        "detector": {"model": INT8, "confidence": 0.3},
    }
    path = tmp_path / "cameras.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def serving(config: Path, tmp_path: Path) -> Iterator[Callable[[Make], Serving]]:
    running: list[Serving] = []

    def begun(make: Make) -> Serving:
        running.append(Serving(tmp_path, config=config, wrap_detector=wrapping(make)).__enter__())
        until(lambda: running[-1].get("/cameras/cam").json["connects"])
        until(lambda: running[-1].get("/cameras/cam").json["age_ms"] is not None)
        return running[-1]

    yield begun
    for each in running:
        each.__exit__(None, None, None)


def written(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def until_back(service: Serving, named: Callable[[], str | None], model: str | None) -> None:
    """Wait until its settings name the former model again, and whatever belongs to that is done."""

    async def nobody_changes_it() -> None:
        async with service.hub.changing:
            return

    until(lambda: service.call(named) == model)
    service.run(nobody_changes_it())


@pytest.mark.slow
def test_a_service_that_went_back_says_so_everywhere(serving: Callable[[Make], Serving], config: Path) -> None:
    before = written(config)
    service = serving(Lags)
    answered = service.ask("PUT", "/model", json={"model": FLOAT})
    assert (answered.status, answered.json["saved"]) == (200, True), answered.body
    until_back(service, lambda: service.hub.settings.detector.model, INT8)
    assert written(config.with_name(f"{config.name}.bak"))["detector"]["model"] == FLOAT, "it was kept until then"
    assert written(config) == before
    assert service.get("/model").json["name"] == INT8
    assert service.get("/config").json["config"] == before
    picture = encoded(np.full((60, 90, 3), 128, np.uint8))
    assert service.post_picture(picture).json["model"]["name"] == INT8
    until(lambda: service.get("/cameras/cam").json["model"] == INT8)
    assert any("is back in the place of" in note for note in service.notes)


@pytest.mark.slow
def test_what_was_changed_besides_the_model_stays(serving: Callable[[Make], Serving], config: Path) -> None:
    service, content = serving(Fails), written(config)
    cam = service.hub.running.cameras[0]
    assert service.ask("PATCH", "/cameras/cam", json={"model": FLOAT}).status == 200
    until_back(service, lambda: service.hub.settings.cameras["cam"].model, None)
    assert written(config) == content
    more = {**content, "detector": {"model": FLOAT, "confidence": 0.3}, "mlflow": {"window_s": 20}}
    assert service.ask("PUT", "/config", json={"config": more}).status == 200
    until_back(service, lambda: service.hub.settings.detector.model, INT8)
    assert written(config) == {**content, "mlflow": {"window_s": 20}}
    assert service.hub.running.cameras[0] is cam, "it was never begun anew"


@pytest.mark.slow
def test_a_file_that_was_changed_by_hand_is_left_as_it_is(serving: Callable[[Make], Serving], config: Path) -> None:
    service, content = serving(Fails), written(config)
    config.write_text(yaml.safe_dump(content | {"detector": {"model": FLOAT, "confidence": 0.3}}), encoding="utf-8")
    by_hand = config.read_text(encoding="utf-8")

    async def reloaded() -> list[str]:
        return await service.hub.apply(service.hub.document.load())

    (told,) = service.run(reloaded())
    assert "gave way" in told
    until_back(service, lambda: service.hub.settings.detector.model, INT8)
    assert config.read_text(encoding="utf-8") == by_hand
