"""The child process as its parent sees it: started, told to end, ended, and what it died of."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from stream.isolation.link import Link
from stream.isolation.memory import ParentMemory
from stream.redaction import redact_url

log = logging.getLogger(__name__)

END_GRACE_S = 2.5
"""Time for the child to take leave of the camera and to end by itself."""

START_S = 30.0
"""Time for the child to say its first word: many cameras on a small machine start at once."""

_DEATH_S = 1.0
"""A process whose connection has ended is dead within this, or is killed."""

_LAST_WORDS_BYTES = 4000

_INHERITED = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "no_proxy"}
)
"""Who takes over the decoder is not to find the program's other secrets in the environment."""


class DecodingProcess:
    """One child. It ends when its parent hangs up, or dies; :meth:`end` sees to it.

    Started on a thread that lives as long as the child is wanted: on Linux the child is killed when that thread ends.
    """

    def __init__(self, *, shared_memory: bool) -> None:
        """Start it. Raises OSError."""
        with contextlib.ExitStack() as undo:
            self._last_words = undo.enter_context(_scratch_file())
            self.memory = undo.enter_context(contextlib.closing(ParentMemory(shared=shared_memory)))
            ours, theirs = socket.socketpair()
            self.link = undo.enter_context(contextlib.closing(Link(ours, START_S)))
            with theirs:
                self._process = self._started(theirs.fileno())
            self._held = undo.pop_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def hang_up(self) -> None:
        """Tell it to end, and wake whoever waits for it; any thread may."""
        self.link.hang_up()

    def end(self, grace_s: float = END_GRACE_S) -> None:
        """End it, by force if it takes longer than ``grace_s``."""
        self.hang_up()
        self._wait_or_kill(grace_s)
        self._release()

    def obituary(self) -> str:
        """What it died of, once its connection has ended by itself."""
        killed = self._wait_or_kill(_DEATH_S)
        code = self._process.returncode
        self._release()
        if killed:
            return "hung up and did not end"
        if code >= 0:
            return f"ended by itself (exit code {code})"
        if -code == signal.SIGKILL:
            return f"was killed (signal {-code}), perhaps for want of memory"
        return f"crashed (signal {-code})"

    def _started(self, fd: int) -> subprocess.Popen[bytes]:
        memory_fd = self.memory.fd
        return subprocess.Popen(
            # -P: nothing is imported from the working directory; faulthandler tells where in Python a crash was.
            [
                *(sys.executable, "-P", "-X", "faulthandler", "-m", "stream.isolation.child"),
                *(str(fd), str(-1 if memory_fd is None else memory_fd), str(os.getpid())),
            ],
            pass_fds=[fd] if memory_fd is None else [fd, memory_fd],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._last_words,
            env=_environment(),
            # Ctrl-C is for the parent alone.
            start_new_session=True,
        )

    def _wait_or_kill(self, grace_s: float) -> bool:
        """Whether it had to be killed."""
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            # Within a driver of a webcam that hangs not even that ends it at once.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_DEATH_S)
            return True
        return False

    def _release(self) -> None:
        if not self._last_words.closed:
            self._last_words.seek(max(0, self._last_words.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES))
            if words := self._last_words.read().decode(errors="replace").strip():
                log.debug("last words of decoding process %d:\n%s", self.pid, redact_url(words))
        self._held.close()


def _scratch_file() -> IO[bytes]:
    """A file of no name; in memory where that can be, since some containers have no place for files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("videodisco-last-words"), "w+b")
    return tempfile.TemporaryFile()


def _environment() -> dict[str, str]:
    """What the child needs to know, with the folder this package was imported from on its import path."""
    inherited = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *inherited])
    kept = {name: value for name, value in os.environ.items() if name in _INHERITED}
    # The child decodes; libraries that compute with a thread a core would only hold memory for them.
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
