"""What happened when, for those who ask: an index of events.jsonl, which can be made anew from it."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edge.events.event import EventChange, change_json
from stream.database import Database
from stream.errors import SinkError

log = logging.getLogger(__name__)

INDEX_NAME = "events.db"
QUEUED = 10_000
"""Changes that wait for the disk; what finds no room is found in events.jsonl at the next start."""

BATCH = 500
MOST_EVENTS = 2_000_000
"""Years of a busy camera, some gigabytes; the oldest go."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY,
    camera TEXT NOT NULL,
    class TEXT NOT NULL,
    zones TEXT NOT NULL,
    confidence REAL NOT NULL,
    start REAL NOT NULL,
    sequence INTEGER NOT NULL,
    line TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_time ON events (start, id);
CREATE INDEX IF NOT EXISTS events_by_camera ON events (camera, start, id);
"""
_UPSERT = """INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
    class = excluded.class, zones = excluded.zones, confidence = excluded.confidence,
    sequence = excluded.sequence, line = excluded.line WHERE excluded.sequence > sequence"""
_TRIM = """DELETE FROM events WHERE (start, id) <=
    (SELECT start, id FROM events ORDER BY start DESC, id DESC LIMIT 1 OFFSET ?)"""
_ZONE_END = "\n"

Row = tuple[str, str, str, str, float, float, int, str]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; None is any. ``start`` and ``end`` are seconds since the epoch; ``before`` continues a list."""

    camera: str | None = None
    class_name: str | None = None
    zone: str | None = None
    start: float | None = None
    end: float | None = None
    min_confidence: float | None = None
    before: tuple[float, str] | None = None
    limit: int = 100


class EventIndex:
    """The events of one folder, as :class:`edge.events.publish.base.Publisher`: told of each change as it happens.

    Raises:
        OutputError: the index cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.lost = 0
        self._folder = folder
        self._database = Database(folder / INDEX_NAME, _SCHEMA)
        self._queue: queue.Queue[EventChange | None] = queue.Queue(QUEUED)
        self._thread = threading.Thread(target=self._work, name="event-index", daemon=True)
        self._thread.start()

    def publish(self, change: EventChange) -> None:
        try:
            self._queue.put_nowait(change)
        except queue.Full:
            self.lost += 1

    def close(self, within_s: float) -> None:
        with suppress(queue.Full):
            self._queue.put(None, timeout=within_s)
        self._thread.join(within_s)
        self._database.close()

    def find(self, wanted: EventFilter) -> list[dict[str, Any]]:
        """The newest first, each as its last line in events.jsonl. Raises SinkError."""
        clauses, values = _conditions(wanted)
        where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
        sql = f"SELECT line FROM events {where} ORDER BY start DESC, id DESC LIMIT ?"  # noqa: S608 - where is ours
        lines = self._database.run(lambda found: found.execute(sql, (*values, wanted.limit)).fetchall())
        return [json.loads(line) for (line,) in lines]

    def one(self, event_id: str) -> dict[str, Any] | None:
        """An event by its id. Raises SinkError."""
        sql = "SELECT line FROM events WHERE id = ?"
        row = self._database.run(lambda found: found.execute(sql, (event_id,)).fetchone())
        return None if row is None else json.loads(row[0])

    def _work(self) -> None:
        self._store(self._missed())
        while (change := self._queue.get()) is not None:
            changes = [change]
            while len(changes) < BATCH and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    self._store(iter(map(_row_of, map(change_json, changes))))
                    return
                changes.append(more)
            self._store(iter(map(_row_of, map(change_json, changes))))

    def _store(self, rows: Iterable[Row | None]) -> None:
        batch: list[Row] = []
        for row in rows:
            if row is not None:
                batch.append(row)
            if len(batch) >= BATCH:
                self._write(batch)
                batch = []
        if batch:
            self._write(batch)

    def _write(self, batch: Sequence[Row]) -> None:
        try:
            self._database.run(lambda found: (found.executemany(_UPSERT, batch), found.execute(_TRIM, (MOST_EVENTS,))))
        except SinkError as exc:
            self.lost += len(batch)
            log.warning("events are not found for now: %s", exc)

    def _missed(self) -> Iterator[Row | None]:
        """What the files hold that came after the newest that is indexed: a lost index, or a killed process."""
        newest = self._newest()
        files = [path for path in self._folder.glob("events*.jsonl") if path.stat().st_mtime >= newest - 1]
        for path in sorted(files, key=lambda path: path.stat().st_mtime):
            with path.open(encoding="utf-8", errors="replace") as lines:
                yield from (_row_of(line) for line in lines)

    def _newest(self) -> float:
        """When the index was last written, as far as its newest event tells."""
        sql = "SELECT MAX(start) FROM events"
        with suppress(SinkError):
            return float(self._database.run(lambda found: found.execute(sql).fetchone())[0] or 0.0)
        return 0.0


def _row_of(line: str) -> Row | None:
    """A line of events.jsonl; None for one that was torn."""
    try:
        fields = json.loads(line)
        zones = _ZONE_END.join(["", *fields["entered_zones"], ""])
        start = datetime.fromisoformat(fields["start_time"]).timestamp()
        known = (fields["id"], fields["camera"], fields["class"], zones, float(fields["confidence"]), start)
        return (*known, int(fields["sequence"]), line.strip())
    except (ValueError, KeyError, TypeError):
        return None


def _conditions(wanted: EventFilter) -> tuple[list[str], list[Any]]:
    known: list[tuple[str, Any]] = [
        ("camera = ?", wanted.camera),
        ("class = ? COLLATE NOCASE", wanted.class_name),
        ("start >= ?", wanted.start),
        ("start < ?", wanted.end),
        ("confidence >= ?", wanted.min_confidence),
    ]
    clauses = [clause for clause, value in known if value is not None]
    values = [value for _, value in known if value is not None]
    if wanted.zone is not None:
        clauses, values = [*clauses, "instr(zones, ?) > 0"], [*values, f"{_ZONE_END}{wanted.zone}{_ZONE_END}"]
    if wanted.before is not None:
        clauses, values = [*clauses, "(start, id) < (?, ?)"], [*values, *wanted.before]
    return clauses, values
