"""An RTSP camera that agrees to everything and never sends a picture, over TCP or UDP, on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading

_DESCRIPTION = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=silent\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track0\r\n"
)


class SilentCamera:
    """``playing`` is set once somebody was promised pictures; on leaving all connections are closed."""

    def __init__(self) -> None:
        self.playing = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="silent-camera", daemon=True)

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._listening.getsockname()[1]}/silent"

    def __enter__(self) -> SilentCamera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listening, *self._connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(60)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                threading.Thread(target=self._obey, args=(connection,), name="silent-camera", daemon=True).start()

    def _obey(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection.makefile("rb") as requests:
            while line := requests.readline():
                method = line.split()[0].decode()
                headers = {}
                while name := requests.readline().strip():
                    key, _, value = name.decode().partition(":")
                    headers[key.lower()] = value.strip()
                connection.sendall(_answer(method, headers).encode())
                if method == "PLAY":
                    self.playing.set()


def _answer(method: str, headers: dict[str, str]) -> str:
    head = ["RTSP/1.0 200 OK", f"CSeq: {headers['cseq']}"]
    if method == "OPTIONS":
        head.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
    if method == "SETUP":
        ports = "" if "TCP" in headers["transport"] else ";server_port=6970-6971"
        head += ["Session: 1", f"Transport: {headers['transport']}{ports}"]
    if method == "DESCRIBE":
        head += ["Content-Type: application/sdp", f"Content-Length: {len(_DESCRIPTION)}"]
    return "\r\n".join([*head, "", _DESCRIPTION if method == "DESCRIBE" else ""])
