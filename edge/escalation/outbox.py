"""Crops that wait for the cloud, on disk: bounded in bytes and age, the most valuable first out."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.escalation.parcel import Parcel, unpacked
from edge.escalation.settings import SpoolSettings
from stream.errors import SinkError
from stream.spool import Item, Spool

TRIM_EVERY_S = 30.0

DropListener = Callable[[Parcel | None, str], None]
"""Told of a crop that is dropped, and why; None for one that cannot be read."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A crop that waits: ``id`` is its number in the queue, ``value`` what it is worth."""

    id: int
    value: float
    created_s: float
    parcel: Parcel


class Outbox:
    """The crops for one address, shared by all processes that send to it. For any thread.

    Raises OutputError where the queue cannot be opened, SinkError where a call fails.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        settings: SpoolSettings,
        *,
        on_drop: DropListener,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        # what was meant for one address never goes to another
        self.topic = hashlib.sha256(url.encode()).hexdigest()[:16]
        self._most_bytes = settings.max_mb * 1_000_000
        self._spool = Spool(folder / "crops.db", max_bytes=self._most_bytes, max_age_s=settings.max_age_hours * 3600)
        self._on_drop = on_drop
        self._wall_clock = wall_clock
        self._size_bytes = self._spool.size_bytes
        self._sizing = threading.Lock()

    @property
    def depth(self) -> int:
        return self._spool.depth(self.topic)

    @property
    def size_bytes(self) -> int:
        """What waits for all addresses together, as far as this process knows."""
        return self._size_bytes

    def put(self, parcel: Parcel, value: float) -> None:
        """Keep a crop; when there are too many, the least valuable go at once."""
        payload = parcel.packed()
        with self._sizing:  # it may be sent and removed at once
            self._spool.append(self.topic, payload, self._wall_clock(), value)
            self._size_bytes += len(payload)
        if self._size_bytes > self._most_bytes:
            self.trim()

    def best(self, limit: int, leaving_out: Collection[int]) -> list[Waiting]:
        """The most valuable crops, of equal value the newest; what cannot be read is dropped."""
        found = []
        for item in self._spool.best(limit, self.topic, leaving_out=leaving_out):
            try:
                found.append(Waiting(item.id, item.value, item.created_s, unpacked(item.payload)))
            except ValueError:
                self.remove([item.id])
                self._on_drop(None, "unreadable")
        return found

    def remove(self, ids: Sequence[int]) -> None:
        """They are answered, or given up."""
        with self._sizing:
            self._spool.ack(ids)
            self._size_bytes = self._spool.size_bytes

    def trim(self) -> None:
        """Drop what is too old or too much."""
        dropped: list[tuple[Parcel | None, str]] = []
        with self._sizing:
            self._spool.trim(self._wall_clock(), lambda item, cause: dropped.append((_without_jpeg(item), cause)))
            self._size_bytes = self._spool.size_bytes
        for parcel, cause in dropped:
            self._on_drop(parcel, cause)

    def close(self) -> None:
        self._spool.close()


def _without_jpeg(item: Item) -> Parcel | None:
    try:
        return unpacked(item.payload)
    except ValueError:
        return None


def depth_of(outbox: Outbox) -> int:
    """How many wait; 0 while the queue cannot be read."""
    try:
        return outbox.depth
    except SinkError:
        return 0
