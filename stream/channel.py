"""A bounded, closable queue between threads and an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Policy(Enum):
    """What a full channel does with one more item."""

    WAIT = "wait"
    """The sender waits: nothing is lost, the sender slows down."""

    DROP_OLDEST = "drop_oldest"
    """The oldest waiting item gives way and is counted: the receiver always sees the present."""


class ChannelClosed(Exception):  # noqa: N818 - it marks an end, not an error
    """The other side is gone: nothing more comes, or nothing more is taken."""


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Counts since the channel was made; ``dropped`` by policy, ``discarded`` when the receiver left."""

    capacity: int
    depth: int
    peak: int
    sent: int
    received: int
    dropped: int
    discarded: int


class Channel(Generic[T]):
    """Items in order from any senders to any receivers, on threads or on a loop.

    Threads use :meth:`put` and :meth:`get`, coroutines :meth:`aput` and :meth:`aget`. :meth:`close` is the
    sender's end: the receiver gets what is waiting, then :class:`ChannelClosed` or the error given. It always
    gets through, also when the channel is full. :meth:`cancel` is the receiver's end: what is waiting is
    discarded and senders get :class:`ChannelClosed`.
    """

    def __init__(self, capacity: int, policy: Policy = Policy.WAIT) -> None:
        if capacity < 1:
            raise ValueError(f"a channel holds at least one item, got capacity {capacity}")
        self._capacity = capacity
        self._policy = policy
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._waiters: list[asyncio.Future[None]] = []
        self._closed = False
        self._cancelled = False
        self._error: BaseException | None = None
        self._peak = self._sent = self._received = self._dropped = self._discarded = 0

    def put(self, item: T) -> None:
        """Send from a thread. Raises ChannelClosed when nobody takes it any more."""
        with self._changed:
            while not self._try_put(item):
                self._changed.wait()
            self._wake()

    def get(self) -> T:
        """Receive on a thread. Raises ChannelClosed, or the sender's error, after the last item."""
        with self._changed:
            while not self._items:
                self._raise_if_ended()
                self._changed.wait()
            return self._take()

    async def aput(self, item: T) -> None:
        """Send from a coroutine. Raises ChannelClosed when nobody takes it any more."""
        while True:
            with self._changed:
                if self._try_put(item):
                    self._wake()
                    return
                waiter = self._new_waiter()
            await self._parked(waiter)

    async def aget(self) -> T:
        """Receive in a coroutine. Raises ChannelClosed, or the sender's error, after the last item."""
        while True:
            with self._changed:
                if self._items:
                    return self._take()
                self._raise_if_ended()
                waiter = self._new_waiter()
            await self._parked(waiter)

    def narrow(self, capacity: int) -> None:
        """From now on at most so many items wait, for one who learns late how large they are; what waits stays."""
        with self._changed:
            self._capacity = max(1, min(self._capacity, capacity))

    def close(self, error: BaseException | None = None) -> None:
        """End of the stream, from the sender; a second call changes nothing."""
        with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
                self._wake()

    def cancel(self) -> None:
        """The receiver leaves; a second call changes nothing."""
        with self._changed:
            self._cancelled = True
            self._discarded += len(self._items)
            self._items.clear()
            self._wake()

    def statistics(self) -> ChannelStatistics:
        with self._changed:
            return ChannelStatistics(
                self._capacity,
                len(self._items),
                self._peak,
                self._sent,
                self._received,
                self._dropped,
                self._discarded,
            )

    @property
    def depth(self) -> int:
        return len(self._items)

    def _try_put(self, item: T) -> bool:
        if self._closed or self._cancelled:
            raise ChannelClosed
        if len(self._items) >= self._capacity:
            if self._policy is Policy.WAIT:
                return False
            self._items.popleft()
            self._dropped += 1
        self._items.append(item)
        self._sent += 1
        self._peak = max(self._peak, len(self._items))
        return True

    def _take(self) -> T:
        item = self._items.popleft()
        self._received += 1
        self._wake()
        return item

    def _raise_if_ended(self) -> None:
        if self._cancelled:
            raise ChannelClosed
        if self._closed:
            raise self._error if self._error is not None else ChannelClosed

    def _new_waiter(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    async def _parked(self, waiter: asyncio.Future[None]) -> None:
        try:
            await waiter
        finally:
            with self._changed:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def _wake(self) -> None:
        # Every change wakes everybody: channels here have one sender and one receiver, so nobody wakes in vain.
        self._changed.notify_all()
        for waiter in self._waiters:
            waiter.get_loop().call_soon_threadsafe(_release, waiter)
        self._waiters.clear()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
