"""The live window: all cameras side by side or one large, drawn when there is something new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import cv2
import numpy as np

from edge.window.keys import HELP, Action, action_for
from edge.window.paint import BACKGROUND, SELECTED, bar_height, paint_help, paint_note, paint_toast
from edge.window.roles import CameraFeed, Controls
from edge.window.screen import Screen
from edge.window.tiles import Rect, layout, tile_at
from edge.window.view import CameraView, Layers
from stream.frame import Pixels

FIRST_SIZE = (1280, 720)
SMALLEST, LARGEST = (320, 200), (1920, 1080)
"""Bounds of the canvas, (width, height) in pixels: in a larger window it is enlarged by the window."""

REDRAW_EVERY_S = 1 / 30
OVERVIEW_EVERY_S = 1 / 10
OVERVIEW_FROM = 5
"""From so many tiles on nobody looks for smooth motion, and drawing them all would take half a core."""

WAIT_MS = 10
"""How long one step waits for keys: a new picture is shown at most so much later."""

TOAST_S = 1.5
GREETING, GREETING_S = "h: help   q: quit", 4.0
_GAP_PX = 6


class Display(Protocol):
    """What the window needs of :class:`edge.window.screen.Screen`."""

    @property
    def is_open(self) -> bool: ...

    def size(self) -> tuple[int, int]: ...

    def resize(self, width: int, height: int) -> None: ...

    def show(self, canvas: Pixels) -> None: ...

    def key(self, wait_ms: int) -> int: ...

    def pointer(self) -> list[tuple[int, int, bool]]: ...

    def close(self) -> None: ...


def open_window(feeds: Callable[[], Sequence[CameraFeed]], controls: Controls, *, title: str = "VideoDisco") -> Window:
    """Open the live window, on the main thread. ``feeds`` is asked at every step: cameras may come and go.

    Raises:
        WindowError: there is no display, or this OpenCV cannot open windows; nothing else is harmed.
    """
    return Window(feeds, controls, Screen(title, *FIRST_SIZE))


class Window:
    """What is seen and chosen in the window. For the main thread."""

    def __init__(self, feeds: Callable[[], Sequence[CameraFeed]], controls: Controls, screen: Display) -> None:
        self._feeds = feeds
        self._controls = controls
        self._screen = screen
        self._layers = Layers()
        self._views: dict[str, CameraView] = {}
        self._large: str | None = None
        self._selected: str | None = None
        self._paused = self._help = self._shaped = False
        self._toast: tuple[str, float] | None = None
        self._canvas: Pixels = np.zeros((0, 0, 3), np.uint8)
        self._tiles: dict[str, Rect] = {}
        self._drawn: object = None
        self._redraw_due_s = 0.0

    def step(self, now_s: float) -> bool:
        """Draw what is new, wait up to :data:`WAIT_MS` for keys and do what they ask; call it again and again.

        ``now_s`` is the monotonic clock. False once the window is closed: by ``q``, which also calls
        ``controls.quit()``, by its own close button, which does not, or by :meth:`close`.
        """
        if not self._screen.is_open:  # showing something would open it again
            return False
        self._toast = self._toast or (GREETING, now_s + GREETING_S)
        self._update_views()
        if now_s >= self._redraw_due_s and self._redraw(now_s):
            self._redraw_due_s = now_s + (REDRAW_EVERY_S if len(self._tiles) < OVERVIEW_FROM else OVERVIEW_EVERY_S)
        self._follow_pointer()
        action = action_for(self._screen.key(WAIT_MS))
        if action is not None:
            self._do(action, now_s)
        return self._screen.is_open

    def close(self) -> None:
        """Close it; a second call changes nothing."""
        self._screen.close()
        self._views.clear()

    # What is there to be seen

    def _update_views(self) -> None:
        feeds = {feed.name: feed for feed in self._feeds()}
        for name in self._views.keys() - feeds.keys():
            del self._views[name]
        kept = {name: self._views.get(name) or CameraView(feed, self._layers) for name, feed in feeds.items()}
        for name, view in kept.items():
            view.feed = feeds[name]
        self._views = kept
        if self._large not in self._views:
            self._large = None
        if self._selected not in self._views:
            self._selected = next(iter(self._views), None)

    @property
    def _shown(self) -> list[str]:
        return list(self._views) if self._large is None else [self._large]

    @property
    def _chosen(self) -> str | None:
        """The camera that keys are about."""
        return self._large or self._selected

    # Drawing

    def _redraw(self, now_s: float) -> bool:
        """Draw what has changed, and show it; False if nothing had."""
        self._shape_once()
        changed = self._arrange()
        for name in self._shown:
            view = self._views[name]
            if view.look(now_s, frozen=self._paused):
                view.paint(self._tiles[name].of(self._canvas))
                changed = True
        above = (self._help, self._paused, self._toast_text(now_s), self._selected)
        if changed or above != self._drawn:
            self._drawn = above
            self._screen.show(self._with_panels(now_s))
            return True
        return False

    def _shape_once(self) -> None:
        """Give the window the shape of the first picture of a camera that is alone, so that no margins are left."""
        size = next((view.picture_size for view in self._views.values()), None)
        if self._shaped or len(self._views) != 1 or size is None:
            self._shaped = self._shaped or len(self._views) > 1
            return
        self._shaped = True
        bar_px = bar_height(FIRST_SIZE[1])
        scale = min(FIRST_SIZE[0] / size[0], (FIRST_SIZE[1] - bar_px) / size[1], 2.0)
        width, height = round(size[0] * scale), round(size[1] * scale) + bar_px
        self._screen.resize(max(width, SMALLEST[0] * 2), max(height, SMALLEST[1]))

    def _arrange(self) -> bool:
        """Give each camera shown its tile; True if that has changed anything."""
        width, height = canvas_size(*self._screen.size())
        tiles = dict(zip(self._shown, layout(len(self._shown), width, height, gap_px=_GAP_PX), strict=True))
        if tiles == self._tiles and self._canvas.shape[:2] == (height, width):
            return False
        self._tiles = tiles
        self._canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
        for view in self._views.values():
            view.invalidate()
        if not tiles:
            paint_note(self._canvas, ("no cameras",))
        return True

    def _with_panels(self, now_s: float) -> Pixels:
        """The canvas with what lies over it for now."""
        canvas = self._canvas.copy()
        if len(self._tiles) > 1 and self._selected is not None:
            _frame(canvas, self._tiles[self._selected])
        if self._help:
            paint_help(canvas, HELP)
        toast = self._toast_text(now_s)
        if toast or self._paused:
            paint_toast(canvas, toast or "paused: press space to go on")
        return canvas

    def _toast_text(self, now_s: float) -> str:
        return self._toast[0] if self._toast is not None and now_s < self._toast[1] else ""

    # Keys and the pointer

    def _follow_pointer(self) -> None:
        for x, y, clicked in self._screen.pointer():
            under = tile_at(list(self._tiles.values()), x, y)
            name = None if under is None else list(self._tiles)[under]
            if name not in self._views:  # a gap, or a camera that is gone since the canvas was drawn
                continue
            self._selected = name
            if clicked and len(self._views) > 1:
                self._large = self._selected if self._large is None else None
                self._tiles = {}

    def _do(self, action: Action, now_s: float) -> None:
        match action:
            case Action.QUIT:
                self._controls.quit()
                self.close()
            case Action.PAUSE:
                self._paused = not self._paused
                self._refresh()
            case Action.HELP:
                self._help = not self._help
            case Action.NEXT:
                self._enlarge_next()
            case Action.BACK:
                self._help, self._large = False, None
            case Action.SNAPSHOT | Action.RECORD:
                self._ask_camera(action, now_s)
            case Action.TRAILS | Action.ZONES | Action.LABELS:
                self._toggle_layer(action)
        self._redraw_due_s = now_s

    def _enlarge_next(self) -> None:
        """All, then each alone, then all again."""
        names = list(self._views)
        if len(names) < 2:
            return
        number = -1 if self._large is None else names.index(self._large)
        self._large = names[number + 1] if number + 1 < len(names) else None
        self._selected = self._large or self._selected

    def _ask_camera(self, action: Action, now_s: float) -> None:
        name = self._chosen
        if name is None:
            return
        if action is Action.SNAPSHOT:
            self._controls.snapshot(name)
            said = f"snapshot of {name}"
        else:
            recording = self._views[name].feed.figures().recording
            self._controls.toggle_recording(name)
            said = f"{'stop' if recording else 'start'} recording {name}"
        self._toast = (said, now_s + TOAST_S)

    def _toggle_layer(self, action: Action) -> None:
        layers = self._layers
        match action:
            case Action.TRAILS:
                layers.trails = not layers.trails
            case Action.ZONES:
                layers.zones = not layers.zones
            case _:
                layers.labels = not layers.labels
        self._refresh()

    def _refresh(self) -> None:
        for view in self._views.values():
            view.invalidate()


def canvas_size(width: int, height: int) -> tuple[int, int]:
    """The canvas for a window's size: the same within bounds, beyond them of the same shape as far as possible."""
    if width < 1 or height < 1:
        return FIRST_SIZE
    scale = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
    return max(SMALLEST[0], round(width * scale)), max(SMALLEST[1], round(height * scale))


def _frame(canvas: Pixels, tile: Rect) -> None:
    """Mark the chosen tile in the gap around it."""
    corner, opposite = (tile.left - 2, tile.top - 2), (tile.left + tile.width + 1, tile.top + tile.height + 1)
    cv2.rectangle(canvas, corner, opposite, SELECTED, 2)
