"""Where no window can be opened there is a sentence; where one can, the real one is looked at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import pytest

from edge.window import WindowError, open_window
from edge.window.display import require_display
from edge.window.screen import Screen
from stream.frame import Pixels
from tests.screen import DEADLINE_S, VirtualScreen, virtual_screen, without_display
from tests.window_program import BLUE, GOOD, GREEN, WAITING, YELLOW, FakeControls, share


def test_an_opencv_without_windows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    with pytest.raises(WindowError, match="built without one; put opencv-python in the place"):
        open_window(list, FakeControls())


def test_a_window_that_cannot_be_opened_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise cv2.error("no way")

    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "GTK3")
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(WindowError, match="OpenCV cannot open one"):
        open_window(list, FakeControls())


def test_qt_forgets_its_last_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is closed Qt answers every question with an error."""
    for name in ("namedWindow", "resizeWindow", "setMouseCallback"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr("edge.window.screen.require_display", lambda: None)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    screen = Screen("title", 100, 100)
    was_open = screen.is_open

    def refuse(*_: object) -> None:
        raise cv2.error("NULL guiReceiver")

    monkeypatch.setattr(cv2, "getWindowProperty", refuse)
    assert (was_open, screen.is_open) == (True, False)
    screen.close()


QT_ON_LINUX = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and cv2.currentUIFramework().startswith("QT")),
    reason="only Qt on Linux ends the process",
)


@QT_ON_LINUX
@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "DISPLAY is not set"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "OpenCV needs an X display"),
        ({"DISPLAY": ":987"}, "the display :987 refuses or is not there"),
        ({"DISPLAY": "nonsense"}, "the display nonsense refuses or is not there"),
    ],
)
def test_without_a_display_there_is_a_sentence(
    environment: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("edge.window.display.PROBE_TIMEOUT_S", DEADLINE_S)
    with pytest.raises(WindowError, match=sentence):
        require_display()


@QT_ON_LINUX
def test_libraries_that_are_missing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("edge.window.display.PROBE_TIMEOUT_S", DEADLINE_S)
    monkeypatch.setattr("edge.window.display._platform_plugin", lambda: "/nowhere/libqxcb.so")
    with pytest.raises(WindowError, match=r"/nowhere/libqxcb\.so cannot be loaded"):
        require_display()


@QT_ON_LINUX
def test_a_display_that_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("edge.window.display._PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr("edge.window.display.PROBE_TIMEOUT_S", 0.2)
    with pytest.raises(WindowError, match="did not answer"):
        require_display()


@contextmanager
def program(scene: str, screen: VirtualScreen, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """tests.window_program with a scene, as a process of its own: Qt keeps to its first display for ever."""
    command = [sys.executable, "-m", "tests.window_program", scene]
    process = subprocess.Popen(
        command, env={**screen.environment, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def painted(
    scene: str, screen: VirtualScreen, wanted: Callable[[Pixels], bool], **environment: str
) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int, int], Pixels]]:
    """A program with its window and the first picture that is as wanted."""
    with program(scene, screen, **environment) as shown:
        window = screen.window("VideoDisco")
        yield shown, window, screen.shot_when(wanted)


@pytest.fixture(scope="module")
def screen() -> Iterator[VirtualScreen]:
    with virtual_screen() as shown:
        yield shown


@pytest.mark.slow
@QT_ON_LINUX
def test_xlib_leaves_all_events_to_qt(screen: VirtualScreen) -> None:
    """It does if it is told by the libX11-xcb of its own version, which therefore must be found before OpenCV's: else
    windows stay black now and then."""
    asked = "import ctypes; ctypes.CDLL(None).XSetEventQueueOwner"
    for opened in ("", "from edge.window.display import require_display; require_display(); "):
        done = subprocess.run([sys.executable, "-c", opened + asked], env=screen.environment, stderr=subprocess.DEVNULL)
        assert (done.returncode == 0) is bool(opened)


@pytest.mark.slow
def test_one_camera_on_a_real_screen(screen: VirtualScreen) -> None:
    def fits(shot: Pixels) -> bool:
        """The picture fills the window, which has taken the picture's shape."""
        return share(shot[100:650, 1000:1225], BLUE) == 1 and not shot[:, 1235:].any()

    with painted("one", screen, fits) as (shown, (window, left, top), picture):
        assert (left, top) == (0, 0)
        scale = 1230 / 640  # what fits below the bar into the window's first size

        def at(x: int, y: int) -> tuple[int, ...]:
            """The colour at a place of the camera's picture."""
            return tuple(int(value) for value in picture[28 + round(y * scale), round(x * scale)])

        assert share(picture[28 + 20 : 28 + 100, 20:300], BLUE) == 1
        assert at(250, 200) != BLUE  # within the zone
        assert at(280, 200) not in {BLUE, at(250, 200)}  # the box's left side
        assert share(picture[:28, :1200], BLUE) == 0
        assert share(picture[:28, :24], GOOD) > 0.05  # the dot of a live camera
        screen.press(window, "space")
        screen.shot_when(lambda shot: share(shot[top : top + 28, left : left + 24], WAITING) > 0.05)
        assert shown.stdout is not None
        for key, said in [("s", "snapshot front door\n"), ("r", "record front door\n")]:
            screen.press(window, key)  # of two that come at once OpenCV tells the last
            assert shown.stdout.readline() == said
        screen.press(window, "Left")
        screen.press(window, "q")
        assert shown.stdout.read().split("\n") == ["quit", "closed", ""]
        assert shown.wait(DEADLINE_S) == 0


@pytest.mark.slow
def test_four_cameras_on_a_real_screen(screen: VirtualScreen) -> None:
    def is_small(shot: Pixels) -> bool:
        """All four are there, in a window of 640x480."""
        blue, yellow = share(shot[60:200, 40:280], BLUE), share(shot[280:420, 360:600], YELLOW)
        return blue > 0.7 and yellow > 0.7 and 0.01 < share(shot, BLUE) < 0.05

    with painted(
        "four", screen, lambda shot: share(shot, BLUE) > 0.1 and share(shot, YELLOW) > 0.1, QT_QPA_PLATFORM="wayland"
    ) as (shown, (window, left, top), picture):
        assert share(picture, GREEN) < 0.001  # it is offline
        screen.click(left + 960, top + 540)
        screen.shot_when(lambda shot: share(shot, YELLOW) > 0.5 and share(shot, BLUE) < 0.01)
        screen.press(window, "Escape")
        screen.resize(window, 640, 480)
        screen.shot_when(lambda shot: is_small(shot[top:, left:]))
        screen.press(window, "q")
        assert shown.wait(DEADLINE_S) == 0


@pytest.mark.slow
@QT_ON_LINUX
def test_a_process_without_a_display_lives_on() -> None:
    command = [sys.executable, "-m", "tests.window_program", "one"]
    done = subprocess.run(command, env=without_display(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("refused: no window: there is no display")
