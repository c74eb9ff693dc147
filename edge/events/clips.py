"""What events ask of a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class ClipKeeper(Protocol):
    """Keeps the video of events. Times are pts in seconds on the timeline of the camera's frames.

    Every method returns at once and raises nothing: what becomes of a clip is the recording's own affair.
    """

    def hold(self, event_id: str, from_s: float) -> None:
        """An event began at ``from_s``: keep everything from before it on."""

    def release(self, event_id: str, until_s: float) -> None:
        """It ended at ``until_s``: nothing later than a while after it is needed for its sake."""

    def clip_of(self, event_id: str) -> Path | None:
        """Where its video is or will be; None when there will be none. Asked for a while after the release, too."""


class NoClips:
    """A camera that records nothing."""

    def hold(self, event_id: str, from_s: float) -> None:
        """Nothing is kept."""

    def release(self, event_id: str, until_s: float) -> None:
        """Nothing was kept."""

    def clip_of(self, event_id: str) -> Path | None:  # noqa: ARG002 - the role's signature
        return None
