"""Cores and cameras that come and go: another slot plan is taken over while everything runs, and said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge import station
from edge.cameras import assembly, sharing
from edge.config import DetectorSettings, RunSettings
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from edge.station import Station
from models.catalogue import find
from stream.config import build
from stream.errors import ModelError
from tests import clips, model_files
from tests.clips import Clip
from tests.commands import summary, videodisco
from tests.test_camera_station import Watched, settings


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_files.save(model_files.detector(), tmp_path / "mine.onnx")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clips.write_clip(tmp_path / "second.mp4", Clip(frames=25))


def test_a_loaded_model_goes_on_with_other_threads_at_the_sizes_it_had(model: Path) -> None:
    loaded = LoadedModel(find(str(model)), DetectorSettings(), SlotPlan(2, 1))
    loaded.view(640, 480)
    former = loaded.session(64, 64)
    loaded.replan(SlotPlan(1, 2))
    assert (former.threads, loaded.session(64, 64).threads) == (1, 2)


def test_a_plan_that_cannot_be_had_leaves_the_model_as_it_was(model: Path) -> None:
    loaded = LoadedModel(find(str(model)), DetectorSettings(), SlotPlan(2, 1))
    loaded.view(640, 480)
    former = loaded.session(64, 64)
    model_files.save(model_files.detector(seed=1), model)
    with pytest.raises(ModelError, match="changed"):
        loaded.replan(SlotPlan(1, 2))
    assert loaded.session(64, 64) is former


def test_cameras_share_the_cores_anew_when_these_or_themselves_change(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = [2]
    monkeypatch.setattr(sharing, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(assembly, "usable_cores", lambda: cores[0])
    looped = {"source": str(clip), "loop": True}
    detector = {"model": str(model)}
    watched = Watched(settings(tmp_path, {"one": looped}, detector=detector), wrap=lambda inner: inner)

    def said(words: str) -> bool:
        return any(note.startswith(f"slots: {words}") for note in watched.notes)

    async def during(watched: Watched) -> None:
        await watched.until(lambda: watched.frames("one") > 5)
        assert watched.station.assembly.slots == SlotPlan(1, 2)
        await watched.station.apply(settings(tmp_path, {"one": looped, "two": looped}, detector=detector))
        await watched.until(lambda: said("2 x 1 thread instead of 1 x 2 threads, for throughput: several cameras"))
        cores[0] = 3
        await watched.until(lambda: said("3 x 1 thread instead of 2 x 1 thread"))
        reached = watched.frames("one")
        await watched.until(lambda: watched.frames("one") > reached + 5 and watched.frames("two") > 5)
        assert watched.station.assembly.pool.workers == 3

    report = watched.run(during)
    assert len(watched.notes) == 2, "said once each"
    assert report.summary()["slots"] == "3 x 1 thread"
    assert report.summary()["slots_reason"] == "for throughput: several cameras or requests, 3 usable cores"


def test_a_plan_that_is_refused_is_told_once(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = [1]
    monkeypatch.setattr(sharing, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(assembly, "usable_cores", lambda: cores[0])
    looped = {"source": str(clip), "loop": True}
    watched = Watched(settings(tmp_path, {"one": looped}, detector={"model": str(model)}), wrap=lambda inner: inner)

    async def during(watched: Watched) -> None:
        await watched.until(lambda: watched.frames("one") > 5)
        model_files.save(model_files.detector(seed=1), model)
        cores[0] = 2
        await watched.until(lambda: bool(watched.notes))
        reached = watched.frames("one")
        await watched.until(lambda: watched.frames("one") > reached + 20)

    watched.run(during)
    (note,) = watched.notes
    assert note.startswith("slots: 1 x 1 thread as before, 1 x 2 threads cannot be had: ")


def test_the_next_file_is_begun_with_the_cores_that_are_there_then(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = iter([1, 1, 3])  # at the start, and before each of two files
    monkeypatch.setattr(station, "usable_cores", lambda: next(cores))
    other = clips.write_clip(tmp_path / "third.mp4", Clip(frames=25))
    given = {"sources": (str(clip), str(other)), "detector": {"model": str(model)}, "mlflow": {"enabled": False}}
    made = build(RunSettings, {**given, "output": {"project": tmp_path / "runs"}}, origin="the test")
    report = asyncio.run(Station(made).run())
    assert [source.state for source in report.sources] == ["done", "done"]
    assert report.frames == 50
    assert report.summary()["slots"] == "3 x 1 thread"
    assert report.summary()["slots_reason"] == "for throughput: files, 3 usable cores"


@pytest.mark.slow
def test_a_run_says_its_slots_and_why(model: Path, clip: Path, tmp_path: Path) -> None:
    done = videodisco("run", clip, "--model", model, "--workers", "1", "--no-mlflow", "--quiet", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    told = summary(tmp_path / "runs" / "run")
    assert told["slots"].startswith("1 x ")
    assert told["slots_reason"].startswith("workers is set to 1; ")
