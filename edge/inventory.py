"""What is really there: asked of the libraries themselves, not of a list of requirements."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import av
import psutil

from edge.slots import plan_slots
from models.catalogue import cpu_flags, default_build
from models.choice import all_kept
from models.session import available_providers
from stream.home import home
from stream.machine import cgroup_quota_cores, usable_cores

Facts = list[tuple[str, str]]

LIBRARIES = (
    "av",
    "onnxruntime",
    "openvino",
    "opencv-python",
    "numpy",
    "supervision",
    "trackers",
    "mlflow",
    "pydantic",
    "uvloop",
)
DECODERS = ("h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg")
ENCODER = "libx264"


def inventory() -> list[tuple[str, Facts]]:
    """Groups of facts, each a title with names and values."""
    return [
        ("machine", _machine()),
        ("libraries", [(name, _version(name)) for name in LIBRARIES]),
        ("video", _video()),
        ("cameras", _cameras()),
        ("inference", _inference()),
    ]


def _machine() -> Facts:
    quota = cgroup_quota_cores()
    limit = f", container limit {quota:g}" if quota is not None else ""
    return [
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("cores", f"{usable_cores()} usable{limit}"),
        ("memory", f"{psutil.virtual_memory().total / 1e9:.1f} GB"),
        ("state", str(home())),
    ]


def _video() -> Facts:
    libraries = ", ".join(
        f"{name} {'.'.join(map(str, version))}" for name, version in sorted(av.library_versions.items())
    )
    found = [name for name in DECODERS if _codec_exists(name, "r")]
    absent = [name for name in DECODERS if name not in found]
    return [
        ("ffmpeg", libraries),
        ("decoders", ", ".join(found) + (f" (not: {', '.join(absent)})" if absent else "")),
        ("recording", f"{ENCODER} found" if _codec_exists(ENCODER, "w") else f"{ENCODER} missing: --save cannot work"),
    ]


def _cameras() -> Facts:
    """Video4Linux devices by the kernel's own names."""
    devices = sorted(Path("/sys/class/video4linux").glob("video*"))
    return [(device.name, _first_line(device / "name")) for device in devices] or [("webcams", "none found")]


def _inference() -> Facts:
    _, reason = default_build(cpu_flags())
    chosen = [(f"device for {choice.model}", str(choice)) for choice in all_kept()]
    unmeasured = [("device", "the default: nothing was measured here yet (videodisco checks --measure CLIP)")]
    cores = usable_cores()
    slots = dict.fromkeys((plan_slots(cores), plan_slots(cores, cameras=1)))
    return [
        ("providers", ", ".join(available_providers())),
        ("default model", reason),
        *(("slots", f"{plan}, {plan.reason}") for plan in slots),
        *(chosen or unmeasured),
    ]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _codec_exists(name: str, mode: str) -> bool:
    try:
        av.codec.Codec(name, "w" if mode == "w" else "r")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "unnamed"
