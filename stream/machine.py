"""What this process may use of the machine it runs on."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from pathlib import Path

_CGROUP_V2_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def usable_cores() -> int:
    """Cores this process may use: the smaller of its affinity and its container's quota, at least one."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota_cores()
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def cgroup_quota_cores() -> float | None:
    """The container's CPU limit in cores, None where there is none (or no cgroup)."""
    text = _read(_CGROUP_V2_QUOTA)
    if text is not None:
        quota, _, period = text.partition(" ")
        return None if quota == "max" else _cores(quota, period)
    quota_text, period_text = _read(_CGROUP_V1_QUOTA), _read(_CGROUP_V1_PERIOD)
    if quota_text is None or period_text is None or quota_text.startswith("-"):
        return None
    return _cores(quota_text, period_text)


def _cores(quota_us: str, period_us: str) -> float | None:
    try:
        return float(quota_us) / float(period_us)
    except (ValueError, ZeroDivisionError):
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


_M_MMAP_THRESHOLD = -3
"""glibc's number for it, malloc.h."""

LARGE_BLOCK_BYTES = 2_000_000
"""Smaller than the whole pictures of cameras (720p has 2.8 MB), larger than what is allocated all the time, single
pictures of requests included: to get new memory for each of these took an eighth of their whole time."""


def give_back_large_blocks() -> None:
    """Let memory for pictures go back to the system when it is freed; does nothing but on Linux with glibc.

    Else glibc learns to serve such blocks from heaps of its own, one for each of many threads, and keeps them: sixteen
    cameras took 660 MB instead of 500 MB after a moment in which all had wanted pictures.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
