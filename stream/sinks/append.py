"""A text file that several writers append whole lines to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from stream.sinks.base import write_failure
from stream.sinks.rotation import Rotation

# What a killed process may lose, and how often the disk is asked otherwise.
_FLUSH_EVERY_S = 1.0
# Lines of crowded frames must not pile up within that second.
_BUFFER_LIMIT_BYTES = 1 << 20

# So that of several writers one finds the file empty.
_opening = threading.Lock()


class AppendFile:
    """Buffers lines and hands them on in single appends, at least once a second of ``clock``.

    Each writer opens the path for itself: an append of the operating system is whole, so that lines of several
    writers never mix. Every method raises :class:`stream.errors.SinkError`; a line that was torn by a full disk
    is taken back. With a ``rotation`` the file is begun anew when it is large; the other writers follow.
    """

    def __init__(self, path: Path, clock: Callable[[], float], rotation: Rotation | None = None) -> None:
        self._path = path
        self._clock = clock
        self._rotation = rotation
        self._descriptor = -1
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._flush_at_s = 0.0
        self.offset_bytes = 0

    def open(self, header: str = "") -> None:
        """Open for appending, making the folder; ``header`` goes into an empty file.

        A last line that a power cut has torn is ended, so that it does not take the next one with it.
        """
        with _opening:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
                self.offset_bytes, ends_whole = _end_of(self._descriptor)
            except OSError as error:
                raise write_failure(self._path, error) from error
            self._flush_at_s = self._clock() + _FLUSH_EVERY_S
            if self.offset_bytes == 0:
                self.append(header)
            elif not ends_whole:
                self.append("\n")
            self.flush()

    def append(self, line: str) -> None:
        """Add a line that ends with a newline."""
        data = line.encode()
        self._pending.append(data)
        self._pending_bytes += len(data)
        now_s = self._clock()
        if now_s >= self._flush_at_s or self._pending_bytes >= _BUFFER_LIMIT_BYTES:
            self._flush_at_s = now_s + _FLUSH_EVERY_S
            self.flush()

    def flush(self) -> None:
        """Hand all lines to the operating system; ``offset_bytes`` is then the end of the last of them."""
        data, written = b"".join(self._pending), 0
        self._pending, self._pending_bytes = [], 0
        try:
            if data and self._rotation is not None:
                self._follow(self._rotation)
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            self._take_back_torn_line(data[:written])
            raise write_failure(self._path, error) from error
        if data:
            self.offset_bytes = os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def close(self) -> None:
        """Flush and close; harmless when it was never opened or is closed."""
        if self._descriptor < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _follow(self, rotation: Rotation) -> None:
        """Write on in the file that has the name now, after making it a new one where it has grown large."""
        try:
            if rotation.is_due(self._path):
                rotation.rotate(self._path)
            moved = self._path.stat().st_ino != os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            moved = True  # somebody tidied up
        if moved:
            former = self._descriptor
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.close(former)

    def _take_back_torn_line(self, written: bytes) -> None:
        torn_bytes = len(written) - (written.rfind(b"\n") + 1)
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        # Only while nobody has appended behind it.
        if torn_bytes and os.fstat(self._descriptor).st_size == end:
            os.ftruncate(self._descriptor, end - torn_bytes)


def _end_of(descriptor: int) -> tuple[int, bool]:
    """How many bytes a file has, and whether its last line is whole."""
    size_bytes = os.lseek(descriptor, 0, os.SEEK_END)
    if size_bytes == 0:
        return 0, True
    os.lseek(descriptor, -1, os.SEEK_END)
    return size_bytes, os.read(descriptor, 1) == b"\n"
