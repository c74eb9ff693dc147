"""A real MQTT broker (mosquitto) on a loopback port, and somebody who listens to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.ports import HeldPort

DEADLINE_S = 60.0


class Broker:
    """``mosquitto`` with its state in ``folder``; ``start`` and ``kill`` may alternate. It remembers its listeners, so
    that what they missed while it was away reaches them."""

    def __init__(self, folder: Path, *extra: str) -> None:
        self._port = HeldPort()
        self._folder = folder
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self._port.number

    def start(self) -> Broker:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/opt/homebrew/sbin")
        if program is None:
            missing("mosquitto", "install it: apt-get install mosquitto")
        configuration = self._folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {self._folder}/"]
        lines += ["autosave_interval 1", "autosave_on_changes true", "user root", "max_queued_messages 0"]
        configuration.write_text("\n".join([*lines, *(self._extra or ["allow_anonymous true"])]) + "\n")
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([str(program), "-c", str(configuration)], stdout=log, stderr=log)
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline_s, (self._folder / "mosquitto.log").read_text()
                time.sleep(0.02)
            else:
                return self

    def stop(self, sign: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(DEADLINE_S)
            self._process = None

    def freeze(self) -> None:
        """Nothing is answered any more, and no connection closed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Listener:
    """Hears everything below a prefix, with a session that outlives the connection."""

    def __init__(self, port: int, prefix: str = "videodisco", user: str | None = None, password: str = "") -> None:
        client_module = pytest.importorskip("paho.mqtt.client")
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[tuple[str, str, bool]] = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = client_module.Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{prefix}/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_S)

    def _hear(self, _client: Any, _userdata: Any, message: Any) -> None:
        with self._changed:
            self.heard.append((message.topic, message.payload.decode(), bool(message.retain)))
            self._changed.notify_all()

    def wait_for(self, enough: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
        with self._changed:
            assert self._changed.wait_for(enough, within_s), self.heard

    def values(self, topic: str) -> list[str]:
        """What was told on a topic, in order, the same in a row once."""
        told = [payload for where, payload, _ in self.heard if where == topic]
        return [payload for number, payload in enumerate(told) if number == 0 or told[number - 1] != payload]

    def events(self, topic: str = "videodisco/events") -> list[dict[str, Any]]:
        """Each change once: what is confirmed late may come twice."""
        return [
            json.loads(payload) for payload in dict.fromkeys(said for where, said, _ in self.heard if where == topic)
        ]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
