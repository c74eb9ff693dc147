"""Telling an MQTT broker: events, how many objects each camera sees, and how the cameras are."""

from __future__ import annotations

import logging
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from edge.events.event import EventChange
from edge.events.publish.base import backoff_s
from edge.events.publish.broker import Connection
from edge.events.publish.frigate import change_payload, level
from edge.events.publish.outbox import Message, Outbox
from edge.events.settings import MqttSettings
from stream.errors import UsageError
from stream.sources.status import SourceState

log = logging.getLogger(__name__)

CAPACITY = 1000
"""Events that wait in memory for a broker that is away: some hours of a busy camera."""

IN_FLIGHT = 20
"""Messages on their way that the broker has not confirmed yet."""

GREETING_S = 5.0
"""A broker that accepts the connection and then says nothing is none."""

LOOK_S = 1.0
LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class MqttStatistics:
    """``published`` messages were confirmed by the broker; ``dropped`` events were too many while it was away."""

    is_connected: bool
    published: int
    dropped: int
    waiting: int


class MqttPublisher:
    """One connection for all cameras, on a thread of its own, as :class:`edge.events.publish.base.Publisher`.

    Everything is sent with QoS 1: at least once. Topics below the prefix: ``events``, ``available`` (online; offline
    is said by the broker itself when we are lost), ``<camera>/<class>`` (events under way), ``<camera>/state``. All
    but events are retained.
    """

    def __init__(self, settings: MqttSettings, *, luck: Callable[[], float] = random.random) -> None:
        """Raises UsageError when the package is not installed or the file with certificates cannot be used."""
        try:
            import paho.mqtt.client as _  # noqa: F401 - whether it is here
        except ImportError as exc:
            raise UsageError("MQTT needs the package paho-mqtt: pip install 'videodisco[mqtt]'") from exc
        self._settings = settings
        self._tls = _tls(settings)
        self._luck = luck
        self._outbox = Outbox(CAPACITY)
        self._outbox.set(self._topic("available"), "online")
        self._counting = threading.Lock()
        self._counted: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._nudge, self._nudged = socket.socketpair()
        self._nudge.settimeout(0)
        self._nudged.settimeout(0)
        self._closing = threading.Event()
        self._stop_at_s = float("inf")
        self._connection: Connection | None = None
        self._published = 0
        self._complaint = ""
        self._thread = threading.Thread(target=self._work, name="mqtt", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def publish(self, change: EventChange) -> None:
        if not self._closing.is_set():
            self._count(change)
            self._outbox.add(Message(self._topic("events"), change_payload(change)))
            self._wake()

    def camera_state(self, camera: str, state: SourceState) -> None:
        """Tell how a camera is; returns at once."""
        self._outbox.set(self._topic(level(camera), "state"), state.value)
        self._wake()

    def close(self, within_s: float) -> None:
        self._outbox.set(self._topic("available"), "offline")
        self._stop_at_s = time.monotonic() + within_s
        self._closing.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(within_s + LOOK_S)
        if not self._thread.is_alive():
            self._nudge.close()
            self._nudged.close()

    def statistics(self) -> MqttStatistics:
        connection = self._connection
        return MqttStatistics(
            is_connected=connection is not None and connection.is_welcome and not connection.trouble,
            published=self._published + (connection.confirmed if connection else 0),
            dropped=self._outbox.dropped,
            waiting=len(self._outbox),
        )

    def _count(self, change: EventChange) -> None:
        """How many events of each class are under way; one may change its class meanwhile."""
        event = change.event
        is_over = event.end_s is not None  # it may be told of once more after its end
        now = None if is_over else self._topic(level(event.camera), level(event.class_name))
        with self._counting:
            before = self._counted.pop(event.id, None)
            if before is not None:
                self._counts[before] -= 1
                self._outbox.set(before, str(self._counts[before]))
            if now is not None:
                self._counted[event.id] = now
                self._counts[now] += 1
                self._outbox.set(now, str(self._counts[now]))

    def _work(self) -> None:
        failures = 0
        while not self._closing.is_set():
            will = Message(self._topic("available"), "offline", retained=True)
            connection = self._connection = Connection(self._settings, self._tls, will)
            connection.open()
            self._serve(connection)
            connection.close()
            self._published, self._connection = self._published + connection.confirmed, None
            if self._closing.is_set():
                return
            self._outbox.put_back(connection.unconfirmed)
            self._complain(connection.trouble)
            failures = 1 if connection.is_welcome else failures + 1
            self._closing.wait(backoff_s(failures, LONGEST_PAUSE_S, self._luck()))

    def _serve(self, connection: Connection) -> None:
        """Until the connection is in trouble, or all is told when closing."""
        greeted_by_s = time.monotonic() + GREETING_S
        while not connection.trouble:
            if connection.is_welcome:
                self._complain("")
                self._send_some(connection)
            elif time.monotonic() > greeted_by_s:
                connection.trouble = "it accepts the connection and says nothing"
                return
            is_done = not len(self._outbox) and not connection.unconfirmed
            if self._closing.is_set() and (is_done or time.monotonic() > self._stop_at_s):
                return
            connection.pump(self._nudged, LOOK_S)

    def _send_some(self, connection: Connection) -> None:
        while len(connection.unconfirmed) < IN_FLIGHT and (message := self._outbox.take()) is not None:
            connection.send(message)

    def _complain(self, trouble: str) -> None:
        """Say what is new about the connection, once."""
        if trouble and not self._complaint:
            log.warning("MQTT broker %s: %s; events wait for it", self._settings.host, trouble)
        elif self._complaint and not trouble:
            log.info("MQTT broker %s takes events again", self._settings.host)
        self._complaint = trouble

    def _topic(self, *levels: str) -> str:
        return "/".join([self._settings.topic_prefix.rstrip("/"), *levels])

    def _wake(self) -> None:
        with suppress(OSError):  # full of nudges, or closed
            self._nudge.send(b"!")


def _tls(settings: MqttSettings) -> ssl.SSLContext | None:
    if not settings.tls:
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as exc:
        raise UsageError(
            f"cannot use the certificates {settings.ca_file}: {(exc.strerror or str(exc)).lower()}"
        ) from exc
