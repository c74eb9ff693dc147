"""Reading the tensors of a PyTorch file without PyTorch, and without running what the file says.

The format is the one PyTorch wrote before version 1.6: four pickles (a magic number, a version, the machine, and a
dictionary of tensors whose contents are left out), a fifth with the order of the contents, then the contents, each a
count of elements and the elements. Pickles may name functions to call: only the names in :data:`_ALLOWED` are known
here, and they stand for functions of ours that do nothing but take down their arguments.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001

_DTYPES: Mapping[str, type[np.generic]] = {"FloatStorage": np.float32, "LongStorage": np.int64}


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor as the dictionary describes it: a view of the contents that lie further down in the file."""

    key: str
    dtype: type[np.generic]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, contents: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        values = contents[self.key]
        steps = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        lowest = min((self.offset, *self.strides, *(size - 1 for size in self.shape)))
        if lowest < 0 or self.offset + sum(steps) >= len(values):
            raise ValueError("the file holds a tensor that reaches beyond its contents")
        strides_bytes = [stride * values.itemsize for stride in self.strides]
        return as_strided(values[self.offset :], self.shape, strides_bytes, writeable=False)


class _Unpickler(pickle.Unpickler):
    """Knows dictionaries, tensors and their storages; anything else that a pickle names is refused."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ValueError(f"the file asks for {module}.{name}, which no file of weights needs") from None

    def persistent_load(self, pid: Any) -> tuple[str, type[np.generic]]:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(key, str) or dtype not in _DTYPES.values():
            raise ValueError("the file refers to something that is no storage")
        return key, dtype


def read_tensors(content: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a file by their names, float32 or int64, as views of ``content``.

    Raises:
        ValueError: it is no such file, or names anything but tensors.
    """
    file = BytesIO(content)
    try:
        if (_load(file), _load(file)) != (MAGIC, VERSION):
            raise ValueError("this is no PyTorch file of the old format")
        _load(file)  # sizes of numbers on the machine that wrote it
        described, order = _load(file), _load(file)
        dtypes = {tensor.key: tensor.dtype for tensor in described.values()}
        contents = _contents(content, file.tell(), order, dtypes)
    except (pickle.UnpicklingError, EOFError, AttributeError, KeyError, TypeError, struct.error) as exc:
        raise ValueError(f"the PyTorch file cannot be read: {exc}") from exc
    return {name: tensor.of(contents) for name, tensor in described.items()}


def _load(file: BytesIO) -> Any:
    return _Unpickler(file).load()


def _contents(
    content: bytes, place: int, order: Sequence[str], dtypes: Mapping[str, type[np.generic]]
) -> dict[str, NDArray[Any]]:
    contents: dict[str, NDArray[Any]] = {}
    for key in order:
        (count,) = struct.unpack_from("<q", content, place)
        if not 0 <= count <= (len(content) - place - 8) // np.dtype(dtypes[key]).itemsize:
            raise ValueError("the PyTorch file ends before its tensors do")
        contents[key] = np.frombuffer(content, dtypes[key], count, place + 8)
        place += 8 + contents[key].nbytes
    if place != len(content):
        raise ValueError("the PyTorch file is longer or shorter than its tensors")
    return contents


def _tensor(
    storage: tuple[str, type[np.generic]], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Stored:
    key, dtype = storage
    return _Stored(key, dtype, offset, shape, strides)


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}
