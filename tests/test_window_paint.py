"""Bars, notes and panels fit wherever they are drawn, and scaled pictures show the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.window import FeedFigures
from edge.window.head_up import HeadUp, head_up
from edge.window.keys import HELP
from edge.window.paint import Type, paint_bar, paint_help, paint_note, paint_toast
from edge.window.view import scaled
from stream.sources.status import SourceState, SourceStatus
from tests.window_program import BLUE, YELLOW, plain


def said(state: SourceState = SourceState.LIVE, reason: str = "") -> HeadUp:
    figures = FeedFigures(fps_in=25.0, fps_detect=5.04, dropped=3)
    return head_up("door", SourceStatus(state, 0.0, reason), figures, age_s=0.04, now_s=100.0)


@pytest.mark.parametrize("width", [1, 40, 120, 300, 640, 1280])
@pytest.mark.parametrize("name", ["cam", "a camera with quite a long name at the back of the house", "Tür"])
def test_a_bar_of_any_width(width: int, name: str) -> None:
    area = plain((0, 0, 0), width, 28)
    for head in (said(), said(SourceState.BACKING_OFF, "a reason of many words " * 9)):
        paint_bar(area, replace(head, name=name, recording=True))
    assert area.any()


def test_in_a_bar_nothing_covers_anything_else() -> None:
    """The name, the state and the figures are drawn in different colours: what one of them lost would be missing."""
    alone, crowded = plain((0, 0, 0), 1280, 28), plain((0, 0, 0), 420, 28)
    paint_bar(alone, said())
    paint_bar(crowded, said())
    green = [int(((area[..., 1] > 150) & (area[..., 2] < 130)).sum()) for area in (alone, crowded)]
    assert green[0] == green[1] > 20


@pytest.mark.parametrize("size", [(1, 1), (60, 40), (320, 160), (1280, 700)])
def test_notes_and_panels_fit_into_any_area(size: tuple[int, int]) -> None:
    note = ("no picture for 12 s", "The camera at the end of the world closed the connection " * 4, "Trying again")
    area = plain((9, 9, 9), *size)
    paint_note(area, note)
    paint_help(area, HELP)
    paint_toast(area, "snapshot of a camera with a name " * 5)
    assert area.shape == (size[1], size[0], 3)


def test_text_is_shortened_and_wrapped_to_a_width() -> None:
    face = Type(0.5)
    text = "the camera closed the connection"
    assert face.shortened(text, 1000) == text
    short = face.shortened(text, 100)
    assert short.endswith("...")
    assert face.width(short) <= 100
    assert face.shortened(text, 2) == ""
    lines = face.wrapped(text, 110)
    assert " ".join(lines) == text
    assert all(face.width(line) <= 110 for line in lines)


@pytest.mark.parametrize("size", [(1280, 720), (640, 360), (333, 187), (160, 90), (40, 22), (1900, 1069)])
def test_a_scaled_picture_shows_the_same(size: tuple[int, int]) -> None:
    picture = plain(BLUE, 1280, 720)
    picture[:, 640:] = YELLOW
    small = scaled(picture, *size)
    assert small.shape == (size[1], size[0], 3)
    assert (small[:, : size[0] // 2 - 3] == BLUE).all()
    assert (small[:, size[0] // 2 + 3 :] == YELLOW).all()


def test_thin_lines_survive_scaling() -> None:
    picture = plain((0, 0, 0), 1280, 720)
    picture[::8] = 255
    assert abs(float(scaled(picture, 160, 90).mean()) - 255 / 8) < 3
