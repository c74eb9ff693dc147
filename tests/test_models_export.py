"""Exporting an Ultralytics .pt: the real other process, in which a package of ours stands for ultralytics."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from models.catalogue import find, look_up
from models.shelf import store, trial
from models.shelf.exporting import Wish, export
from stream.errors import ModelError, UsageError
from tests.commands import videodisco
from tests.model_files import detector, save

FAKE = """
import json, os, pathlib, shutil, sys

__version__ = "8.4.0"


class Detect:
    pass


class RTDETRDecoder:
    pass


class YOLO:
    def __init__(self, weights):
        self.weights = pathlib.Path(weights)
        told = json.loads(self.weights.read_text()[2:])
        self.task, self._answer = told["task"], told["answer"]
        if told.get("runs"):
            exec(told["runs"])
        self.model = type("Model", (), {"model": [Detect(), globals()[told["head"]]()]})

    def export(self, **options):
        offline = {name: os.environ[name] for name in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL")}
        pathlib.Path(__file__).with_name("asked.json").write_text(json.dumps(options | offline))
        print("a word of its own")
        if self._answer.startswith("raise "):
            raise RuntimeError(self._answer[6:])
        return shutil.copy(self._answer, self.weights.with_suffix(".onnx"))
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A folder with a ``python`` that has this ultralytics, and onnx."""
    folder = tmp_path / "environment"
    (folder / "ultralytics").mkdir(parents=True)
    (folder / "ultralytics" / "__init__.py").write_text(FAKE)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return folder


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """What its export will be."""
    path = save(detector(), tmp_path / "its.onnx")
    trial.keep(find(str(path)).sha256, trial.Measured(64, 64, 1.5, 9))
    return path


def weights(folder: Path, answer: Path | str, *, task: str = "detect", head: str = "Detect", runs: str = "") -> Path:
    path = folder / "Best v2.pt"
    path.write_text("PK" + json.dumps({"task": task, "head": head, "answer": str(answer), "runs": runs}))
    return path


def asked(environment: Path) -> dict[str, object]:
    return dict(json.loads((environment / "ultralytics" / "asked.json").read_text()))


def test_what_comes_out_is_looked_through_and_kept_with_its_origin(
    environment: Path, exported: Path, tmp_path: Path
) -> None:
    pt = weights(tmp_path, exported)
    added = export(Wish(pt, python=environment / "python"))
    assert added.fresh
    manifest = store.take("best-v2").manifest
    assert manifest.sha256 == hashlib.sha256(exported.read_bytes()).hexdigest()
    assert manifest.source.sha256 == hashlib.sha256(pt.read_bytes()).hexdigest()
    assert manifest.source.location == f"exported here by ultralytics 8.4.0 from {pt}"
    assert manifest.classes == ("person", "bicycle")
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["its.onnx"], "nothing beside the user's file"


def test_it_is_asked_for_open_sizes_and_for_nothing_from_the_network(
    environment: Path, exported: Path, tmp_path: Path
) -> None:
    export(Wish(weights(tmp_path, exported), "mine", 320, environment / "python"))
    options = asked(environment)
    assert options.pop("simplify") in (True, False)  # as onnxslim is there or not
    assert options == {
        "format": "onnx",
        "opset": 17,
        "imgsz": 320,
        "dynamic": True,
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
    }


def test_rt_detr_keeps_its_one_size(environment: Path, exported: Path, tmp_path: Path) -> None:
    export(Wish(weights(tmp_path, exported, head="RTDETRDecoder"), python=environment / "python"))
    assert asked(environment)["dynamic"] is False
    assert "imgsz" not in asked(environment), "the size it was trained at"


def test_the_pickle_is_loaded_in_the_other_process_alone(environment: Path, exported: Path, tmp_path: Path) -> None:
    """What it runs there ends that process, and ours says so."""
    pt = weights(tmp_path, exported, runs="os._exit(3)")
    with pytest.raises(ModelError, match=r"Best v2\.pt cannot be exported: it said nothing"):
        export(Wish(pt, python=environment / "python"))
    assert not store.names()


def test_what_comes_out_is_trusted_no_more_than_any_file(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.onnx").write_bytes(b"\x80\x04\x95")
    with pytest.raises(ModelError, match="is not an ONNX file but a Python pickle"):
        export(Wish(weights(tmp_path, tmp_path / "evil.onnx"), python=environment / "python"))
    assert not store.names()


@pytest.mark.parametrize(
    ("answer", "task", "words"),
    [
        ("raise no\nroom \N{CROSS MARK}", "detect", "Best v2.pt cannot be exported: RuntimeError: no room"),
        ("", "segment", "Best v2.pt cannot be exported: it is a model to segment, and only those that detect"),
    ],
)
def test_what_goes_wrong_there_is_one_sentence(
    environment: Path, tmp_path: Path, answer: str, task: str, words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        export(Wish(weights(tmp_path, answer, task=task), python=environment / "python"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_python_without_it_is_told_how_to_get_one_and_under_which_licence(
    environment: Path, exported: Path, tmp_path: Path
) -> None:
    (environment / "ultralytics" / "__init__.py").unlink()
    (environment / "ultralytics").rmdir()
    with pytest.raises(UsageError) as caught:
        export(Wish(weights(tmp_path, exported), python=environment / "python"))
    said = str(caught.value)
    assert said.startswith(f"{environment / 'python'} has no ultralytics")
    assert "ultralytics/bin/pip install ultralytics onnx" in said
    assert "AGPL-3.0" in said


def test_what_cannot_be_is_said_before_anything_is_loaded(environment: Path, exported: Path, tmp_path: Path) -> None:
    python = environment / "python"
    (tmp_path / "x.pt").write_bytes(exported.read_bytes())
    for wish, words in (
        (Wish(tmp_path / "none.pt", python=python), "there is no file .*none.pt: Ultralytics' own weights are fetched"),
        (Wish(tmp_path / "x.pt", python=python), "is no PyTorch file; for an ONNX file say models add"),
        (Wish(weights(tmp_path, exported), python=tmp_path / "nowhere"), "nowhere cannot be started: No such file"),
    ):
        with pytest.raises(UsageError, match=words):
            export(wish)
    export(Wish(weights(tmp_path, exported), "mine", python=python))
    (environment / "ultralytics" / "asked.json").unlink()
    with pytest.raises(ModelError, match="another model is called 'mine'"):
        export(Wish(weights(tmp_path, exported), "mine", python=python))
    with pytest.raises(UsageError, match="is the name of a bundled model"):
        export(Wish(weights(tmp_path, exported), "nanodet-g-416", python=python))
    assert not (environment / "ultralytics" / "asked.json").exists()


@pytest.mark.slow
def test_the_command_says_whose_licence_it_is(environment: Path, exported: Path, tmp_path: Path) -> None:
    pt = weights(tmp_path, exported)
    done = videodisco("models", "export", pt, "--name", "mine", "--python", "environment/python", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "kept: videodisco run --model mine SOURCE" in done.out
    assert "AGPL-3.0" in done.out
    assert look_up("mine").where == "shelf"
