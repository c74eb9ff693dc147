"""Which recordings give way, and the thread that deletes them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from stream.errors import SinkError
from stream.recording.disk import GIGABYTE, DiskFloor
from stream.recording.index import Recording, RecordingIndex
from stream.recording.settings import RecordSettings

log = logging.getLogger(__name__)

EVERY_S = 30.0
"""How often the recordings are looked through; at the floor of the disk at once."""

CANDIDATES = 500
"""Recordings of a camera that are considered at a time, of each kind; where all go, the next ones follow at once."""

EVENTFUL_WEIGHT = 2.0
"""Where space decides, what somebody or something asked for counts as so many times younger than it is."""

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept of a camera: None sets no limit.

    Where neither is set, nothing of it is ever deleted, not even on a full disk.
    """

    age_s: float | None = None
    size_bytes: int | None = None

    @classmethod
    def of(cls, settings: RecordSettings) -> Keep:
        age_s = None if settings.keep_days is None else settings.keep_days * _DAY_S
        size_bytes = None if settings.keep_gb is None else int(settings.keep_gb * GIGABYTE)
        return cls(age_s, size_bytes)

    @property
    def rotates(self) -> bool:
        """Whether old recordings may be deleted for new ones."""
        return self.age_s is not None or self.size_bytes is not None


@dataclass(frozen=True, slots=True)
class Stock:
    """A camera's oldest complete recordings, and the bytes of all its complete ones."""

    keep: Keep
    recordings: Sequence[Recording]
    total_bytes: int


def plan(stocks: Sequence[Stock], now: float, missing_bytes: int = 0) -> list[Recording]:
    """What to delete at ``now`` (seconds since the epoch), in this order.

    First what is older than its camera allows, then what exceeds its camera's size, then, over all cameras that
    rotate, what the disk still misses. Space is made of the oldest, where recordings with events in them count as
    half as old: they outlive the others without ever crowding them out.
    """
    doomed: dict[Path, Recording] = {}
    for stock in stocks:
        aged = [each for each in stock.recordings if _too_old(each, stock.keep, now)]
        doomed |= {each.path: each for each in aged}
        if stock.keep.size_bytes is not None:
            excess_bytes = stock.total_bytes - stock.keep.size_bytes - _bytes_of(aged)
            _doom(doomed, stock.recordings, excess_bytes, now)
    rotating = [each for stock in stocks if stock.keep.rotates for each in stock.recordings]
    _doom(doomed, rotating, missing_bytes - _bytes_of(doomed.values()), now)
    return list(doomed.values())


def _too_old(recording: Recording, keep: Keep, now: float) -> bool:
    return keep.age_s is not None and _age_s(recording, now) > keep.age_s


def _doom(doomed: dict[Path, Recording], candidates: Sequence[Recording], excess_bytes: int, now: float) -> None:
    """Add the first to go to ``doomed`` until there is no excess."""
    for each in sorted(candidates, key=lambda recording: (-_rank(recording, now), recording.path)):
        if excess_bytes <= 0:
            return
        if each.path not in doomed:
            doomed[each.path] = each
            excess_bytes -= each.size_bytes


def _rank(recording: Recording, now: float) -> float:
    age_s = _age_s(recording, now)
    # A clock that was set back leaves recordings of the future: they stay youngest.
    return age_s / EVENTFUL_WEIGHT if recording.eventful and age_s > 0 else age_s


def _age_s(recording: Recording, now: float) -> float:
    return now - (recording.started_at if recording.ended_at is None else recording.ended_at)


def _bytes_of(recordings: Iterable[Recording]) -> int:
    return sum(each.size_bytes for each in recordings)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one look through the recordings deleted."""

    files: int = 0
    size_bytes: int = 0


class Retention:
    """Deletes what need not be kept, of the files in the index and below its folder alone.

    ``keeps`` says at each look what is kept of which camera; recordings of cameras it does not name stay.
    """

    def __init__(
        self,
        index: RecordingIndex,
        keeps: Callable[[], Mapping[str, Keep]],
        floor: DiskFloor,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.time,
        on_note: Callable[[str], None] = log.warning,
    ) -> None:
        self._index = index
        self._keeps = keeps
        self._floor = floor
        self._every_s = every_s
        self._clock = clock
        self._on_note = on_note
        self._troubles: set[str] = set()
        self._wanted = threading.Event()
        self._quit = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look now: a recording has paused for want of room."""
        self._wanted.set()

    def close(self, timeout_s: float) -> bool:
        """End; False where the disk still hangs: then the thread is left behind."""
        self._quit.set()
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def sweep(self, now: float) -> Swept:
        """Look through the recordings once, at ``now`` (seconds since the epoch), and delete what may go.

        Raises SinkError where the index cannot be used.
        """
        files = size_bytes = 0
        while not self._quit.is_set():
            doomed = plan(self._stocks(), now, self._missing_bytes())
            gone = [each for each in doomed if self._delete(each)]
            self._index.forget(PurePosixPath(each.path.relative_to(self._index.folder)) for each in gone)
            self._remove_empty_days({each.path.parent for each in gone}, now)
            files, size_bytes = files + len(gone), size_bytes + _bytes_of(gone)
            if len(gone) < CANDIDATES:
                break
        return Swept(files, size_bytes)

    def _stocks(self) -> list[Stock]:
        keeps = self._keeps()
        return [
            Stock(keep, self._candidates(total.camera), total.size_bytes)
            for total in self._index.totals()
            if (keep := keeps.get(total.camera)) is not None and keep.rotates
        ]

    def _candidates(self, camera: str) -> list[Recording]:
        plain = self._index.oldest(camera, eventful=False, limit=CANDIDATES)
        return plain + self._index.oldest(camera, eventful=True, limit=CANDIDATES)

    def _missing_bytes(self) -> int:
        try:
            return self._floor.missing_bytes()
        except OSError as error:
            self._say(f"the disk of {self._index.folder} cannot be looked at: {error.strerror or error}")
            return 0

    def _delete(self, recording: Recording) -> bool:
        """Whether the file is gone; a path that leads out of the folder is never followed."""
        try:
            if not recording.path.parent.resolve().is_relative_to(self._index.folder.resolve()):
                self._say(f"{recording.path} leads out of {self._index.folder}: it is not deleted")
                return False
            recording.path.unlink(missing_ok=True)
        except OSError as error:
            self._say(f"old recordings in {recording.path.parent} cannot be deleted: {error.strerror or error}")
            return False
        return True

    def _remove_empty_days(self, folders: set[Path], now: float) -> None:
        """Today's folder stays, a file may be about to be made there; others that are not empty refuse."""
        today = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
        for folder in folders:
            if folder.name < today:
                with suppress(OSError):
                    folder.rmdir()

    def _say(self, trouble: str) -> None:
        if trouble not in self._troubles:
            self._troubles.add(trouble)
            self._on_note(trouble)

    def _run(self) -> None:
        self._attempt(self._reconcile)
        while not self._quit.is_set():
            self._wanted.clear()
            self._attempt(lambda: self.sweep(self._clock()))
            if not self._quit.is_set():
                self._wanted.wait(self._every_s)

    def _reconcile(self) -> None:
        adopted, forgotten = self._index.reconcile()
        if adopted or forgotten:
            log.info("%s: %d recordings found, %d gone", self._index.folder, adopted, forgotten)

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except SinkError as error:
            self._say(f"old recordings are not deleted: {error}")
