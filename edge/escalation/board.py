"""Answers joined to the tracks they are about, while those live."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from types import MappingProxyType

from edge.escalation.parcel import TrackKey
from stream.frame import Refinement

_NOTHING: Mapping[int, Refinement] = MappingProxyType({})


class Board:
    """Labels by camera and track. A track's number counts only within one ``life`` of its camera's tracker and one
    epoch of its source: an answer for another one is late, whatever its number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._living: dict[str, tuple[str, int, dict[int, int]]] = {}
        # bound as a whole, never changed: readers need no lock
        self._labels: dict[str, Mapping[int, Refinement]] = {}

    def refined(self, camera: str) -> Mapping[int, Refinement]:
        """The labels of a camera's living tracks: a snapshot, from any thread, at no cost."""
        return self._labels.get(camera, _NOTHING)

    def begin(self, camera: str, life: str, epoch: int = 0) -> None:
        """The camera's tracks begin anew; nothing known before is of any of them."""
        with self._lock:
            self._living[camera] = (life, epoch, {})
            self._labels[camera] = _NOTHING

    def expect(self, track: TrackKey) -> None:
        """A living track was asked about; until it ends an answer is joined to it."""
        with self._lock:
            if (alive := self._alive(track)) is not None:
                alive[track.track_id] = track.leaps

    def end(self, camera: str, life: str, track_ids: Collection[int]) -> None:
        """Tracks are over."""
        with self._lock:
            known_life, _, alive = self._living.get(camera, ("", 0, {}))
            if known_life != life:
                return
            for track_id in track_ids:
                alive.pop(track_id, None)
            labels = self._labels[camera]
            if not labels.keys().isdisjoint(track_ids):
                left = {track: label for track, label in labels.items() if track not in track_ids}
                self._labels[camera] = MappingProxyType(left)

    def forget(self, camera: str, life: str) -> None:
        """The camera is over."""
        with self._lock:
            if self._living.get(camera, ("",))[0] == life:
                del self._living[camera], self._labels[camera]

    def answer(self, track: TrackKey, refinement: Refinement | None) -> bool:
        """Join a label, if there is one, to its track; False when that is over."""
        with self._lock:
            alive = self._alive(track)
            if alive is None or alive.get(track.track_id) != track.leaps:
                return False
            if refinement is None:
                return True
            labels = {**self._labels[track.camera], track.track_id: refinement}
            self._labels[track.camera] = MappingProxyType(labels)
            return True

    def _alive(self, track: TrackKey) -> dict[int, int] | None:
        """The living tracks among which this one counts, with their leaps; None when its time is over."""
        life, epoch, alive = self._living.get(track.camera, ("", 0, {}))
        return alive if (life, epoch) == (track.life, track.epoch) else None
