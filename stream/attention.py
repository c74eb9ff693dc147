"""Which of a live camera's pictures the detector should look at."""

from __future__ import annotations

from collections.abc import Callable

from stream.frame import Pixels
from stream.motion import MotionDetector
from stream.sources.settings import LookSettings

LINGER_S = 2.0
"""Looking goes on for so long after the last motion: what has just stopped is to be known as standing."""

IDLE_AFTER_S = 10.0
"""After so long without motion a camera counts as idle."""

_NEVER = float("-inf")


class Attention:
    """Decides for each picture of one camera, in order, on its decode thread. Times are monotonic seconds."""

    def __init__(self, settings: LookSettings) -> None:
        self._settings = settings
        self._motion = MotionDetector()
        self._due_s = _NEVER
        self._looked_s = _NEVER
        self._moved_s = _NEVER
        self._now_s = _NEVER

    @property
    def idle(self) -> bool:
        """Whether decoding keyframes alone is enough for now."""
        keyframes = self._settings.motion == "auto" and self._settings.idle_decode == "keyframes"
        return keyframes and self._now_s - self._moved_s > IDLE_AFTER_S

    @property
    def still(self) -> bool:
        """Whether nothing has moved for a while, up to the last picture asked about."""
        return self._settings.motion == "auto" and self._now_s - self._moved_s > LINGER_S

    def wants(self, luma: Callable[[], Pixels], received_s: float) -> bool:
        """Whether the detector should look at this picture; ``luma`` gives its brightness, ``(height, width)``."""
        self._now_s = received_s
        if received_s < self._due_s:
            return False
        self._schedule(received_s)
        if self._settings.motion == "auto" and not self._worth_looking(luma, received_s):
            return False
        self._looked_s = received_s
        return True

    def _worth_looking(self, luma: Callable[[], Pixels], now_s: float) -> bool:
        if self._motion.moving(luma()):
            self._moved_s = now_s
        return not self.still or now_s - self._looked_s >= self._settings.check_every_s

    def _schedule(self, now_s: float) -> None:
        """The next look by the rate asked for, without drifting where pictures come at another rate."""
        if self._settings.detect_fps is None:
            return
        period_s = 1 / self._settings.detect_fps
        self._due_s = max(self._due_s + period_s, now_s - period_s / 2) if self._due_s > _NEVER else now_s + period_s
