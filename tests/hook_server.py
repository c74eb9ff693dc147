"""A web server on a loopback port that takes webhooks, and misbehaves as told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.ports import HeldPort

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Hook:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


Behave = Callable[[Hook], bytes | None]
"""From a request to the raw answer; None: say nothing and keep the connection."""


def answer(status: int = 200, body: bytes = b"ok", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(slots=True)
class HookServer:
    """Remembers every request it read, and counts the answers that nobody read to their end; ``behave`` may be changed
    at any time. ``start`` and ``stop`` may alternate, the port stays."""

    behave: Behave = lambda hook: answer()
    drip_s: float = 0.0
    hooks: list[Hook] = field(default_factory=list)
    cut_short: int = 0
    _heard: threading.Condition = field(default_factory=threading.Condition)
    _port: HeldPort = field(default_factory=HeldPort)
    _listener: socket.socket | None = None
    _accepting: threading.Thread | None = None
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def start(self) -> HookServer:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), name="hooks", daemon=True)
        self._accepting.start()
        return self

    def stop(self) -> None:
        """Whoever waits for an answer is hung up on."""
        if self._listener is None or self._accepting is None:
            return
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(WAIT_S)
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()
        self._listener = self._accepting = None

    def wait_for(self, enough: Callable[[list[Hook]], bool], within_s: float = WAIT_S) -> list[Hook]:
        """The requests once there are enough of them; fails after the time."""
        with self._heard:
            assert self._heard.wait_for(lambda: enough(self.hooks), within_s), f"only {len(self.hooks)} requests came"
            return list(self.hooks)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError, KeyError):  # it was cut off
            hook = _read(client)
            said = self.behave(hook)
            with self._heard:
                self.hooks.append(hook)
                self._heard.notify_all()
            if said is not None:
                self._answer(client, said)

    def _answer(self, client: socket.socket, said: bytes) -> None:
        try:
            for byte in said if self.drip_s else b"":
                client.sendall(bytes([byte]))
                time.sleep(self.drip_s)
            client.sendall(said)
        except OSError:
            with self._heard:
                self.cut_short += 1
                self._heard.notify_all()
            return
        client.shutdown(socket.SHUT_WR)


def _read(client: socket.socket) -> Hook:
    with client.makefile("rb") as stream:
        _, path, _ = stream.readline().decode().split(" ")
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return Hook(path, headers, stream.read(int(headers["Content-Length"])))
