"""``videodisco serve`` as a user runs it: a process with signals, words and exit codes."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests import clips, commands
from tests.clips import Clip
from tests.service_runs import WAIT_S, encoded, until

pytestmark = pytest.mark.slow


class Process:
    """A service in a process of its own; what it says is collected."""

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        command = commands.command("serve", "--port", "0", "--no-mlflow", *arguments)
        self.said = ""
        self.process = subprocess.Popen(
            command, cwd=folder, env=commands.environment(environment), stderr=subprocess.PIPE, text=True
        )
        self._more = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                with self._more:
                    self.said += line
                    self._more.notify_all()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)
        self._listener.join(WAIT_S)

    def until(self, words: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: words in self.said, WAIT_S), self.said

    @property
    def url(self) -> str:
        self.until("listening on ")
        return self.said.partition("listening on ")[2].split()[0]

    def get(self, path: str, **headers: str) -> Any:
        request = urllib.request.Request(self.url + path, headers=headers)  # noqa: S310 - our own, on loopback
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310 - as above
            return json.load(answer)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Process]:
    running = Process(folder, *arguments, environment=environment)
    try:
        yield running
    finally:
        running.close()


def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        running.until("ready")
        picture = encoded(np.full((96, 128, 3), 128, np.uint8))
        request = urllib.request.Request(running.url + "/detect", picture, {"Content-Type": "image/jpeg"})  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310 - as above
            assert json.load(answer)["image"] == {"width": 128, "height": 96}
        begun_s = time.monotonic()
        assert running.end() == 143
        assert time.monotonic() - begun_s < 10
        assert "Traceback" not in running.said


def test_it_ends_within_its_budget_whoever_is_connected(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "yard.mp4", Clip(frames=50))
    with serving(tmp_path, str(clip), "--realtime", "--loop") as running:
        running.until("yard.mp4: live")
        host, port = running.url.removeprefix("http://").split(":")
        sockets = [socket.create_connection((host, int(port))) for _ in range(60)]
        for number, each in enumerate(sockets):
            path = "/cameras/yard.mp4/live.mjpeg" if number % 2 else "/detect"
            rest = "\r\n" if number % 2 else "Content-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n"
            method = "GET" if number % 2 else "POST"
            each.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{rest}".encode())
        until(lambda: running.get("/cameras/yard.mp4")["state"] == "live")
        begun_s = time.monotonic()
        assert running.end(signal.SIGINT) == 130
        assert time.monotonic() - begun_s < 20
        for each in sockets:
            each.close()


def test_the_configuration_is_read_again_when_asked(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "yard.mp4", Clip(frames=50))
    config = tmp_path / "cameras.yaml"
    config.write_text(yaml.safe_dump({"cameras": {"one": {"source": str(clip), "loop": True}}}))
    with serving(tmp_path, "--config", "cameras.yaml") as running:
        running.until("one: live")
        both = {name: {"source": str(clip), "loop": True} for name in ("one", "two")}
        config.write_text(yaml.safe_dump({"cameras": both}))
        running.process.send_signal(signal.SIGHUP)
        running.until("two: added")
        running.until("two: live")
        config.write_text("cameras: {one: {}}")
        running.process.send_signal(signal.SIGHUP)
        running.until("nothing is changed")
        assert [each["name"] for each in running.get("/cameras")["cameras"]] == ["one", "two"]


def test_a_token_from_the_environment_is_asked_for(tmp_path: Path) -> None:
    token = "a-token-that-is-long-enough"  # noqa: S105 - of this test alone
    with serving(tmp_path, environment={"VIDEODISCO_TOKEN": token}) as running:
        running.until("ready")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            running.get("/cameras")
        assert running.get("/cameras", Authorization=f"Bearer {token}") == {"cameras": []}
        assert token not in running.said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--host", "0.0.0.0"], 2, "set tokens"),  # noqa: S104 - it must refuse
        (["--model", "nothing-of-this-name"], 4, "there is no model"),
        (["gopher://camera/x"], 3, "gopher"),
    ],
)
def test_what_cannot_work_is_said_in_a_sentence(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    ended = commands.videodisco("serve", "--port", "0", "--no-mlflow", *arguments, cwd=tmp_path)
    assert ended.code == code, ended.err
    assert words in ended.sentence


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = commands.videodisco("serve", "--no-mlflow", "--port", port, cwd=tmp_path)
    assert ended.code == 2
    assert "another program listens there" in ended.sentence
