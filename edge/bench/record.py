"""Figures of a benchmark as JSON, with the machine and the versions they were measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from edge.slots import plan_slots
from models.catalogue import cpu_flags
from stream.errors import OutputError, UsageError
from stream.machine import usable_cores

LIBRARIES = ("av", "onnxruntime", "openvino", "opencv-python", "numpy", "supervision", "trackers", "mlflow")
TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")


def machine() -> dict[str, Any]:
    """What is measured on; ``load`` tells how busy it was with other things before."""
    flags = cpu_flags()
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _processor(),
        "flags": [flag for flag in TELLING_FLAGS if flag in flags],
        "cores": usable_cores(),
        "slots": str(plan_slots(usable_cores())),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def write_record(path: Path, figures: Mapping[str, Any]) -> None:
    """Write ``figures``, with the machine they are of among them. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_rounded(figures), indent=1) + "\n", encoding="utf-8")
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}; choose another --json") from exc


def read_record(path: Path) -> dict[str, Any]:
    """A record that was written. Raises UsageError."""
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read {path}: {exc}") from exc
    if not isinstance(figures, dict) or "machine" not in figures:
        raise UsageError(f"{path} is no record of videodisco bench")
    return figures


def free_record_path() -> Path:
    """Where a record goes if nobody says: its name tells when."""
    return Path("runs") / f"bench-{datetime.now():%Y%m%d-%H%M%S}.json"


def _rounded(value: Any) -> Any:
    """Without the digits that nobody measured."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
