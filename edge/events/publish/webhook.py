"""Telling a web server: each change is posted, signed, in order, and waits on disk until it was taken.

Delivery is at least once: ``X-VideoDisco-Delivery`` is the same for every try of one change.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.events.event import EventChange, change_json
from edge.events.publish.base import backoff_s
from edge.events.publish.post import NotDeliveredError, Target, post
from edge.events.settings import WebhookSettings
from stream.errors import SinkError, UsageError
from stream.locks import FileLock
from stream.spool import Item, Spool

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 60.0

LONGEST_RETRY_AFTER_S = 300.0
"""No server may ask for a pause of hours."""

BATCH = 50
POLL_S = 1.0
"""How often the queue is looked at unasked: another process may have added to it, or have stopped working on it."""

TRIM_EVERY_S = 60.0

_TRY_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class WebhookStatistics:
    """Counts since the start. ``refused`` were answered with an error that no repetition mends, ``dropped`` grew too
    old or too many while the server was away (of all webhooks that share the queue), or found the disk full."""

    delivered: int
    refused: int
    dropped: int
    waiting: int


class WebhookPublisher:
    """Posts changes to one address from a thread of its own, as :class:`edge.events.publish.base.Publisher`.

    Changes wait in ``spool`` under a topic of the address, over restarts and shared with other processes, of which
    one at a time delivers. They are posted one after the other: one that the server cannot take now (network, 5xx,
    408, 425, 429) is tried until it is taken or too old, and those behind it wait; any other answer than 2xx drops it.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        spool: Spool,
        *,
        wall_clock: Callable[[], float] = time.time,
        luck: Callable[[], float] = random.random,
    ) -> None:
        """Raises UsageError when the file with certificates cannot be used."""
        url = settings.url.get_secret_value()
        try:
            self._target = Target.of(url, settings.ca_file)
        except OSError as exc:
            raise UsageError(
                f"cannot use the certificates {settings.ca_file}: {(exc.strerror or str(exc)).lower()}"
            ) from exc
        self._settings = settings
        self._spool = spool
        self._topic = hashlib.sha256(url.encode()).hexdigest()[:16]
        self._turn = FileLock(spool.path.with_name(f"{self._topic}.lock"))
        self._wall_clock = wall_clock
        self._luck = luck
        self._closing = threading.Event()
        self._left_behind = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"webhook:{settings.shown}", daemon=True)
        self._failures = 0
        self._trim_at_s = 0.0
        self._told_statuses: set[int] = set()
        self._spool_fails = False
        self._delivered = self._refused = self._dropped = 0

    def start(self) -> None:
        self._thread.start()

    def publish(self, change: EventChange) -> None:
        if change.type not in self._settings.events or self._closing.is_set():
            return
        delivery = f"{change.event.id}-{change.event.sequence}"
        payload = f"{delivery}\n{change_json(change)}".encode()
        try:
            self._spool.append(self._topic, payload, self._wall_clock())
        except SinkError as exc:
            self._dropped += 1
            self._say_of_spool(exc)
        else:
            self._spool_fails = False
            self._wake.set()

    def close(self, within_s: float) -> None:
        """What cannot be told in time stays in the queue for the next start."""
        self._closing.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(within_s)
        if self._thread.is_alive():
            self._left_behind.set()
            log.info("webhook %s: still waiting for an answer, left behind", self._settings.shown)

    def statistics(self) -> WebhookStatistics:
        """Raises SinkError when the queue cannot be read."""
        return WebhookStatistics(self._delivered, self._refused, self._dropped, self._spool.depth(self._topic))

    def _work(self) -> None:
        try:
            closing = more = False
            # The last round begins after the close: what was published just before it is told as well.
            while (more or not closing) and not self._left_behind.is_set():
                closing = self._closing.is_set()
                more = self._round()
        finally:
            self._turn.release()

    def _round(self) -> bool:
        """Deliver what is waiting, or pause; whether there may be more to do at once."""
        try:
            self._trim_when_due()
            items = self._spool.peek(BATCH, self._topic) if self._turn.try_acquire() else []
            for item in items:
                pause_s = self._deliver(item)
                if pause_s is not None:
                    self._closing.wait(pause_s)
                if pause_s is not None or self._left_behind.is_set():
                    return False
        except (SinkError, OSError) as exc:
            self._say_of_spool(exc)
            self._closing.wait(POLL_S)
            return False
        if not items and not self._closing.is_set():
            self._wake.wait(POLL_S)
            self._wake.clear()
        return bool(items)

    def _deliver(self, item: Item) -> float | None:
        """Try one; None when it is done with, else for how long to pause. Raises SinkError."""
        delivery, _, body = item.payload.partition(b"\n")
        now_s = self._wall_clock()
        headers = self._headers(delivery.decode(), body, now_s)
        try:
            answer = post(self._target, body, headers, self._settings.timeout_s, now_s)
        except NotDeliveredError as exc:
            return self._failed(str(exc), None)
        if answer.status in _TRY_AGAIN or answer.status >= 500:
            return self._failed(f"it answered {answer.status}", answer.retry_after_s)
        self._spool.ack([item.id])
        if self._failures:
            log.info("webhook %s takes changes again", self._settings.shown)
        self._failures = 0
        if 200 <= answer.status < 300:
            self._delivered += 1
        else:
            self._refuse(answer.status)
        return None

    def _headers(self, delivery: str, body: bytes, now_s: float) -> dict[str, str]:
        timestamp = str(int(now_s))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "videodisco",
            "Connection": "close",
            "X-VideoDisco-Delivery": delivery,
            "X-VideoDisco-Timestamp": timestamp,
        }
        if self._settings.secret is not None:
            headers["X-VideoDisco-Signature"] = signature(self._settings.secret.get_secret_value(), timestamp, body)
        return headers

    def _failed(self, reason: str, retry_after_s: float | None) -> float:
        """One more failure; how long to pause for it."""
        self._failures += 1
        if self._failures == 1:
            log.warning("webhook %s: %s; changes wait until it takes them", self._settings.shown, reason)
        pause_s = backoff_s(self._failures, LONGEST_PAUSE_S, self._luck())
        return max(pause_s, min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))

    def _refuse(self, status: int) -> None:
        self._refused += 1
        if status in self._told_statuses:
            return
        self._told_statuses.add(status)
        why = "it redirects; give the final address as url" if status < 400 else "check its url and secret"
        log.warning("webhook %s answered %d: changes are dropped; %s", self._settings.shown, status, why)

    def _trim_when_due(self) -> None:
        now_s = time.monotonic()
        if now_s < self._trim_at_s:
            return
        self._trim_at_s = now_s + TRIM_EVERY_S
        dropped = sum(self._spool.trim(self._wall_clock()).values())
        if dropped:
            self._dropped += dropped
            log.warning("%d changes were never taken by their webhooks and are dropped", dropped)

    def _say_of_spool(self, exc: Exception) -> None:
        if not self._spool_fails:
            log.warning("webhook %s: changes cannot be kept: %s", self._settings.shown, exc)
        self._spool_fails = True


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What a receiver compares ``X-VideoDisco-Signature`` with."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return "sha256=" + digest.hexdigest()


def open_spool(folder: Path) -> Spool:
    """The queue of all webhooks: at most 64 MB, nothing older than a day. Raises OutputError."""
    return Spool(folder / "webhooks.db", max_bytes=64 * 1024 * 1024, max_age_s=86_400.0)
