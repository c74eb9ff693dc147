"""Answers that were given, by key: so that a question that is asked twice is answered once, also after a restart."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stream.errors import SinkError
from stream.recording.database import Database

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIM_EVERY_S = 60.0

# A larger part of the table is deleted in several steps, so that no answer waits long for one.
TRIM_STEP_ROWS = 5000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    client TEXT NOT NULL,
    key TEXT NOT NULL,
    created_s REAL NOT NULL,
    digest BLOB NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (client, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS results_by_age ON results (created_s);
"""


@dataclass(frozen=True, slots=True)
class Result:
    """``answer`` is JSON; ``digest`` tells whether the same was asked."""

    key: str
    digest: bytes
    answer: str


class ResultStore:
    """One SQLite file. ``created_s`` are seconds since the epoch. Call from any thread.

    Raises OutputError where the file cannot be opened at first, SinkError where a later call fails.
    """

    def __init__(self, path: Path, *, max_age_s: float, max_rows: int) -> None:
        self._max_age_s = max_age_s
        self._max_rows = max_rows
        self._database = Database(path, _SCHEMA, what="result store")

    def find(self, client: str, keys: Iterable[str]) -> dict[str, Result]:
        """What is known of ``keys``, each of ``client``'s own."""
        sql = "SELECT key, digest, answer FROM results WHERE client = ? AND key = ?"

        def look(connection: sqlite3.Connection) -> dict[str, Result]:
            rows = (connection.execute(sql, (client, key)).fetchone() for key in keys)
            return {row[0]: Result(*row) for row in rows if row is not None}

        return self._database.run(look)

    def keep(self, entries: Sequence[tuple[str, Result]], now_s: float) -> None:
        """Keep results of clients in one transaction; a key that is there already keeps its answer."""
        sql = "INSERT OR IGNORE INTO results (client, key, created_s, digest, answer) VALUES (?, ?, ?, ?, ?)"
        rows = [(client, each.key, now_s, each.digest, each.answer) for client, each in entries]
        self._database.run(lambda connection: connection.executemany(sql, rows))

    def trim(self, now_s: float) -> int:
        """Forget what is too old, and the oldest of what is too many; how many of them. A step at a time."""
        removed = self._database.run(lambda connection: _forget_old(connection, now_s - self._max_age_s))
        excess = self.count() - self._max_rows
        return removed + (
            self._database.run(lambda connection: _forget_oldest(connection, excess)) if excess > 0 else 0
        )

    def count(self) -> int:
        return self._database.run(
            lambda connection: int(connection.execute("SELECT COUNT(*) FROM results").fetchone()[0])
        )

    def close(self) -> None:
        self._database.close()


class Results:
    """The store as the loop uses it: a thread of its own, and all that waits goes into one transaction."""

    def __init__(self, store: ResultStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="results")
        self._waiting: list[tuple[str, Result]] = []
        self._flush: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._trim_at_s = 0.0

    async def find(self, client: str, keys: Sequence[str]) -> Mapping[str, Result]:
        """Raises SinkError."""
        return await self._in_thread(lambda: self._store.find(client, keys))

    async def keep(self, client: str, result: Result) -> None:
        """Returns once it would outlive this process. Raises SinkError."""
        self._waiting.append((client, result))
        if self._flush is None:
            self._flush = asyncio.get_running_loop().create_task(self._write())
        await asyncio.shield(self._flush)

    async def close(self) -> None:
        """Write what waits, and let go of the file."""
        if busy := [task for task in (self._flush, self._trimming) if task is not None]:
            await asyncio.wait(busy)
        await self._in_thread(self._store.close)
        self._thread.shutdown(wait=False)

    async def _write(self) -> None:
        # whoever comes while the thread is busy waits for the next transaction
        await self._in_thread(lambda: None)
        entries, self._waiting, self._flush = self._waiting, [], None
        now_s = self._clock()
        await self._in_thread(lambda: self._store.keep(entries, now_s))
        if now_s >= self._trim_at_s:
            self._trim_at_s = now_s + TRIM_EVERY_S
            self._trimming = asyncio.get_running_loop().create_task(self._trim(now_s))

    async def _trim(self, now_s: float) -> None:
        try:
            while await self._in_thread(lambda: self._store.trim(now_s)) >= TRIM_STEP_ROWS:
                pass
        except SinkError as exc:
            log.warning("old results stay: %s", exc)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _forget_old(connection: sqlite3.Connection, before_s: float) -> int:
    sql = "DELETE FROM results WHERE (client, key) IN (SELECT client, key FROM results WHERE created_s < ? LIMIT ?)"
    return connection.execute(sql, (before_s, TRIM_STEP_ROWS)).rowcount


def _forget_oldest(connection: sqlite3.Connection, count: int) -> int:
    sql = """DELETE FROM results WHERE (client, key) IN
             (SELECT client, key FROM results ORDER BY created_s LIMIT ?)"""
    return connection.execute(sql, (min(count, TRIM_STEP_ROWS),)).rowcount
