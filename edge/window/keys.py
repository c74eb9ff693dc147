"""Which key does what."""

from __future__ import annotations

from enum import Enum


class Action(Enum):
    """What can be asked of the window."""

    QUIT = "quit"
    PAUSE = "pause"
    SNAPSHOT = "snapshot"
    RECORD = "record"
    NEXT = "next"
    BACK = "back"
    HELP = "help"
    TRAILS = "trails"
    ZONES = "zones"
    LABELS = "labels"


_ESCAPE, _TAB, _SPACE = 27, 9, 32

_ACTIONS = {
    ord("q"): Action.QUIT,
    _SPACE: Action.PAUSE,
    ord("s"): Action.SNAPSHOT,
    ord("r"): Action.RECORD,
    _TAB: Action.NEXT,
    _ESCAPE: Action.BACK,
    ord("h"): Action.HELP,
    ord("t"): Action.TRAILS,
    ord("z"): Action.ZONES,
    ord("l"): Action.LABELS,
}

HELP = (
    ("q", "quit"),
    ("space", "pause the picture; the run goes on"),
    ("tab, click", "a camera large, and back to all"),
    ("s", "snapshot of the large or marked camera"),
    ("r", "start or stop its recording"),
    ("t  z  l", "trails, zones, labels on or off"),
    ("h", "this help"),
)
"""Keys and what they do, for the help panel."""


def action_for(code: int) -> Action | None:
    """The action of a key code as ``cv2.waitKeyEx`` reports it: -1 for none, modifiers above 16 bits, any case.

    Arrows and other keys without a letter have codes of more than 8 bits: cut to 8, some of them would be letters.
    """
    key = code & 0xFFFF
    if code < 0 or key > 0xFF:
        return None
    return _ACTIONS.get(key | 0x20 if ord("A") <= key <= ord("Z") else key)
