"""One count of frames and one timeline over all the child processes that a source had."""

from __future__ import annotations

import math
from fractions import Fraction

from stream.isolation.messages import ProtocolError

AHEAD_S = 60.0
"""A source's timeline stays within a second of the clock; one further off than this is no timeline."""


class Continuity:
    """Puts what each child counts from 0 behind what the children before it have delivered.

    pts and dts are ticks of ``time_base``; ``received_s`` is the monotonic clock. Times are made to move forward.
    """

    def __init__(self) -> None:
        self.time_base = Fraction(0)
        self._zero_s: float | None = None
        self._begins = True
        self._shift = 0
        self._end = self._last_pts = self._last_dts = -1
        self._index = self._last_index = -1
        self._index_shift = 0
        self._epoch = 0
        self._epoch_shift = 0

    def begin(self) -> None:
        """What comes next is of another child."""
        self._begins = True
        self._index_shift, self._last_index = self._index + 1, -1
        self._epoch_shift = self._epoch + 1 if self._end >= 0 else 0

    def ticks_in(self, time_base: Fraction) -> None:
        """What the child's times are in. Raises ProtocolError when that has changed."""
        if self.time_base not in {0, time_base}:
            raise ProtocolError(f"times in {time_base} s instead of {self.time_base} s")
        self.time_base = time_base

    def frame(self, index: int, epoch: int, pts: int, received_s: float) -> tuple[int, int, int]:
        """Index, epoch and pts of a frame in the source's own count. Raises ProtocolError."""
        if index <= self._last_index:
            raise ProtocolError(f"frame {index} after frame {self._last_index}")
        self._last_index = index
        self._index = index + self._index_shift
        self._last_pts = max(self._placed(pts, received_s), self._last_pts + 1)
        self._end = max(self._end, self._last_pts)
        return self._index, self._later_epoch(epoch), self._last_pts

    def packet(self, epoch: int, pts: int, dts: int, received_s: float) -> tuple[int, int, int]:
        """Epoch, pts and dts of a packet. Raises ProtocolError."""
        self._last_dts = max(self._placed(dts, received_s), self._last_dts + 1)
        placed_pts = max(self._placed(pts, received_s), self._last_dts)
        self._end = max(self._end, placed_pts)
        return self._later_epoch(epoch), placed_pts, self._last_dts

    def _placed(self, ticks: int, received_s: float) -> int:
        at_s = float(ticks * self.time_base)
        if self.time_base == 0:
            raise ProtocolError("times before their unit")
        if self._zero_s is None:
            self._zero_s = received_s - at_s
        if self._begins:
            self._begins = False
            place = math.ceil((received_s - self._zero_s) / self.time_base)
            self._shift = max(place, self._end + 1) - ticks if self._end >= 0 else 0
        placed = ticks + self._shift
        if abs(float(placed * self.time_base) + self._zero_s - received_s) > AHEAD_S:
            raise ProtocolError(f"times {at_s:.0f} s off the clock")
        return placed

    def _later_epoch(self, epoch: int) -> int:
        epoch += self._epoch_shift
        self._epoch = max(self._epoch, epoch)
        return epoch
