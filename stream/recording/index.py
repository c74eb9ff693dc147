"""What was recorded when: one SQLite file beside the recordings, which can be made anew from them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stream.database import Database
from stream.errors import SinkError
from stream.recording import salvage
from stream.recording.demand import Kind
from stream.recording.names import parse

log = logging.getLogger(__name__)

INDEX_NAME = "recordings.db"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS recordings (
    path TEXT PRIMARY KEY,
    camera TEXT NOT NULL,
    kind TEXT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL,
    bytes INTEGER NOT NULL,
    eventful INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS recordings_by_time ON recordings (camera, started_at);
CREATE INDEX IF NOT EXISTS recordings_by_age ON recordings (camera, eventful, ended_at);
CREATE TABLE IF NOT EXISTS marks (
    path TEXT NOT NULL REFERENCES recordings (path) ON DELETE CASCADE,
    event_id TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (event_id, path)
);
CREATE INDEX IF NOT EXISTS marks_by_path ON marks (path);
"""
_COLUMNS = """path, camera, kind, started_at, ended_at, bytes,
    (SELECT json_group_array(event_id) FROM marks WHERE marks.path = recordings.path)"""
# A file that is being written has no end yet: it overlaps all that comes.
_FOREVER = 9e15


@dataclass(frozen=True, slots=True)
class Recording:
    """One file. Times are seconds since the epoch; ``ended_at`` is None while it is written."""

    path: Path
    camera: str
    kind: Kind
    started_at: float
    ended_at: float | None
    size_bytes: int
    events: tuple[str, ...] = ()

    @property
    def eventful(self) -> bool:
        """Whether somebody or something asked for it."""
        return self.kind != "continuous" or bool(self.events)


@dataclass(frozen=True, slots=True)
class Total:
    """What there is of one camera, without the file that is being written."""

    camera: str
    size_bytes: int
    oldest_end: float


class RecordingIndex:
    """The recordings below one folder, of all cameras; for any threads and processes.

    A row is made before its file: a file without one was not made by a living process. Raises OutputError where it
    cannot be opened; SinkError where a later call fails.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._database = Database(self.folder / INDEX_NAME, _SCHEMA)

    def close(self) -> None:
        """Let go of the file; a later call opens it again."""
        self._database.close()

    def begin(self, path: PurePosixPath, camera: str, kind: Kind, started_at: float) -> None:
        """A file is about to be written at ``path`` (below the folder)."""
        row = (str(path), camera, kind, started_at, kind != "continuous")
        sql = "INSERT OR REPLACE INTO recordings VALUES (?, ?, ?, ?, NULL, 0, ?)"
        self._database.run(lambda connection: connection.execute(sql, row))

    def finish(self, path: PurePosixPath, ended_at: float, size_bytes: int) -> None:
        """The file at ``path`` is complete."""
        sql = "UPDATE recordings SET ended_at = ?, bytes = ? WHERE path = ?"
        self._database.run(lambda connection: connection.execute(sql, (ended_at, size_bytes, str(path))))

    def forget(self, paths: Iterable[PurePosixPath]) -> None:
        """These files are gone."""
        rows = [(str(path),) for path in paths]
        self._database.run(lambda connection: connection.executemany("DELETE FROM recordings WHERE path = ?", rows))

    def mark(self, path: PurePosixPath, event_id: str, at: float) -> None:
        """The event of ``at`` can be seen (also) in the file at ``path``."""
        self._mark("path = ?", (str(path),), event_id, at)

    def mark_between(self, camera: str, start: float, end: float, event_id: str, at: float) -> None:
        """The event of ``at`` can be seen in every complete file of a camera that overlaps ``start`` to ``end``."""
        self._mark("camera = ? AND ended_at > ? AND started_at < ?", (camera, start, end), event_id, at)

    def find(
        self,
        *,
        camera: str | None = None,
        start: float = 0.0,
        end: float = _FOREVER,
        limit: int = 100,
        after: Recording | None = None,
        newest_first: bool = False,
    ) -> list[Recording]:
        """The recordings that overlap ``start`` to ``end``, the earliest first unless told otherwise; ``after``
        continues a list."""
        clauses = ["started_at < ?", "COALESCE(ended_at, ?) > ?"]
        values: list[Any] = [end, _FOREVER, start]
        if camera is not None:
            clauses, values = [*clauses, "camera = ?"], [*values, camera]
        if after is not None:
            beyond = "<" if newest_first else ">"
            clauses = [*clauses, f"(started_at, path) {beyond} (?, ?)"]
            values += [after.started_at, self._key(after)]
        order = "started_at DESC, path DESC" if newest_first else "started_at, path"
        return self._select(f"{' AND '.join(clauses)} ORDER BY {order} LIMIT ?", (*values, limit))

    def unfinished(self, camera: str) -> list[Recording]:
        """The files of a camera that are being written, or were when their process was killed."""
        return self._select("camera = ? AND ended_at IS NULL ORDER BY started_at", (camera,))

    def oldest(self, camera: str, *, eventful: bool, limit: int) -> list[Recording]:
        """The complete recordings of a camera that ended first, with or without events in them."""
        where = "camera = ? AND eventful = ? AND ended_at IS NOT NULL ORDER BY ended_at, path LIMIT ?"
        return self._select(where, (camera, eventful, limit))

    def totals(self) -> list[Total]:
        """How much there is of each camera."""
        sql = "SELECT camera, SUM(bytes), MIN(ended_at) FROM recordings WHERE ended_at IS NOT NULL GROUP BY camera"
        return self._database.run(lambda connection: [Total(*row) for row in connection.execute(sql)])

    def clip_of(self, event_id: str) -> Path | None:
        """The file in which an event begins, else the first in which it can be seen."""
        sql = (
            "SELECT path FROM marks JOIN recordings USING (path) WHERE event_id = ?"
            " ORDER BY (started_at <= at AND COALESCE(ended_at, ?) >= at) DESC, started_at LIMIT 1"
        )
        row = self._database.run(lambda connection: connection.execute(sql, (event_id, _FOREVER)).fetchone())
        return None if row is None else self.folder / row[0]

    def salvage(self, camera: str) -> int:
        """Complete what a killed process left of a camera, which nobody may be recording now; how many files."""
        left = self.unfinished(camera)
        for recording in left:
            self._complete(recording)
        return len(left)

    def reconcile(self) -> tuple[int, int]:
        """Index files that are not in the index, forget rows without a file; how many of each.

        A recording without its row is rare, a lost index: then this opens every file.
        """
        there = self._listed()
        sql = "SELECT path, ended_at FROM recordings"
        rows = dict(self._database.run(lambda connection: connection.execute(sql).fetchall()))
        missing = [path for path, ended_at in rows.items() if ended_at is not None and path not in there]
        # Asked once more: recordings go on while the folders are listed.
        gone = [PurePosixPath(path) for path in missing if _is_gone(self.folder / path)]
        self.forget(gone)
        return sum(self._adopt(PurePosixPath(path)) for path in sorted(there - rows.keys())), len(gone)

    def _listed(self) -> set[str]:
        """The files where recordings may be, below the folder."""
        try:
            return {path.relative_to(self.folder).as_posix() for path in self.folder.glob("*/*/*") if path.is_file()}
        except OSError as error:
            raise SinkError(f"cannot look through {self.folder}: {error.strerror or error}") from error

    def _complete(self, recording: Recording) -> None:
        path = PurePosixPath(self._key(recording))
        found = None
        try:
            if recording.path.exists():
                salvage.trim(recording.path)
                found = salvage.look(recording.path)
        except SinkError as error:
            log.warning("A recording that a killed process left stays as it is: %s", error)
            self.forget([path])
            return
        if found is None:
            recording.path.unlink(missing_ok=True)  # killed before the first second was written
            self.forget([path])
            return
        self.finish(path, recording.started_at + found.duration_s, recording.path.stat().st_size)

    def _adopt(self, path: PurePosixPath) -> bool:
        named = parse(path)
        if named is None:
            return False
        try:
            found = salvage.look(self.folder / path)
        except SinkError as error:
            log.warning("A recording that is not in the index stays so: %s", error)
            return False
        if found is None:
            return False
        started_at = named.started_at if found.started_at is None else found.started_at
        self.begin(path, found.camera or named.camera, named.kind, started_at)
        if named.event_id is not None:
            self.mark(path, named.event_id, started_at)
        with suppress(FileNotFoundError):
            self.finish(path, started_at + found.duration_s, (self.folder / path).stat().st_size)
        return True

    def _mark(self, where: str, values: tuple[Any, ...], event_id: str, at: float) -> None:
        def mark(connection: Any) -> None:
            paths = [path for (path,) in connection.execute(f"SELECT path FROM recordings WHERE {where}", values)]  # noqa: S608 - where is one of ours
            rows = [(path, event_id, at) for path in paths]
            connection.executemany("INSERT OR IGNORE INTO marks VALUES (?, ?, ?)", rows)
            connection.executemany("UPDATE recordings SET eventful = 1 WHERE path = ?", [(path,) for path in paths])

        self._database.run(mark)

    def _select(self, where: str, values: Sequence[Any]) -> list[Recording]:
        sql = f"SELECT {_COLUMNS} FROM recordings WHERE {where}"  # noqa: S608 - where is one of ours
        rows = self._database.run(lambda connection: connection.execute(sql, tuple(values)).fetchall())
        return [self._recording(row) for row in rows]

    def _recording(self, row: Sequence[Any]) -> Recording:
        path, camera, kind, started_at, ended_at, size_bytes, events = row
        return Recording(
            self.folder / path, camera, kind, started_at, ended_at, size_bytes, tuple(sorted(json.loads(events)))
        )

    def _key(self, recording: Recording) -> str:
        return recording.path.relative_to(self.folder).as_posix()


def _is_gone(path: Path) -> bool:
    """Whether there surely is no such file; a folder that cannot be looked into says nothing."""
    try:
        return not path.exists()
    except OSError:
        return False
