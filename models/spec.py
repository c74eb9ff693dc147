"""What a model says of itself: its input, its outputs, and the metadata its exporter wrote."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stream.errors import ModelError
from stream.geometry import Placement

Shape = tuple[int | None, ...]

# Metadata comes from strangers: a longer text is not a list of names, and is not parsed.
MAX_METADATA_CHARS = 200_000
MAX_CLASSES = 10_000
MAX_NAME_CHARS = 200
DEFAULT_STRIDE_PX = 32


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a family of networks wants its pictures where a model's metadata does not say.

    A float input takes ``(pixel - mean) / std`` per channel, in grey levels from 0 to 255 and in the channel order that
    ``rgb`` states. ``square`` says that a size left open shall be square, as in training.
    """

    rgb: bool = True
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    placement: Placement = "centre"
    square: bool = False


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The picture a network takes.

    ``height`` and ``width`` are None where the model leaves them open. A uint8 input takes pixels as they are;
    a float input takes ``(pixel - mean) * scale`` per channel, in the model's own channel order. ``batch`` is how many
    pictures every run takes, None where the input has no such axis.
    """

    name: str
    dtype: Literal["uint8", "float32", "float16"]
    layout: Literal["NHWC", "NCHW"]
    height: int | None
    width: int | None
    rgb: bool
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    placement: Placement = "centre"
    square: bool = False
    batch: int | None = 1


@dataclass(frozen=True, slots=True)
class SizeInput:
    """A second input: the (width, height) of the picture that boxes shall be scaled to, one row for each picture."""

    name: str
    dtype: Literal["int64", "int32", "float32"]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output; None stands for a size the model leaves open."""

    name: str
    shape: Shape
    dtype: str = "float"

    def __str__(self) -> str:
        return f"{self.name} [{' x '.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is known of a model before it runs.

    ``names`` are class names by id, empty where nobody knows them. ``imgsz`` is the (height, width) it was exported
    for, None where it does not say. ``family`` is the family its metadata names, ``head`` what its exporter calls the
    network's last part, and ``end_to_end`` whether it says that suppression or the choice of boxes is done inside.
    ``seen_at`` is the (height, width) at which an open model's outputs have the shapes that are given.
    """

    name: str
    input: InputSpec
    outputs: Sequence[OutputSpec]
    task: str
    family: str | None
    names: Sequence[str]
    imgsz: tuple[int, int] | None
    stride_px: int
    head: str = ""
    end_to_end: bool = False
    size_input: SizeInput | None = None
    seen_at: tuple[int, int] | None = None


def class_names(metadata: Mapping[str, str], model: str) -> tuple[str, ...]:
    """Class names from the ``names`` entry: a python dict or list literal, as Ultralytics writes it.

    Raises:
        ModelError: there is an entry, but it is not that.
    """
    if "names" not in metadata:
        return ()
    value = _literal(metadata, "names", model)
    if isinstance(value, dict):
        value = [value.get(number) for number in range(len(value))]
    if not isinstance(value, list | tuple) or len(value) > MAX_CLASSES:
        raise ModelError(f"{model} has class names that are neither a list nor numbered from 0")
    if not all(isinstance(name, str) and len(name) <= MAX_NAME_CHARS for name in value):
        raise ModelError(f"{model} has class names that are no short texts numbered from 0")
    return tuple(value)


def image_size(metadata: Mapping[str, str], model: str) -> tuple[int, int] | None:
    """(height, width) from the ``imgsz`` entry: a number or a pair.

    Raises:
        ModelError: there is an entry, but it is not that.
    """
    if "imgsz" not in metadata:
        return None
    value = _literal(metadata, "imgsz", model)
    height, width = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
    return _size(height, model), _size(width, model)


def stride(metadata: Mapping[str, str], model: str) -> int:
    """The step in which the input size may change.

    Raises:
        ModelError: it is not a small positive number.
    """
    return _size(_literal(metadata, "stride", model), model) if "stride" in metadata else DEFAULT_STRIDE_PX


def end_to_end(metadata: Mapping[str, str]) -> bool:
    """Whether Ultralytics' metadata says so: ``end2end``, or ``nms`` among the arguments of the export."""
    return metadata.get("end2end") == "True" or "'nms': True" in metadata.get("args", "")[:MAX_METADATA_CHARS]


def channel_values(
    metadata: Mapping[str, str], key: str, default: tuple[float, float, float], model: str
) -> tuple[float, float, float]:
    """Three numbers, one per channel, such as ``mean`` and ``std``.

    Raises:
        ModelError: there is an entry, but it is not three finite numbers.
    """
    if key not in metadata:
        return default
    value = _literal(metadata, key, model)
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(_is_level(number) for number in value):
        raise ModelError(f"{model} has a {key} of {metadata[key][:80]!r}: expected three numbers")
    first, second, third = map(float, value)
    return first, second, third


def _is_level(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e6


def _size(value: object, model: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 14:
        raise ModelError(f"{model} states a size of {str(value)[:80]!r} in its metadata: expected pixels")
    return value


def _literal(metadata: Mapping[str, str], key: str, model: str) -> Any:
    """A python literal and nothing else: it is parsed, never run."""
    text = metadata[key]
    try:
        if len(text) > MAX_METADATA_CHARS:
            raise ValueError("too long")
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as exc:
        raise ModelError(f"{model} has metadata {key!r} that cannot be read: {text[:80]!r}") from exc
