"""A small SQLite file shared by threads and processes, whose failures are ours."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from stream.errors import OutputError, SinkError

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Work = Callable[[sqlite3.Connection], Answer]

# How long a writer waits for another process's transaction; ours take milliseconds, a slow disk some hundreds.
BUSY_TIMEOUT_S = 5.0

# How soon a file is tried again that another process is just beginning.
COME_AGAIN_S = 0.01

# The write-ahead log is cut back to this size at each checkpoint.
WAL_LIMIT_BYTES = 1024 * 1024

_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Database:
    """One file with a schema; every piece of work is a transaction.

    A damaged file is set aside with a warning, and an empty one begun. Raises OutputError where the file cannot be
    opened at first; SinkError where a later call fails, which leaves the content as it was before it.
    """

    def __init__(self, path: Path, schema: str, *, what: str = "index", folder_mode: int = 0o777) -> None:
        """``what`` the file is called in messages; its folder is made with ``folder_mode`` where there is none."""
        self.path = path
        self._folder_mode = folder_mode
        self._what = what
        self._schema = schema
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file_id = 0
        try:
            self.run(lambda connection: connection.execute("SELECT 1"))
        except SinkError as exc:
            raise OutputError(str(exc)) from exc

    def run(self, work: Work[Answer]) -> Answer:
        """``work`` in one transaction, once more on an empty file where the old one turns out to be damaged."""
        return self._guarded(self._transaction, work)

    def read(self, work: Work[Answer]) -> Answer:
        """The same for a single statement that changes nothing: without a transaction of its own, which is cheaper."""
        return self._guarded(lambda work: work(self._connected()), work)

    def _guarded(self, do: Callable[[Work[Answer]], Answer], work: Work[Answer]) -> Answer:
        with self._lock:
            try:
                return do(work)
            except sqlite3.DatabaseError as exc:
                # the low byte is the primary code
                if getattr(exc, "sqlite_errorcode", 0) & 0xFF not in _CORRUPT:
                    raise self._failure(exc) from exc
                log.warning(
                    "The %s %s is damaged (%s); it was set aside and a new one begun.", self._what, self.path, exc
                )
            except OSError as exc:
                raise self._failure(exc) from exc
            try:
                self._set_aside()
                return do(work)
            except (sqlite3.Error, OSError) as exc:
                raise self._failure(exc) from exc

    def close(self) -> None:
        """Let go of the file; a later call opens it again."""
        with self._lock:
            self._disconnect()

    def _failure(self, exc: Exception) -> SinkError:
        self._disconnect()
        reason = exc.strerror if isinstance(exc, OSError) else exc
        return SinkError(
            f"the {self._what} {self.path} cannot be used ({reason}); check the disk's space and the permissions"
        )

    def _transaction(self, work: Work[Answer]) -> Answer:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        try:
            answer = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return answer

    def _connected(self) -> sqlite3.Connection:
        """The connection, made anew when another file stands at the path (deleted, or set aside by another process)."""
        if self._connection is not None and self._file_id == _file_id(self.path):
            return self._connection
        self._disconnect()
        self.path.parent.mkdir(mode=self._folder_mode, parents=True, exist_ok=True)
        # made by us and not by SQLite, so that only its owner reads when somebody was seen
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        self._file_id = _file_id(self.path)
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
            connection.executescript(self._schema)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            # closing checkpoints the write-ahead log, which a full disk may refuse; the log then stays and counts
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _set_aside(self) -> None:
        self._disconnect()
        if self._file_id != _file_id(self.path):
            return  # another process did so already
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        for suffix in ("", "-wal", "-shm"):
            beside = self.path.with_name(self.path.name + suffix)
            with suppress(FileNotFoundError):
                beside.rename(beside.with_name(f"{self.path.name}.corrupt-{stamp}{suffix}"))


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Set the file's kind of journal. Of two that begin a file at the same moment SQLite makes neither wait here,
    lest they wait for each other: one is refused at once, and has to come again.
    """
    give_up_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_s:
                raise
            time.sleep(COME_AGAIN_S)
        else:
            return


def _file_id(path: Path) -> int:
    """The file's identity; 0 where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
