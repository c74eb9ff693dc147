"""Pictures out of clips as a network sees them, for measuring and calibrating."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from stream.frame import Frame
from stream.sources.base import ViewPlanner
from stream.sources.file import FileRange, FileSource

_FRAMES_WHERE_UNSAID = 250
"""What a clip is taken to hold that does not say: ten seconds of most cameras."""


def spread(clip: Path, wanted: int, plan: ViewPlanner) -> Iterator[Frame]:
    """About ``wanted`` frames spread over a clip, prepared for the network as in a run.

    Raises:
        SourceError, DecodeError: it cannot be read.
    """
    step = max(1, _frame_count(clip) // wanted)
    source = _source(clip, step)
    with closing(source):
        source.open()
        given = 0
        for frame in source.frames(plan):
            if frame.network is not None:
                yield frame
                given += 1
            if given >= 2 * wanted:
                return  # it holds far more than it says


def _frame_count(clip: Path) -> int:
    source = _source(clip, 1)
    with closing(source):
        info = source.open()
    return info.frame_count or _FRAMES_WHERE_UNSAID


def _source(clip: Path, step: int) -> FileSource:
    return FileSource(clip, name=clip.name, wants_pictures=lambda _index: False, part=FileRange(stride=step))
