"""The same network, written in operations that onnxruntime computes faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_AXES_ARE_AN_INPUT_FROM = 18
_OWN_AXIS_FROM = 13
"""Before this opset a Softmax was over all axes from the one it names."""


def cheaper_expectations(model: ModelProto) -> int:
    """Compute the expectation over bins in YOLO's box heads without a Softmax; how many were rewritten.

    They are a Softmax over the second axis of ``1 x bins x 4 x anchors`` and a 1x1 convolution with one output, the
    bins' values. onnxruntime turns such a Softmax round to the last axis and back. As exponentials of the distance from
    the greatest, summed with and without the values, the same numbers took 48 ms instead of 59 ms for the whole of an
    8-bit YOLOv8n at 640x640.
    """
    opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    if opset < _OWN_AXIS_FROM:
        return 0
    weights = {each.name: each for each in model.graph.initializer}
    outputs = {each.name for each in model.graph.output}
    found = [node for node in model.graph.node if node.op_type == "Softmax" and _attributes(node).get("axis") == 1]
    done = 0
    for softmax in found:
        readers = [node for node in model.graph.node if softmax.output[0] in node.input]
        if len(readers) == 1 and softmax.output[0] not in outputs and _is_expectation(readers[0], weights):
            _rewrite(model, softmax, readers[0], weights[readers[0].input[1]], opset)
            done += 1
    return done


def _is_expectation(node: NodeProto, weights: dict[str, TensorProto]) -> bool:
    weight = weights.get(node.input[1]) if node.op_type == "Conv" else None
    if weight is None or len(node.input) != 2:
        return False
    moves = _attributes(node)
    plain = not any(moves.get("pads", [])) and set(moves.get("strides", [1])) == {1} and moves.get("group", 1) == 1
    return bool(plain and len(weight.dims) == 4 and weight.dims[0] == 1 and list(weight.dims[2:]) == [1, 1])


def _rewrite(model: ModelProto, softmax: NodeProto, expectation: NodeProto, values: TensorProto, opset: int) -> None:
    import numpy as np
    from onnx import helper, numpy_helper

    own = softmax.name or softmax.output[0]
    bins = int(values.dims[1])
    ones = numpy_helper.from_array(np.ones((1, bins, 1, 1), numpy_helper.to_array(values).dtype), f"{own}/ones")
    axes = numpy_helper.from_array(np.array([1], np.int64), f"{own}/axes")
    greatest, distance, power = f"{own}/greatest", f"{own}/distance", f"{own}/power"
    among, over = f"{own}/weighted", f"{own}/sum"
    as_input = opset >= _AXES_ARE_AN_INPUT_FROM
    nodes = [
        _greatest(softmax.input[0], greatest, axes.name if as_input else None),
        helper.make_node("Sub", [softmax.input[0], greatest], [distance], name=distance),
        helper.make_node("Exp", [distance], [power], name=power),
        helper.make_node("Conv", [power, values.name], [among], name=among),
        helper.make_node("Conv", [power, ones.name], [over], name=over),
        helper.make_node("Div", [among, over], [expectation.output[0]], name=f"{own}/expectation"),
    ]
    model.graph.initializer.extend([ones, axes] if as_input else [ones])
    place = list(model.graph.node).index(softmax)
    model.graph.node.remove(softmax)
    model.graph.node.remove(expectation)
    for number, node in enumerate(nodes):
        model.graph.node.insert(place + number, node)


def _greatest(values: str, name: str, axes: str | None) -> NodeProto:
    from onnx import helper

    if axes is None:
        return helper.make_node("ReduceMax", [values], [name], name=name, keepdims=1, axes=[1])
    return helper.make_node("ReduceMax", [values, axes], [name], name=name, keepdims=1)


def _attributes(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}
