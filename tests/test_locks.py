"""Locks between processes: held once, let go by whoever ends, and never at the cost of a descriptor."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream import locks
from stream.locks import FileLock, is_held


def test_a_lock_is_held_once_and_let_go(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    assert not is_held(path)
    with FileLock(path) as lock:
        assert lock.try_acquire()
        assert lock.try_acquire()
        assert is_held(path)
        assert not FileLock(path).try_acquire()
    assert not is_held(path)


def test_a_program_that_is_started_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = FileLock(path)
    assert lock.try_acquire()
    command = [sys.executable, "-c", "input('here ')"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as child:
        assert child.stdout is not None
        assert child.stdout.read(4) == b"here"
        lock.release()
        assert not is_held(path)
        child.communicate(b"\n")


def test_a_file_system_without_locks_costs_no_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def no_locks(descriptor: int) -> bool:
        asked.append(descriptor)
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "_lock", no_locks)
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
        FileLock(tmp_path / "a.lock").try_acquire()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(asked[0])
