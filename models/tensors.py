"""What an ONNX file says of one tensor, and whether it holds what it says."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import NoReturn

from models.wire import Budget, Value, fields, message, packed, signed, text
from stream.errors import ModelError

# The largest detectors have some 10**8 weights in all; this many in one tensor are a trap.
MAX_ELEMENTS = 1 << 29
MAX_RANK = 16
# Shapes, scales and steps are short; weights are not looked at one by one.
MAX_SMALL = 64

FLOAT, UINT8, INT8, INT32, INT64, STRING, FLOAT16, DOUBLE, BFLOAT16 = 1, 2, 3, 6, 7, 8, 10, 11, 16
_BITS: Mapping[int, int] = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
    15: 128,
}
_SMALL_FORMATS: Mapping[int, str] = {FLOAT: "f", INT32: "i", INT64: "q", DOUBLE: "d"}
# TensorProto: the fields that may hold values instead of the raw bytes.
_TYPED = frozenset({4, 5, 6, 7, 10, 11})


@dataclass(slots=True)
class Tensor:
    """A tensor's declaration. ``values`` are those of a small tensor of numbers, None where it is none."""

    name: str = ""
    dims: list[int] = field(default_factory=list)
    kind: int = 0
    raw: memoryview | None = None
    typed_bytes: int = 0
    int64s: list[int] = field(default_factory=list)
    external: dict[str, str] = field(default_factory=dict)
    is_external: bool = False

    @property
    def elements(self) -> int:
        return prod(self.dims)

    @property
    def size_bytes(self) -> int:
        return (self.elements * _BITS.get(self.kind, 8) + 7) // 8

    @property
    def values(self) -> tuple[float, ...] | None:
        if self.elements > MAX_SMALL or self.is_external:
            return None
        form = _SMALL_FORMATS.get(self.kind)
        if form and self.raw is not None:
            return struct.unpack(f"<{self.elements}{form}", self.raw)
        return tuple(self.int64s) if self.kind == INT64 and len(self.int64s) == self.elements else None


def read_tensor(content: memoryview, budget: Budget) -> Tensor:
    """Read a TensorProto.

    Raises:
        ModelError: its shape is absurd, its type unknown, or it holds other than it declares.
    """
    tensor = Tensor()
    for number, value in fields(content, budget):
        _take(tensor, number, value, budget)
    _check(tensor)
    return tensor


def _take(tensor: Tensor, number: int, value: Value, budget: Budget) -> None:
    if number == 1:
        tensor.dims.extend(signed(size) for size in _few(value, MAX_RANK))
    elif number == 2 and isinstance(value, int):
        tensor.kind = value
    elif number == 8:
        tensor.name = text(value)
    elif number == 9:
        tensor.raw = message(value)
    elif number == 13:
        entry = dict(fields(message(value), budget))
        tensor.external[text(entry.get(1, 0))] = text(entry.get(2, 0))
    elif number == 14:
        tensor.is_external = value == 1
    elif number in _TYPED:
        tensor.typed_bytes += 1 if isinstance(value, int) else len(value)
        if number == 7 and len(tensor.int64s) <= MAX_SMALL:
            tensor.int64s.extend(signed(entry) for entry in _few(value, MAX_SMALL))


def _few(value: Value, most: int) -> list[int]:
    """The first numbers of a list that should be short, and one more if there are more."""
    return [number for number, _ in zip(packed(value), range(most + 1), strict=False)]


def _check(tensor: Tensor) -> None:
    if len(tensor.dims) > MAX_RANK or any(size < 0 for size in tensor.dims) or tensor.elements > MAX_ELEMENTS:
        _refuse(tensor, f"of the shape {_shape(tensor.dims)}, which no detector needs")
    if tensor.kind == STRING:
        return
    if tensor.kind not in _BITS:
        _refuse(tensor, f"of an unknown type of numbers ({tensor.kind})")
    if tensor.is_external:
        return
    held = tensor.typed_bytes if tensor.raw is None else len(tensor.raw)
    # Numbers that are not raw take at least a byte, or half of one where two are packed into a word.
    fits = tensor.elements <= 2 * held if tensor.raw is None else tensor.size_bytes == held
    if not fits:
        _refuse(tensor, f"that declares {_shape(tensor.dims)} numbers but holds {held} bytes")


def _refuse(tensor: Tensor, what: str) -> NoReturn:
    raise ModelError(f"holds a tensor {tensor.name[:60]!r} {what}")


def _shape(dims: list[int]) -> str:
    return " x ".join(map(str, dims[:MAX_RANK])) or "0"
