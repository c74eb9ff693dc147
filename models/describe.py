"""Reading a loaded model's inputs, outputs and metadata into a :class:`models.spec.ModelSpec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import onnxruntime as ort

from models.families import fitting
from models.spec import (
    InputSpec,
    ModelSpec,
    OutputSpec,
    Preparation,
    Shape,
    SizeInput,
    channel_values,
    class_names,
    end_to_end,
    image_size,
    stride,
)
from stream.errors import ModelError

MAX_BATCH = 64
"""Pictures a model may want at a time: all but one are empty, so that more would be nothing but waste."""

_DTYPES: Mapping[str, Literal["uint8", "float32", "float16"]] = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
}
_SIZE_DTYPES: Mapping[str, Literal["int64", "int32", "float32"]] = {
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(float)": "float32",
}
_AS_IS = Preparation(std=(1.0, 1.0, 1.0))
_HEAD_KEYS = ("head", "description")


def describe(name: str, runtime: ort.InferenceSession) -> ModelSpec:
    """What the model takes and gives, with what its family adds where its metadata is silent.

    Raises:
        ModelError: it has no input, several, or one that is no picture of three channels; or broken metadata.
    """
    metadata: dict[str, str] = runtime.get_modelmeta().custom_metadata_map
    picture, size_input = _inputs(name, runtime.get_inputs())
    plain = ModelSpec(
        name=name,
        input=_input(name, picture),
        outputs=tuple(_output(output) for output in runtime.get_outputs()),
        task=metadata.get("task", "detect"),
        family=metadata.get("family"),
        names=class_names(metadata, name),
        imgsz=image_size(metadata, name),
        stride_px=stride(metadata, name),
        head=next((metadata[key][:80] for key in _HEAD_KEYS if key in metadata), ""),
        end_to_end=end_to_end(metadata),
        size_input=size_input,
    )
    family = fitting(plain) if plain.task == "detect" else None
    wants = family.preparation if family else Preparation()
    names = family.names if family else plain.names
    return replace(plain, input=_prepared(plain.input, wants, metadata, name), names=names)


def says_too_little(spec: ModelSpec) -> bool:
    """Whether an output leaves so much open that only a run at a known size tells its layout."""
    return any(len(output.shape) == 3 and output.shape[1:] == (None, None) for output in spec.outputs)


def with_open_size(spec: ModelSpec, loose: ModelSpec) -> ModelSpec:
    """What was seen at one size, of a model that takes others as well."""
    height, width = spec.input.height, spec.input.width
    seen_at = (height, width) if height and width else None
    picture = replace(spec.input, height=loose.input.height, width=loose.input.width)
    return replace(spec, input=picture, seen_at=seen_at)


def _inputs(model: str, entries: Sequence[Any]) -> tuple[Any, SizeInput | None]:
    """The picture, and the size that DETR's exports with their own post-processing want beside it."""
    pictures = [entry for entry in entries if not _is_size(entry)]
    sizes = [SizeInput(entry.name, _SIZE_DTYPES[entry.type]) for entry in entries if _is_size(entry)]
    if len(pictures) != 1 or len(sizes) > 1:
        seen = ", ".join(f"{entry.name} {entry.shape}" for entry in entries) or "none"
        raise ModelError(f"{model} has {len(entries)} inputs ({seen}): a detector takes one picture")
    return pictures[0], sizes[0] if sizes else None


def _is_size(entry: Any) -> bool:
    named = "target_size" in entry.name or "orig" in entry.name
    return bool(named and len(entry.shape) == 2 and entry.shape[1] == 2 and entry.type in _SIZE_DTYPES)


def _input(model: str, entry: Any) -> InputSpec:
    shape = _shape(entry.shape)
    dtype = _DTYPES.get(entry.type)
    layout = _layout(shape)
    batch = (shape[0] or 1) if len(shape) == 4 else None
    if dtype is None or layout is None or (batch or 1) > MAX_BATCH:
        raise ModelError(
            f"{model} has the input {OutputSpec(entry.name, shape)} of {entry.type}: expected one picture,"
            " uint8, float32 or float16, as 1 x 3 x height x width or 1 x height x width x 3"
        )
    height, width = (shape[-3], shape[-2]) if layout == "NHWC" else (shape[-2], shape[-1])
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return InputSpec(entry.name, dtype, layout, height, width, rgb=True, mean=zero, scale=one, batch=batch)


def _prepared(plain: InputSpec, family: Preparation, metadata: Mapping[str, str], model: str) -> InputSpec:
    """The input with what the metadata says of its pixels, or else the family."""
    wants = (
        replace(_AS_IS, rgb=family.rgb, placement=family.placement, square=family.square)
        if plain.dtype == "uint8"
        else family
    )
    std = channel_values(metadata, "std", wants.std, model)
    if 0 in std:
        raise ModelError(f"{model} states a std of 0 in its metadata")
    return replace(
        plain,
        rgb=metadata["colour"].lower() != "bgr" if "colour" in metadata else wants.rgb,
        mean=channel_values(metadata, "mean", wants.mean, model),
        scale=(1 / std[0], 1 / std[1], 1 / std[2]),
        placement=wants.placement,
        square=wants.square,
    )


def _layout(shape: Shape) -> Literal["NHWC", "NCHW"] | None:
    if len(shape) not in (3, 4):
        return None
    if shape[-1] == 3:
        return "NHWC"
    return "NCHW" if shape[-3] == 3 or (shape[-3] is None and len(shape) == 4) else None


def _output(entry: Any) -> OutputSpec:
    return OutputSpec(entry.name, _shape(entry.shape), entry.type.removeprefix("tensor(").removesuffix(")"))


def _shape(dimensions: list[int | str | None]) -> Shape:
    """Sizes as numbers; a symbolic or negative one is open."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in dimensions)
