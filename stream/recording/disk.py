"""Whether the disk has room for recordings, with some distance between "no" and "yes again"."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

GIGABYTE = 1_000_000_000

# The floor is never more than this part of the disk, so that a small one can be used at all.
_LARGEST_PART = 0.05
# What must be free beyond the floor before recording goes on: else it would begin a file a second on a full disk.
_MARGIN_PART, _MARGIN_OF_DISK, _MARGIN_BYTES = 0.25, 0.02, 64_000_000


class Usage(Protocol):
    """What of :func:`shutil.disk_usage` is looked at, in bytes."""

    @property
    def total(self) -> int: ...

    @property
    def free(self) -> int: ...


class DiskFloor:
    """How much space recordings leave free on the disk of a folder."""

    def __init__(self, folder: Path, min_free_gb: float, usage: Callable[[Path], Usage] = shutil.disk_usage) -> None:
        self._folder = folder
        self._min_free_gb = min_free_gb
        self._usage = usage

    def shortage(self, *, resuming: bool) -> str | None:
        """Why nothing can be recorded now, None where there is room; to begin again takes more than to go on."""
        try:
            usage = self._usage(self._folder)
        except OSError as error:
            return f"{self._folder} cannot be reached ({(error.strerror or str(error)).lower()})"
        floor = self._floor_bytes(usage)
        if usage.free >= (self._resume_bytes(usage) if resuming else floor):
            return None
        return f"the disk of {self._folder} has {_gigabytes(usage.free)} free, {_gigabytes(floor)} are to stay so"

    def missing_bytes(self) -> int:
        """How much must be deleted so that recording goes on with a margin. Raises OSError."""
        usage = self._usage(self._folder)
        return max(0, self._resume_bytes(usage) - usage.free)

    def _floor_bytes(self, usage: Usage) -> int:
        return int(min(self._min_free_gb * GIGABYTE, usage.total * _LARGEST_PART))

    def _resume_bytes(self, usage: Usage) -> int:
        floor = self._floor_bytes(usage)
        return floor + int(max(floor * _MARGIN_PART, min(_MARGIN_BYTES, usage.total * _MARGIN_OF_DISK)))


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / GIGABYTE:.2f} GB" if size_bytes >= GIGABYTE / 10 else f"{size_bytes / 1e6:.1f} MB"
