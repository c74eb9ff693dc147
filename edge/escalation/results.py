"""What the cloud answered, on disk: one row a key whatever is sent or said twice; and what was spent for it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.escalation.budget import DAY_S, Expense
from edge.escalation.parcel import Parcel, TrackKey
from stream.database import Database
from stream.frame import Refinement

MOST_ANSWERS = 100_000
"""Rows that are kept, the newest: a key that is older than all of them waits in no queue any more."""

TRIM_EVERY_ANSWERS = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    run TEXT NOT NULL,
    answered_s REAL NOT NULL,
    written INTEGER NOT NULL DEFAULT 0,
    document TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_unwritten ON answers (written) WHERE written = 0;
CREATE TABLE IF NOT EXISTS expenses (
    topic TEXT NOT NULL,
    minute INTEGER NOT NULL,
    spent_s REAL NOT NULL,
    bytes INTEGER NOT NULL,
    items INTEGER NOT NULL,
    PRIMARY KEY (topic, minute)
);
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the cloud says of one crop. ``agreement`` is between 0 and 1, None where the classes cannot be compared;
    ``top`` are further labels with their confidences. With an ``error`` there is no label."""

    label: str = ""
    confidence: float = 0.0
    agreement: float | None = None
    model: str = ""
    model_version: str = ""
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict with whose it is. Times are seconds since the epoch, but for ``pts_s`` of the source."""

    key: str
    track: TrackKey
    run: str
    class_name: str
    confidence: float
    bbox: tuple[float, float, float, float]
    frame: int
    pts_s: float
    frame_time_s: float
    answered_s: float
    verdict: Verdict

    @property
    def refinement(self) -> Refinement | None:
        said = self.verdict
        return None if said.error else Refinement(said.label, said.confidence, said.model, self.class_name)


def answer_to(parcel: Parcel, verdict: Verdict, answered_s: float) -> Answer:
    return Answer(
        key=parcel.key,
        track=parcel.track,
        run=parcel.run,
        class_name=parcel.class_name,
        confidence=parcel.confidence,
        bbox=parcel.bbox,
        frame=parcel.frame,
        pts_s=parcel.pts_s,
        frame_time_s=parcel.frame_time_s,
        answered_s=answered_s,
        verdict=verdict,
    )


class ResultStore:
    """Answers by key, shared by all processes of a user. For any thread.

    A key is written once: :meth:`put` of a key that is there changes nothing. Raises OutputError where the file
    cannot be opened, SinkError where a call fails.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA, what="result store")
        self._put_since_trim = 0

    def put(self, answers: Sequence[Answer]) -> list[Answer]:
        """Keep the answers; those that are new."""

        def insert(connection: sqlite3.Connection) -> list[Answer]:
            sql = (
                "INSERT INTO answers (key, run, answered_s, document) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
            )
            rows = ((each, (each.key, each.run, each.answered_s, _document(each))) for each in answers)
            return [each for each, row in rows if connection.execute(sql, row).rowcount == 1]

        new = self._database.run(insert)
        self._put_since_trim += len(new)
        if self._put_since_trim >= TRIM_EVERY_ANSWERS:
            self._trim()
        return new

    def known(self, keys: Collection[str]) -> set[str]:
        """Those of the keys that are answered."""
        sql = "SELECT 1 FROM answers WHERE key = ?"
        return self._database.run(
            lambda connection: {key for key in keys if connection.execute(sql, (key,)).fetchone() is not None}
        )

    def newest_id(self) -> int:
        sql = "SELECT COALESCE(MAX(id), 0) FROM answers"
        return self._database.run(lambda connection: int(connection.execute(sql).fetchone()[0]))

    def after(self, row_id: int, run: str) -> list[tuple[int, Answer]]:
        """What was answered for a run behind that row, by whichever process, in order."""
        sql = "SELECT id, document FROM answers WHERE id > ? AND run = ? ORDER BY id"
        rows = self._database.run(lambda connection: connection.execute(sql, (row_id, run)).fetchall())
        return [(found_id, _answer(document)) for found_id, document in rows]

    def unwritten(self) -> list[Answer]:
        """Answers that did not reach their run's file before their process died."""
        sql = "SELECT document FROM answers WHERE written = 0 ORDER BY id"
        rows = self._database.run(lambda connection: connection.execute(sql).fetchall())
        return [_answer(document) for (document,) in rows]

    def set_written(self, keys: Collection[str]) -> None:
        sql = "UPDATE answers SET written = 1 WHERE key = ?"
        self._database.run(lambda connection: connection.executemany(sql, [(key,) for key in keys]))

    # What was spent.

    def spend(self, topic: str, spent_s: float, size_bytes: int, items: int) -> None:
        """Note what a request cost, to the minute; what is older than a day is forgotten."""
        sql = (
            "INSERT INTO expenses (topic, minute, spent_s, bytes, items) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (topic, minute) DO UPDATE SET spent_s = MAX(spent_s, excluded.spent_s), "
            "bytes = bytes + excluded.bytes, items = items + excluded.items"
        )

        def insert(connection: sqlite3.Connection) -> None:
            # also what a clock that was wrong put far into the future
            connection.execute("DELETE FROM expenses WHERE abs(spent_s - ?) > ?", (spent_s, DAY_S))
            connection.execute(sql, (topic, int(spent_s // 60), spent_s, size_bytes, items))

        self._database.run(insert)

    def expenses(self, topic: str, now_s: float) -> list[Expense]:
        """What was spent for an address within the last day, the oldest first."""
        sql = "SELECT spent_s, bytes, items FROM expenses WHERE topic = ? AND spent_s <= ? ORDER BY spent_s"
        rows = self._database.run(lambda connection: connection.execute(sql, (topic, now_s + DAY_S)).fetchall())
        return [Expense(max(0.0, now_s - spent_s), size_bytes, items) for spent_s, size_bytes, items in rows]

    def close(self) -> None:
        self._database.close()

    def _trim(self) -> None:
        self._put_since_trim = 0
        sql = "DELETE FROM answers WHERE id <= (SELECT MAX(id) FROM answers) - ?"
        self._database.run(lambda connection: connection.execute(sql, (MOST_ANSWERS,)))


def _document(answer: Answer) -> str:
    return json.dumps(asdict(answer), ensure_ascii=False, allow_nan=False)


def _answer(document: str) -> Answer:
    known: dict[str, Any] = json.loads(document)
    verdict = known.pop("verdict")
    verdict["top"] = tuple((str(label), float(confidence)) for label, confidence in verdict["top"])
    track = TrackKey(**known.pop("track"))
    return Answer(**{**known, "bbox": tuple(known["bbox"])}, track=track, verdict=Verdict(**verdict))
