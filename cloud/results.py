"""Answers that were given, by key: so that a question that is asked twice is answered once, also after a restart."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from stream.database import Database
from stream.errors import SinkError, VideoDiscoError

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIM_EVERY_S = 60.0

# A larger part of the table is deleted in several steps, so that no answer waits long for one.
TRIM_STEP_ROWS = 1000

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
class Name:
    """Each client has keys of its own, so that nobody reads what another one asked."""

    client: str
    key: str


@dataclass(frozen=True, slots=True)
class Result:
    """``answer`` is JSON; ``digest`` tells whether the same was asked."""

    digest: bytes
    answer: str


class ResultStore:
    """One SQLite file. Times are seconds since the epoch. Call from any thread.

    Raises OutputError where the file cannot be opened at first, SinkError where a later call fails.
    """

    def __init__(self, path: Path, *, max_age_s: float, max_rows: int) -> None:
        self._max_age_s = max_age_s
        self._max_rows = max_rows
        self._database = Database(path, _SCHEMA, what="result store")

    def find(self, name: Name) -> Result | None:
        """What is known of it."""
        sql = "SELECT digest, answer FROM results WHERE client = ? AND key = ?"
        names = (name.client, name.key)
        row = self._database.read(lambda connection: connection.execute(sql, names).fetchone())
        return None if row is None else Result(*row)

    def keep(self, entries: Sequence[tuple[Name, Result]], now_s: float) -> None:
        """Keep results in one transaction; a name that is there already keeps its answer."""
        sql = "INSERT OR IGNORE INTO results (client, key, created_s, digest, answer) VALUES (?, ?, ?, ?, ?)"
        rows = [(name.client, name.key, now_s, each.digest, each.answer) for name, each in entries]
        self._database.run(lambda connection: connection.executemany(sql, rows))

    def trim(self, now_s: float) -> int:
        """Forget what is too old, and the oldest of what is too many, a step at a time; how many were forgotten."""
        return self._database.run(lambda connection: self._trim(connection, now_s))

    def count(self) -> int:
        return self._database.run(_count)

    def close(self) -> None:
        self._database.close()

    def _trim(self, connection: sqlite3.Connection, now_s: float) -> int:
        sql = """DELETE FROM results WHERE (client, key) IN
                 (SELECT client, key FROM results WHERE created_s < ? ORDER BY created_s LIMIT ?)"""
        removed = connection.execute(sql, (now_s - self._max_age_s, TRIM_STEP_ROWS)).rowcount
        excess = _count(connection) - self._max_rows
        if excess > 0 and removed < TRIM_STEP_ROWS:
            removed += connection.execute(sql, (float("inf"), min(excess, TRIM_STEP_ROWS))).rowcount
        return removed


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM results").fetchone()[0])


class Results:
    """The store as the loop uses it: what is to be written goes through a thread of its own, and all that waits for
    it into one transaction."""

    def __init__(self, store: ResultStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="results")
        self._keeps: _Together[tuple[Name, Result]] = _Together(self._keep_all)
        self._trimming: asyncio.Task[None] | None = None
        self._trim_at_s = 0.0

    def find(self, name: Name) -> Result | None:
        """What is known of it: at once, on any thread but the loop's. Raises SinkError."""
        return self._store.find(name)

    async def keep(self, name: Name, result: Result) -> None:
        """Returns once it would outlive this process. Raises SinkError."""
        await self._keeps.add((name, result))

    def tidy(self) -> None:
        """Begin to forget what is too old or too much, unless that was done a moment ago; call it now and then."""
        now_s = self._clock()
        if now_s >= self._trim_at_s:
            self._trim_at_s = now_s + TRIM_EVERY_S
            self._trimming = asyncio.get_running_loop().create_task(self._trim(now_s))

    async def close(self) -> None:
        """Let go of the file, after whatever is being written."""
        if self._trimming is not None:
            self._trimming.cancel()
        await self._in_thread(self._store.close)
        self._thread.shutdown(wait=False)

    async def _keep_all(self, entries: Sequence[tuple[Name, Result]]) -> None:
        now_s = self._clock()
        await self._in_thread(lambda: self._store.keep(entries, now_s))
        self.tidy()

    async def _trim(self, now_s: float) -> None:
        try:
            while await self._in_thread(lambda: self._store.trim(now_s)) >= TRIM_STEP_ROWS:
                pass
        except SinkError as exc:
            log.warning("old results stay: %s", exc)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class _Together(Generic[T]):
    """Written together: what comes while an earlier group is being written makes the next."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, entry: T) -> None:
        """Returns once it is written; raises what its group's writing raised."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())
        await future

    async def _serve(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._serve_group(group)
        finally:
            self._task = None

    async def _serve_group(self, group: Sequence[tuple[T, asyncio.Future[None]]]) -> None:
        failure: VideoDiscoError | None = None
        try:
            await self._write([entry for entry, _ in group])
        except VideoDiscoError as exc:
            failure = exc
        for _, future in group:
            if future.done():
                continue
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
