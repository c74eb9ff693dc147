"""One HTTP POST with a deadline that holds, whatever the server does."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stream.errors import VideoDiscoError

MOST_ANSWER_BYTES = 64 * 1024
"""Nobody reads the answer; so much of it is taken for politeness."""


class NotDeliveredError(VideoDiscoError):
    """The server could not be reached, or did not answer in HTTP within the time."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post. Never shown: path and authorization may hold secrets."""

    host: str = field(repr=False)
    port: int
    path: str = field(repr=False)
    tls: ssl.SSLContext | None
    authorization: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str, ca_file: Path | None = None) -> Target:
        """Raises OSError when ``ca_file`` cannot be read."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        return cls(
            host=parts.hostname or "",
            port=parts.port or (443 if is_tls else 80),
            path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            tls=ssl.create_default_context(cafile=ca_file) if is_tls else None,
            authorization=authorization,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: the status, and for how long it asks to be left alone (None when it does not)."""

    status: int
    retry_after_s: float | None = None


def post(target: Target, body: bytes, headers: Mapping[str, str], timeout_s: float, now_s: float) -> Answer:
    """Post ``body``; redirects are not followed. ``now_s`` is seconds since the epoch, for a Retry-After with a date.

    Raises NotDeliveredError, with a reason that names nothing of the target.
    """
    connection = _connection(target, timeout_s)
    # Timeouts of sockets are for one read each: a server that drips would never meet one.
    too_late = threading.Event()
    deadline = threading.Timer(timeout_s, _cut, (connection, too_late))
    deadline.daemon = True
    deadline.start()
    try:
        sent = dict(headers) | ({"Authorization": target.authorization} if target.authorization else {})
        connection.connect()
        if too_late.is_set():
            raise TimeoutError
        connection.request("POST", target.path, body=body, headers=sent)
        response = connection.getresponse()
        answer = Answer(response.status, retry_after_s(response.getheader("Retry-After"), now_s))
        with suppress(OSError, http.client.HTTPException):
            response.read(MOST_ANSWER_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise NotDeliveredError(_reason(exc, timed_out=too_late.is_set())) from exc
    finally:
        deadline.cancel()
        connection.close()
    return answer


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """A Retry-After header as seconds from now, not negative; None where there is none or it makes no sense."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value[:10])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None


def _connection(target: Target, timeout_s: float) -> http.client.HTTPConnection:
    if target.tls is not None:
        return http.client.HTTPSConnection(target.host, target.port, timeout=timeout_s, context=target.tls)
    return http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)


def _cut(connection: http.client.HTTPConnection, too_late: threading.Event) -> None:
    """End whatever the connection waits for. The socket's own method, for that of TLS would end the encryption first
    and leave what comes next readable."""
    too_late.set()  # before that, for who waits may look at once
    with suppress(OSError, AttributeError, TypeError):
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _reason(exc: Exception, *, timed_out: bool) -> str:
    if timed_out or isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message})"
    if isinstance(exc, socket.gaierror | UnicodeError):
        return "its name is not known"
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused"
    if isinstance(exc, http.client.RemoteDisconnected | ConnectionError):
        return "the connection was closed"
    if isinstance(exc, OSError):
        return (exc.strerror or type(exc).__name__).lower()
    return "it does not answer in HTTP"
