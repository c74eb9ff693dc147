"""Files with the inputs and outputs of every family, from recognition to boxes in the source picture.

Each graph answers one object whose score is a pixel of its input times a factor, so that a test sees whether the
network was fed the right channel in the right units; and whether its box is found where the picture lay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper, save

from edge.config import DetectorSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from models.catalogue import find
from models.families import recognise
from models.session import inspect, open_session
from stream.frame import Frame
from stream.sources.pictures import PictureConverter

FLOAT32, FLOAT16, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
Array = NDArray[Any]

BLUE, GREEN, RED = 40, 80, 120
SOURCE = (200, 100)
BOX = (75, 25, 125, 75)
"""The object in the source picture. In a network's 64x64 it is 16 wide, and 16 high unless stretched: then 32."""

PROBED = (24, 32)
"""Row and column of the pixel that gives the score: within the picture however it is laid."""

THREE = {"names": "{0: 'cat', 1: 'dog', 2: 'fox'}"}
OPEN = {"imgsz": "[64, 64]"}


@dataclass(frozen=True)
class Score:
    """Where the score is written, ``factor`` times the first channel as the network sees it: ``channel``.

    Where the output holds logits, ``base`` is what it is added to.
    """

    output: str
    place: tuple[int, ...]
    channel: float
    factor: float
    base: float | None = None

    @property
    def confidence(self) -> float:
        raw = self.factor * self.channel
        return raw if self.base is None else 1 / (1 + math.exp(-raw - self.base))


@dataclass(frozen=True)
class Sample:
    """A network's signature and answer."""

    family: str
    outputs: Mapping[str, Array]
    score: Score
    label: str
    shape: Sequence[int | str] = (1, 3, 64, 64)
    dtype: int = FLOAT32
    open_outputs: bool = False
    scaled_by_sizes: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def one(shape: tuple[int, ...], place: tuple[int, ...], values: Sequence[float], rest: float = 0.0) -> Array:
    """An array of nothing but these values, from ``place`` on along the last axis."""
    made = np.full(shape, rest, np.float32)
    made[place][: len(values)] = values
    return made


def yolo(anchors: int, *centre: float) -> dict[str, Array]:
    return {"output0": one((1, anchors, 7), (0, 9), [*centre, 16, 16]).transpose(0, 2, 1)}


YOLO = Sample("yolo", yolo(84, 32, 32), Score("output0", (0, 5, 9), RED / 255, 2), "dog", metadata=THREE)
YOLO_BYTES = replace(YOLO, dtype=UINT8, score=Score("output0", (0, 5, 9), RED, 0.007))

SAMPLES = {
    "yolo": YOLO,
    "yolo, half precision": replace(YOLO, dtype=FLOAT16),
    "yolo, bytes, channels last": replace(YOLO_BYTES, shape=(1, 64, 64, 3)),
    "yolo, bytes, channels first": YOLO_BYTES,
    "yolo, floats, channels last": replace(YOLO, shape=(1, 64, 64, 3)),
    "yolo, batch of 3": replace(YOLO, shape=(3, 3, 64, 64)),
    "yolo, all open": replace(
        YOLO,
        shape=("batch", 3, "height", "width"),
        outputs=yolo(42, 32, 16),
        open_outputs=True,
        metadata=THREE | OPEN,
    ),
    "yolo, its own pixels": replace(
        YOLO,
        metadata=THREE | {"colour": "bgr", "mean": "[50, 50, 50]", "std": "[10, 20, 30]"},
        score=Score("output0", (0, 5, 9), -1, -0.7),
    ),
    "yolov5 of coco": Sample(
        "yolov5",
        {"output0": one((1, 252, 85), (0, 9), [32, 32, 16, 16, 0, 0, 1])},
        Score("output0", (0, 9, 4), RED / 255, 2),
        "bicycle",
    ),
    "end to end": Sample(
        "yolo-end-to-end",
        {"output0": one((1, 300, 6), (0, 9), [24, 24, 40, 40, 0, 1])},
        Score("output0", (0, 9, 4), RED / 255, 2),
        "dog",
        metadata=THREE,
    ),
    # The second column and row of stride 16 begin at (32, 16), and the logarithm of one cell is 0.
    "yolox": Sample(
        "yolox",
        {"output": one((1, 84, 8), (0, 64 + 4 + 2), [0, 0, 0, 0, 0, 0, 1])},
        Score("output", (0, 64 + 4 + 2, 4), BLUE, 0.02),
        "dog",
        metadata=THREE,
    ),
    # From (32, 32), stride 16: half a cell to the sides, one up and down.
    "nanodet-plus": Sample(
        "nanodet-plus",
        {"output": one((1, 85, 35), (0, 64 + 8 + 2), [0, 0, 0, *([20, 20] + [0] * 6 + [0, 20] + [0] * 6) * 2])},
        Score("output", (0, 64 + 8 + 2, 1), (BLUE - 103.53) / 57.375, -0.7),
        "dog",
        metadata=THREE,
    ),
    "rt-detr": Sample(
        "detr",
        {
            "logits": np.full((1, 300, 80), -20.0, np.float32),
            "pred_boxes": one((1, 300, 4), (0, 9), [0.5, 0.5, 0.25, 0.5]),
        },
        Score("logits", (0, 9, 1), RED / 255, 45, base=-20),
        "bicycle",
    ),
    "rf-detr": Sample(
        "detr",
        {"dets": one((1, 300, 4), (0, 9), [0.5, 0.5, 0.25, 0.5]), "labels": np.full((1, 300, 91), -9.0, np.float32)},
        Score("labels", (0, 9, 3), (RED - 123.675) / 58.395, -170, base=-9),
        "car",
    ),
    "rt-detr of ultralytics": Sample(
        "detr-table",
        {"output0": one((1, 300, 6), (0, 9), [0.5, 0.5, 0.25, 0.5, 0, 1])},
        Score("output0", (0, 9, 4), RED / 255, 2),
        "dog",
        metadata=THREE | {"head": "RTDETRDecoder"},
    ),
    "d-fine, deployed": Sample(
        "boxes-labels-scores",
        {
            "labels": np.ones((1, 300), np.int64),
            "boxes": one((1, 300, 4), (0, 9), [0.375, 0.25, 0.625, 0.75]),
            "scores": np.zeros((1, 300), np.float32),
        },
        Score("scores", (0, 9), RED / 255, 2),
        "dog",
        shape=("N", 3, 64, 64),
        scaled_by_sizes="boxes",
        metadata=THREE,
    ),
    "torchvision": Sample(
        "boxes-labels-scores",
        {"4208": one((9, 4), (3,), [24, 8, 40, 24]), "4177": np.zeros(9, np.float32), "4178": np.full(9, 18)},
        Score("4177", (3,), RED / 255, 2),
        "18",
        shape=(3, "height", "width"),
        metadata=OPEN,
    ),
    "ssd of tensorflow": Sample(
        "boxes-labels-scores",
        {
            "num_detections:0": np.ones(1, np.float32),
            "detection_boxes:0": one((1, 9, 4), (0, 3), [0.25, 0.375, 0.75, 0.625]),
            "detection_scores:0": np.zeros((1, 9), np.float32),
            "detection_classes:0": np.full((1, 9), 3, np.float32),
        },
        Score("detection_scores:0", (0, 3), RED, 0.007),
        "3",
        shape=("n", "h", "w", 3),
        dtype=UINT8,
        open_outputs=True,
        metadata=OPEN,
    ),
}


def graph_of(sample: Sample) -> ModelProto:
    """The first channel's probed pixel, times the factor, added to one number of constant outputs."""
    rank = len(sample.shape)
    channels_last = sample.shape[-1] == 3
    begin = ([0] if rank == 4 else []) + ([*PROBED, 0] if channels_last else [0, *PROBED])
    numbers: dict[str, Array] = {
        "begin": np.array(begin),
        "end": np.array(begin) + 1,
        "factor": np.array([sample.score.factor], np.float32),
        "flat": np.array([1]),
        "mask": one(
            sample.outputs[sample.score.output].shape, sample.score.place[:-1], [0] * sample.score.place[-1] + [1]
        ),
    }
    nodes = [
        helper.make_node("Slice", ["images", "begin", "end"], ["pixel"]),
        helper.make_node("Cast", ["pixel"], ["level"], to=FLOAT32),
        helper.make_node("Reshape", ["level", "flat"], ["channel"]),
        helper.make_node("Mul", ["channel", "factor"], ["score"]),
        helper.make_node("Mul", ["mask", "score"], ["scored"]),
    ]
    inputs = [helper.make_tensor_value_info("images", sample.dtype, sample.shape)]
    outputs = []
    half = sample.dtype == FLOAT16
    for name, values in sample.outputs.items():
        numbers[f"base of {name}"] = values
        floats = values.dtype == np.float32
        made = _outcome(nodes, name, sample)
        nodes.append(helper.make_node("Cast", [made], [name], to=FLOAT16) if half and floats else _same(made, name))
        kind = (FLOAT16 if half else FLOAT32) if floats else TensorProto.INT64
        dimensions = [f"{name} {axis}" for axis in range(values.ndim)] if sample.open_outputs else values.shape
        outputs.append(helper.make_tensor_value_info(name, kind, dimensions))
    if sample.scaled_by_sizes:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["N", 2]))
    return model_of(nodes, inputs, outputs, numbers, sample.metadata)


def model_of(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    numbers: Mapping[str, Array],
    metadata: Mapping[str, str],
) -> ModelProto:
    constants = [numpy_helper.from_array(values, name) for name, values in numbers.items()]
    graph = helper.make_graph(nodes, "sample", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    helper.set_model_props(model, dict(metadata))
    return model


def _outcome(nodes: list[Any], name: str, sample: Sample) -> str:
    base = f"base of {name}"
    if name == sample.score.output:
        nodes.append(helper.make_node("Add", [base, "scored"], [f"scored {name}"]))
        return f"scored {name}"
    if name == sample.scaled_by_sizes:
        nodes.append(helper.make_node("Concat", ["orig_target_sizes", "orig_target_sizes"], ["four"], axis=1))
        nodes.append(helper.make_node("Cast", ["four"], ["sides"], to=FLOAT32))
        nodes.append(helper.make_node("Mul", [base, "sides"], [f"scaled {name}"]))
        return f"scaled {name}"
    return base


def _same(made: str, name: str) -> Any:
    return helper.make_node("Identity", [made], [name])


def load(sample: Sample, folder: Path) -> OnnxDetector:
    path = folder / "mine.onnx"
    save(graph_of(sample), path)
    settings = DetectorSettings(model=str(path), confidence=0.5)
    loaded = LoadedModel(find(str(path)), settings, SlotPlan(1, 1))
    assert loaded.family.name == sample.family
    return OnnxDetector(loaded, settings)


def picture_for(detector: OnnxDetector) -> Frame:
    pixels = np.full((SOURCE[1], SOURCE[0], 3), (BLUE, GREEN, RED), np.uint8)
    network, letterbox = PictureConverter().network(
        av.VideoFrame.from_ndarray(pixels, format="bgr24"), detector.view(*SOURCE)
    )
    return Frame("mine", 0, 0, Fraction(1, 25), 0.0, *SOURCE, network=network, letterbox=letterbox)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
def test_an_object_is_found_in_the_source_picture(sample: Sample, tmp_path: Path) -> None:
    detector = load(sample, tmp_path)
    found = detector.detect(picture_for(detector)).detections
    assert list(found.data["class_name"]) == [sample.label]
    assert found.confidence is not None
    assert found.confidence[0] == pytest.approx(sample.score.confidence, abs=0.02)
    np.testing.assert_allclose(found.xyxy, [BOX], atol=0.1)


def test_the_samples_are_of_all_families() -> None:
    from models.families import _KNOWN

    bundled = {"nanodet"}
    assert {sample.family for sample in SAMPLES.values()} | bundled == set(_KNOWN)


def test_a_table_that_leaves_all_open_is_told_by_its_shape_at_one_size(tmp_path: Path) -> None:
    """As YOLOv5 exports dynamic axes: with names, but without anything that tells it from YOLOv8."""
    # At 64 pixels three rows for each of 8 x 8 cells, and 60 more: the other strides' cells.
    numbers: dict[str, Array] = {
        "kernel": np.zeros((3 * 8, 3, 8, 8), np.float32),
        "nothing": np.zeros(4, np.int64),
        "rows": np.array([1, -1, 8, 1]),
        "last": np.array([3]),
        "more": np.array([0, 0, 0, 0, 60, 0]),
    }
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["cells"], strides=[8, 8]),
        # A shape that is computed, as exporters leave it.
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Mul", ["shape", "nothing"], ["no shape"]),
        helper.make_node("Add", ["no shape", "rows"], ["target"]),
        helper.make_node("Reshape", ["cells", "target"], ["long"]),
        helper.make_node("Squeeze", ["long", "last"], ["flat"]),
        helper.make_node("Pad", ["flat", "more"], ["output0"]),
    ]
    picture = helper.make_tensor_value_info("images", FLOAT32, ["batch", 3, "height", "width"])
    output = helper.make_tensor_value_info("output0", FLOAT32, ["batch", "anchors", "columns"])
    path = tmp_path / "mine.onnx"
    save(model_of(nodes, [picture], [output], numbers, THREE | OPEN), path)
    spec = inspect(find(str(path)))
    assert spec.outputs[0].shape == (1, 252, 8)
    assert recognise(spec).name == "yolov5"
    assert (spec.input.height, spec.input.width) == (None, None)


def test_a_larger_batch_is_said_at_loading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    detector = load(SAMPLES["yolo, batch of 3"], tmp_path)
    detector.view(*SOURCE)
    assert "computes 3 pictures at a time" in caplog.text


def test_a_stretching_network_of_open_size_gets_a_square(tmp_path: Path) -> None:
    outputs = {"logits": np.zeros((1, 300, 80), np.float32), "pred_boxes": np.zeros((1, 300, 4), np.float32)}
    detr = Sample("detr", outputs, Score("logits", (0, 0, 0), 0, 1), "person", shape=(1, 3, "h", "w"), metadata=OPEN)
    view = load(detr, tmp_path).view(*SOURCE)
    assert (view.width, view.height, view.placement) == (64, 64, "stretch")


def test_a_session_of_a_batch_answers_for_its_first_place_only(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    pictures = [helper.make_tensor_value_info(name, FLOAT32, [3, 3, 32, 32]) for name in ("images", "output0")]
    save(model_of([_same("images", "output0")], pictures[:1], pictures[1:], {}, {}), path)
    session = open_session(find(str(path)), device="cpu", threads=1, shape=None)
    (seen,) = session.run(np.full((32, 32, 3), 255, np.uint8))
    assert (seen[0] == 1).all()
    assert not seen[1:].any()
