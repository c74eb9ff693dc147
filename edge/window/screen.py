"""OpenCV's window: the only place that calls its GUI. For the main thread."""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2

from edge.window.display import WindowError, require_display
from stream.frame import Pixels

MAX_POINTER_EVENTS = 64
"""Between two looks; older ones give way."""


class Screen:
    """A window that shows one canvas and collects keys and the pointer's doings.

    Raises WindowError when none can be opened; the process lives on.
    """

    def __init__(self, title: str, width: int, height: int) -> None:
        require_display()
        self._title = title
        self._pointer: deque[tuple[int, int, bool]] = deque(maxlen=MAX_POINTER_EVENTS)
        self._open = True
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(title, width, height)
            cv2.setMouseCallback(title, self._on_mouse)
        except cv2.error as error:
            raise WindowError(f"no window: OpenCV cannot open one ({error.err or error}); leave --show out") from error

    @property
    def is_open(self) -> bool:
        """False once it was closed, by us or by the viewer."""
        try:
            self._open = self._open and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # what Qt answers when the last window is gone
            self._open = False
        return self._open

    def size(self) -> tuple[int, int]:
        """(width, height) of what the canvas is shown in, in pixels; zeros where nobody can tell."""
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return max(0, width), max(0, height)

    def resize(self, width: int, height: int) -> None:
        cv2.resizeWindow(self._title, width, height)

    def show(self, canvas: Pixels) -> None:
        cv2.imshow(self._title, canvas)

    def key(self, wait_ms: int) -> int:
        """Let the window live for up to so many milliseconds; a key's code, or -1."""
        return int(cv2.waitKeyEx(wait_ms))

    def pointer(self) -> list[tuple[int, int, bool]]:
        """Where the pointer was since the last call, in pixels of the canvas, and whether it clicked there."""
        seen = list(self._pointer)
        self._pointer.clear()
        return seen

    def close(self) -> None:
        if self.is_open:
            self._open = False
            cv2.destroyWindow(self._title)
            cv2.waitKeyEx(1)  # only now does it vanish

    def _on_mouse(self, event: int, x: int, y: int, _flags: int, _parameter: Any) -> None:
        if event in {cv2.EVENT_MOUSEMOVE, cv2.EVENT_LBUTTONDOWN}:
            self._pointer.append((x, y, event == cv2.EVENT_LBUTTONDOWN))
