"""The life of events: from tracks that come, stay and go to what is told of them. Reads no clock and no disk."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from edge.events.event import Box, Event, EventChange
from edge.events.settings import ChangeType, EventSettings
from edge.zones import ClassFilter
from stream.frame import FrameResult, Refinement
from stream.sinks.rows import Row, rows

MAX_TRACKS = 1000
"""Of one camera at a time; more are no objects but a detector or a tracker gone wrong."""

IN_PLACE_IOU = 0.5
"""A box that overlaps less with where it was has moved."""

WORTH_TELLING = 0.01
"""An event that is surer by less than this is no news."""


def random_suffix() -> str:
    """Tells events of the same millisecond apart, also those of other cameras and processes."""
    return secrets.token_hex(4)


class Sighting(NamedTuple):
    """An event, and its object in the frame at hand."""

    event: Event
    row: Row


class EventTracker:
    """Makes events of one camera's results, fed in order.

    Only detections count; carried frames change nothing. The time for which an object is missed runs from the first
    detection that does not find it: while nobody looks, nobody goes. ``started_at`` are the seconds since the epoch
    at pts 0. Memory is bounded by :data:`MAX_TRACKS`; beyond it tracks that are no events yet are forgotten, then the
    events seen longest ago ended; ``overflowed`` counts both.
    """

    def __init__(
        self, settings: EventSettings, camera: str, started_at: float, new_suffix: Callable[[], str] = random_suffix
    ) -> None:
        self._settings = settings
        self._camera = camera
        self._started_at = started_at
        self._new_suffix = new_suffix
        self._classes = ClassFilter(settings.classes)
        self._wanted_zones = frozenset(settings.zones)
        self._tracks: dict[int, _Track] = {}
        self._epoch = 0
        self.sightings: tuple[Sighting, ...] = ()
        self.overflowed = 0

    @property
    def is_following(self) -> bool:
        """Whether there is anything that is or may become an event."""
        return bool(self._tracks)

    def update(self, result: FrameResult) -> list[EventChange]:
        """What there is to tell after this frame; :attr:`sightings` are then the events that it shows."""
        self.sightings = ()
        changes: list[EventChange] = []
        if result.frame.epoch != self._epoch:
            self._epoch = result.frame.epoch
            changes += self.end_all()
        if result.carried:
            return changes
        seen = {row.track_id: row for row in rows(result) if row.track_id is not None}
        changes += self._end_missed(seen, result.frame.pts_s)
        inside = _zones_by_track(result)
        for track_id, row in seen.items():
            changes += self._see(track_id, row, result, tuple(inside[track_id]))
        self.sightings = tuple(self._sightings(seen))
        return changes

    def refine(self, track_id: int, refinement: Refinement) -> bool:
        """What the cloud said of a track, to be told with what is told of its event next; False for one that is not
        followed any more."""
        track = self._tracks.get(track_id)
        if track is not None:
            track.refined = refinement
        return track is not None

    def end_all(self) -> list[EventChange]:
        """End every event, as when the camera is gone or the program stops."""
        changes = [self._end(track) for track in self._tracks.values() if track.told is not None]
        self._tracks.clear()
        return changes

    def _end_missed(self, seen: Mapping[int, Row], now_s: float) -> list[EventChange]:
        changes = []
        for track_id, track in list(self._tracks.items()):
            if track_id not in seen and track.missed_for_s(now_s) >= self._settings.end_after_s:
                del self._tracks[track_id]
                if track.told is not None:
                    changes.append(self._end(track))
        return changes

    def _see(self, track_id: int, row: Row, result: FrameResult, zones: tuple[str, ...]) -> list[EventChange]:
        changes = [] if track_id in self._tracks else self._make_room()
        now_s = result.frame.pts_s
        track = self._tracks.setdefault(track_id, _Track(track_id, now_s, home=row.xyxy, home_since_s=now_s))
        track.see(row, result, zones)
        change = self._news(track, now_s)
        return changes if change is None else [*changes, change]

    def _make_room(self) -> list[EventChange]:
        if len(self._tracks) < MAX_TRACKS:
            return []
        self.overflowed += 1
        least = min(self._tracks.values(), key=lambda track: (track.told is not None, track.latest_s))
        del self._tracks[least.track_id]
        return [] if least.told is None else [self._end(least)]

    def _news(self, track: _Track, now_s: float) -> EventChange | None:
        told = track.told
        if told is None:
            return self._tell(ChangeType.NEW, track) if self._is_event(track) else None
        event = self._event(track)
        is_due = now_s - track.told_s >= self._settings.update_every_s
        if event.zones != told.zones or (is_due and _says_more(event, told)):
            return self._tell(ChangeType.UPDATE, track)
        return None

    def _is_event(self, track: _Track) -> bool:
        return (
            track.hits >= self._settings.min_hits
            and track.best.confidence >= self._settings.min_confidence
            and track.best in self._classes
            and (not self._wanted_zones or not self._wanted_zones.isdisjoint(track.entered))
        )

    def _end(self, track: _Track) -> EventChange:
        return self._tell(ChangeType.END, track)

    def _tell(self, kind: ChangeType, track: _Track) -> EventChange:
        before = track.told
        end_s = self._started_at + track.latest_s if kind is ChangeType.END else None
        track.told = self._event(track, end_s)
        track.told_s = track.latest_s
        return EventChange(kind, track.told, before)

    def _event(self, track: _Track, end_s: float | None = None) -> Event:
        start_s, best = self._started_at + track.first_s, track.best
        return Event(
            id=track.told.id if track.told else f"{max(0, round(start_s * 1e3)):013d}-{self._new_suffix()}",
            camera=self._camera,
            class_name=best.class_name,
            track_id=track.track_id,
            sequence=track.told.sequence + 1 if track.told else 1,
            confidence=best.confidence,
            box=best.xyxy,
            latest_confidence=track.latest.confidence,
            latest_box=track.latest.xyxy,
            width=track.width,
            height=track.height,
            start_s=start_s,
            latest_s=self._started_at + track.latest_s,
            end_s=end_s,
            zones=() if end_s is not None else track.zones,
            entered_zones=tuple(track.entered),
            stationary=track.latest_s - track.home_since_s >= self._settings.stationary_after_s,
            refined=refinement_for(best.class_name, track.refined),
        )

    def _sightings(self, seen: Mapping[int, Row]) -> list[Sighting]:
        found = [(self._tracks[track_id].told, row) for track_id, row in seen.items() if track_id in self._tracks]
        return [Sighting(told, row) for told, row in found if told is not None]


_NOTHING = Row((0.0, 0.0, 0.0, 0.0), 0.0, -1, "", None)


@dataclass(slots=True)
class _Track:
    """What is known of a track. Times are pts in seconds; ``home`` is where it was when it last moved, ``told`` the
    event as it was told last, None while it is none."""

    track_id: int
    first_s: float
    home: Box
    home_since_s: float
    latest_s: float = 0.0
    latest: Row = _NOTHING
    width: int = 0
    height: int = 0
    hits: int = 0
    zones: tuple[str, ...] = ()
    entered: dict[str, None] = field(default_factory=dict)
    refined: Refinement | None = None
    told: Event | None = None
    told_s: float = 0.0
    _missed_since_s: float | None = None
    _votes: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _best: dict[str, Row] = field(default_factory=dict)

    @property
    def best(self) -> Row:
        """The surest sight of the class that the detections agree on most, each as much as it is sure."""
        return self._best[max(self._votes, key=self._votes.__getitem__)]

    def see(self, row: Row, result: FrameResult, zones: tuple[str, ...]) -> None:
        self.latest, self.latest_s = row, result.frame.pts_s
        self.width, self.height = result.frame.width, result.frame.height
        self.hits += 1
        self.zones = zones
        self.entered.update(dict.fromkeys(zones))
        self.refined = result.refined.get(self.track_id, self.refined)
        self._missed_since_s = None
        self._votes[row.class_name] += row.confidence
        if row.confidence > self._best.get(row.class_name, _NOTHING).confidence:
            self._best[row.class_name] = row
        self._best.setdefault(row.class_name, row)
        if overlap(self.home, row.xyxy) < IN_PLACE_IOU:
            self.home, self.home_since_s = row.xyxy, self.latest_s

    def missed_for_s(self, now_s: float) -> float:
        """How long detections have not found it, this one included."""
        if self._missed_since_s is None:
            self._missed_since_s = now_s
        return now_s - self._missed_since_s


def overlap(one: Box, other: Box) -> float:
    """Intersection over union; 0 where neither has an area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    union = _area(one) + _area(other) - shared
    return shared / union if union > 0 else 0.0


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def refinement_for(class_name: str, refinement: Refinement | None) -> Refinement | None:
    """What the cloud said, as far as it is a finer name of that class."""
    return refinement if refinement and refinement.edge_class in ("", class_name) else None


def _says_more(event: Event, told: Event) -> bool:
    return (
        event.confidence - told.confidence >= WORTH_TELLING
        or event.class_name != told.class_name
        or event.stationary != told.stationary
        or event.refined != told.refined
    )


def _zones_by_track(result: FrameResult) -> defaultdict[int, list[str]]:
    inside: defaultdict[int, list[str]] = defaultdict(list)
    for zone in result.zones:
        for track_id in zone.inside:
            inside[track_id].append(zone.name)
    return inside
