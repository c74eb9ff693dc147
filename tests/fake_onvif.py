"""A network camera of ours: announces itself by WS-Discovery and tells its streams as ONVIF devices do."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

GROUP = "239.255.255.250"
LOOPBACK = "127.0.0.1"
GZIP = b"\x1f\x8b"
"""What compressed answers begin with; they are sent as such."""

_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:tt="http://www.onvif.org/ver10/schema" '
    'xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:trt="http://www.onvif.org/ver10/media/wsdl" '
    'xmlns:ter="http://www.onvif.org/ver10/error">{header}<e:Body>{body}</e:Body></e:Envelope>'
)
_FAULT = (
    "<e:Fault><e:Code><e:Value>e:Sender</e:Value><e:Subcode><e:Value>{code}</e:Value></e:Subcode></e:Code>"
    '<e:Reason><e:Text xml:lang="en">{reason}</e:Text></e:Reason></e:Fault>'
)


@dataclass(frozen=True)
class Model:
    """What the camera is and how it behaves. ``user`` and ``password`` guard its streams unless empty; ``digest``
    asks for them by HTTP instead of within the message. ``profiles`` are token, encoding, width, height and address.
    The callables replace an honest answer by another."""

    maker: str = "Acme"
    model: str = "Dome 4"
    name: str = "Front%20Door"
    user: str = ""
    password: str = ""
    digest: bool = False
    clock_ahead: timedelta = timedelta()
    profiles: tuple[tuple[str, str, int, int, str], ...] = (
        ("main", "H264", 1920, 1080, "rtsp://127.0.0.1:8554/main"),
        ("sub", "H264", 640, 360, "rtsp://127.0.0.1:8554/sub"),
    )
    datagrams: Callable[[str, str], list[bytes]] | None = None
    """From the question's id and the device's own address to what is sent back."""
    http: Callable[[str], bytes] | None = None
    """From the request to the body of the answer."""
    drip: bool = False
    """Sends its answers over HTTP byte by byte, for ever."""
    redirect: bool = False
    """Sends everybody on to another place of its own."""


@dataclass
class FakeCamera:
    """A running camera: where it is, and what it was asked."""

    address: str
    port: int
    discovery_port: int
    questions: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def probe_match(relates_to: str, addresses: str, *, scopes: str = "", endpoint: str = "") -> bytes:
    """A ProbeMatch as a datagram."""
    header = (
        f"<e:Header><wsa:RelatesTo>{relates_to}</wsa:RelatesTo><wsa:Action>"
        "http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</wsa:Action></e:Header>"
    )
    body = (
        "<d:ProbeMatches><d:ProbeMatch><wsa:EndpointReference><wsa:Address>"
        f"{endpoint or uuid.uuid4().urn}</wsa:Address></wsa:EndpointReference><d:Scopes>{scopes}</d:Scopes>"
        f"<d:XAddrs>{addresses}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion></d:ProbeMatch></d:ProbeMatches>"
    )
    return _ENVELOPE.format(header=header, body=body).encode()


@contextmanager
def alone_on_the_port() -> Iterator[None]:
    """The discovery port of real cameras is that of other tests on this machine as well: one at a time."""
    with (Path(tempfile.gettempdir()) / f"videodisco-discovery-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def fake_camera(model: Model | None = None, *, discovery_port: int = 0, on_group: bool = True) -> Iterator[FakeCamera]:
    """A camera on loopback, until the block ends; a free ``discovery_port`` is chosen for 0."""
    model = model or Model()
    server = _Server((LOOPBACK, 0), _Handler)
    listening = _listening(discovery_port, on_group=on_group)
    address = f"http://{LOOPBACK}:{server.server_port}/onvif/device_service"
    camera = FakeCamera(address, server.server_port, listening.getsockname()[1])
    server.model, server.camera = model, camera
    quit_event = threading.Event()
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.05,), name="fake-onvif-http"),
        threading.Thread(target=_announce, args=(listening, model, camera, quit_event), name="fake-onvif-udp"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield camera
    finally:
        quit_event.set()
        server.shutdown()
        for thread in threads:
            thread.join()
        server.server_close()
        listening.close()


class _Server(ThreadingHTTPServer):
    """A web server that knows whose it is."""

    daemon_threads = True
    model: Model
    camera: FakeCamera


def _listening(port: int, *, on_group: bool) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("" if on_group else LOOPBACK, port))
    if on_group:
        membership = socket.inet_aton(GROUP) + socket.inet_aton(LOOPBACK)
        listening.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    listening.settimeout(0.05)
    return listening


def _announce(listening: socket.socket, model: Model, camera: FakeCamera, quit_event: threading.Event) -> None:
    own_endpoint = uuid.uuid4().urn
    scopes = (
        f"onvif://www.onvif.org/name/{model.name} onvif://www.onvif.org/hardware/{model.model.replace(' ', '%20')} "
        f"onvif://www.onvif.org/manufacturer/{model.maker} onvif://www.onvif.org/Profile/Streaming"
    )
    while True:
        try:
            data, sender = listening.recvfrom(65535)
        except TimeoutError:
            if quit_event.is_set():
                return
            continue
        question = data.decode()
        camera.questions.append(question)
        asked = re.search(r"MessageID>([^<]+)<", question)
        if asked is None:
            continue
        if model.datagrams is not None:
            answers = model.datagrams(asked.group(1), camera.address)
        else:
            answers = [probe_match(asked.group(1), camera.address, scopes=scopes, endpoint=own_endpoint)]
        for answer in answers:
            listening.sendto(answer, sender)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        request = self.rfile.read(int(self.headers["Content-Length"])).decode()
        model, camera = self.server.model, self.server.camera
        camera.requests.append(request)
        if model.drip:
            self._drip()
        elif model.redirect:
            self.send_response(307)
            self.send_header("Location", f"http://{LOOPBACK}:{camera.port}/elsewhere")
            self.end_headers()
        elif model.http is not None:
            self._answer(200, model.http(request))
        elif model.digest and _is_guarded(model, request) and not _has_http_digest(model, self.headers):
            self._answer(401, b"", 'Digest realm="camera", nonce="5f2a", qop="auth", algorithm=MD5')
        elif not model.digest and _is_guarded(model, request) and not _is_signed(model, request):
            fault = _FAULT.format(code="ter:NotAuthorized", reason="Sender not Authorized")
            self._answer(400, _body(fault))
        else:
            self._answer(200, _body(_answer_to(model, request, camera)))

    def _answer(self, status: int, body: bytes, challenge: str = "") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        if body.startswith(GZIP):
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", "application/soap+xml; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Padding: ")
            while True:
                self.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            return

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


def _body(body: str) -> bytes:
    return _ENVELOPE.format(header="", body=body).encode()


def _is_guarded(model: Model, request: str) -> bool:
    """What the standard lets anybody ask is never guarded."""
    return bool(model.user) and "GetSystemDateAndTime" not in request and "GetCapabilities" not in request


def _is_signed(model: Model, request: str) -> bool:
    parts = {
        name: re.search(rf"<(?:\w+:)?{name}(?: [^>]*)?>([^<]*)<", request)
        for name in ("Username", "Password", "Nonce", "Created")
    }
    found = {name: match.group(1) for name, match in parts.items() if match}
    if len(found) < len(parts) or found["Username"] != model.user:
        return False
    signed = base64.b64decode(found["Nonce"]) + found["Created"].encode() + model.password.encode()
    expected = base64.b64encode(hashlib.sha1(signed).digest()).decode()  # noqa: S324 - as the protocol has it
    created = datetime.strptime(found["Created"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    drift = abs(created - (datetime.now(UTC) + model.clock_ahead))
    return found["Password"] == expected and drift < timedelta(seconds=10)


def _has_http_digest(model: Model, headers: Any) -> bool:
    given = dict(re.findall(r'(\w+)="?([^",]+)"?', headers.get("Authorization", "")))
    if given.get("username") != model.user:
        return False
    secret = _md5(f"{model.user}:camera:{model.password}")
    asked = _md5(f"POST:{given['uri']}")
    expected = _md5(f"{secret}:5f2a:{given['nc']}:{given['cnonce']}:auth:{asked}")
    return str(given["response"]) == expected


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - as the protocol has it


def _answer_to(model: Model, request: str, camera: FakeCamera) -> str:
    if "GetSystemDateAndTime" in request:
        now = datetime.now(UTC) + model.clock_ahead
        return (
            "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:UTCDateTime>"
            f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute>"
            f"<tt:Second>{now.second}</tt:Second></tt:Time><tt:Date><tt:Year>{now.year}</tt:Year>"
            f"<tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day></tt:Date>"
            "</tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
        )
    if "GetCapabilities" in request:
        # As behind a router: the camera names the address it knows itself by.
        return (
            "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Media><tt:XAddr>http://192.0.2.99/onvif/media"
            "</tt:XAddr></tt:Media></tds:Capabilities></tds:GetCapabilitiesResponse>"
        )
    if "GetProfiles" in request:
        return f"<trt:GetProfilesResponse>{''.join(map(_profile, model.profiles))}</trt:GetProfilesResponse>"
    if "GetStreamUri" in request:
        for token, *_, uri in model.profiles:
            if f"<ProfileToken>{token}<" in request:
                return (
                    f"<trt:GetStreamUriResponse><trt:MediaUri><tt:Uri>{uri}</tt:Uri></trt:MediaUri>"
                    "</trt:GetStreamUriResponse>"
                )
        return _FAULT.format(code="ter:NoProfile", reason="no such profile")
    return (
        f"<tds:GetDeviceInformationResponse><tds:Manufacturer>{model.maker}</tds:Manufacturer>"
        f"<tds:Model>{model.model}</tds:Model></tds:GetDeviceInformationResponse>"
    )


def _profile(profile: tuple[str, str, int, int, str]) -> str:
    token, encoding, width, height, _uri = profile
    return (
        f'<trt:Profiles token="{token}"><tt:Name>{token}</tt:Name><tt:VideoEncoderConfiguration>'
        f"<tt:Encoding>{encoding}</tt:Encoding><tt:Resolution><tt:Width>{width}</tt:Width>"
        f"<tt:Height>{height}</tt:Height></tt:Resolution></tt:VideoEncoderConfiguration></trt:Profiles>"
    )
