"""Zones and lines of a camera: who is inside, who came and left, who crossed.

An object stands where the middle of its box's lower edge is. Only detections count: boxes that were carried over are
extrapolated, and what they cross may never be crossed.

Polygons are supervision's. Its ``LineZone`` is not used: against exact intersection of 2,000 random paths with a line
it counted 119 wrong (objects that walk around the line's end are counted, those that come in slantwise from beyond
it or are hidden for two detections are not), and somebody who stands on the line was counted in half of all frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from edge.zone_settings import LineSettings, Point, ZoneSettings, turning
from stream.errors import UsageError
from stream.frame import FrameResult, ZoneView
from stream.sinks.rows import Row, rows

if TYPE_CHECKING:
    import supervision as sv

LOST_AFTER_S = 2.0
"""A track is forgotten when it was missed for so long; trackers find one again after a second at most."""

NEAR_LINE = 0.1
"""Nearer to a line than this part of the box's height nobody can say on which side it is, for boxes tremble by as much.
On vtest.avi, for a line along which people walk, this takes 47 crossings down to 25: nearly all the difference were
people who trembled on it and counted up to ten times. Across their way it changes 28 into 26."""

T = TypeVar("T")


class ClassFilter:
    """Which classes count, by names (in any case) or numbers; none named: all."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(word.casefold() for word in words)

    def __contains__(self, row: Row) -> bool:
        return not self._words or row.class_name.casefold() in self._words or str(row.class_id) in self._words


class ZoneWatch:
    """Follows the zones and lines of one camera. Not for several threads.

    ``entered - left`` of a zone is always the number of tracks inside: one that is lost in it, or ended by a
    reconnection, has left. Counts live as long as this object, memories of tracks as long as an epoch.
    """

    def __init__(self, zones: Sequence[ZoneSettings], lines: Sequence[LineSettings]) -> None:
        """Raises UsageError when two have the same name."""
        names = Counter([each.name for each in zones] + [each.name for each in lines])
        if twice := [name for name, count in names.items() if count > 1]:
            raise UsageError(f"two zones or lines of a camera are both called '{twice[0]}'; give each its own name")
        self._parts: list[_Zone | _Line] = [_Zone(each) for each in zones]
        self._parts += [_Line(each) for each in lines]
        self._epoch = 0

    def update(self, result: FrameResult) -> tuple[ZoneView, ...]:
        """What zones and lines show at this frame, in the order of the settings; called for every frame in order."""
        frame = result.frame
        if frame.epoch != self._epoch:
            self._epoch = frame.epoch
            for part in self._parts:
                part.forget()
        if self._parts and not result.carried:
            standing = _Standing.of(result)
            for part in self._parts:
                part.observe(standing)
        return tuple(part.view(frame.width, frame.height) for part in self._parts)


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where the tracked objects of one detection stand."""

    now_s: float
    width: int
    height: int
    rows: tuple[Row, ...]
    boxes: sv.Detections

    @classmethod
    def of(cls, result: FrameResult) -> _Standing:
        from stream.vision import sv

        tracked = tuple(row for row in rows(result) if row.track_id is not None)
        xyxy = np.array([row.xyxy for row in tracked], np.float32).reshape(-1, 4)
        frame = result.frame
        return cls(frame.pts_s, frame.width, frame.height, tracked, sv.Detections(xyxy=xyxy))


class _Memory(Generic[T]):
    """What is known of each track, until it has been missed for :data:`LOST_AFTER_S`.

    The time runs from the first detection that misses it: while nobody looks, nobody gets lost.
    """

    def __init__(self) -> None:
        self.tracks: dict[int, T] = {}
        self._missed_since_s: dict[int, float] = {}

    def pop_lost(self, seen: Mapping[int, Any], now_s: float) -> list[T]:
        """Forget who is lost by now, where ``seen`` are the tracks of this detection."""
        for track in self.tracks.keys() - seen.keys():
            self._missed_since_s.setdefault(track, now_s)
        for track in self._missed_since_s.keys() & seen.keys():
            del self._missed_since_s[track]
        gone = [track for track, since_s in self._missed_since_s.items() if now_s - since_s >= LOST_AFTER_S]
        for track in gone:
            del self._missed_since_s[track]
        return [self.tracks.pop(track) for track in gone]

    def clear(self) -> None:
        self.tracks.clear()
        self._missed_since_s.clear()


@dataclass(slots=True)
class _Presence:
    """Whether a track is inside, and for how many detections, since when, it has been seen on the other side."""

    inside: bool = False
    contradictions: int = 0
    since_s: float = 0.0


class _Zone:
    def __init__(self, settings: ZoneSettings) -> None:
        self._settings = settings
        self._classes = ClassFilter(settings.classes)
        self._memory: _Memory[_Presence] = _Memory()
        self._polygon: sv.PolygonZone | None = None
        self._polygon_size = (0, 0)
        self._entered = 0
        self._left = 0

    def observe(self, standing: _Standing) -> None:
        within = self._polygon_for(standing.width, standing.height).trigger(standing.boxes)
        seen = {
            row.track_id: bool(here)
            for row, here in zip(standing.rows, within, strict=True)
            if row.track_id is not None and row in self._classes
        }
        for track, here in seen.items():
            self._see(self._memory.tracks.setdefault(track, _Presence()), here, standing.now_s)
        self._left += sum(lost.inside for lost in self._memory.pop_lost(seen, standing.now_s))

    def forget(self) -> None:
        self._left += sum(presence.inside for presence in self._memory.tracks.values())
        self._memory.clear()

    def view(self, width: int, height: int) -> ZoneView:
        return ZoneView(
            name=self._settings.name,
            points=_pixels(self._settings.points, width, height),
            inside=tuple(sorted(track for track, presence in self._memory.tracks.items() if presence.inside)),
            entered=self._entered,
            left=self._left,
        )

    def _see(self, presence: _Presence, here: bool, now_s: float) -> None:  # noqa: FBT001 - what is seen, no flag
        if here == presence.inside:
            presence.contradictions = 0
            return
        presence.contradictions += 1
        if presence.contradictions == 1:
            presence.since_s = now_s
        loitered = not here or now_s - presence.since_s >= self._settings.loitering_s
        if presence.contradictions < self._settings.inertia_frames or not loitered:
            return
        presence.inside, presence.contradictions = here, 0
        self._entered += here
        self._left += not here

    def _polygon_for(self, width: int, height: int) -> sv.PolygonZone:
        """supervision's zone is a mask in pixels, so there is one for each size of picture."""
        if self._polygon is None or self._polygon_size != (width, height):
            from stream.vision import sv

            self._polygon = sv.PolygonZone(np.array(_pixels(self._settings.points, width, height)))
            self._polygon_size = (width, height)
        return self._polygon


@dataclass(frozen=True, slots=True)
class _Foot:
    """Where a track was last seen clearly on one side of a line, in fractions of the picture."""

    x: float
    y: float
    is_left: bool


class _Line:
    def __init__(self, settings: LineSettings) -> None:
        self._settings = settings
        self._classes = ClassFilter(settings.classes)
        self._memory: _Memory[_Foot] = _Memory()
        self._in = 0
        self._out = 0

    def observe(self, standing: _Standing) -> None:
        seen = {row.track_id: row for row in standing.rows if row.track_id is not None and row in self._classes}
        for track, row in seen.items():
            foot = self._foot(row, standing.width, standing.height)
            if foot is None:
                continue
            before = self._memory.tracks.get(track)
            self._memory.tracks[track] = foot
            if before is not None and before.is_left != foot.is_left and self._between_ends(before, foot):
                self._in += foot.is_left
                self._out += not foot.is_left
        self._memory.pop_lost(seen, standing.now_s)

    def forget(self) -> None:
        self._memory.clear()

    def view(self, width: int, height: int) -> ZoneView:
        ends = _pixels((self._settings.start, self._settings.end), width, height)
        return ZoneView(name=self._settings.name, points=ends, is_line=True, entered=self._in, left=self._out)

    def _foot(self, row: Row, width: int, height: int) -> _Foot | None:
        """None when it is too near to the line to say on which side it is."""
        x1, y1, x2, y2 = row.xyxy
        x, y = (x1 + x2) / 2 / width, y2 / height
        start, end = self._settings.start, self._settings.end
        turn = turning(start, end, (x, y))
        length_px = float(np.hypot((end[0] - start[0]) * width, (end[1] - start[1]) * height))
        if abs(turn) * width * height / length_px < NEAR_LINE * (y2 - y1):
            return None
        return _Foot(x, y, is_left=turn < 0)

    def _between_ends(self, before: _Foot, now: _Foot) -> bool:
        """Whether the way from one side to the other passes between the line's ends."""
        way = (before.x, before.y), (now.x, now.y)
        return (turning(*way, self._settings.start) < 0) != (turning(*way, self._settings.end) < 0)


def _pixels(points: Iterable[Point], width: int, height: int) -> tuple[tuple[int, int], ...]:
    return tuple((round(x * width), round(y * height)) for x, y in points)
