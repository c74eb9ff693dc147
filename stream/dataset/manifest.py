"""What is in a data set: one SQLite file beside the pictures, which can be made anew from their records."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stream.database import Database
from stream.dataset.duplicates import distance, same_scene
from stream.dataset.sample import Label, Sample, as_record, from_record, labels_from
from stream.dataset.settings import DuplicateSettings, Kind

MANIFEST = "manifest.db"

PAGE = 500
"""Rows read at a time, so that a data set of any size is gone through in little memory and nobody waits long."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256 TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    camera TEXT NOT NULL,
    class TEXT NOT NULL,
    sampler TEXT NOT NULL,
    taken_at REAL NOT NULL,
    kept_at REAL NOT NULL,
    bytes INTEGER NOT NULL,
    alike TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS samples_alike ON samples (camera, alike, id, fingerprint);
CREATE INDEX IF NOT EXISTS samples_kinds ON samples (camera, kind, id, fingerprint);
CREATE INDEX IF NOT EXISTS samples_by_class ON samples (class, id);
CREATE INDEX IF NOT EXISTS samples_by_sampler ON samples (sampler, kept_at);
CREATE INDEX IF NOT EXISTS samples_by_age ON samples (kept_at);
CREATE TABLE IF NOT EXISTS totals (class TEXT PRIMARY KEY, samples INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TRIGGER IF NOT EXISTS sample_added AFTER INSERT ON samples BEGIN
    INSERT INTO totals VALUES (NEW.class, 1, NEW.bytes)
        ON CONFLICT (class) DO UPDATE SET samples = samples + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS sample_deleted AFTER DELETE ON samples BEGIN
    UPDATE totals SET samples = samples - 1, bytes = bytes - OLD.bytes WHERE class = OLD.class;
END;
"""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which samples; what is None fits all."""

    kind: Kind | None = None
    camera: str | None = None
    class_name: str | None = None
    sampler: str | None = None

    @property
    def where(self) -> tuple[str, list[str]]:
        """As SQL, with its values."""
        columns = {"kind": self.kind, "camera": self.camera, "class": self.class_name, "sampler": self.sampler}
        given = {column: value for column, value in columns.items() if value is not None}
        return " AND ".join(["TRUE", *(f"{column} = ?" for column in given)]), list(given.values())


EVERYTHING = Filter()


class Manifest:
    """The samples of one data set; for any threads and processes.

    What takes a ``connection`` is a part of a transaction: see :meth:`run`. Raises OutputError where the file cannot
    be opened; SinkError where a later call fails.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA, what="data set's manifest")

    def close(self) -> None:
        """Let go of the file; a later call opens it again."""
        self._database.close()

    def run(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """``work`` in one transaction, during which no other process changes the data set."""
        return self._database.run(work)

    def samples(self, which: Filter = EVERYTHING, *, newest_first: bool = False) -> Iterator[Sample]:
        """The samples in the order in which they were kept; those that come or go meanwhile may be missing."""
        where, values = which.where
        after, order = ("id < ?", "id DESC") if newest_first else ("id > ?", "id")
        last = 2**62 if newest_first else 0
        sql = f"SELECT id, record FROM samples WHERE {where} AND {after} ORDER BY {order} LIMIT {PAGE}"  # noqa: S608 - the words are ours
        while True:
            page = self._select(sql, [*values, last])
            yield from (from_record(json.loads(record)) for _, record in page)
            if len(page) < PAGE:
                return
            last = page[-1][0]

    def counts(self, expression: str, which: Filter = EVERYTHING) -> list[tuple[str, int, int]]:
        """Name, number and bytes of the samples, the most first; ``expression`` is SQL of ours over a row."""
        where, values = which.where
        sql = f"SELECT {expression}, COUNT(*), SUM(bytes) FROM samples WHERE {where} GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608 - the words are ours
        return [(str(name), count, size) for name, count, size in self._select(sql, values)]

    def kept_since(self, sampler: str, since: float) -> list[float]:
        """When a sampler's pictures were kept, the earliest first."""
        sql = "SELECT kept_at FROM samples WHERE sampler = ? AND kept_at > ? ORDER BY kept_at"
        return [kept_at for (kept_at,) in self._select(sql, [sampler, since])]

    def rows(self) -> dict[str, int]:
        """The bytes of each sample by its hash."""
        return dict(self._select("SELECT sha256, bytes FROM samples", []))

    def find(self, sha256: str) -> Sample | None:
        row = self._select("SELECT record FROM samples WHERE sha256 = ?", [sha256])
        return from_record(json.loads(row[0][0])) if row else None

    def _select(self, sql: str, values: list[Any]) -> list[Any]:
        return self.run(lambda connection: connection.execute(sql, values).fetchall())


def holds(connection: sqlite3.Connection, sha256: str) -> bool:
    return connection.execute("SELECT 1 FROM samples WHERE sha256 = ?", (sha256,)).fetchone() is not None


def has_alike(connection: sqlite3.Connection, sample: Sample, settings: DuplicateSettings) -> bool:
    """Whether one of the recent samples of the same camera shows the same: of the last of its class, and of the last
    of all, for what one look takes for a car the next takes for a truck."""
    near: set[int] = set()
    for column, value in (("alike", _alike(sample)), ("kind", sample.kind)):
        sql = f"SELECT id, fingerprint FROM samples WHERE camera = ? AND {column} = ? ORDER BY id DESC LIMIT ?"  # noqa: S608 - the columns are named above
        rows = connection.execute(sql, (sample.origin.camera, value, settings.recent))
        near |= {
            number for number, print_ in rows if distance(sample.fingerprint, int(print_, 16)) <= settings.distance
        }
    if sample.kind == "crop":
        return bool(near)
    return any(same_scene(sample.labels, _labels_of(connection, number)) for number in near)


def _labels_of(connection: sqlite3.Connection, number: int) -> tuple[Label, ...]:
    (record,) = connection.execute("SELECT record FROM samples WHERE id = ?", (number,)).fetchone()
    return labels_from(json.loads(record)["labels"])


def _alike(sample: Sample) -> str:
    """Of which samples many are remembered: crops of its class; whole frames whatever they were taken for."""
    return f"crop {sample.class_name}" if sample.kind == "crop" else "frame"


def insert(connection: sqlite3.Connection, sample: Sample, size_bytes: int) -> None:
    row = (
        sample.sha256,
        sample.kind,
        sample.origin.camera,
        sample.class_name,
        sample.sampler,
        sample.origin.taken_at,
        sample.kept_at,
        size_bytes,
        _alike(sample),
        f"{sample.fingerprint:016x}",
        json.dumps(as_record(sample), ensure_ascii=False),
    )
    columns = "sha256, kind, camera, class, sampler, taken_at, kept_at, bytes, alike, fingerprint, record"
    connection.execute(f"INSERT INTO samples ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - the columns are ours


def forget(connection: sqlite3.Connection, hashes: list[str]) -> None:
    connection.executemany("DELETE FROM samples WHERE sha256 = ?", [(each,) for each in hashes])


def forget_older(connection: sqlite3.Connection, before: float) -> list[str]:
    """Forget what was kept before; the hashes."""
    sql = "DELETE FROM samples WHERE kept_at < ? RETURNING sha256"
    return [sha256 for (sha256,) in connection.execute(sql, (before,)).fetchall()]


def forget_surplus(connection: sqlite3.Connection, max_bytes: int) -> list[str]:
    """Forget the oldest of whichever class takes most room, until all fit; the hashes."""
    by_class = dict(connection.execute("SELECT class, bytes FROM totals WHERE samples > 0").fetchall())
    total, gone = sum(by_class.values()), []
    oldest = "SELECT id, sha256, bytes FROM samples WHERE class = ? ORDER BY id LIMIT 1"
    while total > max_bytes:
        largest = max(by_class, key=lambda name: (by_class[name], name))
        number, sha256, size_bytes = connection.execute(oldest, (largest,)).fetchone()
        connection.execute("DELETE FROM samples WHERE id = ?", (number,))
        by_class[largest] -= size_bytes
        total -= size_bytes
        gone.append(sha256)
    return gone
