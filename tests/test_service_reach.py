"""Sources that somebody else named: this machine, metadata services and local files are out of their reach."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from stream.errors import SourceError
from stream.sources import reach
from stream.sources.address import parse_address
from stream.sources.backoff import Failure
from stream.sources.connection import DisconnectedError, connect
from stream.sources.reach import refusal
from stream.sources.settings import LiveSettings, ReachSettings
from tests.http_camera import HttpCamera

STRICT = ReachSettings()
WAIT_S = 60.0


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://127.0.0.1/x",
        "rtsp://user:pass@127.1.2.3:8554/x",
        "http://localhost:8080/healthz",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[2002:7f00:1::]/x",
        "http://0.0.0.0/x",
        "http://2130706433/x",
        "http://127.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/x",
        "http://[fd00:ec2::254]/x",
        "http://100.100.100.200/x",
        "udp://@:5000",
        "udp://0.0.0.0:5000",
        "udp://10.0.0.1:5000",
        "srt://:9000?mode=listener",
        "/etc/passwd",
        "../secret.mp4",
        "webcam:/dev/sda",
        "0",
        "/dev/video2",
        "rtsp://224.0.0.1/x",
    ],
)
def test_what_is_near_this_machine_is_refused(source: str) -> None:
    assert refusal(parse_address(source), STRICT)


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://192.0.2.7/x",
        "rtsp://u:p@10.1.2.3/x",
        "http://[2001:db8::7]/x",
        "udp://239.1.1.1:5000",
    ],
)
def test_what_is_elsewhere_is_let_through(source: str) -> None:
    assert refusal(parse_address(source), STRICT) is None


def test_own_addresses_are_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {ipaddress.ip_address("192.0.2.7")}
    monkeypatch.setattr(reach, "_own_addresses", lambda: own)
    assert "this machine" in (refusal(parse_address("rtsp://192.0.2.7/x"), STRICT) or "")


def test_the_configuration_may_allow_more(tmp_path: Path) -> None:
    allowed = ReachSettings.model_validate({"networks": ["127.0.0.0/8"], "folders": [tmp_path]})
    assert refusal(parse_address("rtsp://127.0.0.1/x"), allowed) is None
    assert refusal(parse_address("rtsp://169.254.1.1/x"), allowed)
    assert refusal(parse_address(str(tmp_path / "clip.mp4")), allowed) is None
    assert refusal(parse_address(str(tmp_path / ".." / "clip.mp4")), allowed)
    (tmp_path / "out.mp4").symlink_to("/etc/passwd")
    assert refusal(parse_address(str(tmp_path / "out.mp4")), allowed)
    for webcam in ("0", "/dev/video2"):
        assert refusal(parse_address(webcam), ReachSettings(webcams=True)) is None
    assert refusal(parse_address("webcam:/dev/sda"), ReachSettings(webcams=True))


def test_a_name_is_looked_up_before_every_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an attacker's name server does it: first somewhere harmless, then here."""
    answers = iter(["192.0.2.7", "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [(2, 1, 6, "", (next(answers), 80))])
    address = parse_address("http://camera.example/x")
    assert refusal(address, STRICT) is None
    with pytest.raises(DisconnectedError, match="this machine") as refused:
        connect(address, LiveSettings(guard=STRICT))
    assert refused.value.kind is Failure.REFUSED


@pytest.fixture
def redirecting() -> Iterator[str]:
    """The address of a server that sends everybody to a camera."""
    with HttpCamera(rate=200) as camera:

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(302)
                self.send_header("Location", f"{camera.url}/mjpeg")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_a_guarded_source_is_not_led_elsewhere_by_a_redirection(redirecting: str) -> None:
    address = parse_address(redirecting)
    connect(address, LiveSettings()).close()
    allowed = ReachSettings.model_validate({"networks": ["127.0.0.0/8"]})
    with pytest.raises(DisconnectedError):
        connect(address, LiveSettings(guard=allowed))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Something of this machine that nobody may be led to; whoever came is waiting in its queue."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def was_asked(listener: socket.socket) -> bool:
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return False
    connection.close()
    return True


IMPATIENT: dict[str, Any] = {"open_timeout_s": 0.3, "read_timeout_s": 0.3}


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp", "rtmp"])
def test_what_looks_like_a_password_leads_nobody_to_this_machine(scheme: str, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    for behind in ("/latest/meta-data@192.0.2.1/x", "#@192.0.2.1/x", "?@192.0.2.1/x", "/:@192.0.2.1", "?a=b@192.0.2.1"):
        with pytest.raises((SourceError, DisconnectedError)):
            connect(parse_address(f"{scheme}://127.0.0.1:{port}{behind}"), LiveSettings(guard=STRICT, **IMPATIENT))
    assert not was_asked(listener)


@pytest.mark.parametrize("password", ["ge#heim", "ge/heim", "ge?heim", "127.0.0.2/", "ge\\heim", "p@ss"])
def test_libav_goes_where_the_address_says_whatever_the_password(password: str, listener: socket.socket) -> None:
    address = parse_address(f"http://admin:{password}@127.0.0.1:{listener.getsockname()[1]}/x")
    assert address.endpoint == listener.getsockname()
    listener.settimeout(WAIT_S)
    asked = threading.Event()

    def turn_away() -> None:
        listener.accept()[0].close()
        asked.set()

    answering = threading.Thread(target=turn_away, daemon=True)
    answering.start()
    with pytest.raises(DisconnectedError):
        connect(address, LiveSettings(open_timeout_s=WAIT_S, read_timeout_s=WAIT_S))
    answering.join(WAIT_S)
    assert asked.is_set()
