"""Figures of a benchmark as JSON, with the machine and the versions they were measured on."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from edge.slots import plan_slots
from models.catalogue import cpu_flags
from stream.errors import OutputError
from stream.machine import usable_cores

LIBRARIES = ("av", "onnxruntime", "openvino", "opencv-python", "numpy", "supervision", "trackers", "mlflow")
TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")


def machine() -> dict[str, Any]:
    """What was measured on; ``load`` tells how busy it was with other things."""
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


def write_record(path: Path, figures: dict[str, Any]) -> None:
    """Write ``figures`` beside the machine they are of. Raises OutputError."""
    try:
        path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n", encoding="utf-8")
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}; choose another --json") from exc


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
