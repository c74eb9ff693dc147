"""The best picture of every event."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.events.event import Box
from edge.events.lifecycle import Sighting
from edge.events.settings import EventSettings
from stream.errors import SinkError
from stream.frame import FrameResult, Pixels
from stream.overlay import Overlay
from stream.sinks.base import write_failure
from stream.sinks.names import safe_name

if TYPE_CHECKING:
    import supervision as sv

    from stream.sinks.rows import Row

log = logging.getLogger(__name__)

CLEARLY_BETTER = 0.05
"""A picture is replaced by one that is surer by this: about a dozen times in an event's life at most."""

AT_LEAST_APART_S = 0.5
"""And not more often than this: an object that comes nearer is surer in every frame."""

MOST_A_FRAME = 3
"""Encoding takes some milliseconds each; in a crowd the others wait for the next frame."""

_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def newest_pictures(folder: Path, most: int) -> list[Path]:
    """The pictures of the newest events of all cameras, the newest first. Their names sort by time: nothing is asked of
    files that may be deleted meanwhile."""
    return sorted(folder.glob("*/*/*.jpg"), key=lambda path: path.name, reverse=True)[:most]


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture of an event: where it lies, and what it shows where, how sure and when (seconds of the source)."""

    path: Path
    box: Box
    confidence: float
    at_s: float


class Snapshots:
    """Writes ``<camera>/<date>/<event id>.jpg`` below ``folder``, whole pictures with the event's box alone."""

    def __init__(self, folder: Path, camera: str, settings: EventSettings) -> None:
        self._folder = folder / safe_name(camera)
        self._quality = settings.snapshot_quality
        self._keep_days = settings.snapshots_keep_days
        self._overlay = Overlay()
        self._taken: dict[str, Taken] = {}
        self._today: date | None = None

    def taken(self, event_id: str) -> Taken | None:
        """The picture of an event that lasts."""
        return self._taken.get(event_id)

    def forget(self, event_id: str) -> None:
        """The event is over."""
        self._taken.pop(event_id, None)

    def take(self, result: FrameResult, sightings: Sequence[Sighting]) -> None:
        """Keep this frame's picture of the events that it shows clearly better than any before.

        Raises SinkError; the pictures of former frames are whole then, and a later call tries again.
        """
        picture = result.frame.picture
        if picture is None:
            return
        wanted = [(gain, each) for each in sightings if (gain := self._gain(each, result.frame.pts_s)) > 0]
        wanted.sort(key=lambda pair: pair[0], reverse=True)
        for _, sighting in wanted[:MOST_A_FRAME]:
            self._save(sighting, result, picture)

    def _gain(self, sighting: Sighting, now_s: float) -> float:
        """How much better this picture of the event would be; 0 when not enough to be worth it."""
        taken = self._taken.get(sighting.event.id)
        if taken is None:
            return 1.0 + sighting.row.confidence
        gain = _confidence(sighting) - taken.confidence
        return gain if gain >= CLEARLY_BETTER and now_s - taken.at_s >= AT_LEAST_APART_S else 0.0

    def _save(self, sighting: Sighting, result: FrameResult, picture: Pixels) -> None:
        event_id, day = sighting.event.id, datetime.fromtimestamp(sighting.event.start_s, UTC).date()
        self._remove_old(day)
        path = self._folder / day.isoformat() / f"{event_id}.jpg"
        one = replace(result, detections=_alone(sighting.row), zones=(), refined={})
        encoded, jpeg = cv2.imencode(
            ".jpg", self._overlay.draw(picture, one), [cv2.IMWRITE_JPEG_QUALITY, self._quality]
        )
        if not encoded:
            raise SinkError(f"a picture of {picture.shape[1]}x{picture.shape[0]} does not fit into a JPEG")
        _replace(path, jpeg.tobytes())
        self._taken[event_id] = Taken(path, sighting.row.xyxy, _confidence(sighting), result.frame.pts_s)

    def _remove_old(self, day: date) -> None:
        """When a day begins, take away the days that are too old by then; never one of ours that is no day."""
        if day == self._today:
            return
        self._today = day
        for folder in self._folder.glob("*"):
            if _DAY.fullmatch(folder.name) and folder.name < (day - timedelta(days=self._keep_days)).isoformat():
                log.info("removing the snapshots in %s: they are older than %d days", folder, self._keep_days)
                shutil.rmtree(folder, ignore_errors=True)


def _confidence(sighting: Sighting) -> float:
    """How sure the detector is here that this is what the event is about."""
    return sighting.row.confidence if sighting.row.class_name == sighting.event.class_name else 0.0


def _alone(row: Row) -> sv.Detections:
    from stream.vision import sv

    return sv.Detections(
        xyxy=np.array([row.xyxy], np.float32),
        confidence=np.array([row.confidence], np.float32),
        class_id=np.array([row.class_id]),
        tracker_id=np.array([-1 if row.track_id is None else row.track_id]),
        data={"class_name": np.array([row.class_name])},
    )


def _replace(path: Path, content: bytes) -> None:
    """Write in one step: whoever looks sees the old picture or the new one."""
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise write_failure(path, error) from error
