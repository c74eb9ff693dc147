"""Reading PyTorch's weights without PyTorch: what may be in such a file, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.build.package import read_files
from models.build.torch_file import MAGIC, VERSION, read_tensors

Described = OrderedDict[str, Any]


class Storage:
    """Stands for the class a storage is of."""


class Tensor:
    """Pickled as PyTorch pickles one: a call of ``torch._utils._rebuild_tensor_v2``."""

    def __init__(self, key: str, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> None:
        self.arguments: tuple[Any, ...] = (Stored(key), offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Stored:
    def __init__(self, key: str) -> None:
        self.key = key


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return ("storage", sys.modules["torch"].FloatStorage, obj.key, "cpu", 9) if isinstance(obj, Stored) else None


@pytest.fixture(autouse=True)
def _names_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that are nothing but the names a pickle needs."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    rebuild = types.FunctionType(compile("None", "none", "eval"), {}, "_rebuild_tensor_v2")
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    storage = type("FloatStorage", (Storage,), {"__module__": "torch"})
    monkeypatch.setattr(torch, "FloatStorage", storage, raising=False)
    monkeypatch.setattr(torch, "_utils", utils, raising=False)
    monkeypatch.setattr(utils, "_rebuild_tensor_v2", rebuild, raising=False)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def pickled(value: Any) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def file_of(described: Any, contents: dict[str, NDArray[np.float32]], magic: int = MAGIC) -> bytes:
    head = [pickled(value) for value in (magic, VERSION, {"little_endian": True}, described, list(contents))]
    tail = [struct.pack("<q", len(values)) + values.tobytes() for values in contents.values()]
    return b"".join(head + tail)


SIX = np.arange(6, dtype=np.float32)


def test_tensors_come_in_their_shapes_and_strides() -> None:
    described = OrderedDict(
        plain=Tensor("a", (2, 3), (3, 1)), turned=Tensor("a", (3, 2), (1, 3)), part=Tensor("b", (2,), (1,), offset=1)
    )
    tensors = read_tensors(file_of(described, {"b": SIX[:3] * 10, "a": SIX}))
    np.testing.assert_array_equal(tensors["plain"], SIX.reshape(2, 3))
    np.testing.assert_array_equal(tensors["turned"], SIX.reshape(2, 3).T)
    np.testing.assert_array_equal(tensors["part"], [10, 20])


def test_a_scalar_has_no_shape() -> None:
    assert read_tensors(file_of(OrderedDict(one=Tensor("a", (), ())), {"a": SIX[5:]}))["one"] == 5


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("a", (7,), (1,)),
        Tensor("a", (2, 3), (4, 1)),
        Tensor("a", (2,), (1,), offset=5),
        Tensor("a", (2,), (1,), offset=-1),
        Tensor("a", (2,), (-1,)),
        Tensor("a", (-2,), (1,)),
        Tensor("a", (1 << 40,), (1,)),
    ],
)
def test_no_tensor_reaches_beyond_its_contents(tensor: Tensor) -> None:
    with pytest.raises(ValueError, match="reaches beyond its contents"):
        read_tensors(file_of(OrderedDict(bad=tensor), {"a": SIX}))


class Harmful:
    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("harmful", [Harmful(), OrderedDict(weights=Harmful()), Path("x"), np.arange(3)])
def test_no_code_is_run_and_no_other_class_is_made(
    harmful: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"the file asks for .*, which no file of weights needs"):
        read_tensors(file_of(harmful, {"a": SIX}))
    assert not (tmp_path / "harmed").exists()


def test_what_is_no_such_file() -> None:
    good = file_of(OrderedDict(plain=Tensor("a", (6,), (1,))), {"a": SIX})
    for content in (b"", b"PK\x03\x04 and so on", good[:40], good[:-1], good + b"x", file_of({}, {}, magic=5)):
        with pytest.raises(ValueError, match="PyTorch file"):
            read_tensors(content)
    with pytest.raises(ValueError, match="PyTorch file"):
        read_tensors(file_of([1, 2, 3], {"a": SIX}))


def test_a_wheel_is_read_by_hash(tmp_path: Path) -> None:
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some/file.txt", "abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert read_files(wheel, {"some/file.txt": sha256}) == {"some/file.txt": b"abc"}
    with pytest.raises(ValueError, match="expected 0000"):
        read_files(wheel, {"some/file.txt": "0" * 64})
    with pytest.raises(ValueError, match=r"holds no some/other\.txt"):
        read_files(wheel, {"some/other.txt": sha256})
