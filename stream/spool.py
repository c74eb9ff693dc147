"""A durable queue in one SQLite file: appended by one process, emptied by another, alive after both are killed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from stream.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    created_s REAL NOT NULL,
    value REAL NOT NULL,
    bytes INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS items_by_topic ON items (topic, id);
CREATE INDEX IF NOT EXISTS items_by_value ON items (value, id, bytes);
"""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry; ``id`` grows with each append and is never used twice, ``created_s`` is seconds since the epoch."""

    id: int
    topic: str
    created_s: float
    value: float
    payload: bytes


class Spool:
    """A queue that outlives the process, shared by threads and processes.

    Entries stay until they are acknowledged (:meth:`ack`) or trimmed (:meth:`trim`): delivery is at least once.
    A committed append survives the death of the process; after a power cut the last seconds may be missing.
    A damaged file is set aside as ``<name>.corrupt-<time>`` with a warning, and an empty one begun.

    Raises OutputError where the file cannot be opened; SinkError where a later call fails (a full disk, a folder
    made read-only), which leaves the queue as it was before that call.
    """

    def __init__(self, path: Path, *, max_bytes: int, max_age_s: float) -> None:
        self.path = path.absolute()
        self.max_bytes = max_bytes
        self.max_age_s = max_age_s
        # The owner's only: payloads may be pictures or hold credentials.
        self._database = Database(self.path, _SCHEMA, what="spool", folder_mode=0o700)

    def append(self, topic: str, payload: bytes, now_s: float, value: float = 0.0) -> int:
        """Keep ``payload``; ``now_s`` is seconds since the epoch, for it must compare across restarts."""
        row = (topic, now_s, value, len(payload), payload)

        def insert(connection: sqlite3.Connection) -> int:
            sql = "INSERT INTO items (topic, created_s, value, bytes, payload) VALUES (?, ?, ?, ?, ?)"
            return connection.execute(sql, row).lastrowid or 0

        return self._database.run(insert)

    def peek(self, limit: int, topic: str | None = None) -> list[Item]:
        """The oldest entries, of one topic or of all; they stay in the queue."""
        where, values = ("WHERE topic = ?", (topic,)) if topic is not None else ("", ())
        sql = f"SELECT id, topic, created_s, value, payload FROM items {where} ORDER BY id LIMIT ?"  # noqa: S608 - where is one of two constants
        return self._database.read(
            lambda connection: [Item(*row) for row in connection.execute(sql, (*values, limit)).fetchall()]
        )

    def best(self, limit: int, topic: str, *, leaving_out: Collection[int] = ()) -> list[Item]:
        """The most valuable entries of a topic, of equal value the newest: those that :meth:`trim` would drop last.
        They stay in the queue."""
        order = "SELECT id FROM items WHERE topic = ? ORDER BY value DESC, id DESC"
        whole = "SELECT id, topic, created_s, value, payload FROM items WHERE id = ?"

        def select(connection: sqlite3.Connection) -> list[Item]:
            wanted = (row for row in connection.execute(order, (topic,)) if row[0] not in leaving_out)
            return [Item(*connection.execute(whole, row).fetchone()) for row in islice(wanted, limit)]

        return self._database.run(select)

    def ack(self, ids: Sequence[int]) -> None:
        """Remove entries that are done; unknown ids are no error."""
        self._database.run(
            lambda connection: connection.executemany("DELETE FROM items WHERE id = ?", [(each,) for each in ids])
        )

    def update(self, item_id: int, payload: bytes) -> None:
        """Replace the payload of one entry, in its place."""
        row = (payload, len(payload), item_id)
        self._database.run(
            lambda connection: connection.execute("UPDATE items SET payload = ?, bytes = ? WHERE id = ?", row)
        )

    def trim(self, now_s: float, on_drop: Callable[[Item, str], None] | None = None) -> dict[str, int]:
        """Drop what is too old, then what exceeds ``max_bytes``; how many were dropped, by cause.

        Of what is too much, the least valuable goes first, and of equal value the oldest. ``on_drop`` is told of
        each entry and its cause ("age" or "bytes") before it goes, within the transaction.
        """
        return self._database.run(lambda connection: self._trim(connection, now_s, on_drop or _tell_nobody))

    def _trim(
        self, connection: sqlite3.Connection, now_s: float, on_drop: Callable[[Item, str], None]
    ) -> dict[str, int]:
        whole = "SELECT id, topic, created_s, value, payload FROM items WHERE"
        before_s = now_s - self.max_age_s
        if on_drop is not _tell_nobody:
            for row in connection.execute(f"{whole} created_s < ?", (before_s,)):
                on_drop(Item(*row), "age")
        aged = connection.execute("DELETE FROM items WHERE created_s < ?", (before_s,)).rowcount
        excess_bytes = _total_bytes(connection) - self.max_bytes
        doomed: list[tuple[int]] = []
        rows = connection.execute("SELECT id, bytes FROM items ORDER BY value, id") if excess_bytes > 0 else ()
        for item_id, size_bytes in rows:
            if excess_bytes <= 0:
                break
            doomed.append((item_id,))
            excess_bytes -= size_bytes
            if on_drop is not _tell_nobody:
                on_drop(Item(*connection.execute(f"{whole} id = ?", (item_id,)).fetchone()), "bytes")
        connection.executemany("DELETE FROM items WHERE id = ?", doomed)
        return {cause: count for cause, count in (("age", aged), ("bytes", len(doomed))) if count}

    def topics(self) -> list[str]:
        """The topics that have entries, the one with the oldest entry first."""
        sql = "SELECT topic FROM items GROUP BY topic ORDER BY MIN(id)"
        return self._database.read(lambda connection: [topic for (topic,) in connection.execute(sql).fetchall()])

    def depth(self, topic: str | None = None) -> int:
        """How many entries wait, of one topic or of all."""
        where, values = ("WHERE topic = ?", (topic,)) if topic is not None else ("", ())
        sql = f"SELECT COUNT(*) FROM items {where}"  # noqa: S608 - where is one of two constants
        return self._database.read(lambda connection: int(connection.execute(sql, values).fetchone()[0]))

    @property
    def size_bytes(self) -> int:
        """The payloads' bytes; the file is somewhat larger."""
        return self._database.read(_total_bytes)

    def close(self) -> None:
        """Let go of the file; a later call opens it again."""
        self._database.close()


def _tell_nobody(_item: Item, _cause: str) -> None:
    """Of what is dropped, where nobody asked."""


def _total_bytes(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COALESCE(SUM(bytes), 0) FROM items").fetchone()[0])
