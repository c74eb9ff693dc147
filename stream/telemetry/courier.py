"""The child process that delivers the spool to MLflow: ``python -m stream.telemetry.courier SPOOL SESSION``.

One courier works a spool at a time; others wait for its lock and take over when it ends. It delivers every session
that it finds, the oldest first, also those that former runs left behind. It ends when its parent has told it to finish
and nothing is left to do, or at once when its standard input ends, as it does when the parent dies. Whatever is not
delivered by then stays in the spool.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from stream.errors import VideoDiscoError
from stream.locks import FileLock, is_held
from stream.spool import Spool

if TYPE_CHECKING:
    from stream.telemetry.delivery import Deliverer, NotNowError, Session

log = logging.getLogger(__name__)

# How often the spool is looked at unasked: other processes append to it, and only our parent nudges us.
POLL_S = 1.0
# How often a waiting courier tries to take over, and a finishing one looks whether it is done.
SHORT_POLL_S = 0.1

# Pauses after failures: at random up to a bound that doubles, so that many edges do not come back at once.
BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 15.0
# Longer than the longest pause by far; a float ends at a thousand doublings, two hours of a server that is away.
_MOST_DOUBLINGS = 30

# A courier whose parent is gone ends by itself after the request it is in, and is ended after this.
ORPHAN_GRACE_S = 10.0

# One that was left behind on purpose finishes its work, and is ended after this.
LEFT_BEHIND_S = 60.0

# The courier yields the processor to the frame process.
NICENESS = 10

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    # repeating is the courier's own work, in longer steps and without blocking other stores
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    # a server may not ask for a pause of hours
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MPLBACKEND": "Agg",
}


class Orders:
    """What the parent says: nudges, to finish, to finish without it, and, by the end of input, to stop."""

    def __init__(self, source: IO[bytes]) -> None:
        self.finishing = False
        self.left_behind = False
        self.stopped = False
        self._source = source
        self._heard = threading.Event()

    def listen(self) -> None:
        """Read until the input ends; runs on a thread of its own."""
        for line in self._source:
            self.left_behind = self.left_behind or line.strip() == b"leave"
            self.finishing = self.finishing or self.left_behind or line.strip() == b"finish"
            self._heard.set()
        self.stopped = not self.left_behind
        self._heard.set()

    def wait(self, seconds: float) -> None:
        """Pause, cut short by whatever the parent says."""
        self._heard.wait(seconds)
        self._heard.clear()


@dataclass(slots=True)
class Backoff:
    """When a store or a session that failed may be tried again, in monotonic seconds."""

    failures: int = 0
    due_s: float = 0.0

    def fail(self, now_s: float, luck: float) -> None:
        """One more failure; ``luck`` in [0, 1) places the next try between the least pause and the bound."""
        self.failures += 1
        bound_s = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        self.due_s = now_s + BACKOFF_MIN_S + luck * (bound_s - BACKOFF_MIN_S)


class Courier:
    """Delivers all sessions of a spool until told to finish."""

    def __init__(self, spool: Spool, own_session: str, orders: Orders, deliverer: Deliverer, reports: IO[str]) -> None:
        self._spool = spool
        self._own_session = own_session
        self._orders = orders
        self._deliverer = deliverer
        self._reports = reports
        # by store, and by session for what is no fault of the store
        self._backoffs: defaultdict[str, Backoff] = defaultdict(Backoff)
        self._failed_at_s: dict[str, float] = {}
        self._in_trouble = False
        self._last_try_given = False

    def run(self) -> None:
        while not self._orders.stopped:
            if self._orders.finishing and not self._last_try_given:
                self._last_try_given = True
                self._backoffs.clear()
            if self._round():
                continue
            if self._orders.finishing and self._own_session not in self._spool.topics():
                return
            self._orders.wait(SHORT_POLL_S if self._orders.finishing else POLL_S)

    def _round(self) -> bool:
        """One step for each session that has something to deliver; whether there was any."""
        moved = False
        for name in self._in_order(self._spool.topics()):
            if self._orders.stopped:
                return False
            # asked before its records are looked at: a dead owner adds none
            alive = name == self._own_session or is_held(self._lock_path(name))
            session = self._deliverer.session(name)
            if session is not None:
                moved = self._attempt(session, alive=alive) or moved
        return moved

    def _in_order(self, names: list[str]) -> list[str]:
        """The oldest first, but after those whose last failure is longer ago, so that all get their turn.

        Our own first when its run has ended and someone waits for it.
        """
        names = sorted(names, key=lambda name: self._failed_at_s.get(name, 0.0))
        return sorted(names, key=lambda name: name != self._own_session) if self._orders.finishing else names

    def _attempt(self, session: Session, *, alive: bool) -> bool:
        from stream.telemetry.delivery import NotNowError

        keys = (session.uri, session.name)
        if time.monotonic() < max(self._backoffs[key].due_s for key in keys):
            return False
        try:
            moved = self._deliverer.step(session)
            if not moved and not alive:
                self._deliverer.terminate(session)
        except NotNowError as exc:
            self._failed(session, exc)
            return False
        if moved:
            for key in keys:
                self._backoffs[key].failures = 0
            if self._in_trouble and session.name == self._own_session:
                self._report("")
        if session.name not in self._spool.topics():
            self._lock_path(session.name).unlink(missing_ok=True)
        return moved

    def _failed(self, session: Session, failure: NotNowError) -> None:
        from stream.telemetry.delivery import SessionNotNowError

        now_s = time.monotonic()
        key = session.name if isinstance(failure, SessionNotNowError) else session.uri
        self._backoffs[key].fail(now_s, random.random())  # noqa: S311 - spreads retries, keeps no secret
        self._failed_at_s[session.name] = now_s
        log.warning("not now: %s", failure)
        if session.name == self._own_session:
            self._report(str(failure))

    def _lock_path(self, name: str) -> Path:
        return self._spool.path.parent / "sessions" / f"{name}.lock"

    def _report(self, sentence: str) -> None:
        self._in_trouble = bool(sentence)
        if not self._orders.left_behind:
            _say(sentence, self._reports)


def _say(sentence: str, reports: IO[str]) -> None:
    """Tell the parent. Whether one that is gone wants us to carry on is said by our orders, not by its end."""
    with suppress(BrokenPipeError):
        print(json.dumps(sentence), file=reports, flush=True)


def work(spool: Spool, own_session: str, orders: Orders, reports: IO[str]) -> None:
    """Wait for the spool's courier lock, then deliver; nothing to do once our session is delivered by another."""
    with FileLock(spool.path.parent / "courier.lock") as lock:
        while not lock.try_acquire():
            orders.wait(SHORT_POLL_S)
            if orders.stopped or (orders.finishing and own_session not in spool.topics()):
                return
        from stream.telemetry.delivery import Deliverer

        Courier(spool, own_session, orders, Deliverer(spool), reports).run()


def _listen_and_expire(orders: Orders) -> None:
    orders.listen()
    time.sleep(LEFT_BEHIND_S if orders.left_behind else ORPHAN_GRACE_S)
    os._exit(0)


def _reports_apart() -> IO[str]:
    """The pipe to the parent for us alone; what libraries print goes to the log instead."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return reports


def main(arguments: list[str]) -> int:
    spool_path, own_session = Path(arguments[0]), arguments[1]
    reports = _reports_apart()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.environ.update(_ENVIRONMENT, MPLCONFIGDIR=str(spool_path.parent / "matplotlib"))
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    # unbuffered, for a buffer that a thread is reading cannot be closed when the interpreter ends
    orders = Orders(os.fdopen(0, "rb", buffering=0))
    threading.Thread(target=_listen_and_expire, args=(orders,), name="orders", daemon=True).start()
    try:
        # the bounds are the parent's affair: the courier never trims
        work(Spool(spool_path, max_bytes=sys.maxsize, max_age_s=float("inf")), own_session, orders, reports)
    except (VideoDiscoError, OSError, ImportError) as exc:
        log.exception("the courier ends")
        _say(str(exc), reports)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
