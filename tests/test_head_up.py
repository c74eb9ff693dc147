"""What the window says of a camera, and which key does what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.window import FeedFigures
from edge.window.head_up import STALE_S, HeadUp, Tone, head_up
from edge.window.keys import HELP, Action, action_for
from stream.sources.status import SourceState, SourceStatus

LIVE = SourceStatus(SourceState.LIVE, 0.0)
FIGURES = FeedFigures(fps_in=25.0, fps_detect=5.04, dropped=3)


def said(
    status: SourceStatus = LIVE, *, age_s: float | None = 0.0384, now_s: float = 100.0, frozen: bool = False
) -> HeadUp:
    return head_up("door", status, FIGURES, age_s=age_s, now_s=now_s, frozen=frozen)


def test_a_live_camera_tells_its_figures() -> None:
    head = said()
    assert head.details[0] == "25.0 fps in   5.0 detected   38 ms old   3 dropped"
    assert head.details[-1] == "38 ms"
    assert (head.tone, head.states, head.note) == (Tone.GOOD, ("live",), ())


def test_details_grow_shorter() -> None:
    lengths = [len(text) for text in said().details]
    assert lengths == sorted(lengths, reverse=True)


def test_agreement_is_said_once_it_is_known_where_there_is_room() -> None:
    figures = replace(FIGURES, agreement=0.857)
    details = head_up("door", LIVE, figures, age_s=0.038, now_s=100.0).details
    assert details[0] == "25.0 fps in   5.0 detected   38 ms old   3 dropped   agreement 0.86"
    lengths = [len(text) for text in details]
    assert lengths == sorted(lengths, reverse=True)
    assert "agreement" not in details[-1]


@pytest.mark.parametrize(
    ("state", "tone", "words"),
    [
        (SourceState.STALLED, Tone.WAITING, "stalled: why"),
        (SourceState.CONNECTING, Tone.WAITING, "connecting: why"),
        (SourceState.BACKING_OFF, Tone.BAD, "offline: why"),
        (SourceState.REFUSED, Tone.BAD, "refused: why"),
        (SourceState.PAUSED, Tone.QUIET, "paused: why"),
        (SourceState.ENDED, Tone.QUIET, "ended: why"),
    ],
)
def test_a_camera_that_is_not_live_never_looks_live(state: SourceState, tone: Tone, words: str) -> None:
    head = said(SourceStatus(state, 80.0, "why"), age_s=12.9)
    assert (head.tone, head.states[0]) == (tone, words)
    assert head.note[:2] == ("no picture for 12 s", "Why")
    assert not any(head.details)


def test_a_state_without_a_reason_is_the_reason() -> None:
    assert said(SourceStatus(SourceState.ENDED, 80.0), age_s=1.0).note == ("no picture for 1 s", "Ended")


def test_before_the_first_picture() -> None:
    assert said(SourceStatus(SourceState.CONNECTING, 0.0), age_s=None).note == ("connecting ...",)
    assert said(age_s=None).note == ("waiting for the first picture",)
    refused = SourceStatus(SourceState.REFUSED, 0.0, "wrong password", retry_at_s=142.0)
    assert said(refused, age_s=None).note == ("no picture yet", "Wrong password", "Trying again in 42 s")


def test_a_live_camera_whose_picture_grows_old_is_late() -> None:
    assert not said(age_s=STALE_S).note
    head = said(age_s=STALE_S + 0.1)
    assert (head.note, head.states, head.tone) == (("no picture for 5 s",), ("late",), Tone.WAITING)


def test_a_slow_camera_is_not_late_between_two_pictures() -> None:
    slow = replace(FIGURES, fps_in=0.1)
    ages = {age: head_up("door", LIVE, slow, age_s=age, now_s=0.0).note for age in (29.0, 31.0)}
    assert not ages[29.0]
    assert ages[31.0]


@pytest.mark.parametrize(("age_s", "words"), [(59.9, "59 s"), (61.0, "1 min"), (3599.0, "59 min"), (7300.0, "2 h")])
def test_spans_are_said_in_words(age_s: float, words: str) -> None:
    assert said(SourceStatus(SourceState.ENDED, 0.0), age_s=age_s).note[0] == f"no picture for {words}"


def test_a_frozen_picture_says_so_and_stays_clear() -> None:
    head = said(SourceStatus(SourceState.BACKING_OFF, 0.0, "why"), age_s=20.0, frozen=True)
    assert (head.states, head.tone, head.note) == (("paused",), Tone.WAITING, ())


# Keys


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (ord("q"), Action.QUIT),
        (ord("Q"), Action.QUIT),
        (ord(" "), Action.PAUSE),
        (ord("s"), Action.SNAPSHOT),
        (ord("r"), Action.RECORD),
        (9, Action.NEXT),
        (27, Action.BACK),
        (ord("h"), Action.HELP),
        (ord("t"), Action.TRAILS),
        (ord("z"), Action.ZONES),
        (ord("l"), Action.LABELS),
        (0x100000 | ord("q"), Action.QUIT),  # with num lock
        (-1, None),
        (ord("x"), None),
        (0xFF51, None),  # the left arrow: its low byte is Q
        (0xFFBE, None),
        (0x250000, None),
    ],
)
def test_keys(code: int, action: Action | None) -> None:
    assert action_for(code) is action


def test_the_help_names_every_key() -> None:
    told = " ".join(keys for keys, _ in HELP)
    assert all(word in told for word in ("q", "space", "s", "r", "tab", "h", "t", "z", "l"))
