"""How often: a token bucket for each client, in a table that does not grow without end."""

from __future__ import annotations

from collections import OrderedDict

_MAX_CLIENTS = 10_000
"""Past this the client that was quiet longest is forgotten, which gives it a full bucket again."""


class RateLimiter:
    """``per_minute`` at most for each client, all of them at once if it comes to that; 0: any number."""

    def __init__(self, per_minute: int, *, max_clients: int = _MAX_CLIENTS) -> None:
        self._capacity = float(per_minute)
        self._per_s = per_minute / 60
        self._max_clients = max_clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now_s: float) -> float:
        """Take one; returns 0 if there was one, else the seconds until there is."""
        if not self._capacity:
            return 0.0
        level = self._level(client, now_s)
        taken = level >= 1
        self._keep(client, level - 1 if taken else level, now_s)
        return 0.0 if taken else (1 - level) / self._per_s

    def wait_s(self, client: str, now_s: float) -> float:
        """The seconds until there is one; takes nothing."""
        if not self._capacity:
            return 0.0
        return max(0.0, (1 - self._level(client, now_s)) / self._per_s)

    def _level(self, client: str, now_s: float) -> float:
        level, then_s = self._buckets.get(client, (self._capacity, now_s))
        return min(self._capacity, level + max(0.0, now_s - then_s) * self._per_s)

    def _keep(self, client: str, level: float, now_s: float) -> None:
        self._buckets[client] = (level, now_s)
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)
