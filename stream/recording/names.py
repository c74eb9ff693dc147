"""Where a recording lies: ``<camera>/<YYYY-MM-DD>/<HH-MM-SS>Z[_annotated][_manual|_event-<id>].mp4``, in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import PurePosixPath

from stream.recording.demand import Kind
from stream.sinks.names import safe_name

# A second file of the same second has a number behind the Z.
_NAME = re.compile(
    r"(?P<time>\d\d-\d\d-\d\d)Z(-\d+)?(_annotated)?(?P<kind>_manual|_event-(?P<event>.+))?\.(mp4|mkv)", re.ASCII
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class NamedRecording:
    """What a file's name says: the camera's folder, its first second (seconds since the epoch) and its purpose."""

    camera: str
    started_at: float
    kind: Kind
    event_id: str | None


def candidates(
    camera: str, started_at: float, kind: Kind, event_id: str | None, *, annotated: bool, suffix: str
) -> Iterator[PurePosixPath]:
    """Paths below the recordings' folder for a file that begins at ``started_at``, the plainest first."""
    moment = datetime.fromtimestamp(started_at, UTC)
    folder = PurePosixPath(safe_name(camera)) / f"{moment:%Y-%m-%d}"
    purpose = {"continuous": "", "manual": "_manual", "event": f"_event-{safe_name(event_id or 'unknown')}"}[kind]
    ending = ("_annotated" if annotated else "") + purpose + suffix
    yield folder / f"{moment:%H-%M-%S}Z{ending}"
    for number in count(2):
        yield folder / f"{moment:%H-%M-%S}Z-{number}{ending}"


def parse(path: PurePosixPath) -> NamedRecording | None:
    """What the name of a file below the recordings' folder says; None where it is not one of ours."""
    if len(path.parts) != 3 or not _DAY.fullmatch(path.parts[1]):
        return None
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        moment = datetime.strptime(f"{path.parts[1]} {match['time']}", "%Y-%m-%d %H-%M-%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    kind: Kind = "event" if match["event"] else "manual" if match["kind"] else "continuous"
    return NamedRecording(path.parts[0], moment.timestamp(), kind, match["event"])
