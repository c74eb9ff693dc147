"""The role of a sink: a result in, something kept or shown out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from stream.frame import FrameResult, SourceInfo


class Sink(Protocol):
    """Takes the results of one source, in order, on a thread of its own.

    ``open``, ``write`` and ``close`` are called on that same thread. A failing output raises
    :class:`stream.errors.SinkError` from any of them; ``close`` is called exactly once after a successful or
    failed ``open``, also after a failure, and leaves what was written usable.
    """

    name: str
    wants_picture: bool

    def open(self, info: SourceInfo) -> None: ...

    def write(self, result: FrameResult) -> None: ...

    def close(self) -> None: ...

    @property
    def outputs(self) -> list[Path]:
        """The files or folders it makes, for the closing table."""
        ...
