"""The frame process's side of MLflow: records go to a spool on disk, and a child process is started to deliver them.

Nothing here waits for a server, and no call touches the disk on the caller's thread: a thread of the journal does.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from stream.errors import OutputError, SinkError
from stream.home import home
from stream.locks import FileLock
from stream.spool import Spool
from stream.telemetry import MlflowSettings, records
from stream.telemetry.child import CourierProcess
from stream.telemetry.destination import Destination, destination, trouble_with
from stream.telemetry.records import ArtifactRef, Record, RunDescription
from stream.windows import RunTotals

log = logging.getLogger(__name__)

# Records that wait for the journal's own thread, which only a disk that hangs lets pile up: 40 minutes of windows.
QUEUE_RECORDS = 256

# What waits for a server longer than this is given up.
MAX_AGE_S = 30 * 86400.0

# How long the end of a run waits for its last records to reach the disk: first for room in the queue, then at the end.
LAST_RECORDS_S = 5.0

# The same where the end of a run is told to wait less than this for delivery.
LEAST_WAIT_S = 1.0

# A courier that ended by itself is not started again sooner than this.
RESTART_DELAY_S = 60.0


class _Order(Enum):
    START_COURIER = "start the courier"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a session ended: whether MLflow has all of it, and if not, one sentence saying what waits where."""

    complete: bool
    sentence: str = ""


def open_journal(settings: MlflowSettings, project: Path, state: Path) -> Journal | None:
    """A journal for the store that ``settings`` and ``project`` name, with its spool in the ``state`` folder.

    None where logging is off, or, with a warning, where no spool can be kept.
    Raises UsageError for a URI that is no tracking store.
    """
    if not settings.enabled:
        return None
    where = destination(settings, project)
    if trouble := trouble_with(where):
        log.warning("This run waits on disk for MLflow: %s.", trouble)
    try:
        spool = open_spool(state, max_bytes=settings.spool_max_mb * 1_000_000)
    except OutputError as exc:
        log.warning("This run is not logged to MLflow: %s", exc)
        return None
    return Journal(spool, settings, where)


def open_journal_at_home(settings: MlflowSettings, project: Path) -> Journal | None:
    """:func:`open_journal` with its spool in the user's state folder; None, with a warning, where there is none."""
    if not settings.enabled:
        return None
    try:
        return open_journal(settings, project, home())
    except OutputError as exc:
        log.warning("This run is not logged to MLflow: %s", exc)
        return None


def open_spool(state: Path, *, max_bytes: int) -> Spool:
    """The spool of records for MLflow in the ``state`` folder. Raises OutputError."""
    return Spool(state / "mlflow" / "spool.db", max_bytes=max_bytes, max_age_s=MAX_AGE_S)


def session_lock(spool_path: Path, session: str) -> Path:
    """The lock that the owner of a session holds while it lives."""
    return spool_path.parent / "sessions" / f"{session}.lock"


class Journal:
    """One MLflow run: ``begin``, ``window`` after ``window``, ``finish``, ``close``.

    ``begin`` and ``window`` return at once, the calls at the end wait within bounds, and none raises for what goes
    wrong outside: the first failure is one warning, and records that could not be kept are counted in ``lost``.
    Call from one thread.
    """

    def __init__(self, spool: Spool, settings: MlflowSettings, where: Destination) -> None:
        self.session = uuid.uuid4().hex
        self.lost = 0
        self._spool = spool
        self._settings = settings
        self._where = where
        self._queue: queue.Queue[Record | _Order] = queue.Queue(QUEUE_RECORDS)
        self._lock = FileLock(session_lock(spool.path, self.session))
        self._courier = CourierProcess(spool.path, self.session, where.shown)
        self._restart_at_s: float | None = None
        self._warned = False
        self._courier_ordered = False
        self._thread: threading.Thread | None = None

    def begin(self, description: RunDescription) -> None:
        """Start the session; the MLflow run is made when the courier first reaches the server."""
        self._thread = threading.Thread(target=self._work, name="mlflow-journal", daemon=True)
        self._thread.start()
        self._put(records.begin(description, self._where))

    def start_courier(self) -> None:
        """Start the child process that delivers; call it after the first detection, again does nothing."""
        if not self._courier_ordered and self._thread is not None:
            self._courier_ordered = True
            self._put(_Order.START_COURIER)

    def window(self, metrics: Mapping[str, float], step: int, at: float) -> None:
        """One window's metrics; ``step`` counts windows, ``at`` is its end in seconds since the epoch."""
        self._put(records.window(metrics, step, at))

    def run_id(self) -> str | None:
        """The MLflow run's id; None before the courier has reached the server. Reads the spool's disk."""
        if self._thread is None:
            return None
        try:
            items = self._spool.peek(1, self.session)
        except SinkError:
            return None
        found = records.decode(items[0].payload).get("run_id") if items else None
        return None if found is None else str(found)

    def artifact(self, reference: ArtifactRef) -> None:
        """A file that is complete while the run goes on."""
        self._put(records.artifact(reference))

    def finish(
        self,
        status: str,
        metrics: Mapping[str, float],
        at: float,
        artifacts: Sequence[ArtifactRef] = (),
        totals: Mapping[str, RunTotals] | None = None,
    ) -> None:
        """The end of the run at ``at`` (seconds since the epoch); waits up to LAST_RECORDS_S for a slow disk.

        ``status`` is MLflow's FINISHED, FAILED or KILLED. ``totals`` by camera (one alone: "")
        become the closing pictures, the table at the top of the run's page and the metrics below ``summary/``;
        ``metrics`` are logged beside them under the names they have.
        """
        # no frame is held up any more, and hundreds of files come faster than a disk takes them
        deadline_s = time.monotonic() + LAST_RECORDS_S
        for reference in artifacts:
            self._put(records.artifact(reference), deadline_s)
        note = ""
        if totals:
            self._put(records.pictures(totals), deadline_s)
            metrics = records.summary_metrics(totals) | dict(metrics)
            note = records.summary_table(totals)
        self._put(records.finish(status, metrics, at, note), deadline_s)

    def close(self, wait_s: float | None = None) -> Delivery:
        """Wait up to ``wait_s`` (default: the settings' ``flush_s``) for delivery; what is left waits on disk.

        A second or so beyond ``wait_s`` may pass while a courier that is in the middle of something is ended.
        """
        deadline_s = time.monotonic() + (self._settings.flush_s if wait_s is None else wait_s)
        if self._thread is None:
            return Delivery(complete=True)
        if deadline_s > time.monotonic():
            self.start_courier()
        self._stop(self._thread, max(deadline_s, time.monotonic() + LEAST_WAIT_S))
        self._courier.finish(deadline_s)
        delivery = self._delivery()
        self._lock.release()
        return delivery

    def leave(self) -> Delivery:
        """Leave the rest to the courier, which outlives this process by the seconds it needs.

        Where it reported trouble or is gone, nothing is left to it: what waits is said, as :meth:`close` does.
        """
        if self._thread is None:
            return Delivery(complete=True)
        self._stop(self._thread, time.monotonic() + LAST_RECORDS_S)
        if self._courier.trouble or not self._courier.is_running():
            return self.close(0.0)
        self._courier.leave()
        self._spool.close()
        self._lock.release()
        return self._losses()

    def _delivery(self) -> Delivery:
        try:
            waiting = self._spool.depth(self.session)
        except SinkError as exc:
            return Delivery(complete=False, sentence=str(exc))
        finally:
            self._spool.close()
        if waiting:
            reason = f" ({self._courier.trouble})" if self._courier.trouble else ""
            return Delivery(
                complete=False,
                sentence=f"{waiting} MLflow records of this run wait in {self._spool.path}{reason}; "
                f"the next run delivers them to {self._where.shown}.",
            )
        return self._losses()

    def _losses(self) -> Delivery:
        if self.lost:
            return Delivery(complete=False, sentence=f"{self.lost} MLflow records were lost.")
        return Delivery(complete=True)

    def _stop(self, thread: threading.Thread, deadline_s: float) -> None:
        """Let the journal's thread keep what it has been given, until the monotonic ``deadline_s``."""
        with suppress(queue.Full):
            self._queue.put(_Order.STOP, timeout=max(deadline_s - time.monotonic(), 0.0))
        thread.join(max(deadline_s - time.monotonic(), 0.0))

    def _put(self, entry: Record | _Order, deadline_s: float = 0.0) -> None:
        """Hand over to the journal's thread, waiting for room until the monotonic ``deadline_s``."""
        try:
            self._queue.put(entry, timeout=max(deadline_s - time.monotonic(), 0.0))
        except queue.Full:
            self._lose(f"the disk of {self._spool.path} does not keep up")

    def _lose(self, reason: str, count: int = 1) -> None:
        self.lost += count
        if not self._warned:
            self._warned = True
            log.warning("MLflow records are being lost: %s.", reason.rstrip("."))

    def _work(self) -> None:
        while (entry := self._queue.get()) is not _Order.STOP:
            if entry is _Order.START_COURIER:
                self._restart_at_s = time.monotonic()
            elif isinstance(entry, dict):
                self._keep(entry)
            self._tend_courier()

    def _keep(self, record: Record) -> None:
        now_s = time.time()
        try:
            if record["kind"] == records.BEGIN:
                # before the record: a session without a held lock counts as one whose owner died
                self._lock.try_acquire()
            self._spool.append(self.session, records.encode(record), now_s, records.VALUES[record["kind"]])
            trimmed = self._spool.trim(now_s)
        except (SinkError, OSError) as exc:
            self._lose(str(exc))
            return
        if trimmed:
            causes = " and ".join(f"{count} by {cause}" for cause, count in trimmed.items())
            self._lose(f"too much waits in {self._spool.path}, dropped {causes}", sum(trimmed.values()))
        self._courier.nudge()

    def _tend_courier(self) -> None:
        """Start the courier when it is due: when first ordered, or some time after it ended by itself."""
        now_s = time.monotonic()
        if self._restart_at_s is None or now_s < self._restart_at_s or self._courier.is_running():
            return
        self._restart_at_s = now_s + RESTART_DELAY_S
        try:
            self._courier.start(os.environ)
        except OSError as exc:
            log.warning("MLflow records wait on disk: no child process can be started (%s).", exc)
