"""One trained network in the words of every family: the bundled detector with its inputs and outputs rewritten.

Its weights stay what they are. In front of it a picture in the family's own pixels becomes its own again, behind it
its boxes and scores become what the family's networks answer, in operations of ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.catalogue import FLOAT, content_of, find
from models.coco import COCO_CLASSES

Array = NDArray[Any]
SIDE_PX, BINS, SLOTS = 416, 11, 300
STRIDES = (8, 16, 32)
LEAST_SCORE, MOST_OVERLAP = 0.3, 0.6
"""Where a family's networks choose their boxes themselves."""

NAMES = {"names": str(dict(enumerate(COCO_CLASSES)))}
CELLS = sum((SIDE_PX // stride) ** 2 for stride in STRIDES)
COUNT = len(COCO_CLASSES)
TO_CENTRES = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]], np.float32)
"""Corners times this are centres and extents."""


class Graph:
    """A graph that grows by one operation at a time; each answers the name of its one result."""

    def __init__(self, part: str) -> None:
        self._part = part
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def __call__(self, operation: str, *inputs: str | Array, **attributes: Any) -> str:
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        made = f"{self._part} {operation} {len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, names, [made], **attributes))
        return made

    def _constant(self, values: Array) -> str:
        name = f"{self._part} constant {len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name


@dataclass(frozen=True)
class Answer:
    """What the network found, by the names of tensors: ``xyxy`` (1, cells, 4) in pixels, ``scores`` (1, cells, 80),
    ``logits`` (1, cells, 4 * bins) of the sides."""

    graph: Graph
    xyxy: str
    scores: str
    logits: str

    @property
    def cxcywh(self) -> str:
        """In pixels, (1, cells, 4)."""
        return self.graph("MatMul", self.xyxy, TO_CENTRES)

    def chosen(self) -> tuple[str, str, str]:
        """What suppression leaves, padded with zeros to :data:`SLOTS`: boxes (slots, 4), scores (slots, 1) and classes
        (slots, 1)."""
        graph = self.graph
        by_class = graph("Transpose", self.scores, perm=[0, 2, 1])
        limits = np.array([SLOTS]), np.array([MOST_OVERLAP], np.float32), np.array([LEAST_SCORE], np.float32)
        places = graph("NonMaxSuppression", self.xyxy, by_class, *limits)
        cells, classes = (graph("Slice", places, *map(np.array, ([c], [c + 1], [1]))) for c in (2, 1))
        flat = graph("Squeeze", cells, np.array([1]))
        boxes = graph("Gather", graph("Squeeze", self.xyxy, np.array([0])), flat, axis=0)
        rows = graph("Gather", graph("Squeeze", self.scores, np.array([0])), flat, axis=0)
        scores = graph("GatherElements", rows, classes, axis=1)
        numbers = graph("Cast", classes, to=TensorProto.FLOAT)
        return self._padded(boxes, 4), self._padded(scores, 1), self._padded(numbers, 1)

    def _padded(self, rows: str, columns: int) -> str:
        padded = self.graph("Concat", rows, np.zeros((SLOTS, columns), np.float32), axis=0)
        return self.graph("Slice", padded, np.array([0]), np.array([SLOTS]), np.array([0]))

    def batch(self, *columns: str) -> str:
        """Columns side by side with a batch of one before them."""
        return self.graph("Unsqueeze", self.graph("Concat", *columns, axis=1), np.array([0]))

    def normalised(self, boxes: str) -> str:
        """Corners in pixels as centre and extent from 0 to 1."""
        return self.graph("MatMul", boxes, TO_CENTRES / np.float32(SIDE_PX))


Outputs = Mapping[str, str]


@dataclass(frozen=True)
class Words:
    """How a family says it: ``rgb`` and ``mean`` and ``std`` of its pixels, and its outputs."""

    family: str
    outputs: Callable[[Answer], Outputs]
    shapes: Mapping[str, Sequence[int]]
    rgb: bool = True
    mean: Sequence[float] = (0, 0, 0)
    std: Sequence[float] = (255, 255, 255)
    metadata: Mapping[str, str] = field(default_factory=lambda: NAMES)
    told_sizes: bool = False


def yolo(answer: Answer) -> Outputs:
    table = answer.graph("Concat", answer.cxcywh, answer.scores, axis=2)
    return {"output0": answer.graph("Transpose", table, perm=[0, 2, 1])}


def yolov5(answer: Answer) -> Outputs:
    sure = np.ones((1, CELLS, 1), np.float32)
    table = answer.graph("Concat", answer.cxcywh, sure, answer.scores, axis=2)
    return {"output0": answer.graph("Concat", table, np.zeros((1, 2 * CELLS, 5 + COUNT), np.float32), axis=1)}


def end_to_end(answer: Answer) -> Outputs:
    return {"output0": answer.batch(*answer.chosen())}


def yolox(answer: Answer) -> Outputs:
    graph, (corner, stride) = answer.graph, grid()
    middle, extent = (graph("Slice", answer.cxcywh, *map(np.array, ([c], [c + 2], [2]))) for c in (0, 2))
    offset = graph("Sub", graph("Div", middle, stride), corner)
    logarithm = graph("Log", graph("Max", graph("Div", extent, stride), np.array(1e-6, np.float32)))
    sure = np.ones((1, CELLS, 1), np.float32)
    return {"output": graph("Concat", offset, logarithm, sure, answer.scores, axis=2)}


def nanodet_table(answer: Answer) -> Outputs:
    return {"output": answer.graph("Concat", answer.scores, answer.logits, axis=2)}


def detr(answer: Answer) -> Outputs:
    graph, (boxes, scores, classes) = answer.graph, answer.chosen()
    likely = graph("Clip", scores, np.array(1e-6, np.float32), np.array(1 - 1e-6, np.float32))
    odds = graph("Log", graph("Div", likely, graph("Sub", np.array(1, np.float32), likely)))
    flat = graph("Squeeze", graph("Cast", classes, to=TensorProto.INT64), np.array([1]))
    hot = graph("OneHot", flat, np.array(len(COCO_CLASSES)), np.array([0, 1], np.float32))
    never = np.array(-20, np.float32)
    logits = graph("Add", graph("Mul", hot, graph("Sub", odds, never)), never)
    return {"logits": answer.batch(logits), "pred_boxes": answer.batch(answer.normalised(boxes))}


def detr_table(answer: Answer) -> Outputs:
    boxes, scores, classes = answer.chosen()
    return {"output0": answer.batch(answer.normalised(boxes), scores, classes)}


def boxes_labels_scores(answer: Answer) -> Outputs:
    graph, (boxes, scores, classes) = answer.graph, answer.chosen()
    sides = graph("Cast", graph("Concat", "orig_target_sizes", "orig_target_sizes", axis=1), to=TensorProto.FLOAT)
    scaled = graph("Mul", graph("Div", boxes, np.array(SIDE_PX, np.float32)), sides)
    labels = graph("Cast", graph("Transpose", classes, perm=[1, 0]), to=TensorProto.INT64)
    return {"labels": labels, "boxes": answer.batch(scaled), "scores": graph("Transpose", scores, perm=[1, 0])}


CHOSEN = (1, SLOTS, 6)

EVERY = (
    Words("yolo", yolo, {"output0": (1, 4 + COUNT, CELLS)}),
    Words("yolov5", yolov5, {"output0": (1, 3 * CELLS, 5 + COUNT)}),
    Words("yolo-end-to-end", end_to_end, {"output0": CHOSEN}),
    Words("yolox", yolox, {"output": (1, CELLS, 5 + COUNT)}, rgb=False, std=(1, 1, 1)),
    Words(
        "nanodet-plus",
        nanodet_table,
        {"output": (1, CELLS, COUNT + 4 * BINS)},
        rgb=False,
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
    ),
    Words("detr", detr, {"logits": (1, SLOTS, COUNT), "pred_boxes": (1, SLOTS, 4)}),
    Words("detr-table", detr_table, {"output0": CHOSEN}, metadata=NAMES | {"head": "RTDETRDecoder"}),
    Words(
        "boxes-labels-scores",
        boxes_labels_scores,
        {"labels": (1, SLOTS), "boxes": (1, SLOTS, 4), "scores": (1, SLOTS)},
        told_sizes=True,
    ),
)
"""All but the network's own, ``nanodet``."""


def grid() -> tuple[Array, Array]:
    """Of each cell its column and row (cells, 2), and its stride (cells, 1)."""
    corners, strides = [], []
    for stride in STRIDES:
        side = SIDE_PX // stride
        rows, columns = np.divmod(np.arange(side * side), side)
        corners.append(np.stack([columns, rows], axis=1))
        strides.append(np.full((side * side, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def model_of(words: Words) -> ModelProto:
    """The bundled float detector as a network of this family."""
    inner = onnx.load_from_string(content_of(find(FLOAT)))
    before, behind = Graph("before"), Graph("behind")
    own = helper.make_node("Cast", [_own_levels(before, words)], [inner.graph.input[0].name], to=TensorProto.UINT8)
    outputs = words.outputs(_answer(behind))
    named = [helper.make_node("Identity", [made], [name]) for name, made in outputs.items()]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, SIDE_PX, SIDE_PX])]
    if words.told_sizes:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [1, 2]))
    graph = helper.make_graph(
        [*before.nodes, own, *inner.graph.node, *behind.nodes, *named],
        words.family,
        inputs,
        [_result(name, words.shapes[name]) for name in outputs],
        [*before.constants, *inner.graph.initializer, *behind.constants],
    )
    model = helper.make_model(graph, opset_imports=inner.opset_import, ir_version=inner.ir_version)
    helper.set_model_props(model, dict(words.metadata))
    return model


def _own_levels(graph: Graph, words: Words) -> str:
    """The family's pixels as the network's own: blue first, whole grey levels, channels last."""
    last = graph("Transpose", "pixels", perm=[0, 2, 3, 1])
    levels = graph("Add", graph("Mul", last, np.array(words.std, np.float32)), np.array(words.mean, np.float32))
    return graph("Round", graph("Gather", levels, np.array([2, 1, 0] if words.rgb else [0, 1, 2]), axis=3))


def _result(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    kind = TensorProto.INT64 if name == "labels" else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shape)


def _answer(graph: Graph) -> Answer:
    """The network's own outputs, cell by cell: the expectation of each side's bins around the middle of the cell."""
    parts = {
        part: graph(
            "Concat",
            *(graph("Reshape", f"{part}_{stride}", np.array([1, -1, columns])) for stride in STRIDES),
            axis=1,
        )
        for part, columns in (("scores", len(COCO_CLASSES)), ("boxes", 4 * BINS))
    }
    corner, stride = grid()
    sides = graph("Softmax", graph("Reshape", parts["boxes"], np.array([1, -1, 4, BINS])), axis=3)
    distances = graph("Reshape", graph("MatMul", sides, np.arange(BINS, dtype=np.float32)), np.array([1, -1, 4]))
    outwards = graph("Mul", distances, np.array([-1, -1, 1, 1], np.float32))
    cells = graph("Add", outwards, np.tile(corner + np.float32(0.5), 2))
    return Answer(graph, graph("Mul", cells, stride), parts["scores"], parts["boxes"])
