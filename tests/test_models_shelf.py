"""The shelf: models put there whole, by one at a time, tried out first, and found by name."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
from dataclasses import replace
from itertools import pairwise
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from onnx import helper

from models import catalogue
from models.catalogue import FLOAT, find
from models.shelf import cards, store, trial
from models.shelf.adding import add
from models.shelf.upstream import PULLABLE
from models.trust.policy import read_signature, signature_files
from stream.errors import ModelError, OutputError, UsageError
from stream.home import home
from tests.model_files import detector, raw, save, with_nodes

TRIED = trial.Measured(64, 64, 1.0, 1)


@pytest.fixture(autouse=True)
def _untried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial takes a second: only tests that are about it make one."""
    if "tried" not in request.fixturenames:
        monkeypatch.setattr(trial, "run", lambda name, content: TRIED)


@pytest.fixture
def tried() -> None:
    """Asks for real trials."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(detector(), tmp_path / "mine.onnx")


def test_an_added_model_is_described_and_found(file: Path) -> None:
    added = add(file, "mine")
    manifest = added.manifest
    assert added.fresh
    assert (manifest.task, manifest.classes, manifest.precision) == ("detect", ("person", "bicycle"), "float32")
    assert str(manifest.input) == "64x64 float32 rgb"
    assert (manifest.licence, manifest.source.location) == ("MIT", str(file))
    model = find("mine")
    assert (model.name, model.path, model.sha256) == ("mine", home() / "models/mine/model.onnx", manifest.sha256)
    assert model.card is not None
    assert model.card["licence"] == "MIT"


def test_added_again_it_is_there_already(file: Path) -> None:
    assert add(file, "mine").fresh
    assert not add(file, "mine").fresh


def test_another_model_of_the_same_name_is_refused_unless_it_is_to_replace(file: Path) -> None:
    add(file, "mine")
    save(detector(seed=1), file)
    with pytest.raises(ModelError, match=r"another model is called 'mine': choose another --name, or --replace it"):
        add(file, "mine")
    before = find("mine").sha256
    assert add(file, "mine", replace=True).fresh
    assert find("mine").sha256 != before
    assert [path.name for path in (home() / "models").iterdir() if path.name != ".lock"] == ["mine"]


def test_a_signature_does_not_outlive_its_model(file: Path) -> None:
    add(file, "mine")
    store.put_signature(store.take("mine"), b"{}")
    save(detector(seed=1), file)
    add(file, "mine", replace=True)
    assert store.take("mine").offers() == []


def test_a_damaged_model_can_be_replaced(file: Path) -> None:
    add(file, "mine")
    (home() / "models/mine/model.onnx").write_bytes(b"\x08")
    with pytest.raises(ModelError, match="was changed"):
        find("mine")
    add(file, "mine", replace=True)
    assert find("mine")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../mine", "a/b", "Mine", "-x", "a..b", "mine.onnx", "x" * 65, "a b", "ü", "a\n", "mine."]
)
def test_names_that_could_lead_elsewhere_are_refused(file: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a model's name"):
        add(file, name)
    for act in (store.take, store.remove):
        with pytest.raises(ModelError, match="there is no model"):
            act(name)


@pytest.mark.parametrize("name", ["auto", FLOAT])
def test_bundled_names_are_taken(file: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is the name of a bundled model"):
        add(file, name)


def test_a_removed_model_is_gone(file: Path) -> None:
    add(file, "mine")
    store.remove("mine")
    assert store.names() == []
    with pytest.raises(ModelError, match="there is no model 'mine'"):
        find("mine")
    with pytest.raises(ModelError, match="there is no model 'mine' on the shelf"):
        store.remove("mine")


def test_names_win_over_files_and_dot_slash_over_names(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add(file, "mine")
    monkeypatch.chdir(file.parent)
    save(detector(seed=5), file.parent / "mine")
    with caplog.at_level(logging.WARNING):
        assert find("mine").path.parent.parent == home() / "models"
    assert "for the file in this folder say ./mine" in caplog.text
    assert find("./mine").path == Path("mine")


def test_an_unknown_name_lists_the_shelf(file: Path) -> None:
    add(file, "mine")
    with pytest.raises(ModelError, match="; on the shelf are mine; a path"):
        find("yours")


def test_an_unknown_layout_is_not_shelved(tmp_path: Path) -> None:
    model = with_nodes([helper.make_node("Relu", ["images"], ["out"])], [raw("unused", [1])])
    with pytest.raises(ModelError, match="has outputs of an unknown layout"):
        add(save(model, tmp_path / "m.onnx"), "mine")
    assert store.names() == []


def test_a_file_that_is_in_the_catalogue_is_known_for_what_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = replace(PULLABLE[0], sha256=find(str(file)).sha256)
    monkeypatch.setattr("models.shelf.adding.PULLABLE", (known,))
    manifest = add(file, "mine").manifest
    assert (manifest.licence, manifest.source.location) == (known.licence, known.url)


def test_what_a_killed_process_left_half_done_is_cleared_away_and_never_seen(file: Path) -> None:
    add(file, "mine")
    shelf = home() / "models"
    for left in (".new-abc", ".old-def"):
        (shelf / left).mkdir()
        (shelf / left / "model.onnx").write_bytes(b"half")
    assert store.names() == ["mine"]
    add(file, "yours")
    assert sorted(path.name for path in shelf.iterdir()) == [".lock", "mine", "yours"]


def test_a_shelf_that_cannot_be_written_is_said_to_be(file: Path) -> None:
    (home() / "models").write_text("in the way")
    with pytest.raises(OutputError, match=r"the shelf .* cannot be written"):
        add(file, "mine")


def _add_again_and_again(folder: str, path: str, begun: Event, enough: Event) -> None:
    os.environ["VIDEODISCO_HOME"] = folder
    trial.run = lambda name, content: TRIED
    while not enough.is_set():
        add(Path(path), "mine", replace=True)
        begun.set()


@pytest.mark.slow
def test_two_processes_at_once_leave_one_whole_model(tmp_path: Path) -> None:
    """Both replace each other's model while a third reads: whatever it finds is whole."""
    context = multiprocessing.get_context("fork")
    files = [save(detector(seed=seed), tmp_path / f"{seed}.onnx") for seed in range(2)]
    add(files[0], "mine")
    hashes = {find(str(path)).sha256 for path in files}
    begun, enough = context.Event(), context.Event()
    writers = [
        context.Process(target=_add_again_and_again, args=(str(home()), str(path), begun, enough)) for path in files
    ]
    for writer in writers:
        writer.start()
    seen = [find("mine").sha256]
    try:
        while len(seen) < 30 or sum(later != former for former, later in pairwise(seen)) < 4:
            assert all(writer.is_alive() for writer in writers)
            seen.append(find("mine").sha256)
    finally:
        enough.set()
        for writer in writers:
            writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert set(seen) == hashes
    assert find("mine").sha256 in hashes


@pytest.mark.slow
def test_a_killed_process_leaves_a_whole_model_or_none(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    files = [save(detector(seed=seed), tmp_path / f"{seed}.onnx") for seed in range(2)]
    for number in range(6):
        begun = context.Event()
        process = context.Process(
            target=_add_again_and_again, args=(str(home()), str(files[number % 2]), begun, context.Event())
        )
        process.start()
        assert begun.wait(60)
        process.join(0.02 * number)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        with contextlib.suppress(ModelError):
            find("mine")
        if "mine" in store.names():
            assert store.take("mine").content in {path.read_bytes() for path in files}
    add(files[0], "mine", replace=True)
    assert find("mine").sha256 == find(str(files[0])).sha256


def test_signatures_are_looked_for_in_bounds(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.sig").write_bytes(b"x")
    (tmp_path / "00.sig").write_bytes(bytes(2_000_000))
    assert len(signature_files(tmp_path)) == 31
    assert read_signature(tmp_path) == b""


@pytest.mark.slow
@pytest.mark.usefixtures("tried")
def test_a_trial_measures(file: Path) -> None:
    add(file, "mine")
    shown = cards.card("mine")
    assert "ms a picture of 64x64 on one thread of this machine" in shown.speed


@pytest.mark.slow
@pytest.mark.usefixtures("tried")
def test_a_model_that_fills_the_memory_dies_in_its_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes computed while it runs are seen by nobody beforehand."""
    monkeypatch.setattr(trial, "MEMORY_BYTES", 1 << 30)
    model = detector()
    bomb = [
        helper.make_node("Mul", ["many", "many"], ["most"]),
        helper.make_node("ConstantOfShape", ["most"], ["much"]),
        helper.make_node("ReduceMax", ["much"], ["little"], keepdims=0),
        helper.make_node("Add", ["cells", "little"], ["cells2"]),
    ]
    model.graph.initializer.append(raw("many", [1 << 17]))
    nodes = [*model.graph.node[:2], *bomb, *model.graph.node[2:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    next(node for node in model.graph.node if node.name == "concat").input[0] = "cells2"
    path = save(model, tmp_path / "bomb.onnx")
    assert find(str(path))
    with pytest.raises(ModelError, match=r"bomb (failed on a picture|is refused: a trial run)"):
        add(path, "bomb")
    assert store.names() == []


@pytest.mark.slow
@pytest.mark.usefixtures("tried")
def test_a_model_that_does_not_end_dies_in_its_trial(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "WALL_S", 0.01)  # no interpreter starts within it
    with pytest.raises(ModelError, match=r"mine is refused: a trial run did not end within 0 s"):
        add(file, "mine")


def test_cards_show_broken_models_beside_whole_ones(file: Path) -> None:
    add(file, "mine")
    add(file, "yours")
    (home() / "models/yours/manifest.json").write_text("{}")
    rows = list(cards.table(cards.all_cards()))
    assert rows[0].split()[:3] == ["NAME", "TASK", "FAMILY"]
    assert [row.split()[0] for row in rows[1:]] == [*catalogue.bundled_names(), "mine", "yours"]
    assert "is damaged: remove the model and add it again" in rows[-1]


def test_a_long_list_of_classes_is_cut_short_for_people(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "MOST_NAMES", 1)
    shown = cards.card(str(file))
    assert dict(line.split(None, 1) for line in cards.lines(shown))["classes"] == "2: person and 1 more"
    assert shown.as_dict()["classes"] == ("person", "bicycle")


def test_a_card_of_a_file_is_made_from_the_file(file: Path) -> None:
    shown = cards.card(str(file))
    assert (shown.where, shown.input, shown.licence, shown.signature) == ("file", "64x64 float32 rgb", "MIT", "none")
    assert dict(line.split(None, 1) for line in cards.lines(shown))["classes"] == "2: person, bicycle"
