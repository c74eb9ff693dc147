"""An event, and what is told of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from edge.events.settings import ChangeType
from stream.frame import Refinement

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright picture."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Event:
    """What is known of one object's stay before a camera.

    ``id`` sorts by time and is never given twice; ``sequence`` counts the changes told of it, from 1. ``class_name``
    is what the detections agree on most; ``confidence`` and ``box`` are of the one that was surest of it,
    ``latest_confidence`` and ``latest_box`` of the last one; boxes are in pixels of a ``width`` x ``height`` picture.
    Times are seconds since the epoch; ``end_s`` is None while it lasts. ``zones`` are where the object is now,
    ``entered_zones`` all in the order it came to them. ``snapshot`` and ``clip`` are paths, relative to the folder of
    events.jsonl where they are below it; ``snapshot_box`` is where the snapshot shows the object.
    ``refined`` is what the cloud said.
    """

    id: str
    camera: str
    class_name: str
    track_id: int
    sequence: int
    confidence: float
    box: Box
    latest_confidence: float
    latest_box: Box
    width: int
    height: int
    start_s: float
    latest_s: float
    end_s: float | None = None
    zones: tuple[str, ...] = ()
    entered_zones: tuple[str, ...] = ()
    stationary: bool = False
    refined: Refinement | None = None
    snapshot: str | None = None
    snapshot_box: Box | None = None
    clip: str | None = None


@dataclass(frozen=True, slots=True)
class EventChange:
    """Something to tell of an event: its state now, and as it was told last (None at the first time)."""

    type: ChangeType
    event: Event
    before: Event | None = None

    def with_files(
        self, snapshot: str | None, snapshot_box: Box | None, clip: str | None, before: Event | None
    ) -> EventChange:
        """The same with the paths of the event's files, and the event as it was told last with its own."""
        event = replace(self.event, snapshot=snapshot, snapshot_box=snapshot_box, clip=clip)
        return replace(self, event=event, before=before)


def change_json(change: EventChange) -> str:
    """A line of events.jsonl (without its newline), which is also the body of a webhook."""
    event, refined = change.event, change.event.refined
    fields: dict[str, Any] = {
        "type": change.type.value,
        "id": event.id,
        "sequence": event.sequence,
        "camera": event.camera,
        "class": event.class_name,
        "track_id": event.track_id,
        "confidence": round(event.confidence, 4),
        "bbox": _rounded(event.box),
        "latest_confidence": round(event.latest_confidence, 4),
        "latest_bbox": _rounded(event.latest_box),
        "width": event.width,
        "height": event.height,
        "start_time": iso_time(event.start_s),
        "latest_time": iso_time(event.latest_s),
        "end_time": None if event.end_s is None else iso_time(event.end_s),
        "zones": list(event.zones),
        "entered_zones": list(event.entered_zones),
        "stationary": event.stationary,
        "refined": refined
        and {"label": refined.label, "confidence": round(refined.confidence, 4), "model": refined.model},
        "snapshot": event.snapshot,
        "snapshot_bbox": None if event.snapshot_box is None else _rounded(event.snapshot_box),
        "clip": event.clip,
    }
    return _encode(fields)


def iso_time(epoch_s: float) -> str:
    """UTC to the millisecond, as in predictions.jsonl."""
    moment = _EPOCH + timedelta(milliseconds=round(epoch_s * 1e3))
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _rounded(box: Box) -> list[float]:
    return [round(value, 2) for value in box]
