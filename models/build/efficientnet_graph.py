"""EfficientNet-Lite0 as ONNX, written out from its table of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

OPSET = 21
IR_VERSION = 10
SIZE_PX = 224
CLASS_COUNT = 1000
# Grey levels to what the network was trained on: ``(pixel - 127) / 128`` in RGB.
MEAN_LEVEL = 127
STD_LEVELS = 128
# TensorFlow's, which trained it.
BATCH_NORM_EPSILON = 1e-3

NORMALISED = "normalised"
LOGITS = "logits"
IMAGES = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE_PX, SIZE_PX, 3])
NORMALISED_INPUT = helper.make_tensor_value_info(NORMALISED, TensorProto.FLOAT, ["batch", 3, SIZE_PX, SIZE_PX])
OUTPUT = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", CLASS_COUNT])


@dataclass(frozen=True, slots=True)
class Stage:
    """Inverted bottlenecks in a row; the first of them strides and changes the number of channels."""

    repeats: int
    kernel_px: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(repeats=1, kernel_px=3, stride=1, expansion=1, channels=16),
    Stage(repeats=2, kernel_px=3, stride=2, expansion=6, channels=24),
    Stage(repeats=2, kernel_px=5, stride=2, expansion=6, channels=40),
    Stage(repeats=3, kernel_px=3, stride=2, expansion=6, channels=80),
    Stage(repeats=3, kernel_px=5, stride=1, expansion=6, channels=112),
    Stage(repeats=4, kernel_px=5, stride=2, expansion=6, channels=192),
    Stage(repeats=1, kernel_px=3, stride=1, expansion=6, channels=320),
)


@dataclass(slots=True)
class Body:
    """The nodes and constants written so far; batch normalisation goes into the weights."""

    weights: Mapping[str, NDArray[Any]]
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    size_px: int = SIZE_PX

    def emit(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Append a named node with one output of the same name."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: NDArray[Any] | float) -> str:
        """Add an initialiser; a number becomes a float32."""
        array = np.ascontiguousarray(values) if isinstance(values, np.ndarray) else np.array(values, np.float32)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, source: str, weight: str, norm: str, *, stride: int = 1, depthwise: bool = False) -> str:
        """A convolution that pads as TensorFlow does, more at the end than at the beginning."""
        kernel, bias = self._folded(weight, norm)
        kernel_px = kernel.shape[2]
        out_px = -(-self.size_px // stride)
        spare_px = max(0, (out_px - 1) * stride + kernel_px - self.size_px)
        before_px, after_px = spare_px // 2, spare_px - spare_px // 2
        self.size_px = out_px
        name = weight.removeprefix("_").replace("._", ".")
        inputs = [source, self.constant(f"{name}.weight", kernel), self.constant(f"{name}.bias", bias)]
        window = {"kernel_shape": [kernel_px] * 2, "strides": [stride] * 2}
        pads = [before_px, before_px, after_px, after_px]
        return self.emit("Conv", name, inputs, pads=pads, group=kernel.shape[0] if depthwise else 1, **window)

    def relu6(self, source: str) -> str:
        return self.emit("Clip", f"{source}.relu6", [source, "zero", "six"])

    def _folded(self, weight: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The convolution's weights and bias with the batch normalisation that follows it inside."""
        parts = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, variance = (self.weights[f"{norm}.{part}"].astype(np.float64) for part in parts)
        factor = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        kernel = self.weights[f"{weight}.weight"] * factor.reshape(-1, 1, 1, 1)
        return kernel.astype(np.float32), (beta - mean * factor).astype(np.float32)


def body_model(weights: Mapping[str, NDArray[Any]]) -> ModelProto:
    """From normalised pixels, float32 ``[batch, 3, 224, 224]``, to logits: what is quantised."""
    return _model(_body(weights), NORMALISED_INPUT)


def float_model(weights: Mapping[str, NDArray[Any]]) -> ModelProto:
    """From uint8 ``[batch, 224, 224, 3]`` RGB to logits, normalised inside."""
    body = _body(weights)
    entry = Body({}, initializers=body.initializers)
    entry.emit("Transpose", "planes", [IMAGES.name], perm=[0, 3, 1, 2])
    entry.emit("Cast", "levels", ["planes"], to=TensorProto.FLOAT)
    entry.emit("Sub", "centred", ["levels", entry.constant("mean", MEAN_LEVEL)])
    entry.emit("Div", NORMALISED, ["centred", entry.constant("std", STD_LEVELS)])
    body.nodes = entry.nodes + body.nodes
    return _model(body, IMAGES)


def _body(weights: Mapping[str, NDArray[Any]]) -> Body:
    body = Body(weights)
    body.constant("zero", 0)
    body.constant("six", 6)
    value = body.relu6(body.conv(NORMALISED, "_conv_stem", "_bn0", stride=2))
    number = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            value = _block(body, value, f"_blocks.{number}", stage, first=repeat == 0)
            number += 1
    value = body.relu6(body.conv(value, "_conv_head", "_bn1"))
    value = body.emit("GlobalAveragePool", "pooled", [value])
    value = body.emit("Flatten", "features", [value])
    classes = [body.constant(f"classes.{part}", weights[f"_fc.{part}"]) for part in ("weight", "bias")]
    body.emit("Gemm", LOGITS, [value, *classes], transB=1)
    return body


def _block(body: Body, source: str, name: str, stage: Stage, *, first: bool) -> str:
    """Widen, look around each channel by itself, narrow; and add what came in where the shapes allow it."""
    value = source
    if stage.expansion > 1:
        value = body.relu6(body.conv(value, f"{name}._expand_conv", f"{name}._bn0"))
    stride = stage.stride if first else 1
    depthwise = body.conv(value, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, depthwise=True)
    value = body.conv(body.relu6(depthwise), f"{name}._project_conv", f"{name}._bn2")
    return value if first else body.emit("Add", f"{value}.sum", [value, source])


def _model(body: Body, entry: Any) -> ModelProto:
    graph = helper.make_graph(body.nodes, "efficientnet-lite0", [entry], [OUTPUT], body.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    return model
