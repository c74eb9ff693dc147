"""What the window needs of the cameras and of the run; their makers live elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from stream.frame import FrameResult
from stream.sources.status import SourceStatus


@dataclass(frozen=True, slots=True)
class FeedFigures:
    """A camera's rates now, in pictures a second, and what it has dropped since its start; ``agreement`` is how far
    edge and cloud agreed lately, None where nobody knows."""

    fps_in: float = 0.0
    fps_detect: float = 0.0
    dropped: int = 0
    recording: bool = False
    agreement: float | None = None


class CameraFeed(Protocol):
    """One camera, as a viewer sees it. Everything returns at once, on any thread."""

    @property
    def name(self) -> str: ...

    def newest(self) -> FrameResult | None: ...

    def status(self, now_s: float) -> SourceStatus: ...

    def figures(self) -> FeedFigures: ...


class Controls(Protocol):
    """What the keys do. Everything is called on the window's thread and returns at once."""

    def quit(self) -> None: ...

    def snapshot(self, camera: str) -> None: ...

    def toggle_recording(self, camera: str) -> None: ...
