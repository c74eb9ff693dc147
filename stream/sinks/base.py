"""The role of a sink: a result in, something kept or shown out."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Protocol

from stream.errors import SinkError
from stream.frame import FrameResult, SourceInfo


class Sink(Protocol):
    """Takes the results of one source, in order, on a thread of its own.

    ``open``, ``write`` and ``close`` are called on that same thread. A failing output raises
    :class:`stream.errors.SinkError` from any of them; ``close`` is called exactly once after a successful or
    failed ``open``, also after a failure, and leaves what was written usable.

    ``wants_picture`` asks for every frame's whole picture; a live source asks it anew for each frame. ``optional``
    says that a run is of no use for this sink alone: when all others have failed, it ends.
    """

    name: str
    optional: bool

    @property
    def wants_picture(self) -> bool: ...

    def open(self, info: SourceInfo) -> None: ...

    def write(self, result: FrameResult) -> None: ...

    def close(self) -> None: ...

    @property
    def outputs(self) -> list[Path]:
        """The files or folders it makes, for the closing table."""
        ...


def write_failure(path: Path, error: OSError) -> SinkError:
    """The one sentence for an output that cannot be written, with the way out that fits the cause."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            way_out = "free some space there, or choose another folder with --project"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            way_out = "make it writable, or choose another folder with --project"
        case _:
            way_out = "choose another folder with --project"
    reason = (error.strerror or str(error)).lower()
    return SinkError(f"cannot write {path}: {reason}; {way_out}")
