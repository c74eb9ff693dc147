"""Identities over time: the trackers library, and our own boxes between detections."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from stream.frame import SourceInfo
from stream.pipeline import Tracker

if TYPE_CHECKING:
    import supervision as sv
    from numpy.typing import NDArray

TrackerName = Literal["bytetrack", "ocsort", "off"]

CARRY_LIMIT_S = 1.0
"""Boxes are carried for at most this long without a detection: after that nobody knows where things are."""

WEAK_CONFIDENCE = 0.3
"""Trackers want the weak detections too: on real video identities hold better with them. They count for nothing but
to continue a track."""

CONFIDENT = 0.5
NEW_TRACK_CONFIDENCE = 0.6
"""From where detections are matched first, and from where they begin a track. On vtest.avi this keeps people longer
than the library's 0.6 and 0.7 (4,524 tracked boxes in 26 tracks against 4,433 in 24); at 0.5 and 0.5 traffic cones
become people (46 tracks, four of them standing still)."""

HELD_STEP_S = 0.2
"""What passes for the library between two looks at a still scene."""

_FALLBACK_RATE = 25.0


def weakest_wanted(name: TrackerName, confidence: float) -> float:
    """From which confidence a detector should hand over what it sees, where ``confidence`` is asked of the results."""
    return confidence if name == "off" else min(confidence, WEAK_CONFIDENCE)


def tracker_maker(
    name: TrackerName, *, confidence: float = 0.0, stride: int = 1, detect_fps: float | None = None
) -> Callable[[SourceInfo], Tracker]:
    """A function that makes a fresh tracker for a source.

    Detections below ``confidence`` that belong to no track are dropped; ``stride`` is how many frames lie between
    detections, ``detect_fps`` how often a second there is one at most.
    """

    def make(info: SourceInfo) -> Tracker:
        rate = min((float(info.frame_rate) or _FALLBACK_RATE) / stride, detect_fps or math.inf)
        return ObjectTracker(lambda: _library_tracker(name, rate), confidence)

    return make


class ObjectTracker:
    """Tracks one source's objects, as :class:`stream.pipeline.Tracker`.

    Between detections each box moves on as it moved between its last two sightings, for at most
    :data:`CARRY_LIMIT_S`. Time in which nothing moves does not count for the library: it would let a standing object
    drift away.
    """

    def __init__(self, make_library: Callable[[], Any | None], confidence: float = 0.0) -> None:
        self._make_library = make_library
        self._confidence = confidence
        self._next_id = 0
        self.restart()

    def restart(self) -> None:
        """Forget all tracks; ids go on where they were."""
        self._library = self._make_library()
        self._first_id = self._next_id
        self._seen: _Sighting | None = None
        self._before: _Sighting | None = None
        self._held_s = 0.0
        self._holding_since_s: float | None = None

    def update(self, detections: sv.Detections, time_s: float) -> sv.Detections:
        """Detections with ``tracker_id`` (-1 while not confirmed), in any order; without one when tracking is off."""
        self._stop_holding(time_s)
        if self._library is not None:
            tracked = self._library.update(detections, timestamp=time_s - self._held_s)
            # The library answers "nothing" with a value that has lost the columns its neighbours carry.
            detections = self._numbered(self._worth_telling(tracked)) if len(tracked) else _emptied(detections)
        self._before, self._seen = self._seen, _Sighting(detections, time_s)
        return detections

    def _worth_telling(self, tracked: sv.Detections) -> sv.Detections:
        """What is confident enough or continues a track."""
        known = np.asarray(tracked.tracker_id) >= 0
        return cast("sv.Detections", tracked[known | (np.asarray(tracked.confidence) >= self._confidence)])

    def _numbered(self, tracked: sv.Detections) -> sv.Detections:
        """The library's ids, which begin at 0 with each restart, moved on to where they were."""
        ids = np.asarray(tracked.tracker_id)
        ids = np.where(ids >= 0, ids + self._first_id, ids)
        self._next_id = max(self._next_id, int(ids.max(initial=-1)) + 1)
        return replace(tracked, tracker_id=ids)

    def hold(self) -> sv.Detections:
        """The last detections as they were."""
        from stream.vision import sv

        if self._seen is None:
            return sv.Detections.empty()
        if self._holding_since_s is None:
            self._holding_since_s = self._seen.time_s
        return self._seen.detections

    def _stop_holding(self, time_s: float) -> None:
        if self._holding_since_s is None:
            return
        self._held_s += max(0.0, time_s - self._holding_since_s - HELD_STEP_S)
        self._holding_since_s = None

    def carry(self, time_s: float, width: int, height: int) -> sv.Detections:
        """The last detections where they should be at ``time_s``, clipped to the picture."""
        from stream.vision import sv

        if self._seen is None:
            return sv.Detections.empty()
        if time_s - self._seen.time_s > CARRY_LIMIT_S:
            return _emptied(self._seen.detections)
        return self._seen.moved_to(time_s, self._before, width, height)


class _Sighting:
    """The detections of one moment."""

    def __init__(self, detections: sv.Detections, time_s: float) -> None:
        self.detections = detections
        self.time_s = time_s

    def moved_to(self, time_s: float, before: _Sighting | None, width: int, height: int) -> sv.Detections:
        xyxy = self.detections.xyxy.astype(np.float32)
        if before is not None and self.time_s > before.time_s:
            xyxy += self._motion_since(before) * ((time_s - self.time_s) / (self.time_s - before.time_s))
        xyxy[:, 0::2] = xyxy[:, 0::2].clip(0, width)
        xyxy[:, 1::2] = xyxy[:, 1::2].clip(0, height)
        return replace(self.detections, xyxy=xyxy)

    def _motion_since(self, before: _Sighting) -> NDArray[np.float32]:
        """Pixels each box moved since ``before``, ``(N, 4)``; zero for a box whose track was not seen then."""
        motion = np.zeros_like(self.detections.xyxy)
        ids, ids_before = self.detections.tracker_id, before.detections.tracker_id
        if ids is None or ids_before is None:
            return motion
        rows_before = {int(track): row for row, track in enumerate(ids_before) if track >= 0}
        for row, track in enumerate(ids):
            if int(track) in rows_before:
                motion[row] = self.detections.xyxy[row] - before.detections.xyxy[rows_before[int(track)]]
        return motion


def _library_tracker(name: TrackerName, rate: float) -> Any | None:
    if name == "off":
        return None
    from stream.vision import lean_import

    trackers = lean_import("trackers")
    if name == "ocsort":
        return trackers.OCSORTTracker(frame_rate=rate, high_conf_det_threshold=CONFIDENT)
    return trackers.ByteTrackTracker(
        frame_rate=rate, high_conf_det_threshold=CONFIDENT, track_activation_threshold=NEW_TRACK_CONFIDENCE
    )


def _emptied(detections: sv.Detections) -> sv.Detections:
    """No detections, with the columns of ``detections`` and a ``tracker_id``."""

    none = cast("sv.Detections", detections[np.zeros(len(detections), dtype=bool)]) if len(detections) else detections
    return none if none.tracker_id is not None else replace(none, tracker_id=np.zeros(0, dtype=np.int64))
