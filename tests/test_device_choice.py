"""What ``--device auto`` takes: measured, remembered for this machine as it is, and never another in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import device_choice
from edge.config import DetectorSettings
from edge.inventory import inventory
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan, every_plan
from models import choice as choices
from models import session as sessions
from models import trying
from models.catalogue import FLOAT, INT8, find
from models.choice import Choice, Tried, best, judged_as, keep, kept, kept_of
from models.providers import CPU, CUDA, OPENVINO
from models.session import Session
from models.shelf.cards import all_cards, table
from models.trying import Throughput
from stream.errors import ModelError
from stream.home import home
from stream.machine import usable_cores
from tests import model_files
from tests.commands import Ended, in_process

CPU_FIRST = Tried("cpu", CPU, 20.0)


def chosen(device: str, sha256: str = "0" * 64, workers: int = 2, threads: int = 1) -> Choice:
    return Choice("mine", sha256, device, workers, threads, 64, 64, 0.4, "2026-11-23T00:00:00+00:00", (CPU_FIRST,))


def cuda_is_said_to_be_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its driver is gone: onnxruntime offers it, and computes on the CPU."""
    monkeypatch.setattr(sessions, "available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(sessions, "options_of", lambda provider, cache: [(CPU, {})])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_files.save(model_files.detector(), tmp_path / "mine.onnx")


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], "cpu"),
        ([Tried("openvino", OPENVINO, 40.0, 0.99, 100)], "openvino"),
        ([Tried("openvino", OPENVINO, 21.0, 1.0, 100)], "cpu"),  # within the noise
        ([Tried("openvino", OPENVINO, 40.0, 0.96, 100)], "cpu"),  # it sees something else
        ([Tried("openvino", OPENVINO, 40.0, None, 3)], "cpu"),  # nobody can tell
        ([Tried("openvino", OPENVINO, problem="it does not know an operator")], "cpu"),
        ([Tried("cuda", CUDA, 19.5, 1.0, 100)], "cuda"),  # the default where it is, until something is faster
        ([Tried("cuda", CUDA, 10.0, 1.0, 100)], "cpu"),
        ([Tried("cuda", CUDA, 300.0, 1.0, 100), Tried("openvino", OPENVINO, 40.0, 1.0, 100)], "cuda"),
        ([Tried("cuda", CUDA, problem="onnxruntime fell back to CPUExecutionProvider")], "cpu"),
    ],
)
def test_another_device_must_agree_and_be_clearly_faster(others: list[Tried], expected: str) -> None:
    assert best([*others, CPU_FIRST]) == expected


def test_a_choice_holds_for_this_model_and_these_cores() -> None:
    choice = replace(chosen("openvino"), tried=(CPU_FIRST, Tried("openvino", OPENVINO, 40.0, 0.99, 100)))
    keep(choice)
    assert kept(choice.sha256, 2, 1) == choice
    assert kept(choice.sha256, 1, 2) is None
    assert kept("1" * 64, 2, 1) is None
    assert choices.all_kept() == [choice]


def test_the_choices_of_one_model_are_found_the_fastest_first() -> None:
    slow, fast = chosen("cpu", workers=2), chosen("openvino", workers=1, threads=2)
    fast = replace(fast, tried=(CPU_FIRST, Tried("openvino", OPENVINO, 40.0, 0.99, 100)))
    for each in (slow, fast, chosen("cpu", "1" * 64)):
        keep(each)
    assert kept_of("0" * 64) == [fast, slow]
    assert kept_of("2" * 64) == []


def test_new_speeds_keep_the_agreement_that_was_found_with_pictures() -> None:
    """Noise tells how fast, not whether the boxes agree; and what another precision agreed by says nothing."""
    noisy = replace(chosen("cpu"), tried=(CPU_FIRST, Tried("openvino", "OpenVINO bfloat16", 44.0)))
    assert judged_as(noisy, None) == noisy
    former = replace(chosen("openvino"), tried=(CPU_FIRST, Tried("openvino", "OpenVINO bfloat16", 40.0, 0.99, 100)))
    judged = judged_as(noisy, former)
    assert (judged.device, judged.tried[1]) == ("openvino", Tried("openvino", "OpenVINO bfloat16", 44.0, 0.99, 100))
    other = replace(former, tried=(CPU_FIRST, Tried("openvino", "OpenVINO", 40.0, 0.99, 100)))
    assert judged_as(noisy, other).device == "cpu"


def test_a_choice_ends_with_the_versions_it_was_measured_with(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(chosen("cpu"))
    monkeypatch.setattr(metadata, "version", lambda name: "2099.1")
    assert kept("0" * 64, 2, 1) is None
    assert choices.all_kept() == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"tried": [{"speed": 1}]}'])
def test_a_damaged_choice_is_none(content: str) -> None:
    keep(chosen("cpu"))
    (path,) = (home() / "providers").iterdir()
    path.write_text(content)
    assert kept("0" * 64, 2, 1) is None


def test_every_device_is_tried_and_the_reasons_are_kept(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "available_providers", lambda: [CUDA, CPU])
    cuda_is_said_to_be_here(monkeypatch)
    pictures = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in range(8)]
    choice = trying.choose(find(str(model)), pictures, workers=2, threads=1, confidence=0.4, seconds=0.1)
    cuda, cpu = choice.tried
    assert choice.device == "cpu"
    assert cpu.pictures_per_s > 0
    assert cuda.problem == "onnxruntime fell back to CPUExecutionProvider"
    assert "cuda: onnxruntime fell back" in str(choice)


def test_a_turn_that_is_over_before_it_begins_sees_a_picture_all_the_same(model: Path) -> None:
    session = sessions.open_session(find(str(model)), device="cpu", threads=1, shape=None)
    seen = trying.throughput(session, np.zeros((64, 64, 3), np.uint8), workers=2, seconds=0.0)
    assert seen.per_s > 0
    assert seen.per_cpu_s > 0


def test_a_device_that_answers_otherwise_is_not_used(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second device is ten times as fast and shifts what it finds."""
    usual = trying._open

    def opened(*arguments: Any) -> Session:
        session = usual(arguments[0], "cpu", *arguments[2:])
        if arguments[1] == "openvino":
            run = session.run
            session.run = lambda pixels: [run(pixels)[0][:, :, ::-1] + 1]  # type: ignore[method-assign]
        return session

    def speed(session: Session, *_more: object) -> Throughput:
        return Throughput(10.0, 10.0) if "run" in vars(session) else Throughput(1.0, 1.0)

    monkeypatch.setattr(trying, "available_providers", lambda: [OPENVINO, CPU])
    monkeypatch.setattr(trying, "_open", opened)
    monkeypatch.setattr(trying, "throughput", speed)
    pictures = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in range(8)]
    choice = trying.choose(find(str(model)), pictures, workers=1, threads=1, confidence=0.4)
    assert choice.device == "cpu"
    assert choice.tried[0].pictures_per_s == 10.0
    assert choice.tried[0].f1 is not None
    assert choice.tried[0].f1 < choices.LEAST_F1


def test_auto_takes_what_was_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find(str(model))
    asked: list[str] = []

    def opened(*arguments: Any, device: str, **options: Any) -> Session:
        asked.append(device)
        return sessions.open_session(*arguments, device="cpu", **options)

    monkeypatch.setattr("edge.loaded_model.open_session", opened)
    slots = SlotPlan(2, 1)
    LoadedModel(found, DetectorSettings(), slots).view(64, 64)
    keep(chosen("openvino", found.sha256))
    LoadedModel(found, DetectorSettings(), slots).view(64, 64)
    LoadedModel(found, DetectorSettings(device="cpu"), slots).view(64, 64)
    assert asked == ["auto", "openvino", "cpu"]


def test_what_was_measured_is_shown() -> None:
    assert "nothing was measured" in dict(dict(inventory())["inference"])["device"]
    keep(chosen("cpu"))
    assert dict(dict(inventory())["inference"])["device for mine"].startswith("cpu (cpu 20.0 a second; at 64x64")


def test_a_required_provider_is_not_replaced(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find(str(model))
    LoadedModel(found, DetectorSettings(require_provider="cpu"), SlotPlan(1, 1))
    with pytest.raises(ModelError, match="runs with CPUExecutionProvider, but openvino is required"):
        LoadedModel(found, DetectorSettings(require_provider="openvino"), SlotPlan(1, 1))
    cuda_is_said_to_be_here(monkeypatch)
    with pytest.raises(ModelError, match="but cuda is required"):
        LoadedModel(found, DetectorSettings(device="cuda", require_provider="cuda"), SlotPlan(1, 1))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """A command in this process, which measures no longer than it takes to see that it does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device_choice, "measure_devices", partial(device_choice.measure_devices, seconds=0.1))
    return partial(in_process, capsys)


def test_a_run_refuses_another_provider_before_it_begins(
    here: Callable[..., Ended], model: Path, carphone_clip: Path, tmp_path: Path
) -> None:
    ended = here("run", carphone_clip, "--model", model, "--no-mlflow", "--require-provider", "coreml")
    assert ended.code == 4
    assert "coreml is required" in ended.sentence
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_command_measures_and_remembers(here: Callable[..., Ended], model: Path, carphone_clip: Path) -> None:
    ended = here("checks", "--measure", carphone_clip, "--model", model)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("mine: ")
    assert "cpu " in ended.out
    told = [json.loads(path.read_text()) for path in (home() / "providers").iterdir()]
    assert {each["model"] for each in told} == {"mine"}
    assert all(each["host"]["onnxruntime"] for each in told)


@pytest.mark.slow
def test_a_bench_of_every_plan_is_remembered_and_shown(
    here: Callable[..., Ended], model: Path, carphone_clip: Path
) -> None:
    assert "not measured here" in here("models", "show", model).out
    noisy = here("models", "bench", model, "--seconds", "0.1")
    assert (noisy.code, noisy.err) == (0, "")
    assert noisy.out.startswith("mine at 64x64, ")
    assert "run takes " in noisy.out
    ended = here("models", "bench", model, "--clip", carphone_clip, "--seconds", "0.1", "--json")
    told = json.loads(ended.out)
    plans = every_plan(usable_cores())
    assert [(each["workers"], each["threads"]) for each in told["plans"]] == [(p.workers, p.threads) for p in plans]
    assert told["host"]["onnxruntime"]
    for plan in told["plans"]:
        cpu = next(each for each in plan["tried"] if each["device"] == "cpu")
        assert cpu["pictures_per_s"] > 0
        assert cpu["pictures_per_cpu_s"] > 0
    shown = json.loads(here("models", "show", model, "--json").out)
    fastest = kept_of(told["sha256"])[0]
    assert shown["pictures_per_s"] == fastest.pictures_per_s
    assert shown["speed"].startswith(f"{fastest.pictures_per_s:.1f} pictures of 64x64 a second with {fastest.device}")


def test_what_was_measured_is_in_the_list() -> None:
    sha256 = find(FLOAT).sha256
    keep(chosen("cpu", sha256))
    rows = {row.split()[0]: row for row in table(all_cards())}
    place = rows["NAME"].index("HERE")
    assert rows[FLOAT][place:].split()[0] == "20/s"
    assert rows[INT8][place:].split()[0] == "?"
