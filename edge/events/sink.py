"""events.jsonl, the snapshots beside it, and whoever else is told of a camera's events."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edge.events.clips import ClipKeeper, NoClips
from edge.events.event import Event, EventChange, change_json
from edge.events.lifecycle import EventTracker, random_suffix, refinement_for
from edge.events.publish.base import Publisher
from edge.events.settings import ChangeType, EventSettings
from edge.events.snapshots import Snapshots
from stream.errors import SinkError
from stream.frame import FrameResult, Refinement, SourceInfo
from stream.sinks.append import AppendFile
from stream.sinks.rotation import Rotation

log = logging.getLogger(__name__)

EVENTS = "events.jsonl"
SNAPSHOTS = "snapshots"

EVENTS_ROTATION = Rotation(max_bytes=64_000_000, keep=8)
"""About a million changes: years of a busy camera."""

MOST_ENDED = 1000
"""Events that are over and may still be named by the cloud, the last of a camera."""


class EventsSink:
    """Follows the events of one camera, as :class:`stream.sinks.base.Sink`; several may share a folder.

    A disk that is full or broken stops nobody from being told: the events go on without their lines and pictures,
    which are written again as soon as that works, and ``close`` raises the first failure as SinkError.

    A source that does not say when it began is dated as if it began when it was opened. Trackers must be on: a result
    without track ids has no events.
    """

    name = "events"
    optional = True

    def __init__(
        self,
        folder: Path,
        settings: EventSettings,
        publishers: Sequence[Publisher] = (),
        clips: ClipKeeper | None = None,
        *,
        rotation: Rotation = EVENTS_ROTATION,
        wall_clock: Callable[[], float] = time.time,
        new_suffix: Callable[[], str] = random_suffix,
    ) -> None:
        self.wants_picture = settings.snapshots
        self.lost_lines = 0
        self._folder = folder
        self._settings = settings
        self._publishers = tuple(publishers)
        self._clips = clips or NoClips()
        self._wall_clock = wall_clock
        self._new_suffix = new_suffix
        self._file = AppendFile(folder / EVENTS, time.monotonic, rotation)
        self._lock = threading.Lock()
        self._started_at = 0.0
        self._tracker: EventTracker | None = None
        self._snapshots: Snapshots | None = None
        self._told: dict[str, Event] = {}
        self._ended: OrderedDict[int, Event] = OrderedDict()
        self._failure: SinkError | None = None
        self._failing: set[str] = set()

    @property
    def outputs(self) -> list[Path]:
        made = [self._folder / EVENTS, self._folder / SNAPSHOTS]
        return [path for path in made if path.exists()]

    @property
    def wants_picture_now(self) -> bool:
        """Whether the next picture may be of use: only while something is followed. From any thread."""
        tracker = self._tracker
        return self.wants_picture and tracker is not None and tracker.is_following

    def open(self, info: SourceInfo) -> None:
        self._file.open()
        self._started_at = self._wall_clock() if info.started_at is None else info.started_at
        if self._settings.snapshots:
            self._snapshots = Snapshots(self._folder / SNAPSHOTS, info.name, self._settings)
        self._tracker = EventTracker(self._settings, info.name, self._started_at, self._new_suffix)

    def write(self, result: FrameResult) -> None:
        with self._lock:
            if self._tracker is None:
                return
            changes = self._tracker.update(result)
            if self._snapshots is not None and self._tracker.sightings:
                snapshots, sightings = self._snapshots, self._tracker.sightings
                self._attempt("pictures", lambda: snapshots.take(result, sightings))
            self._tell(changes)

    def interrupt(self) -> None:
        """The camera is gone: end its events now instead of when its next picture comes. From any thread."""
        with self._lock:
            if self._tracker is not None:
                self._tell(self._tracker.end_all())

    def refine(self, track_id: int, refinement: Refinement) -> None:
        """What the cloud said of a track, whenever it comes: an event that is over is told of once more, as an update
        with its end. Also after :meth:`close`; from any thread."""
        with self._lock:
            if self._tracker is not None and self._tracker.refine(track_id, refinement):
                return
            told = self._ended.get(track_id)
            if told is None or refinement_for(told.class_name, refinement) is None or told.refined == refinement:
                return
            event = self._ended[track_id] = replace(told, sequence=told.sequence + 1, refined=refinement)
            self._publish([EventChange(ChangeType.UPDATE, event, told)])

    def close(self) -> None:
        self.interrupt()
        with self._lock:
            self._tracker = None
            self._attempt("lines", self._file.close)
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure

    def _tell(self, changes: Sequence[EventChange]) -> None:
        self._publish([self._completed(change) for change in changes])

    def _publish(self, complete: Sequence[EventChange]) -> None:
        if complete and not self._attempt("lines", lambda: self._append(complete)):
            self.lost_lines += len(complete)
        for change in complete:
            for publisher in self._publishers:
                publisher.publish(change)

    def _completed(self, change: EventChange) -> EventChange:
        """The change with the files of its event; a new event's clip is asked for, an ended one's let go."""
        event = change.event
        if change.type is ChangeType.NEW:
            self._clips.hold(event.id, event.start_s - self._started_at)
        elif change.type is ChangeType.END:
            self._clips.release(event.id, event.latest_s - self._started_at)
        taken = self._snapshots.taken(event.id) if self._snapshots else None
        complete = change.with_files(
            snapshot=self._shown(taken.path if taken else None),
            snapshot_box=taken.box if taken else None,
            clip=self._shown(self._clips.clip_of(event.id)),
            before=self._told.get(event.id),
        )
        self._told[event.id] = complete.event
        if change.type is ChangeType.END:
            self._remember(self._told.pop(event.id))
            if self._snapshots is not None:
                self._snapshots.forget(event.id)
        return complete

    def _remember(self, event: Event) -> None:
        """Its track's number is given to nobody else while this camera's tracker lives."""
        self._ended[event.track_id] = event
        self._ended.move_to_end(event.track_id)
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def _append(self, changes: Sequence[EventChange]) -> None:
        """At once, for nobody knows when the next line comes."""
        is_after_the_end = self._tracker is None
        if is_after_the_end:
            self._file.open()
        try:
            for change in changes:
                self._file.append(change_json(change) + "\n")
            self._file.flush()
        finally:
            if is_after_the_end:
                self._file.close()

    def _attempt(self, what: str, write: Callable[[], object]) -> bool:
        """Whether it could be written; that it cannot is said once until it can again."""
        try:
            write()
        except SinkError as exc:
            if what not in self._failing:
                log.warning("events go on, but their %s are not kept: %s", what, exc)
            self._failing.add(what)
            self._failure = self._failure or exc
            return False
        self._failing.discard(what)
        return True

    def _shown(self, path: Path | None) -> str | None:
        if path is None:
            return None
        return path.relative_to(self._folder).as_posix() if path.is_relative_to(self._folder) else str(path)
