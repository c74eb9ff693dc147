"""A model that takes another's place at work: no frame lost, a bad one never used, a slow one taken back."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import supervision as sv

from edge.swap import JUDGED_BY, SwappableDetector, try_out
from stream.errors import ModelError
from stream.frame import Frame, ModelIdentity, NetworkView
from stream.pipeline import Detected, Detector
from tests import clips
from tests.clips import Clip
from tests.test_camera_station import Watched, settings

FLOAT, INT8 = "nanodet-g-416", "nanodet-g-416-int8"
GREY = np.full((96, 128, 3), 114, np.uint8)


class Named:
    """Finds one box called as it is told, in a network picture of its own size."""

    sleep: Callable[[float], None] = staticmethod(time.sleep)

    def __init__(self, name: str, side: int = 64, *, takes_s: float = 0.0, fails: bool = False) -> None:
        self.identity = ModelIdentity(name, "1", "0")
        self.takes_s = takes_s
        self.seen: list[Frame] = []
        self._side = side
        self._fails = fails

    def view(self, width: int, height: int) -> NetworkView:
        return NetworkView(self._side, self._side, rgb=False)

    def detect(self, frame: Frame) -> Detected:
        assert frame.network is not None
        assert frame.network.shape == (self._side, self._side, 3), "prepared for another model"
        if self._fails:
            raise RuntimeError("bad weights")
        self.seen.append(frame)
        self.sleep(self.takes_s)
        one = sv.Detections(
            xyxy=np.array([[10, 10, 50, 60]], np.float32),
            confidence=np.array([0.9], np.float32),
            class_id=np.array([0]),
            data={"class_name": np.array(["person"])},
        )
        return Detected(one, self.takes_s or 0.001)


class Clock:
    """Time in which models alone take any."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials go by it."""
    clock = Clock()
    monkeypatch.setattr("edge.swap.time", clock)
    monkeypatch.setattr(Named, "sleep", clock.sleep)


def prepared_for(detector: Detector, index: int = 0) -> Frame:
    view = detector.view(128, 96)
    network = np.zeros((view.height, view.width, 3), np.uint8)
    return Frame("cam", index, index, Fraction(1, 25), 0.0, 128, 96, network=network, view=view)


def test_a_frame_on_its_way_is_looked_at_by_the_model_it_was_prepared_for() -> None:
    old, new = Named("old", 64), Named("new", 96)
    detector = SwappableDetector(old)
    on_its_way = prepared_for(detector)
    detector.swap(new)
    assert detector.detect(on_its_way).model == old.identity
    assert detector.detect(prepared_for(detector)).model == new.identity
    detector.revert()
    assert detector.detect(prepared_for(detector)).model == old.identity


def test_the_speed_of_the_model_in_use_is_known_after_some_detections() -> None:
    detector = SwappableDetector(Named("old"))
    for index in range(JUDGED_BY):
        assert detector.median_s() is None
        detector.detect(prepared_for(detector, index))
    assert detector.median_s() == pytest.approx(0.001)


def test_a_trial_compares_speed_and_boxes() -> None:
    trial = try_out(Named("new", 96), Named("old", 64), [GREY, GREY, GREY])
    assert (trial.agreement, trial.pictures) == (1.0, 3)
    assert "agreement F1 1.00 on 3 pictures" in str(trial)


@pytest.mark.parametrize(
    ("new", "why"), [(Named("new", fails=True), "bad weights"), (Named("new", takes_s=0.2), "too slow")]
)
@pytest.mark.usefixtures("clock")
def test_a_model_that_fails_or_lags_in_its_trial_is_refused(new: Named, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        try_out(new, Named("old"), [GREY])


class Cold(Named):
    """Takes long for its first picture, as a session does that has just been opened."""

    def detect(self, frame: Frame) -> Detected:
        self.takes_s = 0.0 if self.seen else 0.3
        return super().detect(frame)


@pytest.mark.usefixtures("clock")
def test_a_model_is_not_refused_for_its_first_look_though_there_is_one_picture_only() -> None:
    trial = try_out(Cold("new"), Named("old"), [GREY])
    assert (trial.new_s, trial.pictures) == (0.0, 1)


class HeldUp(Named):
    """Takes long for its first dozen pictures, as one does beside whatever else the machine is at."""

    def detect(self, frame: Frame) -> Detected:
        self.takes_s = 0.0 if len(self.seen) >= 12 else 0.06
        return super().detect(frame)


class StoodStill(HeldUp):
    """As one does on a machine that stands still once besides."""

    def detect(self, frame: Frame) -> Detected:
        self.sleep(5.0 if len(self.seen) == 6 else 0.0)
        return super().detect(frame)


@pytest.mark.parametrize("kind", [HeldUp, StoodStill])
@pytest.mark.usefixtures("clock")
def test_a_model_is_not_refused_for_looks_that_were_held_up(kind: type[Named]) -> None:
    assert try_out(kind("new"), Named("old"), [GREY]).new_s == 0.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Slow enough that a busy machine has time for most frames.
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "slow.mp4", Clip(frames=25, rate=Fraction(25, 2)))


LOOKS = 6
"""Where the machine stood still meanwhile detections were lost to that, and counted: then another swap is looked at."""


@pytest.mark.slow
@pytest.mark.parametrize("isolate", [False, True])
def test_a_running_camera_takes_another_model_without_losing_a_frame(clip: Path, tmp_path: Path, isolate: bool) -> None:
    camera = {"cam": {"source": str(clip), "loop": True, "isolate": isolate, "max_staleness_s": 5}}
    broken = settings(tmp_path, camera, detector={"model": str(clip)})
    models = list(itertools.islice(itertools.cycle((INT8, FLOAT)), LOOKS))
    chosen = [settings(tmp_path, camera, detector={"model": model}) for model in models]
    swaps: list[range] = []
    drops: dict[str, int] = {}
    clean = False

    async def during(watched: Watched) -> None:
        nonlocal clean
        await watched.until(lambda: watched.frames("cam") > 12)
        with pytest.raises(ModelError):
            await watched.station.apply(broken)
        for number in range(1, LOOKS):
            (cam,) = watched.station.cameras
            reached, before = watched.frames("cam"), cam.drops
            (told,) = await watched.station.apply(chosen[number])
            assert f"{models[number - 1]} gave way to {models[number]}" in told
            swapped = watched.frames("cam")
            await watched.until(lambda: watched.frames("cam") > swapped + 10)  # noqa: B023 - called in here alone
            swaps.append(range(reached, watched.frames("cam")))
            drops.update(cam.drops)
            if clean := cam.drops == before:
                return

    def sized(inner: Detector) -> Detector:
        return Named(inner.identity.name, 64 if inner.identity.name == INT8 else 96)

    report = Watched(chosen[0], wrap=sized).run(during)
    lines = [json.loads(line) for line in (report.folder / "predictions.jsonl").read_text().splitlines()]
    numbers = [line["frame"] for line in lines[: swaps[-1].stop]]
    assert numbers == sorted(set(numbers)), "the camera was never begun anew"
    assert numbers[-1] + 1 - len(numbers) <= sum(drops.values()), "no frame was lost"
    carried = [bool(line.get("carried")) for line in lines[: swaps[-1].stop]]
    assert not clean or not any(carried[swaps[-1].start :]), "no detection was lost"
    assert sum(carried[carried.index(False) :]) <= sum(drops.values()), "or it was counted"
    by = [line["model"]["name"] for line in lines if not line.get("carried")]
    assert [name for name, _ in itertools.groupby(by)] == models[: len(swaps) + 1]
    swapped = [json.loads(line) for line in (report.folder / "swaps.jsonl").read_text().splitlines()]
    pairs = list(itertools.pairwise(models))[: len(swaps)]
    assert [(each["from"]["name"], each["to"]["name"]) for each in swapped] == pairs


class SlowAtWork(Named):
    """Takes longer than a model may that takes another's place, but in its trial."""

    def detect(self, frame: Frame) -> Detected:
        self.takes_s = 0.0 if frame.source == "trial" else 0.06
        return super().detect(frame)


@pytest.mark.slow
def test_a_model_that_turns_slow_at_work_is_taken_back(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "quick.mp4", Clip(frames=50, rate=Fraction(50)))
    camera = {"cam": {"source": str(clip), "loop": True}}
    made: list[Named] = []

    def named(inner: Detector) -> Detector:
        made.append((SlowAtWork if inner.identity.name == FLOAT else Named)(inner.identity.name))
        return made[-1]

    async def during(watched: Watched) -> None:
        await watched.until(lambda: watched.frames("cam") > 5)
        await watched.station.apply(settings(tmp_path, camera, detector={"model": FLOAT}))
        await watched.until(lambda: any("is back" in note for note in watched.notes))
        assert made[1].seen[-1].source == "cam", "it was at work"
        seen = len(made[0].seen)
        await watched.until(lambda: len(made[0].seen) > seen + 5)

    Watched(settings(tmp_path, camera, detector={"model": INT8}), wrap=named).run(during)
