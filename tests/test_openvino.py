"""OpenVINO behind the same session: the same answers as onnxruntime, from real pictures and from every family."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge.config import DetectorSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from models import openvino
from models.build.clips import letterboxed_frames
from models.catalogue import FLOAT, find
from models.choice import LEAST_F1
from models.families import Boxes, recognise
from models.matching import LEAST_BOXES, agreement
from models.session import Pixels, Session, open_session
from stream.errors import ModelError
from tests import model_files
from tests.conftest import missing
from tests.test_families_graphs import BOX, SAMPLES, graph_of, picture_for
from tests.test_models_session import echo, noise

UINT8 = TensorProto.UINT8


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not openvino.is_installed():
        missing("OpenVINO", "it comes with the openvino extra: pip install 'videodisco[openvino]'")


def opened(path: Path, shape: tuple[int, int] | None = None, workers: int = 1) -> Session:
    return open_session(find(str(path)), device="openvino", threads=1, shape=shape, workers=workers)


def detect(session: Session, picture: Pixels) -> Boxes:
    outputs, size = session.run(picture), picture.shape[:2]
    family = recognise(session.spec)
    return family.decode(outputs, size, confidence=0.4, iou=0.6, max_detections=300, classes=None)


def test_it_agrees_with_onnxruntime_on_real_pictures(vtest_clip: Path) -> None:
    pictures = list(letterboxed_frames(vtest_clip, range(0, 795, 120)))
    shape = (pictures[0].shape[0], pictures[0].shape[1])
    usual = open_session(find(FLOAT), device="cpu", threads=2, shape=shape)
    other = open_session(find(FLOAT), device="openvino", threads=2, shape=shape)
    seen = agreement((detect(usual, picture), detect(other, picture)) for picture in pictures)
    assert seen.boxes >= LEAST_BOXES
    assert seen.f1 >= LEAST_F1
    assert seen.score_drift < 0.01
    assert seen.box_drift_px < 1
    assert other.spec == usual.spec
    assert other.provider.startswith("OpenVINO")


@pytest.mark.parametrize("name", SAMPLES)
def test_every_family_is_found_in_the_source_picture(name: str, tmp_path: Path) -> None:
    """Outputs by name, open sizes, batches, further inputs: all of it as with onnxruntime."""
    sample = SAMPLES[name]
    path = model_files.save(graph_of(sample), tmp_path / "mine.onnx")
    settings = DetectorSettings(confidence=0.3, device="openvino")
    detector = OnnxDetector(LoadedModel(find(str(path)), settings, SlotPlan(1, 1)), settings)
    found = detector.detect(picture_for(detector)).detections
    assert detector.provider.startswith("OpenVINO")
    assert list(found.data["class_name"]) == [sample.label]
    # bfloat16 keeps eight bits: a box of 300 pixels may be off by one.
    np.testing.assert_allclose(found.xyxy, [BOX], atol=2)


def test_threads_do_not_mix_their_pictures(tmp_path: Path) -> None:
    path = model_files.save(echo(UINT8, [1, "h", "w", 3]), tmp_path / "mine.onnx")
    session = opened(path, (96, 96), workers=2)
    pictures = [noise(96, 96, seed) for seed in range(64)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda picture: session.run(picture)[0], pictures))
    for picture, seen in zip(pictures, answers, strict=True):
        np.testing.assert_array_equal(seen[0], picture)


def test_an_answer_stays_when_the_next_picture_comes(tmp_path: Path) -> None:
    session = opened(model_files.save(echo(UINT8, [1, 32, 32, 3]), tmp_path / "mine.onnx"))
    first = session.run(noise(32, 32, 1))[0]
    session.run(noise(32, 32, 2))
    np.testing.assert_array_equal(first[0], noise(32, 32, 1))


def test_an_open_size_takes_every_picture(tmp_path: Path) -> None:
    session = opened(model_files.save(echo(UINT8, [1, "h", "w", 3]), tmp_path / "mine.onnx"))
    for size in (32, 64):
        assert session.run(noise(size, 32))[0].shape == (1, size, 32, 3)


def test_what_it_does_not_know_is_refused_with_the_operator(tmp_path: Path) -> None:
    odd = helper.make_node("BifurcationDetector", ["images"], ["out", "more"], domain="com.microsoft", name="odd")
    model = model_files.with_nodes([odd])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    path = model_files.save(model, tmp_path / "mine.onnx")
    with pytest.raises(ModelError) as caught:
        openvino.open_runtime(find(str(path)), {}, threads=1, workers=1)
    assert "BifurcationDetector" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_admitted_bytes_are_run(tmp_path: Path) -> None:
    path = model_files.save(model_files.detector(), tmp_path / "mine.onnx")
    model = find(str(path))
    model_files.save(model_files.detector(seed=1), path)
    with pytest.raises(ModelError, match="changed while it was being loaded"):
        openvino.open_runtime(model, {}, threads=1, workers=1)


def test_a_failure_while_running_is_one_sentence(tmp_path: Path) -> None:
    session = opened(model_files.save(echo(UINT8, [1, 32, 32, 3]), tmp_path / "mine.onnx"))
    with pytest.raises(ModelError, match="takes pictures of 32x32, got 64x32"):
        session.run(noise(32, 64))


def test_without_the_package_it_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "is_installed", lambda: False)
    with pytest.raises(ModelError, match=r"videodisco\[openvino\]"):
        open_session(find(FLOAT), device="openvino", threads=1, shape=None)
