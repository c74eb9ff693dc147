"""Times of frames, made monotonic."""

from __future__ import annotations

from fractions import Fraction

_FALLBACK_RATE = Fraction(25)  # for a source that states neither times nor a rate


JITTER_S = 1.0
"""A time that lies less than this before the last one is a stray; one further back begins a new count."""


class PtsRepair:
    """Gives every frame a pts later than the one before it, changing as few as possible.

    A missing pts becomes the last one plus a frame's length, a stray one the last plus a tick. Where the source
    begins to count anew (recordings joined end to end), its times are moved on to follow the last one. All are
    counted in ``missing`` and ``not_forward``.
    """

    def __init__(self, time_base: Fraction, frame_rate: Fraction) -> None:
        rate = frame_rate if frame_rate > 0 else _FALLBACK_RATE
        self._frame_ticks = max(1, round(1 / (rate * time_base)))
        self._jitter_ticks = max(1, round(JITTER_S / time_base))
        self._shift = 0
        self.last: int | None = None
        self.seen = 0
        self.missing = 0
        self.not_forward = 0

    def repair(self, pts: int | None) -> int:
        self.seen += 1
        self.last = self._next(pts)
        return self.last

    def _next(self, pts: int | None) -> int:
        last = self.last
        if pts is None:
            self.missing += 1
            return 0 if last is None else last + self._frame_ticks
        if last is None or pts + self._shift > last:
            return pts + self._shift
        self.not_forward += 1
        if last - (pts + self._shift) < self._jitter_ticks:
            return last + 1
        self._shift = last + self._frame_ticks - pts
        return pts + self._shift
