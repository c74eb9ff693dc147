"""The file behind a recording: after the first failure to write it, it stays as it is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from stream.errors import SinkError
from stream.sinks.base import write_failure


class GuardedFile:
    """A seekable file for libav to write to, which remembers the first failure instead of raising it.

    What libav writes afterwards is dropped, and what it wrote since the last :meth:`checkpoint` is cut off. Closing an
    MP4 first appends the index and then rewrites the beginning to point there: doing only the second half would
    spoil fragments that can still be played, so that the index is on the disk before the beginning is touched: a power
    cut must not leave one without the other. ``anew`` refuses a file that exists instead of emptying it.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self._path = path
        self._failure: OSError | None = None
        self._whole_bytes = 0
        self.size_bytes = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb" if anew else "wb", buffering=0)
        except OSError as error:
            raise write_failure(path, error) from error

    @property
    def failure(self) -> SinkError | None:
        """What to raise once something could not be written, else None."""
        return None if self._failure is None else write_failure(self._path, self._failure)

    @property
    def cause(self) -> OSError | None:
        """What the operating system said when something could not be written."""
        return self._failure

    def checkpoint(self) -> None:
        """Everything up to here can be used even if nothing follows."""
        if self._failure is None:
            self._whole_bytes = self._file.tell()

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            if self._failure is None and self._file.tell() < self.size_bytes:
                os.fsync(self._file.fileno())
            while rest and self._failure is None:
                rest = rest[self._file.write(rest) :]
            self.size_bytes = max(self.size_bytes, self._file.tell())
        except OSError as error:
            self._failure = error
            with suppress(OSError):
                self.size_bytes = self._file.truncate(self._whole_bytes)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self._failure = self._failure or error
