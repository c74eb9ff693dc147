"""Events that a former life of this program left in its folder, and that the cloud names after all."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from edge.events.event import Event, EventChange, change_json
from edge.events.lifecycle import refinement_for
from edge.events.publish.base import Publisher
from edge.events.settings import ChangeType
from edge.events.sink import EVENTS, EVENTS_ROTATION
from stream.errors import SinkError
from stream.frame import Refinement
from stream.sinks.append import AppendFile

log = logging.getLogger(__name__)

NEARLY_S = 0.5
"""Times in the file are rounded, and an object is asked about a little before it is an event."""


class FormerEvents:
    """Adds to the record of events that nobody follows any more. For one thread; reads the files when it is asked,
    which is seldom: for what was asked of the cloud before this program began."""

    def __init__(self, folder: Path, publishers: Sequence[Publisher]) -> None:
        self._folder = folder
        self._publishers = tuple(publishers)

    def refine(self, camera: str, track_id: int, seen_at: float, refinement: Refinement) -> None:
        """What the cloud said of a track that was seen at that time, in seconds since the epoch."""
        try:
            event = self._find(camera, track_id, seen_at)
            if event is None or refinement_for(event.class_name, refinement) is None or event.refined is not None:
                return
            change = _refined(event, refinement, seen_at)
            self._append(change)
        except SinkError as exc:
            log.warning("what the cloud says of an event of before is not kept with it: %s", exc)
            return
        for publisher in self._publishers:
            publisher.publish(change)

    def _find(self, camera: str, track_id: int, seen_at: float) -> Event | None:
        """As it was told last. Numbers of tracks begin anew with every life: the time tells which is meant."""
        last: dict[str, Event] = {}
        for line in self._lines(f'"camera":{json.dumps(camera, ensure_ascii=False)}', f'"track_id":{track_id},'):
            event = _event(line)
            if event is not None and event.sequence >= (last[event.id].sequence if event.id in last else 0):
                last[event.id] = event
        found = [
            event
            for event in last.values()
            if event.start_s - NEARLY_S <= seen_at
            and (event.end_s is None or seen_at <= event.end_s + NEARLY_S)
            and (event.camera, event.track_id) == (camera, track_id)
        ]
        return max(found, key=lambda event: event.start_s, default=None)

    def _lines(self, *marks: str) -> Iterator[str]:
        """Lines that have all the marks, the oldest first."""
        paths = sorted(self._folder.glob(f"{Path(EVENTS).stem}*.jsonl"), key=lambda path: path.stat().st_mtime)
        for path in paths:
            try:
                with path.open(encoding="utf-8", errors="replace") as lines:
                    yield from (line for line in lines if all(mark in line for mark in marks))
            except OSError as exc:
                raise SinkError(f"cannot read {path}: {exc}") from exc

    def _append(self, change: EventChange) -> None:
        file = AppendFile(self._folder / EVENTS, time.monotonic, EVENTS_ROTATION)
        file.open()
        with closing(file):
            file.append(change_json(change) + "\n")


def _refined(event: Event, refinement: Refinement, seen_at: float) -> EventChange:
    """One that was cut off by a kill is ended, too."""
    kind, end_s = ChangeType.UPDATE, event.end_s
    if end_s is None:
        kind, end_s = ChangeType.END, max(event.latest_s, seen_at)
    changed = replace(event, sequence=event.sequence + 1, end_s=end_s, zones=(), refined=refinement)
    return EventChange(kind, changed, event)


def _event(line: str) -> Event | None:
    """What :func:`edge.events.event.change_json` made; None for a line that was torn."""
    try:
        fields: dict[str, Any] = json.loads(line)
        end, said = fields["end_time"], fields["refined"]
        return Event(
            id=fields["id"],
            camera=fields["camera"],
            class_name=fields["class"],
            track_id=fields["track_id"],
            sequence=fields["sequence"],
            confidence=fields["confidence"],
            box=tuple(fields["bbox"]),
            latest_confidence=fields["latest_confidence"],
            latest_box=tuple(fields["latest_bbox"]),
            width=fields["width"],
            height=fields["height"],
            start_s=_epoch_s(fields["start_time"]),
            latest_s=_epoch_s(fields["latest_time"]),
            end_s=None if end is None else _epoch_s(end),
            zones=tuple(fields["zones"]),
            entered_zones=tuple(fields["entered_zones"]),
            stationary=fields["stationary"],
            refined=said and Refinement(said["label"], said["confidence"], said["model"]),
            snapshot=fields["snapshot"],
            clip=fields["clip"],
        )
    except (ValueError, KeyError, TypeError):
        return None


def _epoch_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
