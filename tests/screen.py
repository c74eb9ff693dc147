"""A screen nobody sees: Xvfb on a display of its own, with pictures taken of it and keys pressed on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from stream.frame import Pixels
from tests.conftest import missing

DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class VirtualScreen:
    """A display; a window on it has no frame and stands where it wants, for there is no window manager."""

    display: str

    @property
    def environment(self) -> dict[str, str]:
        """For a process that shall open its windows here."""
        return {**os.environ, "DISPLAY": self.display}

    def shot(self) -> Pixels:
        """The whole screen as a BGR picture."""
        png = self._run("import", "-window", "root", "png:-")
        return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), np.uint8)

    def shot_when(self, wanted: Callable[[Pixels], bool], within_s: float = DEADLINE_S) -> Pixels:
        """The first picture of the screen that is as wanted. Raises AssertionError when none comes."""
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            picture = self.shot()
            if wanted(picture):
                return picture
            time.sleep(0.1)
        raise AssertionError("the screen never looked as it should")

    def window(self, title: str) -> tuple[str, int, int]:
        """A window's id and the place of its inner left upper corner on the screen."""
        found = self._run("xdotool", "search", "--sync", "--onlyvisible", "--name", f"^{title}$").decode().split()[-1]
        words = self._run("xdotool", "getwindowgeometry", "--shell", found).decode()
        place = dict(line.split("=") for line in words.splitlines())
        return found, int(place["X"]), int(place["Y"])

    def press(self, window: str, key: str) -> None:
        self._run("xdotool", "windowfocus", "--sync", window)
        self._run("xdotool", "key", key)

    def point(self, x: int, y: int) -> None:
        self._run("xdotool", "mousemove", "--sync", str(x), str(y))

    def click(self, x: int, y: int) -> None:
        self.point(x, y)
        self._run("xdotool", "click", "1")

    def resize(self, window: str, width: int, height: int) -> None:
        self._run("xdotool", "windowsize", "--sync", window, str(width), str(height))

    def _run(self, *command: str) -> bytes:
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr.decode()}"
        return done.stdout


@contextmanager
def virtual_screen(width: int = 1400, height: int = 900) -> Iterator[VirtualScreen]:
    """A screen for as long as the block lasts; the test is skipped where its parts are not installed."""
    for program, package in [("Xvfb", "xvfb"), ("import", "imagemagick"), ("xdotool", "xdotool")]:
        if shutil.which(program) is None:
            missing(program, f"it comes with Debian's {package}")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"]
    command += ["-noreset"]  # whoever comes while it begins anew, after the last program has gone, is turned away
    server = subprocess.Popen(command, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        with os.fdopen(reader) as told:
            yield VirtualScreen(f":{told.readline().strip()}")
    finally:
        server.terminate()
        server.wait(DEADLINE_S)


def without_display(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a machine without any screen."""
    return {name: value for name, value in environment.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}
