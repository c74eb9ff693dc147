"""Running a TensorFlow.js graph literally, node by node in numpy: slow, obvious, and independent of ONNX.

It is what the translated model is compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.build.tfjs import Node, SourceGraph

Array = NDArray[Any]


def run_reference(graph: SourceGraph, pixels: Array) -> dict[str, Array]:
    """Run the graph on its one input ``(1, 3, 416, 416)`` float32; returns the ``Identity*`` outputs by name."""
    values: dict[str, Array] = {
        name: weight.astype(np.float32) if weight.dtype == np.float16 else weight
        for name, weight in graph.weights.items()
    }
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        if node.op == "Placeholder":
            values[node.name] = pixels
        elif node.op == "SplitV":
            first, second = np.split(inputs[0], np.cumsum(inputs[1])[:-1], axis=int(inputs[2]))
            values[node.name], values[f"{node.name}:1"] = first, second
        else:
            values[node.name] = _apply(node, inputs)
    return {node.name: values[node.name] for node in graph.nodes if node.op == "Identity"}


def _apply(node: Node, inputs: list[Array]) -> Array:
    match node.op:
        case "Identity":
            return inputs[0]
        case "Transpose":
            return inputs[0].transpose(inputs[1])
        case "Reshape":
            return inputs[0].reshape(inputs[1])
        case "Add" | "AddV2":
            return np.asarray(inputs[0] + inputs[1])
        case "ConcatV2":
            return np.concatenate(inputs[:-1], axis=int(inputs[-1]))
        case "Sigmoid":
            return np.asarray(1 / (1 + np.exp(-inputs[0])))
        case "LeakyRelu":
            return np.where(inputs[0] < 0, inputs[0] * np.float32(node.attributes["alpha"]["f"]), inputs[0])
        case "Pad" | "PadV2":
            return np.pad(inputs[0], inputs[1], constant_values=inputs[2] if len(inputs) > 2 else 0)
        case "SparseToDense":
            return _sparse_to_dense(*inputs)
        case "Conv2D":
            return _windows(node, inputs[0], inputs[1].shape[:2], "bijcuv,uvcd->bijd", inputs[1])
        case "MaxPool":
            kernel = node.ints("ksize")
            return np.asarray(_strided(node, inputs[0], (kernel[1], kernel[2])).max(axis=(-2, -1)))
        case "ResizeBilinear":
            return _resize(_resize(inputs[0], 1, int(inputs[1][0])), 2, int(inputs[1][1]))
    raise ValueError(f"{node.name}: the reference knows no {node.op}")


def _sparse_to_dense(indices: Array, shape: Array, values: Array, default: Array) -> Array:
    dense = np.full(shape, default)
    for index, value in zip(indices, values, strict=True):
        dense[tuple(index)] = value
    return dense


def _strided(node: Node, picture: Array, kernel: tuple[int, ...]) -> Array:
    _, down, right, _ = node.ints("strides")
    return sliding_window_view(picture, kernel, axis=(1, 2))[:, ::down, ::right]


def _windows(node: Node, picture: Array, kernel: tuple[int, ...], path: str, weight: Array) -> Array:
    return np.asarray(np.einsum(path, _strided(node, picture, kernel), weight, optimize=True))


def _resize(picture: Array, axis: int, size: int) -> Array:
    """Linear interpolation along one axis with half-pixel centres and clamped ends."""
    length = picture.shape[axis]
    centres = (np.arange(size) + 0.5) * (length / size) - 0.5
    low = np.floor(centres)
    share = (centres - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(picture.ndim)])
    before = picture.take(low.clip(0, length - 1).astype(int), axis=axis)
    after = picture.take((low + 1).clip(0, length - 1).astype(int), axis=axis)
    return np.asarray(before + (after - before) * share)
