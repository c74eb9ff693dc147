"""The cameras plugged into this machine, by the names that ``videodisco run`` takes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av.device
import av.error

SYSFS = Path("/sys/class/video4linux")
DEV = Path("/dev")

_QUERY_CAPABILITIES = 0x80685600
"""VIDIOC_QUERYCAP: _IOR('V', 0, struct v4l2_capability), a structure of 104 bytes."""
_CAPABILITY_BYTES = 104
_DEVICE_CAPABILITIES_AT = 88
_VIDEO_CAPTURE = 0x1 | 0x1000
"""V4L2_CAP_VIDEO_CAPTURE and its multi-planar sister; the nodes for a camera's metadata have neither."""

_LIBAV_FORMATS = {"darwin": "avfoundation", "win32": "dshow"}


@dataclass(frozen=True, slots=True)
class Webcam:
    """A camera on this machine. ``source`` is what to give to ``videodisco run``; ``problem`` says in a clause why
    it could not be opened now, empty where nothing speaks against it."""

    source: str
    name: str
    device: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Webcams:
    """The cameras found; ``note`` says in a sentence why there may be more, empty where all were seen."""

    found: tuple[Webcam, ...]
    looked_in: str
    note: str = ""


def webcams(platform: str = sys.platform) -> Webcams:
    """The cameras of this machine that deliver video."""
    if platform == "linux":
        return linux_webcams(SYSFS, _capabilities)
    if platform in _LIBAV_FORMATS:
        return _libav_webcams(_LIBAV_FORMATS[platform])
    return Webcams((), "", f"on {platform} webcams cannot be listed; try 'videodisco run 0'")


def linux_webcams(sysfs: Path, capabilities: Callable[[Path], int]) -> Webcams:
    """The capture devices listed in ``sysfs``; ``capabilities`` asks a device node for its V4L2 capabilities and
    raises OSError where it cannot."""
    nodes = sorted((path for path in sysfs.glob("video*") if path.name[5:].isdecimal()), key=_number)
    found = [webcam for webcam in (_linux_webcam(node, capabilities) for node in nodes) if webcam is not None]
    return Webcams(tuple(found), str(sysfs))


def _linux_webcam(node: Path, capabilities: Callable[[Path], int]) -> Webcam | None:
    """The camera at ``node``; None for a node that gives no video (metadata, output, radio)."""
    device = DEV / node.name
    problem = ""
    try:
        if not capabilities(device) & _VIDEO_CAPTURE:
            return None
    except PermissionError:
        problem = "this user may not open it: add the user to the group 'video' and log in again"
    except FileNotFoundError:
        problem = f"{device} is missing: in a container, pass the device in"
    except OSError as exc:
        problem = f"it cannot be opened: {exc.strerror or exc}"
    return Webcam(str(_number(node)), _first_line(node / "name"), str(device), problem)


def _number(node: Path) -> int:
    return int(node.name[5:])


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "unnamed"


def _capabilities(device: Path) -> int:
    """What the driver says the node can do; asking disturbs nobody who uses it."""
    import fcntl  # not on Windows

    with device.open("rb", buffering=0) as node:
        answer = bytearray(_CAPABILITY_BYTES)
        fcntl.ioctl(node, _QUERY_CAPABILITIES, answer)
    return int(struct.unpack_from("=I", answer, _DEVICE_CAPABILITIES_AT)[0])


def _libav_webcams(container_format: str) -> Webcams:
    """By libav's own list, which names devices on Windows and numbers them on macOS."""
    try:
        devices = av.device.enumerate_input_devices(container_format)
    except (av.error.FFmpegError, ValueError) as exc:
        note = f"{container_format} lists no cameras here ({exc}); try 'videodisco run 0'"
        return Webcams((), container_format, note)
    cameras = [device for device in devices if "video" in device.media_types]
    return Webcams(tuple(map(_libav_webcam, cameras)), container_format)


def _libav_webcam(device: av.device.DeviceInfo) -> Webcam:
    name = device.description or device.name
    return Webcam(device.name if device.name.isdecimal() else f"webcam:{name}", name, device.name)
