"""The two ONNX models: the translated body between an input stage and the per-stride outputs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper

from models.build.tfjs import SourceGraph
from models.build.translate import Body, translate

OPSET = 21
IR_VERSION = 10
STRIDES_PX = (8, 16, 32)
CLASS_COUNT = 80
# Four sides, each a distribution over 11 distances.
BOX_LOGITS = 44

# BGR, in grey levels: what the network was trained with.
MEAN = np.array([103.53, 116.28, 123.675], np.float32)
STD = np.array([57.375, 57.12, 58.395], np.float32)

IMAGES = helper.make_tensor_value_info("images", TensorProto.UINT8, [1, "height", "width", 3])


def float_model(graph: SourceGraph) -> ModelProto:
    """The network: uint8 NHWC in, normalised inside; weights are kept in the precision ``graph`` has them in."""
    body, heads = translate(graph, "normalised")
    entry = Body({}, initializers=body.initializers)
    entry.emit("Transpose", "planes", [IMAGES.name], perm=[0, 3, 1, 2])
    entry.emit("Cast", "levels", ["planes"], to=TensorProto.FLOAT)
    entry.emit("Sub", "centred", ["levels", entry.constant("mean", MEAN.reshape(1, 3, 1, 1))])
    entry.emit("Div", "normalised", ["centred", entry.constant("std", STD.reshape(1, 3, 1, 1))])
    return _model(entry.nodes + body.nodes, body, heads)


def in_float32(graph: SourceGraph) -> SourceGraph:
    """The same graph with its float16 weights widened, as the quantiser wants them."""
    widened: dict[str, NDArray[Any]] = {
        name: values.astype(np.float32) if values.dtype == np.float16 else values
        for name, values in graph.weights.items()
    }
    return dataclasses.replace(graph, weights=widened)


def _model(nodes: list[NodeProto], body: Body, heads: list[str]) -> ModelProto:
    tail = Body({}, initializers=body.initializers)
    outputs = []
    for stride_px, value in zip(STRIDES_PX, heads, strict=True):
        outputs += _head(tail, value, stride_px)
    graph = helper.make_graph(nodes + tail.nodes, "nanodet", [IMAGES], outputs, list(body.initializers.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    return model


def _head(tail: Body, value: str, stride_px: int) -> list[ValueInfoProto]:
    """Split one head into scores ``[1, rows, columns, 80]`` and box logits ``[1, rows, columns, 44]``.

    The grid stays a grid, so that whoever decodes it needs not be told the size of the picture.
    """
    classes, distances = f"classes_{stride_px}", f"distances_{stride_px}"
    parts = tail.constant("parts", np.array([CLASS_COUNT, BOX_LOGITS]))
    tail.nodes.append(
        helper.make_node("Split", [value, parts], [classes, distances], name=f"split_{stride_px}", axis=1)
    )
    probabilities = tail.emit("Sigmoid", f"probabilities_{stride_px}", [classes])
    outputs = []
    for part, source, channels in (("scores", probabilities, CLASS_COUNT), ("boxes", distances, BOX_LOGITS)):
        name = tail.emit("Transpose", f"{part}_{stride_px}", [source], perm=[0, 2, 3, 1])
        shape: list[str | int | None] = [1, f"rows_{stride_px}", f"columns_{stride_px}", channels]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return outputs
