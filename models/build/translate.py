"""Translating the NanoDet graph model to ONNX.

The source was itself converted from ONNX: its convolutions run in NHWC between transposes that cancel. Here
every value is NCHW, the transposes vanish, explicit pads become the pads of the operator that follows, and
the added bias becomes the convolution's own. Spatial sizes are symbolic, so resizes go by scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from models.build.tfjs import Node, SourceGraph

# The size the source graph was frozen at; resize targets are given in these pixels.
SOURCE_SIZE_PX = 416


@dataclass(slots=True)
class Body:
    """The ONNX nodes and initialisers made so far, and what is known of each source tensor."""

    weights: dict[str, NDArray[Any]]
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    sizes_px: dict[str, int] = field(default_factory=dict)
    pads: dict[str, list[int]] = field(default_factory=dict)
    convolutions: dict[str, Node] = field(default_factory=dict)

    def emit(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Append a named node with one output of the same name."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add an initialiser once."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def weight(self, name: str, values: NDArray[Any]) -> str:
        """A float32 value; what the source stores as float16 is stored so here too, hence nothing is lost."""
        if values.dtype != np.float16:
            return self.constant(name, values)
        return self.emit("Cast", name, [self.constant(f"{name}_f16", values)], to=TensorProto.FLOAT)

    def bind(self, source: str, value: str, size_px: int) -> None:
        self.values[source] = value
        self.sizes_px[source] = size_px


def translate(graph: SourceGraph, normalised: str) -> tuple[Body, list[str]]:
    """Translate up to the three head convolutions.

    ``normalised`` names the float32 NCHW input of the first convolution. Returns the nodes made and the names
    of the head outputs ``[1, 124, h, w]`` for strides 8, 16, 32.
    """
    body = Body(graph.weights)
    for node in graph.nodes:
        if node.op == "Placeholder":
            body.bind(node.name, normalised, SOURCE_SIZE_PX)
        elif all(_base(name) in body.values or name in body.weights for name in node.inputs):
            _TRANSLATORS.get(node.op, _skip)(body, node)
    heads = [_base(node.inputs[0]) for node in graph.nodes if node.op == "SplitV"]
    heads.sort(key=lambda name: -body.sizes_px[name])
    return body, [body.values[name] for name in heads]


def _base(name: str) -> str:
    return name.split(":")[0]


def _short(node: Node) -> str:
    return node.name.replace("PartitionedCall/", "").replace("onnx_tf_prefix_", "").split("/")[0].lower()


def _skip(body: Body, node: Node) -> None:
    """Leave the tail behind the heads to :mod:`models.build.nanodet`."""


def _alias(body: Body, node: Node) -> None:
    body.bind(node.name, body.values[node.inputs[0]], body.sizes_px[node.inputs[0]])
    if node.inputs[0] in body.pads:
        body.pads[node.name] = body.pads[node.inputs[0]]


def _pad(body: Body, node: Node) -> None:
    paddings = body.weights[node.inputs[1]]
    if paddings.shape != (4, 2) or paddings[:2].any():
        raise ValueError(f"{node.name} pads other axes than the picture's: {paddings.tolist()}")
    _alias(body, node)
    body.pads[node.name] = [int(value) for value in (*paddings[2:, 0], *paddings[2:, 1])]


def _pads(body: Body, node: Node) -> list[int]:
    return body.pads.get(node.inputs[0], [0, 0, 0, 0])


def _window(body: Body, node: Node, kernel_px: int) -> int:
    """The output size of a strided window over the node's input."""
    pads = _pads(body, node)
    return (body.sizes_px[node.inputs[0]] + pads[0] + pads[2] - kernel_px) // node.ints("strides")[1] + 1


def _conv(body: Body, node: Node) -> None:
    """Wait for the bias: the convolution is written by the Add that follows."""
    body.convolutions[node.name] = node
    kernel_px = body.weights[node.inputs[1]].shape[0]
    body.bind(node.name, "", _window(body, node, kernel_px))


def _add(body: Body, node: Node) -> None:
    first, second = node.inputs
    if first not in body.convolutions:
        name = body.emit("Add", _short(node), [body.values[first], body.values[second]])
        body.bind(node.name, name, body.sizes_px[first])
        return
    source = body.convolutions[first]
    name = _short(source).replace("convolution", "conv")
    weight = body.weight(f"{name}_weight", body.weights[source.inputs[1]].transpose(3, 2, 0, 1))
    bias = body.weight(f"{name}_bias", body.weights[second].reshape(-1))
    stride = source.ints("strides")[1]
    kernel = list(body.weights[source.inputs[1]].shape[:2])
    inputs = [body.values[source.inputs[0]], weight, bias]
    body.emit("Conv", name, inputs, kernel_shape=kernel, strides=[stride] * 2, pads=_pads(body, source))
    body.bind(node.name, name, body.sizes_px[first])


def _leaky_relu(body: Body, node: Node) -> None:
    name = body.emit("LeakyRelu", _short(node), [body.values[node.inputs[0]]], alpha=node.attributes["alpha"]["f"])
    body.bind(node.name, name, body.sizes_px[node.inputs[0]])


def _max_pool(body: Body, node: Node) -> None:
    kernel = node.ints("ksize")[1]
    stride = node.ints("strides")[1]
    shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": _pads(body, node)}
    name = body.emit("MaxPool", _short(node), [body.values[node.inputs[0]]], **shape)
    body.bind(node.name, name, _window(body, node, kernel))


def _concat(body: Body, node: Node) -> None:
    parts = node.inputs[:-1]
    name = body.emit("Concat", _short(node), [body.values[part] for part in parts], axis=1)
    body.bind(node.name, name, body.sizes_px[parts[0]])


def _resize(body: Body, node: Node) -> None:
    source = node.inputs[0]
    size_px = int(body.weights[node.inputs[1]][0])
    factor = size_px / body.sizes_px[source]
    scales = body.constant(f"scale_{factor:g}", np.array([1, 1, factor, factor], np.float32))
    modes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    name = body.emit("Resize", _short(node), [body.values[source], "", scales], **modes)
    body.bind(node.name, name, size_px)


_TRANSLATORS: dict[str, Callable[[Body, Node], None]] = {
    "Transpose": _alias,
    "Pad": _pad,
    "PadV2": _pad,
    "Conv2D": _conv,
    "Add": _add,
    "LeakyRelu": _leaky_relu,
    "MaxPool": _max_pool,
    "ConcatV2": _concat,
    "ResizeBilinear": _resize,
}
