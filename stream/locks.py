"""A lock between processes that the operating system lets go when its holder dies."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType


class FileLock:
    """An exclusive lock on a file, held by this object until it is released or the process ends.

    The descriptor is not inherited by programs that are started, so a child process does not keep the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free. Raises OSError where the file cannot be made, or cannot be locked."""
        if self._descriptor is not None:
            return True
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as undo:
            descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
            undo.callback(os.close, descriptor)
            if not _lock(descriptor):
                return False
            undo.pop_all()
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock at ``path``."""
    if not path.exists():
        return False
    with FileLock(path) as probe:
        return not probe.try_acquire()


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
