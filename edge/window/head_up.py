"""What is said of a camera beside its picture: words only, made from plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edge.window.roles import FeedFigures
from stream.sources.status import SourceState, SourceStatus

STALE_S = 5.0
STALE_INTERVALS = 3
"""A picture older than both is not shown as live, whatever its source says of itself."""


class Tone(Enum):
    """How a camera's state is to be taken."""

    GOOD = "good"
    WAITING = "waiting"
    BAD = "bad"
    QUIET = "quiet"


_TONES = {
    SourceState.LIVE: Tone.GOOD,
    SourceState.CONNECTING: Tone.WAITING,
    SourceState.STALLED: Tone.WAITING,
    SourceState.BACKING_OFF: Tone.BAD,
    SourceState.REFUSED: Tone.BAD,
    SourceState.PAUSED: Tone.QUIET,
    SourceState.ENDED: Tone.QUIET,
}

_WORDS = {SourceState.BACKING_OFF: "offline"}
"""Where a state's own word says little to a viewer."""


@dataclass(frozen=True, slots=True)
class HeadUp:
    """One camera's line and, when its picture is not to be trusted, what is written over it.

    ``states`` and ``details`` hold the same from the longest to the shortest: the first that fits is shown.
    ``note`` is a headline and sentences; empty while the picture is live.
    """

    name: str
    tone: Tone
    states: tuple[str, ...]
    details: tuple[str, ...]
    recording: bool
    note: tuple[str, ...] = ()


def head_up(
    name: str,
    status: SourceStatus,
    figures: FeedFigures,
    *,
    age_s: float | None,
    now_s: float,
    frozen: bool = False,
) -> HeadUp:
    """Say how a camera is. ``age_s`` is the age of the picture shown, None before the first; ``frozen`` says that
    the viewer holds the picture on purpose."""
    note = _note(status, figures, age_s, now_s)
    live = status.state is SourceState.LIVE
    tone = Tone.WAITING if frozen or (note and live) else _TONES[status.state]
    return HeadUp(
        name=name,
        tone=tone,
        states=_states(status, late=bool(note), frozen=frozen),
        details=_details(figures, age_s) if live and age_s is not None else ("",),
        recording=figures.recording,
        note=() if frozen and age_s is not None else note,
    )


def _states(status: SourceStatus, *, late: bool, frozen: bool) -> tuple[str, ...]:
    if frozen:
        return ("paused",)
    if status.state is SourceState.LIVE:
        return ("late",) if late else ("live",)
    word = _WORDS.get(status.state, str(status.state))
    return (f"{word}: {status.reason}", word) if status.reason else (word,)


def _details(figures: FeedFigures, age_s: float) -> tuple[str, ...]:
    age = f"{age_s * 1000:.0f} ms" if age_s < 1 else f"{age_s:.1f} s"
    full = f"{figures.fps_in:.1f} fps in   {figures.fps_detect:.1f} detected   {age} old   {figures.dropped} dropped"
    short = f"{figures.fps_in:.1f} / {figures.fps_detect:.1f} fps   {age}"
    steps = (full, f"{short}   {figures.dropped} dropped", short, f"{figures.fps_in:.0f} fps  {age}", age)
    if figures.agreement is None:
        return steps
    said = f"agreement {figures.agreement:.2f}"
    return (f"{full}   {said}", f"{steps[1]}   {said}", f"{short}   {said}", *steps[2:])


def _note(status: SourceStatus, figures: FeedFigures, age_s: float | None, now_s: float) -> tuple[str, ...]:
    """What is written over the picture: empty for one that is as new as it can be."""
    live, reason = status.state is SourceState.LIVE, _sentence(status.reason)
    if age_s is None:
        headline = "waiting for the first picture" if live else _before_the_first(status)
    elif not live:
        headline = f"no picture for {_span(age_s)}"
        reason = reason or _sentence(_WORDS.get(status.state, str(status.state)))
    elif age_s > max(STALE_S, STALE_INTERVALS / figures.fps_in if figures.fps_in > 0 else 0.0):
        headline = f"no picture for {_span(age_s)}"
    else:
        return ()
    return tuple(line for line in (headline, reason, _retry(status, now_s)) if line)


def _before_the_first(status: SourceStatus) -> str:
    return "connecting ..." if status.state is SourceState.CONNECTING else "no picture yet"


def _retry(status: SourceStatus, now_s: float) -> str:
    """When it is tried again."""
    if status.retry_at_s is None or status.state is SourceState.LIVE:
        return ""
    return f"Trying again in {_span(max(1.0, status.retry_at_s - now_s))}"


def _span(seconds: float) -> str:
    """A time in words that change no more often than they can be read: 12 s, 3 min, 5 h."""
    if seconds < 60:
        return f"{int(seconds)} s"
    return f"{int(seconds / 60)} min" if seconds < 3600 else f"{int(seconds / 3600)} h"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
