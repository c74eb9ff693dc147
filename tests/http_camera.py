"""A camera that speaks HTTP, on loopback: MJPEG as cameras send it, files (HLS), and every refusal."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

_BOUNDARY = "picture"


class HttpCamera:
    """``/mjpeg`` sends ``rate`` pictures a second whose grey is their number, until ``ended`` is set, and then refuses
    until it is cleared; ``/<number>`` answers with that status; other paths are files of ``folder``. ``login`` is what
    basic authorisation must say."""

    def __init__(self, folder: Path | None = None, *, rate: float = 20, login: str | None = None) -> None:
        self.ended = threading.Event()
        self.size = (160, 120)
        self.rate = rate
        self.login = login
        self.folder = folder
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.answer(self)

            def log_message(self, *_: object) -> None:
                """Quiet: tests read what is logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HttpCamera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0].strip("/")
        if self.login and request.headers.get("Authorization") != _basic(self.login):
            _ask_for_login(request)
        elif path.isdecimal():
            request.send_error(int(path))
        elif path == "mjpeg" and self.ended.is_set():
            request.send_error(503)
        elif path == "mjpeg":
            self._send_pictures(request)
        elif path == "page":
            self._send(request, b"<html><body>Welcome to your camera</body></html>", "text/html")
        elif self.folder is not None and (self.folder / path).is_file():
            self._send(request, (self.folder / path).read_bytes(), "application/octet-stream")
        else:
            request.send_error(404)

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        try:
            request.wfile.write(body)
        except ConnectionError:
            return

    def _send_pictures(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        request.end_headers()
        try:
            for picture in self._pictures():
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                request.wfile.write(head.encode() + picture + b"\r\n")
        except ConnectionError:
            return

    def _pictures(self) -> Iterator[bytes]:
        number = 0
        while not self.ended.wait(1 / self.rate):
            width, height = self.size
            grey = np.full((height, width, 3), number % 200, np.uint8)
            yield cv2.imencode(".jpg", grey)[1].tobytes()
            number += 1


def _ask_for_login(request: BaseHTTPRequestHandler) -> None:
    request.send_response(401)
    request.send_header("WWW-Authenticate", 'Basic realm="camera"')
    request.send_header("Content-Length", "0")
    request.end_headers()


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def write_playlist(folder: Path, clip: Path, *, ends: bool) -> Path:
    """An HLS playlist over one MPEG-TS file; a live one when it does not say that it ends."""
    text = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:2.0,\n{clip.name}\n"
    playlist = folder / "index.m3u8"
    playlist.write_text(text + ("#EXT-X-ENDLIST\n" if ends else ""))
    return playlist
