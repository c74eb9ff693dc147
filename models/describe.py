"""Reading a loaded model's inputs, outputs and metadata into a :class:`models.spec.ModelSpec`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import onnxruntime as ort

from models.spec import (
    InputSpec,
    ModelSpec,
    OutputSpec,
    Shape,
    channel_values,
    class_names,
    image_size,
    stride,
)
from stream.errors import ModelError

_DTYPES: Mapping[str, Literal["uint8", "float32", "float16"]] = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
}


def describe(name: str, runtime: ort.InferenceSession) -> ModelSpec:
    """What the model takes and gives.

    Raises:
        ModelError: it has no input, several, or one that is no picture of three channels; or broken metadata.
    """
    metadata: dict[str, str] = runtime.get_modelmeta().custom_metadata_map
    inputs = runtime.get_inputs()
    if len(inputs) != 1:
        seen = ", ".join(f"{entry.name} {entry.shape}" for entry in inputs) or "none"
        raise ModelError(f"{name} has {len(inputs)} inputs ({seen}): a detector takes one picture")
    return ModelSpec(
        name=name,
        input=_input(name, inputs[0], metadata),
        outputs=tuple(OutputSpec(output.name, _shape(output.shape)) for output in runtime.get_outputs()),
        task=metadata.get("task", "detect"),
        family=metadata.get("family"),
        names=class_names(metadata, name),
        imgsz=image_size(metadata, name),
        stride_px=stride(metadata, name),
    )


def _input(model: str, entry: Any, metadata: Mapping[str, str]) -> InputSpec:
    shape = _shape(entry.shape)
    dtype = _DTYPES.get(entry.type)
    layout = _layout(shape)
    if dtype is None or layout is None or shape[0] not in (1, None):
        raise ModelError(
            f"{model} has the input {OutputSpec(entry.name, shape)} of {entry.type}: expected one picture,"
            " uint8, float32 or float16, as 1 x 3 x height x width or 1 x height x width x 3"
        )
    height, width = (shape[1], shape[2]) if layout == "NHWC" else (shape[2], shape[3])
    # Without a word on it: RGB, and for a float input levels from 0 to 1, as YOLO's exporters leave it.
    std = channel_values(metadata, "std", 1.0 if dtype == "uint8" else 255.0, model)
    if 0 in std:
        raise ModelError(f"{model} states a std of 0 in its metadata")
    return InputSpec(
        name=entry.name,
        dtype=dtype,
        layout=layout,
        height=height,
        width=width,
        rgb=metadata.get("colour", "rgb").lower() != "bgr",
        mean=channel_values(metadata, "mean", 0.0, model),
        scale=(1 / std[0], 1 / std[1], 1 / std[2]),
    )


def _layout(shape: Shape) -> Literal["NHWC", "NCHW"] | None:
    if len(shape) != 4:
        return None
    if shape[3] == 3:
        return "NHWC"
    return "NCHW" if shape[1] in (3, None) else None


def _shape(dimensions: list[int | str | None]) -> Shape:
    """Sizes as numbers; a symbolic or negative one is open."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in dimensions)
