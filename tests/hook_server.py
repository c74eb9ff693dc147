"""A web server on a loopback port that takes webhooks, and misbehaves as told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field


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
    """Remembers every request it read; ``behave`` may be changed at any time. ``start`` and ``stop`` may alternate."""

    behave: Behave = lambda hook: answer()
    drip_s: float = 0.0
    port: int = 0
    hooks: list[Hook] = field(default_factory=list)
    _heard: threading.Condition = field(default_factory=threading.Condition)
    _listener: socket.socket | None = None
    _open: list[socket.socket] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def start(self) -> HookServer:
        self._stopping.clear()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), name="hooks", daemon=True).start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for each in self._open:
            each.close()
        self._open.clear()

    def wait_for(self, enough: Callable[[list[Hook]], bool], within_s: float = 10.0) -> list[Hook]:
        """The requests once there are enough of them; fails after the time."""
        with self._heard:
            assert self._heard.wait_for(lambda: enough(self.hooks), within_s), f"only {len(self.hooks)} requests came"
            return list(self.hooks)

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError):
            hook = _read(client)
            said = self.behave(hook)
            with self._heard:
                self.hooks.append(hook)
                self._heard.notify_all()
            if said is None:
                return
            if self.drip_s:
                for byte in said:
                    client.sendall(bytes([byte]))
                    time.sleep(self.drip_s)
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)


def _read(client: socket.socket) -> Hook:
    with client.makefile("rb") as stream:
        _, path, _ = stream.readline().decode().split(" ")
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return Hook(path, headers, stream.read(int(headers["Content-Length"])))
