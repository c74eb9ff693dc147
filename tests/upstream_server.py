"""A publisher's server on loopback: HTTPS with a certificate of its own, ranges, tags, and ways of failing."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Publisher:
    """What the server offers and how it behaves; ``requests`` are the ranges that were asked for, in order."""

    content: bytes
    tag: str = '"one"'
    breaks_after: list[int] = field(default_factory=list)
    redirect: str = ""
    status: int = 200
    ranges: bool = True
    says_length: bool = True
    requests: list[str] = field(default_factory=list)
    url: str = ""
    context: ssl.SSLContext | None = None


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up or does not trust us is what is being tested."""


@contextmanager
def publisher(folder: Path, content: bytes) -> Iterator[Publisher]:
    """A running server."""
    certificate, key = folder / "server.crt", folder / "server.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost"],
        check=True,
        capture_output=True,
    )
    offered = Publisher(content, context=ssl.create_default_context(cafile=str(certificate)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, offered)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    offered.url = f"https://localhost:{server.server_port}/model.onnx"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield offered
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(request: BaseHTTPRequestHandler, offered: Publisher) -> None:
    asked = request.headers.get("Range", "")
    offered.requests.append(asked)
    if offered.redirect and request.path == "/model.onnx":
        request.send_response(302)
        request.send_header("Location", offered.redirect)
        request.end_headers()
        return
    same = request.headers.get("If-Range", offered.tag) == offered.tag
    begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and offered.ranges and same else 0
    if begin >= len(offered.content) > 0:
        request.send_error(416)
        return
    body = offered.content[begin:]
    request.send_response(offered.status if not begin else 206)
    if begin:
        request.send_header("Content-Range", f"bytes {begin}-{len(offered.content) - 1}/{len(offered.content)}")
    if offered.tag:
        request.send_header("ETag", offered.tag)
    if offered.says_length:
        request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    cut = offered.breaks_after.pop(0) if offered.breaks_after else len(body)
    request.wfile.write(body[:cut])
