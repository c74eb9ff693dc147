"""Everything the window draws that is not a picture: bars, notes, the help panel. BGR, into parts of a canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from edge.window.head_up import HeadUp, Tone
from stream.frame import Pixels

Colour = tuple[int, int, int]

BACKGROUND: Colour = (26, 22, 20)
BAR: Colour = (44, 38, 34)
SELECTED: Colour = (235, 190, 60)
_TEXT: Colour = (236, 234, 232)
_MUTED: Colour = (176, 168, 160)
_RECORDING: Colour = (70, 70, 240)
_TONES: dict[Tone, Colour] = {
    Tone.GOOD: (110, 210, 90),
    Tone.WAITING: (60, 180, 250),
    Tone.BAD: (90, 90, 245),
    Tone.QUIET: _MUTED,
}

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ELLIPSIS = "..."
# Of a picture that is no longer live, how much brightness stays.
_DIMMED = 0.35
# How much of the canvas still shines through a panel.
_PANEL_SHINE = 0.15


@dataclass(frozen=True, slots=True)
class Type:
    """A size and weight of text."""

    scale: float
    thickness: int = 1

    def width(self, text: str) -> int:
        return int(cv2.getTextSize(text, _FONT, self.scale, self.thickness)[0][0])

    @property
    def height(self) -> int:
        """Of capital letters."""
        return int(cv2.getTextSize("H", _FONT, self.scale, self.thickness)[0][1])

    def put(self, area: Pixels, text: str, left: int, baseline: int, colour: Colour) -> None:
        cv2.putText(area, text, (left, baseline), _FONT, self.scale, colour, self.thickness, cv2.LINE_AA)

    def shortened(self, text: str, width: int) -> str:
        """The text, cut to a width in pixels; empty when not even its first letter fits."""
        if self.width(text) <= width:
            return text
        kept = next((end for end in range(len(text), 0, -1) if self.width(text[:end] + _ELLIPSIS) <= width), 0)
        return text[:kept].rstrip() + _ELLIPSIS if kept else ""

    def wrapped(self, text: str, width: int) -> list[str]:
        """The text in lines no wider than ``width`` pixels; a longer word is cut."""
        lines: list[str] = []
        for word in text.split():
            joined = f"{lines[-1]} {word}" if lines else word
            if lines and self.width(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(self.shortened(word, width))
        return lines


_LARGE_BAR_FROM_PX = 300


def bar_height(tile_height: int) -> int:
    """How much of a tile its head-up line takes."""
    return 28 if tile_height >= _LARGE_BAR_FROM_PX else 20


def fill(area: Pixels, colour: Colour) -> None:
    """One colour; numpy would take fifty times as long."""
    cv2.rectangle(area, (0, 0), (area.shape[1], area.shape[0]), colour, cv2.FILLED)


def paint_bar(area: Pixels, head: HeadUp) -> None:
    """The head-up line: state, name and reason on the left, figures and the REC mark on the right."""
    height, width = area.shape[:2]
    size = height / 28
    plain, bold = Type(0.5 * size), Type(0.5 * size, 2)
    gap, baseline = round(12 * size), (height + plain.height) // 2
    fill(area, BAR)
    cv2.circle(area, (gap, height // 2), round(5 * size), _TONES[head.tone], cv2.FILLED, cv2.LINE_AA)
    left, right = 2 * gap, width - gap
    if head.recording:
        right -= plain.width("REC")
        plain.put(area, "REC", right, baseline, _RECORDING)
        right -= gap
        cv2.circle(area, (right, height // 2), round(5 * size), _RECORDING, cv2.FILLED, cv2.LINE_AA)
        right -= 2 * gap
    name = bold.shortened(head.name, max(right - left - plain.width(head.states[-1]) - 2 * gap, (right - left) // 2))
    bold.put(area, name, left, baseline, _TEXT)
    left += bold.width(name) + gap
    details = _first_that_fits(head.details, plain, right - left - plain.width(head.states[-1]) - 2 * gap)
    plain.put(area, details, right - plain.width(details), baseline, _MUTED)
    right -= plain.width(details) + (2 * gap if details else 0)
    plain.put(area, _first_that_fits(head.states, plain, right - left), left, baseline, _TONES[head.tone])


def _first_that_fits(texts: Sequence[str], face: Type, width: int) -> str:
    return next((text for text in texts if face.width(text) <= width), "")


def dim(area: Pixels) -> None:
    """Make a picture look like one of the past: grey and dark."""
    grey = cv2.cvtColor(area, cv2.COLOR_BGR2GRAY)
    cv2.cvtColor(cv2.convertScaleAbs(grey, alpha=_DIMMED), cv2.COLOR_GRAY2BGR, dst=area)


def paint_note(area: Pixels, note: Sequence[str]) -> None:
    """A headline and sentences, centred; what does not fit below is left out."""
    height, width = area.shape[:2]
    size = min(1.0, max(0.55, height / 420))
    headline, plain = Type(0.75 * size, 2), Type(max(0.4, 0.55 * size))
    room = round(width * 0.86)
    lines = [(headline, line, _TEXT) for line in headline.wrapped(note[0], room)]
    lines += [(plain, line, _MUTED) for sentence in note[1:] for line in plain.wrapped(sentence, room)]
    pitch = round(headline.height * 1.8)
    fitting = lines[: max(1, height // pitch)]
    baseline = (height - pitch * len(fitting)) // 2 + headline.height + (pitch - headline.height) // 2
    for number, (face, line, colour) in enumerate(fitting):
        face.put(area, line, (width - face.width(line)) // 2, baseline + number * pitch, colour)


def paint_help(canvas: Pixels, rows: Sequence[tuple[str, str]]) -> None:
    """A panel in the middle with keys and what they do."""
    plain, bold = Type(0.6), Type(0.6, 2)
    keys_width = max(bold.width(keys) for keys, _ in rows)
    pitch, margin = 32, 28
    width = keys_width + max(plain.width(words) for _, words in rows) + 3 * margin
    area = _panel(canvas, width, pitch * len(rows) + 2 * margin)
    for number, (keys, words) in enumerate(rows):
        baseline = margin + number * pitch + (pitch + plain.height) // 2
        bold.put(area, keys, margin, baseline, SELECTED)
        plain.put(area, words, 2 * margin + keys_width, baseline, _TEXT)


def paint_toast(canvas: Pixels, text: str) -> None:
    """One line in a panel at the lower edge."""
    face, margin = Type(0.6), 16
    room = canvas.shape[1] - 4 * margin
    text = face.shortened(text, room)
    area = _panel(canvas, face.width(text) + 2 * margin, face.height + 2 * margin, from_bottom=margin)
    face.put(area, text, margin, margin + face.height, _TEXT)


def _panel(canvas: Pixels, width: int, height: int, *, from_bottom: int | None = None) -> Pixels:
    """A dark part of the canvas in its middle, or above its lower edge; no larger than the canvas."""
    room_y, room_x = canvas.shape[0] - height, canvas.shape[1] - width
    top = max(0, room_y // 2 if from_bottom is None else room_y - from_bottom)
    left = max(0, room_x // 2)
    area = canvas[top : top + height, left : left + width]
    cv2.convertScaleAbs(area, dst=area, alpha=_PANEL_SHINE, beta=14)
    cv2.rectangle(canvas, (left, top), (left + width - 1, top + height - 1), _MUTED, 1)
    return area
