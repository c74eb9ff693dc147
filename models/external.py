"""Weights in files beside the model, as newer exporters write them: read from the model's own folder and put inside.

What comes out is one self-contained model, so that one hash, one signature and one load cover all of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from models.tensors import read_tensor
from models.wire import Budget, field, message, placed_fields
from stream.errors import ModelError

# What leads from each kind of message to the tensors within: field number -> kind of the message in that field.
_WITHIN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14

Chunks = list[bytes | memoryview]


def gather(content: bytes, names: tuple[str, ...], folder: Path, model: str, most_bytes: int) -> bytes:
    """The model with its external weights inside. ``names`` are the files it speaks of, all directly in ``folder``.

    Raises:
        ModelError: a name leads out of the folder, a file is missing or too short, or all is over ``most_bytes``.
    """
    files = _Files(folder, model, most_bytes - len(content))
    for name in names:
        files.read(name)
    chunks = _rewrite(memoryview(content), "model", files, Budget(len(content)))
    return b"".join(chunks)


class _Files:
    """The files beside the model, each read once."""

    def __init__(self, folder: Path, model: str, most_bytes: int) -> None:
        self._folder = folder
        self._model = model
        self._bytes_left = most_bytes
        self._contents: dict[str, memoryview] = {}

    def read(self, name: str) -> None:
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name or ":" in name:
            raise ModelError(f"{self._model} is refused: its weights are to be read from {name[:200]!r}, not beside it")
        try:
            # Neither a link, which could lead anywhere, nor a pipe, which could wait for ever.
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > self._bytes_left:
                    raise ModelError(f"{self._model} is refused: its weights in {name!r} are no file or far too large")
                content = file.read(status.st_size)
        except OSError as exc:
            raise ModelError(
                f"{self._model} keeps its weights in {name!r}, which must lie beside it as a plain file: {exc.strerror}"
            ) from exc
        self._bytes_left -= len(content)
        self._contents[name] = memoryview(content)

    def part(self, place: Mapping[str, str], tensor: str, size_bytes: int) -> memoryview:
        """What belongs to a tensor."""
        content = self._contents.get(place.get("location", ""), memoryview(b""))
        offset = _number(place.get("offset", "0"))
        length = _number(place.get("length", str(size_bytes)))
        if offset < 0 or length != size_bytes or offset + length > len(content):
            where = f"{place.get('location')!r} as it says"
            raise ModelError(f"{self._model} is refused: the weights of {tensor[:60]!r} are not in {where}")
        return content[offset : offset + length]


def _rewrite(content: memoryview, kind: str, files: _Files, budget: Budget) -> Chunks:
    """The message anew, with all tensors in it that lie elsewhere brought in."""
    if kind == "tensor":
        return _tensor(content, files, budget)
    chunks: Chunks = []
    for number, value, begin, end in placed_fields(content, budget):
        inner = _WITHIN[kind].get(number)
        if inner is None:
            chunks.append(content[begin:end])
            continue
        parts = _rewrite(message(value), inner, files, budget)
        chunks += [field(number, sum(map(len, parts))), *parts]
    return chunks


def _tensor(content: memoryview, files: _Files, budget: Budget) -> Chunks:
    tensor = read_tensor(content, budget)
    if not tensor.is_external:
        return [content]
    chunks: Chunks = [
        content[begin:end]
        for number, _, begin, end in placed_fields(content, budget)
        if number not in (_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION)
    ]
    part = files.part(tensor.external, tensor.name, tensor.size_bytes)
    return [*chunks, field(_RAW_DATA, len(part)), part]


def _number(digits: str) -> int:
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else -1 << 62
