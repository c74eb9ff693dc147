"""Times of frames, made monotonic."""

from __future__ import annotations

from fractions import Fraction

_FALLBACK_RATE = Fraction(25)  # for a source that states neither times nor a rate


class PtsRepair:
    """Gives every frame a pts later than the one before it, changing as few as possible.

    A missing pts becomes the last one plus a frame's length, one that does not move forward the last one plus a
    tick. Both are counted.
    """

    def __init__(self, time_base: Fraction, frame_rate: Fraction) -> None:
        rate = frame_rate if frame_rate > 0 else _FALLBACK_RATE
        self._frame_ticks = max(1, round(1 / (rate * time_base)))
        self._last: int | None = None
        self.seen = 0
        self.missing = 0
        self.not_forward = 0

    def repair(self, pts: int | None) -> int:
        self.seen += 1
        if pts is None:
            self.missing += 1
            pts = 0 if self._last is None else self._last + self._frame_ticks
        elif self._last is not None and pts <= self._last:
            self.not_forward += 1
            pts = self._last + 1
        self._last = pts
        return pts
