"""Whether a window can be opened here: asked before Qt is, which ends the whole process when it cannot."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import cv2

from stream.errors import VideoDiscoError

PROBE_TIMEOUT_S = 15.0
"""A display on this machine answers in milliseconds, if the machine is not busy with something else; one at the end of
a dead network never does."""

# Run in a child process, which loads just what Qt would load and then asks for a connection as Qt would.
_PROBE = """
import ctypes, sys
xcb = ctypes.CDLL(sys.argv[1])
xcb.xcb_connect.restype = ctypes.c_void_p
connection = xcb.xcb_connect(None, None)
sys.exit(3 if xcb.xcb_connection_has_error(ctypes.c_void_p(connection)) else 0)
"""
_NOT_CONNECTED = 3


class WindowError(VideoDiscoError):
    """No window can be opened; everything else works without one."""


def require_display() -> None:
    """Return if a window can be opened here. Raises WindowError with the reason in one sentence."""
    framework = cv2.currentUIFramework()
    if not framework:
        raise WindowError(
            "no window: this OpenCV was built without one; put opencv-python in the place of opencv-python-headless"
        )
    if framework.startswith("QT") and sys.platform.startswith("linux"):
        _require_x_display()


def _require_x_display() -> None:
    display = os.environ.get("DISPLAY", "")
    if not display and os.environ.get("WAYLAND_DISPLAY"):
        raise WindowError("no window: OpenCV needs an X display and DISPLAY is not set; start Xwayland or use X11")
    if not display:
        raise WindowError("no window: there is no display here (DISPLAY is not set); leave --show out, or use ssh -X")
    plugin = _platform_plugin()
    match _probe(plugin):
        case 0:
            # Qt would otherwise obey a QT_QPA_PLATFORM meant for others, find no such plugin and abort.
            os.environ["QT_QPA_PLATFORM"] = "xcb"
            _agree_with_xlib()
        case code if code == _NOT_CONNECTED:
            raise WindowError(f"no window: the display {display} refuses or is not there; check DISPLAY and xauth")
        case None:
            raise WindowError(f"no window: the display {display} did not answer in {PROBE_TIMEOUT_S:g} s")
        case _:
            raise WindowError(f"no window: {plugin} cannot be loaded; ldd names the libraries it lacks")


def _agree_with_xlib() -> None:
    """Let Qt tell Xlib in a way that it understands that all events are for Qt.

    opencv-python brings a libX11-xcb of its own and takes libX11 from the system. Where they are of different
    versions, the first writes that word to the wrong place in the other's memory, and Xlib now and then takes events
    away: a window that never hears that it is shown stays black. What is loaded for all comes before what Qt brings.
    """
    with suppress(OSError):  # nowhere to be found: then it is as OpenCV made it
        ctypes.CDLL("libX11-xcb.so.1", mode=ctypes.RTLD_GLOBAL)


def _platform_plugin() -> str:
    """The library through which OpenCV's Qt reaches the display: its own, or the system's when it brings none."""
    own = Path(cv2.__file__).parent / "qt" / "plugins" / "platforms" / "libqxcb.so"
    return str(own) if own.exists() else "libxcb.so.1"


def _probe(library: str) -> int | None:
    """The exit code of a child that loads ``library`` and connects to the display; None if it hung."""
    command = [sys.executable, "-I", "-S", "-c", _PROBE, library]
    try:
        return subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        return None
