"""Reading a model file: is it one at all, is it safe, and are all its weights in hand?"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from models.external import gather
from models.guard import Survey, survey
from stream.errors import ModelError

# The largest detectors have half a gigabyte; a video passed by mistake may have more.
MAX_BYTES = 900_000_000
# Protobuf writes fields in order, and an ONNX file's first is its version: field 1, a number.
_FIRST_BYTE = 0x08
_HEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class Checked:
    """A model's whole content, with weights from files beside it inside, and what was seen in it."""

    content: bytes
    survey: Survey


def read_checked(path: Path) -> Checked:
    """Read a file that nobody vouches for, look through it, and bring in the weights that lie beside it.

    Raises:
        ModelError: it cannot be read, is no ONNX model, or is refused by :mod:`models.guard`.
    """
    content = read(path)
    seen = survey(content, str(path))
    return Checked(complete(content, path, seen.external), seen)


def complete(content: bytes, path: Path, external: tuple[str, ...]) -> bytes:
    """The content with the weights of the named files beside ``path`` inside.

    Raises:
        ModelError: they are not there, or not as the model says.
    """
    return gather(content, external, path.parent, str(path), MAX_BYTES) if external else content


def read(path: Path) -> bytes:
    """The file's content if it may be an ONNX model at all; of anything else no more than the beginning is read.

    Raises:
        ModelError: it cannot be read, is too large, empty, or something else.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{path} is no file")
            if status.st_size > MAX_BYTES:
                raise ModelError(f"{path} has {status.st_size} bytes: too large to be a detection model")
            head = file.read(_HEAD_BYTES)
            _check_head(path, head)
            content = head + file.read(status.st_size - len(head))
    except OSError as exc:
        raise ModelError(f"{path} cannot be read: {exc.strerror}") from exc
    return content


def _without_waiting(path: str, flags: int) -> int:
    """Opening a pipe would wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_head(path: Path, head: bytes) -> None:
    if not head:
        raise ModelError(f"{path} is empty: the download or copy may have failed")
    if head[0] != _FIRST_BYTE:
        raise ModelError(f"{path} is not an ONNX file but {_what_it_is(head)}: export the model to ONNX first")


def _what_it_is(head: bytes) -> str:
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "a Python pickle"
    if head.startswith(b"PK\x03\x04"):
        return "a zip archive, such as PyTorch's .pt"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    if not any(head):
        return "zeros"
    return "a text file" if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head) else "something else"
