"""Messages over a stream socket: a head of two lengths, the JSON, and whatever bytes belong to it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Sequence

from pydantic import BaseModel

from stream.isolation.messages import ProtocolError

MOST_BODY_BYTES = 64 << 10
MOST_PAYLOAD_BYTES = 32 << 20
"""More than any camera's picture takes when it is coded; bounds what the child can make the parent hold."""

_HEAD = struct.Struct("<II")


class LinkEndedError(Exception):
    """The other side is gone."""


class LinkSilentError(Exception):
    """The other side did not say anything whole, or did not listen, in time."""


class Link:
    """One end. Any thread may send; one thread receives; any may hang up. ``limit_s`` bounds each of both."""

    def __init__(self, sock: socket.socket, limit_s: float | None = None) -> None:
        self.limit_s = limit_s
        self._sock = sock
        self._sending = threading.Lock()
        sock.settimeout(limit_s)

    def send(self, message: BaseModel, payload: Sequence[memoryview | bytes] = ()) -> None:
        """Raises LinkEndedError, LinkSilentError."""
        body = message.model_dump_json().encode()
        head = _HEAD.pack(len(body), sum(memoryview(part).nbytes for part in payload))
        try:
            with self._sending:
                self._sock.settimeout(self.limit_s)
                self._sock.sendall(head + body)
                for part in payload:
                    self._sock.sendall(part)
        except TimeoutError as exc:
            raise LinkSilentError from exc
        except OSError as exc:
            raise LinkEndedError from exc

    def receive(self, most_payload_bytes: int = MOST_PAYLOAD_BYTES) -> tuple[bytes, bytearray]:
        """A message's JSON and payload. Raises LinkEndedError, LinkSilentError, ProtocolError."""
        deadline_s = None if self.limit_s is None else time.monotonic() + self.limit_s
        body_bytes, payload_bytes = _HEAD.unpack(self._exactly(_HEAD.size, deadline_s))
        if body_bytes > MOST_BODY_BYTES or payload_bytes > most_payload_bytes:
            raise ProtocolError(f"a message of {body_bytes} and {payload_bytes} bytes")
        return bytes(self._exactly(body_bytes, deadline_s)), self._exactly(payload_bytes, deadline_s)

    def hang_up(self) -> None:
        """Whoever waits on either side is told that it is over."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is over already

    def close(self) -> None:
        self._sock.close()

    def _exactly(self, count: int, deadline_s: float | None) -> bytearray:
        data = bytearray(count)
        rest = memoryview(data)
        while rest:
            rest = rest[self._some(rest, deadline_s) :]
        return data

    def _some(self, into: memoryview, deadline_s: float | None) -> int:
        if deadline_s is not None:
            # A socket without any time left would not wait at all, and say so with another error.
            self._sock.settimeout(max(0.001, deadline_s - time.monotonic()))
        try:
            count = self._sock.recv_into(into)
        except TimeoutError as exc:
            raise LinkSilentError from exc
        except OSError as exc:
            raise LinkEndedError from exc
        if count == 0:
            raise LinkEndedError
        return count
