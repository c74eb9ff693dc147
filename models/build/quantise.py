"""Static INT8 quantising of the network: uint8 activations, int8 weights per channel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from models.build.graph import CENTRED, IMAGES, ZERO_LEVEL

Pixels = NDArray[np.uint8]

# MaxPool can be among them because its padding is its own: an explicit pad of minus infinity would ruin the range.
QUANTISED_OPS = ("Conv", "LeakyRelu", "MaxPool", "Add", "Concat", "Resize")


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, pictures: Iterable[Pixels]) -> None:
        self._pictures: Iterator[Pixels] = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        picture = next(self._pictures, None)
        if picture is None:
            return None
        return {CENTRED.name: picture.astype(np.float32).transpose(2, 0, 1)[None] - ZERO_LEVEL}


def quantise(model: ModelProto, pictures: Iterable[Pixels]) -> ModelProto:
    """Quantise :func:`models.build.graph.model_to_quantise` with the ranges seen on ``pictures``."""
    entry = [{"scale": np.array(1, np.float32), "zero_point": np.array(ZERO_LEVEL, np.uint8)}]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(QUANTISED_OPS),
            extra_options={"TensorQuantOverrides": {CENTRED.name: entry}},
        )
        return _read_bytes(onnx.load(target))


def _read_bytes(model: ModelProto) -> ModelProto:
    """Let the uint8 picture take the place of the quantised input: the network then makes no float pass over it."""
    graph = model.graph
    (entry,) = (node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == CENTRED.name)
    planes = helper.make_node("Transpose", [IMAGES.name], [entry.output[0]], name="planes", perm=[0, 3, 1, 2])
    graph.node.remove(entry)
    graph.node.insert(0, planes)
    del graph.input[:]
    graph.input.append(IMAGES)
    onnx.checker.check_model(model)
    return model
