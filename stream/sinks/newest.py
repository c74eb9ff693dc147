"""The newest result of a source, for whoever looks: a window, a web page."""

from __future__ import annotations

from pathlib import Path

from stream.frame import FrameResult, SourceInfo


class NewestSink:
    """Keeps one result, the newest, and forgets the others: a viewer that looks seldom or never costs nothing.

    :attr:`newest` may be read on any thread at any time; the last result stays after the end, with its age.
    """

    wants_picture = True
    optional = True

    def __init__(self, name: str = "newest") -> None:
        self.name = name
        # Bound as a whole by the writing thread, read as a whole by the others: it needs no lock.
        self._newest: FrameResult | None = None

    @property
    def newest(self) -> FrameResult | None:
        """The last result that was written, None before the first."""
        return self._newest

    @property
    def outputs(self) -> list[Path]:
        return []

    def open(self, info: SourceInfo) -> None:
        """Nothing is made; what a former source left stays until the first result."""

    def write(self, result: FrameResult) -> None:
        self._newest = result

    def close(self) -> None:
        """The last result stays."""
