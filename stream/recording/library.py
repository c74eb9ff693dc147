"""One camera's part of the recordings: its files, their rows in the index, and the right to write them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from stream.errors import SinkError
from stream.locks import FileLock
from stream.recording.demand import Kind
from stream.recording.index import RecordingIndex
from stream.recording.names import candidates
from stream.sinks.base import write_failure
from stream.sinks.guarded import GuardedFile
from stream.sinks.names import safe_name

LOCK_NAME = ".recording"

# Rows that wait for an index which cannot be written; a day of segments. What is lost is found at the next start.
OWED_ROWS = 2000

OpenFile = Callable[[Path], GuardedFile]


def new_file(path: Path) -> GuardedFile:
    """A file that did not exist. Raises SinkError."""
    return GuardedFile(path, anew=True)


class Library:
    """Makes and completes the files of one camera; for the recorder's thread.

    An index that fails (a full disk) never stops a recording: its rows are made later, in order.
    """

    def __init__(self, camera: str, index: RecordingIndex, *, annotated: bool, open_file: OpenFile = new_file) -> None:
        self._camera = camera
        self._index = index
        self._annotated = annotated
        self._open_file = open_file
        self._lock = FileLock(index.folder / safe_name(camera) / LOCK_NAME)
        self._claimed = False
        self._owed: deque[Callable[[], object]] = deque(maxlen=OWED_ROWS)

    @property
    def folder(self) -> Path:
        """Where the camera's files are."""
        return self._lock.path.parent

    def claim(self) -> str | None:
        """Become the only one that records this camera here, and complete what a killed process left.

        None once it is so (then a call costs nothing), else a sentence's end that says why not.
        """
        if self._claimed:
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._lock.try_acquire():
                return f"another process records it in {self.folder}"
            self._index.salvage(self._camera)
        except OSError as error:
            return f"{self.folder} cannot be written ({(error.strerror or str(error)).lower()})"
        except SinkError as error:
            return str(error)
        self._claimed = True
        return None

    def release(self) -> None:
        """Write the rows that are owed, and let others record the camera."""
        self.settle()
        self._lock.release()
        self._claimed = False

    def begin(
        self, kind: Kind, event_id: str | None, started_at: float, suffix: str
    ) -> tuple[PurePosixPath, GuardedFile]:
        """A new file and its path below the folder. Raises SinkError."""
        names = candidates(self._camera, started_at, kind, event_id, annotated=self._annotated, suffix=suffix)
        try:
            path = next(path for path in names if not self.absolute(path).exists())
        except OSError as error:
            raise write_failure(self.folder, error) from error
        self._note(lambda: self._index.begin(path, self._camera, kind, started_at))
        try:
            return path, self._open_file(self.absolute(path))
        except SinkError:
            self._note(lambda: self._index.forget([path]))
            raise

    def finish(self, path: PurePosixPath, ended_at: float, size_bytes: int) -> None:
        """The file is complete and closed."""
        self._note(lambda: self._index.finish(path, ended_at, size_bytes))

    def discard(self, path: PurePosixPath) -> None:
        """Nothing in the file can be played."""
        with suppress(OSError):  # else it stays in the index as unfinished, and is looked at again at the next start
            self.absolute(path).unlink(missing_ok=True)
            self._note(lambda: self._index.forget([path]))

    def mark(self, path: PurePosixPath, event_id: str, at: float) -> None:
        """The event can be seen in the file."""
        self._note(lambda: self._index.mark(path, event_id, at))

    def mark_between(self, start: float, end: float, event_id: str, at: float) -> None:
        """The event can be seen in all complete files that overlap ``start`` to ``end``."""
        self._note(lambda: self._index.mark_between(self._camera, start, end, event_id, at))

    def settle(self) -> None:
        """Write the rows that are owed, as far as the index takes them."""
        while self._owed:
            try:
                self._owed[0]()
            except SinkError:
                return
            self._owed.popleft()

    def _note(self, row: Callable[[], object]) -> None:
        self._owed.append(row)
        self.settle()

    def absolute(self, path: PurePosixPath) -> Path:
        """Where a file that is named by its path below the folder is."""
        return self._index.folder / path
