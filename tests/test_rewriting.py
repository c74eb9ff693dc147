"""Rewriting networks: the same numbers, and hands off what only looks alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator

from models.rewriting import cheaper_expectations
from tests import model_files

BINS = 16


def expectation(opset: int = 17, axis: int = 1, rows: int = 1, also_read: bool = False, **conv: Any) -> ModelProto:
    """Softmax over ``1 x bins x 4 x anchors`` and the expectation, as in YOLOv8's head."""
    values = np.tile(np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1), (rows, 1, 1, 1))
    nodes = [
        helper.make_node("Softmax", ["images"], ["p"], axis=axis, name="soft"),
        helper.make_node("Conv", ["p", "values"], ["out"], name="conv", **conv),
    ]
    names = ["out", "p"] if also_read else ["out"]
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, BINS, 4, 5])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "channels", "sides", "anchors"]) for name in names
    ]
    graph = helper.make_graph(nodes, "head", [picture], outputs, [model_files.raw("values", values)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def run(model: ModelProto, scale: float) -> Any:
    logits = np.random.default_rng(0).normal(0, scale, (1, BINS, 4, 5)).astype(np.float32)
    answers: Any = ReferenceEvaluator(model).run(None, {"images": logits})
    return answers[0]


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("scale", [1.0, 100.0])  # a hundred overflows what is not held against the greatest
def test_the_expectation_stays_the_same(opset: int, scale: float) -> None:
    model = expectation(opset)
    expected = run(model, scale)
    assert cheaper_expectations(model) == 1
    checker.check_model(model)
    assert "Softmax" not in {node.op_type for node in model.graph.node}
    seen = run(model, scale)
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [{"opset": 12}, {"axis": 2}, {"rows": 2}, {"also_read": True}, {"strides": [2, 2]}, {"pads": [1, 1, 1, 1]}],
    ids=str,
)
def test_what_only_looks_alike_is_left(other: dict[str, Any]) -> None:
    model = expectation(**other)
    before = model.SerializeToString()
    assert cheaper_expectations(model) == 0
    assert model.SerializeToString() == before
