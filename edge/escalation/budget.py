"""What may be spent on the cloud: limits that hold over every span of time, however it is laid."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from edge.escalation.settings import BudgetSettings

HOUR_S = 3600.0
DAY_S = 86_400.0

SLOTS = 1000
"""What is spent within a thousandth of a limit's period is remembered as one: memory stays small over a day."""

NEVER_S = float("inf")

AT_ONCE_S = 1e-9
"""A shorter wait is an error of rounding."""


class Allowance:
    """At most ``limit`` within ``per_s`` seconds, and ``limit * t / per_s`` within any longer time ``t``.

    It holds for every window, not only for those that begin with a second or a day, and nothing that was not spent
    is lost: after a quiet time all of ``limit`` may be spent at once. A bucket of tokens would exceed its rate by its
    own size, or hold back as much. Times are seconds of a clock that does not go back.
    """

    def __init__(self, limit: float, per_s: float) -> None:
        self.limit = limit
        self.per_s = per_s
        self._recent: deque[_Spent] = deque()
        self._recent_sum = 0.0
        # The tightest bound that windows begun longer ago than a period put on the total spent so far:
        # spent since then - rate * (now - then), kept as the sum at time 0.
        self._before = float("-inf")

    def wait_s(self, amount: float, now_s: float) -> float:
        """How long to wait until so much may be spent; 0 at once, infinity never."""
        if amount > self.limit:
            return NEVER_S
        self._age(now_s)
        rate = self.limit / self.per_s
        ready_s = max(now_s, (self._before + amount) / rate)
        spent = self._recent_sum
        for each in self._recent:
            # windows that begin with this one: as long as a period at least
            if spent + amount > self.limit:
                ready_s = max(ready_s, each.at_s + (spent + amount) / rate)
            spent -= each.amount
        return ready_s - now_s if ready_s - now_s > AT_ONCE_S else 0.0

    def spend(self, amount: float, now_s: float) -> None:
        """Ask :meth:`wait_s` before; what is spent in spite of it counts all the same."""
        if amount <= 0:
            return
        self._age(now_s)
        self._before += amount
        self._recent_sum += amount
        last = self._recent[-1] if self._recent else None
        if last is not None and now_s - last.begun_s < self.per_s / SLOTS:
            self._recent[-1] = _Spent(last.begun_s, now_s, last.amount + amount)
        else:
            self._recent.append(_Spent(now_s, now_s, amount))

    def _age(self, now_s: float) -> None:
        """Let windows that are longer than a period by now be represented by the tightest of them."""
        rate = self.limit / self.per_s
        while self._recent and now_s - self._recent[0].at_s > self.per_s:
            first = self._recent.popleft()
            self._before = max(self._before, self._recent_sum + rate * first.at_s)
            self._recent_sum = max(0.0, self._recent_sum - first.amount) if self._recent else 0.0


class _Spent(NamedTuple):
    """Several of a slot count as spent at the time of the last: the window that begins there is the tightest."""

    begun_s: float
    at_s: float
    amount: float


@dataclass(frozen=True, slots=True)
class Holdup:
    """What keeps a request back: the limit's name, and for how long."""

    cause: str
    wait_s: float


class Expense(NamedTuple):
    """What was spent some seconds ago: the bytes of requests, and the crops that were answered."""

    age_s: float
    size_bytes: int
    items: int


class Budget:
    """All limits of the requests to one cloud. For one thread; the caller counts requests under way."""

    def __init__(self, settings: BudgetSettings, *, former: Iterable[Expense] = (), now_s: float = 0.0) -> None:
        """``former`` are the expenses of the last day, the oldest first: a restart renews no budget, but for the
        limits of a second, which it takes longer than."""
        self._requests = _limits("requests_per_s", settings.requests_per_s, 1.0)
        self._bytes_long = _limits("bytes_per_hour", settings.bytes_per_hour, HOUR_S)
        self._bytes = _limits("bytes_per_s", settings.bytes_per_s, 1.0) | self._bytes_long
        self._items = _limits("items_per_day", settings.items_per_day, DAY_S)
        self._promised = 0
        for age_s, size_bytes, items in former:
            at_s = now_s - max(0.0, age_s)
            self._spend(self._bytes_long, size_bytes, at_s)
            self._spend(self._items, items, at_s)

    @property
    def largest_bytes(self) -> float:
        """No request that is larger can ever be sent."""
        return min((each.limit for each in self._bytes.values()), default=float("inf"))

    def holdup(self, size_bytes: int, items: int, now_s: float) -> Holdup | None:
        """The limit that keeps such a request back for the longest; None when it may be sent now."""
        waits = [Holdup(cause, each.wait_s(1, now_s)) for cause, each in self._requests.items()]
        waits += [Holdup(cause, each.wait_s(size_bytes, now_s)) for cause, each in self._bytes.items()]
        waits += [Holdup(cause, each.wait_s(items + self._promised, now_s)) for cause, each in self._items.items()]
        longest = max(waits, key=lambda each: each.wait_s, default=None)
        return longest if longest and longest.wait_s > 0 else None

    def begin(self, size_bytes: int, items: int, now_s: float) -> None:
        """A request goes out; its crops are promised until :meth:`finish`."""
        self._spend(self._requests, 1, now_s)
        self._spend(self._bytes, size_bytes, now_s)
        self._promised += items

    def finish(self, items: int, answered: int, now_s: float) -> None:
        """It is over; so many of its crops were answered, the others cost nothing."""
        self._promised -= items
        self._spend(self._items, answered, now_s)

    @staticmethod
    def _spend(limits: dict[str, Allowance], amount: float, now_s: float) -> None:
        for each in limits.values():
            each.spend(amount, now_s)


def _limits(cause: str, limit: float | None, per_s: float) -> dict[str, Allowance]:
    return {} if limit is None else {cause: Allowance(limit, per_s)}
