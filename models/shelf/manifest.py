"""What is known of a model on the shelf, written beside it and checked whenever it is read."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field, ValidationError

from stream.config import Settings
from stream.errors import ModelError

MAX_BYTES = 4 << 20
_SELF = "manifest_sha256"


class InputCard(Settings):
    """The picture a model takes; None stands for a size it leaves open."""

    dtype: str
    layout: str
    height: int | None
    width: int | None
    colour: Literal["rgb", "bgr"]

    def __str__(self) -> str:
        size = "any size" if self.height is None or self.width is None else f"{self.width}x{self.height}"
        return f"{size} {self.dtype} {self.colour}"


class SourceCard(Settings):
    """Where a model comes from: the address or path, and the hash of the file as it was there."""

    location: str = Field(max_length=4096)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    verified: str = Field("", max_length=1000, description="Who vouches for that hash.")


class Manifest(Settings):
    """A model's card. ``sha256`` is that of ``model.onnx`` beside it."""

    name: str = Field(max_length=64)
    version: str = Field("", max_length=200)
    task: str = Field(max_length=100)
    family: str = Field(max_length=100)
    classes: tuple[str, ...] = Field((), max_length=10_000)
    input: InputCard
    precision: str = Field(max_length=100)
    licence: str = Field("", max_length=1000)
    source: SourceCard
    size_bytes: int = Field(ge=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    def to_bytes(self) -> bytes:
        """The manifest's file, with a hash over all the rest of it."""
        values = self.model_dump(mode="json")
        return (json.dumps({**values, _SELF: _digest(values)}, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, origin: str) -> Manifest:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            ModelError: it is something else, or a byte of it was changed.
        """
        try:
            values: dict[str, Any] = dict(json.loads(content))
            told = values.pop(_SELF)
            manifest = cls.model_validate(values)
        except (ValueError, TypeError, LookupError, RecursionError, ValidationError) as exc:
            raise ModelError(f"{origin} is damaged: remove the model and add it again") from exc
        if told != _digest(values) or content != manifest.to_bytes():
            raise ModelError(f"{origin} was changed: remove the model and add it again")
        return manifest


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
