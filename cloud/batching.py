"""Which jobs go together and when: pure logic, times are passed in as seconds of the caller's monotonic clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Leaving times that a rate is estimated from: some batches' worth.
_RATE_SAMPLES = 128

# A client that is told to come back later than this has forgotten what it wanted.
_LONGEST_WAIT_S = 30.0
_SHORTEST_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch is closed when ``max_size`` jobs are there, or when its oldest has waited ``max_wait_s``."""

    max_size: int
    max_wait_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Job(Generic[T]):
    """Something to be worked on before ``deadline_s``."""

    payload: T
    arrived_s: float
    deadline_s: float

    def closes_s(self, max_wait_s: float) -> float:
        """Until when it waits for company: at most half of its time."""
        return self.arrived_s + min(max_wait_s, max(0.0, self.deadline_s - self.arrived_s) / 2)


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """``batch``: to be worked on now, empty when nothing is due; ``expired``: nobody waits for these any more."""

    batch: tuple[Job[T], ...]
    expired: tuple[Job[T], ...]


class MicroBatcher(Generic[T]):
    """Jobs in the order of their arrival, handed out in batches. Belongs to one thread."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._waiting: dict[Job[T], None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Job[T]]:
        return iter(self._waiting)

    def offer(self, job: Job[T]) -> None:
        self._waiting[job] = None

    def discard(self, job: Job[T]) -> bool:
        """Forget a job that was given up; False when it is not waiting (any more)."""
        if job not in self._waiting:
            return False
        del self._waiting[job]
        return True

    def take(self, now_s: float) -> Taken[T]:
        """The next batch, if one is due at ``now_s``. Call it when a worker is free, and at :meth:`due_s`."""
        expired = tuple(job for job in self._waiting if job.deadline_s <= now_s)
        for job in expired:
            del self._waiting[job]
        due_s = self.due_s()
        if due_s is None or now_s < due_s:
            return Taken((), expired)
        batch = tuple(job for job, _ in zip(self._waiting, range(self._limits.max_size), strict=False))
        for job in batch:
            del self._waiting[job]
        return Taken(batch, expired)

    def due_s(self) -> float | None:
        """From when on a free worker should take a batch; None while nobody waits."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self._limits.max_size:
            return next(iter(self._waiting)).arrived_s
        return min(job.closes_s(self._limits.max_wait_s) for job in self._waiting)


class Admission:
    """Lets in at most ``capacity`` items at a time, all of a request or none, and says when to come again."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.inside = 0
        self._left: deque[tuple[float, int]] = deque(maxlen=_RATE_SAMPLES)

    def enter(self, count: int) -> bool:
        """Take ``count`` places; False when there are not so many."""
        if self.inside + count > self.capacity:
            return False
        self.inside += count
        return True

    def leave(self, count: int, now_s: float) -> None:
        """Give ``count`` places back."""
        self.inside -= count
        self._left.append((now_s, count))

    def wait_s(self, count: int, now_s: float) -> float:
        """After how many seconds there may be ``count`` places, by the rate at which others left."""
        missing = self.inside + count - self.capacity
        if missing <= 0:
            return 0.0
        left = sum(each for _, each in self._left)
        elapsed_s = now_s - self._left[0][0] if self._left else 0.0
        needed_s = missing * elapsed_s / left if left and elapsed_s > 0 else _SHORTEST_WAIT_S
        return min(_LONGEST_WAIT_S, max(_SHORTEST_WAIT_S, needed_s))
