"""Starts one program, waits for it, and writes down what it took: a small process between the bench and a program.

    python launcher.py REPORT.json WATCHED -- COMMAND...

A system counts what the parent held in memory as part of a child's peak, so that the parent must be small. The report
has the wall seconds, the processor seconds and the peak memory of the program and of the children it waited for, its
exit code, and the second in which WATCHED, a file, got its first byte (empty: nothing is watched). Seconds count from
the start of the program. It imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LOOK_EVERY_S = 0.002


def main(report: str, watched: str, command: list[str]) -> None:
    """Run the command to its end and write the report."""
    begun_s = time.monotonic()
    program = subprocess.Popen(command)
    first_s = _first_byte_s(program, Path(watched), begun_s) if watched else None
    figures = _ended(program)
    figures |= {"seconds": figures.pop("ended_s") - begun_s, "first_s": first_s}
    Path(report).write_text(json.dumps(figures), encoding="utf-8")


def _first_byte_s(program: subprocess.Popen[bytes], watched: Path, begun_s: float) -> float | None:
    """When the file got its first byte; None where the program ended without one. Whoever calls still has to wait."""
    while True:
        ended = _has_ended(program)
        if watched.exists() and watched.stat().st_size:
            return time.monotonic() - begun_s
        if ended:
            return None
        time.sleep(LOOK_EVERY_S)


def _has_ended(program: subprocess.Popen[bytes]) -> bool:
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return program.poll() is not None


def _ended(program: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait; without ``os.wait4`` (Windows) nobody tells what was used."""
    if not hasattr(os, "wait4"):
        return {"code": program.wait(), "ended_s": time.monotonic(), "cpu_s": None, "memory_mb": None}
    _, status, usage = os.wait4(program.pid, 0)
    ended_s = time.monotonic()
    program.returncode = os.waitstatus_to_exitcode(status)
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return {
        "code": program.returncode,
        "ended_s": ended_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "memory_mb": usage.ru_maxrss * unit_bytes / 1e6,
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[4:])
