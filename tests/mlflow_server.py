"""A real MLflow server on a loopback port, started and killed by tests."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.ports import HeldPort

START_DEADLINE_S = 120.0


class MlflowServer:
    """``mlflow server`` with its store in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held = HeldPort()
        self.port = self._held.number
        self.store_uri = f"sqlite:///{folder / 'server.db'}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch(self) -> None:
        """Start it; it answers some seconds later."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", self.store_uri, "--artifacts-destination", str(self.folder / "artifacts")]
        command += ["--workers", "1"]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            if time.monotonic() > deadline_s or self._process is None or self._process.poll() is not None:
                self.kill()
                raise AssertionError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL, to the server and its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            asking.request("GET", "/health")
            return asking.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            asking.close()


class Gate:
    """A port in front of a server, in one of the modes ``forward``, ``hang`` (it accepts and says nothing), ``gone``
    (it ends connections) or an HTTP status to answer with.
    """

    def __init__(self, behind_port: int) -> None:
        self.mode = "forward"
        self.connections = 0
        self._behind_port = behind_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="gate", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """End all connections there are."""
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(client)
            if self.mode == "forward":
                self._forward(client)
            elif self.mode == "gone":
                client.close()
            elif self.mode.isdecimal():
                threading.Thread(target=self._refuse, args=(client, self.mode), daemon=True).start()

    def _refuse(self, client: socket.socket, status: str) -> None:
        with suppress(OSError), client:
            client.recv(65536)
            client.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".encode())

    def _forward(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._behind_port))
        except OSError:
            client.close()
            return
        self._open.append(server)
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)
    # closing for both ends the other direction, too
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
