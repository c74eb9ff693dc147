"""Model files for tests: small real ones, and hostile ones, written with the onnx package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

YOLO_NAMES = {0: "person", 1: "bicycle"}


def detector(seed: int = 0, names: dict[int, str] | None = None) -> ModelProto:
    """A network in the layout of YOLOv8: 64x64 pixels in, 84 cells of 4 + 2 numbers out."""
    names = YOLO_NAMES if names is None else names
    rows = 4 + len(names)
    weights = np.random.default_rng(seed).normal(0, 0.1, (rows, 3, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["grid"], strides=[8, 8], name="conv"),
        helper.make_node("Reshape", ["grid", "flat"], ["cells"], name="flatten"),
        helper.make_node("Slice", ["cells", "begin", "end", "axis"], ["few"], name="few"),
        helper.make_node("Concat", ["cells", "few"], ["output0"], axis=2, name="concat"),
    ]
    tensors = [
        raw("weights", weights),
        raw("flat", np.array([1, rows, 64])),
        raw("begin", np.array([0])),
        raw("end", np.array([20])),
        raw("axis", np.array([2])),
    ]
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, rows, 84])
    model = of(helper.make_graph(nodes, "detector", [picture], [output], tensors))
    helper.set_model_props(
        model, {"names": str(names), "task": "detect", "imgsz": "[64, 64]", "stride": "32", "license": "MIT"}
    )
    return model


def raw(name: str, values: Any) -> TensorProto:
    array = np.asarray(values)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True)


def of(graph: GraphProto, functions: Sequence[FunctionProto] = ()) -> ModelProto:
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    unique = list({opset.domain: opset for opset in opsets}.values())
    return helper.make_model(graph, opset_imports=unique, ir_version=9, functions=list(functions))


def with_nodes(nodes: Sequence[NodeProto], tensors: Sequence[TensorProto] = ()) -> ModelProto:
    """A network of these operations, whatever they are, from ``images`` to ``out``."""
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    return of(helper.make_graph(list(nodes), "hostile", [picture], [output], list(tensors)))


def loop(trips: str, condition: str, body: Sequence[NodeProto], ends_with: str) -> NodeProto:
    """A Loop node; its body goes on as the value ``ends_with`` says."""
    values = [
        helper.make_tensor_value_info(name, kind, [])
        for name, kind in (("round", TensorProto.INT64), ("goes_on", TensorProto.BOOL))
    ]
    ends = [helper.make_tensor_value_info(ends_with, TensorProto.BOOL, [])]
    graph = helper.make_graph(list(body), "body", values, ends)
    return helper.make_node("Loop", [trips, condition], ["out"], body=graph, name="loop")


def save(model: ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def external(model: ModelProto, tensor: str, **place: str) -> ModelProto:
    """The model with a tensor's weights said to be elsewhere; nothing is written there."""
    chosen = next(each for each in model.graph.initializer if each.name == tensor)
    chosen.ClearField("raw_data")
    chosen.data_location = TensorProto.EXTERNAL
    for key, value in place.items():
        chosen.external_data.add(key=key, value=value)
    return model
