"""How often something happened lately."""

from __future__ import annotations

from collections import deque

WINDOW_S = 3.0
"""Long enough for a steady figure, short enough to follow what one sees."""

MOST_EVENTS = 1000


class RecentRate:
    """Events a second over the last :data:`WINDOW_S`. Added on one thread, read on any; times never go backwards."""

    def __init__(self, begun_s: float) -> None:
        self._begun_s = begun_s
        self._times: deque[float] = deque(maxlen=MOST_EVENTS)

    def add(self, now_s: float) -> None:
        self._times.append(now_s)

    def rate(self, now_s: float) -> float:
        """Events a second; right from the first second on, zero once nothing happens any more."""
        since_s = max(now_s - WINDOW_S, self._begun_s)
        recent = sum(time_s > since_s for time_s in tuple(self._times))
        return recent / (now_s - since_s) if now_s > since_s else 0.0
