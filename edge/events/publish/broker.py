"""One connection to an MQTT broker, driven by one thread."""

from __future__ import annotations

import selectors
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edge.events.publish.outbox import Message
from edge.events.settings import MqttSettings

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

CONNECT_S = 5.0

KEEPALIVE_S = 20
"""A broker that is gone without a word is noticed after this; and it says ``offline`` for us after one and a half."""


class Connection:
    """``open``, then ``pump`` again and again until ``trouble`` says why it is over; nothing is tried twice.

    ``is_welcome`` once the broker has let us in. What was sent and not confirmed is in :attr:`unconfirmed`.
    """

    def __init__(self, settings: MqttSettings, tls: ssl.SSLContext | None, will: Message) -> None:
        self.is_welcome = False
        self.trouble = ""
        self.confirmed = 0
        self._settings = settings
        self._in_flight: dict[int, Message] = {}
        self._client = self._make_client(tls, will)

    @property
    def unconfirmed(self) -> list[Message]:
        """In the order in which they were sent."""
        return list(self._in_flight.values())

    def open(self) -> None:
        """Connect and ask to be let in; the answer comes while pumping."""
        try:
            self._client.connect(self._settings.host, self._settings.actual_port, KEEPALIVE_S)
        except (OSError, ValueError) as exc:
            self.trouble = _reason(exc)

    def pump(self, nudged: socket.socket, timeout_s: float) -> None:
        """Send and receive what can be, waiting for it or for ``nudged`` at most so long."""
        here = self._client.socket()
        if here is None:
            self.trouble = self.trouble or "the connection was closed"
            return
        waiting = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        decrypted = isinstance(here, ssl.SSLSocket) and here.pending() > 0
        with selectors.DefaultSelector() as selector:
            selector.register(here, waiting)
            selector.register(nudged, selectors.EVENT_READ)
            ready = {key.fileobj: mask for key, mask in selector.select(0 if decrypted else timeout_s)}
        if nudged in ready:
            with suppress(BlockingIOError):
                nudged.recv(4096)
        self._exchange(ready.get(here, 0) | (selectors.EVENT_READ if decrypted else 0))

    def send(self, message: Message) -> None:
        """Hand over a message; at most a few dozen should be unconfirmed."""
        sent = self._client.publish(message.topic, message.payload, qos=1, retain=message.retained)
        self._in_flight[sent.mid] = message

    def close(self) -> None:
        """Say good-bye, so that the broker does not think us lost; harmless when there is no connection."""
        if self.is_welcome and not self.trouble:
            self._client.disconnect()
        if (here := self._client.socket()) is not None:
            here.close()

    def _exchange(self, ready: int) -> None:
        answer = self._client.loop_read() if ready & selectors.EVENT_READ else 0
        if not answer and ready & selectors.EVENT_WRITE:
            answer = self._client.loop_write()
        if not answer:
            answer = self._client.loop_misc()
        if answer:
            self.trouble = self.trouble or "the connection was lost"

    def _make_client(self, tls: ssl.SSLContext | None, will: Message) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        settings = self._settings
        client = Client(CallbackAPIVersion.VERSION2, client_id=settings.client_id)
        client.connect_timeout = CONNECT_S
        client.will_set(will.topic, will.payload, qos=1, retain=will.retained)
        if settings.user is not None:
            client.username_pw_set(settings.user, settings.password.get_secret_value() if settings.password else None)
        if tls is not None:
            client.tls_set_context(tls)
        client.on_connect = self._greeted
        client.on_publish = self._confirm
        client.on_disconnect = self._dismissed
        return client

    def _greeted(self, _c: Client, _u: Any, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None) -> None:
        if reason.is_failure:
            self.trouble = f"it refuses us: {str(reason).lower()}"
        else:
            self.is_welcome = True

    def _confirm(self, _c: Client, _u: Any, mid: int, _r: ReasonCode, _p: Properties | None) -> None:
        self._in_flight.pop(mid, None)
        self.confirmed += 1

    def _dismissed(self, _c: Client, _u: Any, _f: DisconnectFlags, _r: ReasonCode, _p: Properties | None) -> None:
        self.trouble = self.trouble or "the connection was lost"


def _reason(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message})"
    if isinstance(exc, socket.gaierror | UnicodeError):
        return "its name is not known"
    return (getattr(exc, "strerror", None) or type(exc).__name__).lower()
