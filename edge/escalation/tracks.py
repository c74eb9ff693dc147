"""The tracks of one camera and the best crop of each: what there is to decide about, and when. Reads no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from edge.escalation.best_crop import Crop, others_of, take
from edge.escalation.policy import Asked, Candidate, Cause, Decision, Picture, Policy, Trigger
from stream.frame import FrameResult, ModelIdentity, Pixels
from stream.sinks.rows import Row, rows

MOST_TRACKS = 300
"""Followed of a camera at a time: each may hold a crop of some hundred kilobytes."""

MOST_CROPS_A_FRAME = 8
"""Cutting and judging takes up to a millisecond each; in a crowd the others wait for the next frame."""

LOST_AFTER_S = 2.0
"""A track is over when it was missed for so long; trackers find one again after a second at most."""

PICTURE_WITHIN_S = 3.0
"""A track of which no picture comes within this is decided about without."""

LEAP_WITHIN_S = 0.3
LEAP_GROWTH = 3.0
"""A box whose area is so many times another within so short a time is of something else: the scene was cut, or the
tracker took one object for another."""

AGAIN_AFTER_S = 2.0
"""After so long another picture may be better than one that was too poor."""

NEWEST_PART = 0.2
"""Of the mean confidence: about the last ten detections make it."""

_POOR = frozenset({Cause.BLURRED, Cause.COVERED, Cause.NO_PICTURE})


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """The frame in which a crop was taken."""

    crop: Crop
    frame: int
    pts_s: float
    width: int
    height: int
    model: ModelIdentity


@dataclass(slots=True, eq=False)
class Followed:
    """What is known of a track. Times are pts in seconds; ``since_s`` is when the look for its best crop began, None
    while there is none; ``asked_as`` are the classes under which it was asked about."""

    track_id: int
    row: Row
    confidence: float
    hits: int = 0
    since_s: float | None = None
    best: Sight | None = None
    zones: frozenset[str] = frozenset()
    denied: bool = False
    luck: float = 0.0
    luck_until_s: float = float("-inf")
    decided_s: float = float("-inf")
    decided_class: str = ""
    last_cause: Cause | None = None
    asked_as: set[str] = field(default_factory=set)
    seen_s: float = float("-inf")
    leaps: int = 0
    missed_since_s: float | None = None
    votes: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    class_ids: dict[str, int] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """What its detections agree on most, each as much as it is sure."""
        return max(self.votes, key=self.votes.__getitem__)

    @property
    def trigger(self) -> Trigger:
        if not self.asked_as:
            return Trigger.NEW
        return Trigger.AGAIN if self.class_name in self.asked_as else Trigger.CHANGED

    def see(self, row: Row, zones: frozenset[str], *, denied: bool) -> None:
        former = self.class_name if self.votes else row.class_name
        self.row, self.zones = row, zones
        self.hits += 1
        self.denied |= denied
        self.votes[row.class_name] += row.confidence
        self.class_ids[row.class_name] = row.class_id
        if self.class_name != former:
            self.best, self.confidence = None, row.confidence
        elif row.class_name == former:
            self.confidence += NEWEST_PART * (row.confidence - self.confidence)

    def candidate(self) -> Candidate:
        name = self.class_name
        row = self.best.crop.row if self.best else self.row
        return Candidate(
            row=row._replace(class_name=name, class_id=self.class_ids[name]),
            confidence=self.confidence,
            trigger=self.trigger,
            hits=self.hits,
            zones=self.zones,
            denied=self.denied,
            picture=_picture(self.best),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A track that is to be decided about now."""

    track: Followed
    candidate: Candidate
    epoch: int
    now_s: float


class TrackWatch:
    """Follows the tracks of one camera's results, fed in order. For one thread.

    A track is decided about once it was looked at for ``settle_s`` or is over. It is looked at anew when another
    decision may come of it: a label that changed, a cool-down that has passed, a box that has grown.
    """

    def __init__(self, policy: Policy, *, crop_side_px: int, luck: Callable[[], float]) -> None:
        self._policy = policy
        self.settings = policy.settings
        self._crop_side_px = crop_side_px
        self._luck = luck
        self._tracks: dict[int, Followed] = {}
        self._sought: list[Followed] = []
        self._asked = Asked()
        self._now_s = 0.0
        self.epoch = 0

    @property
    def wants_pictures(self) -> bool:
        """Whether the next picture may be of use. From any thread."""
        return bool(self._sought)

    def update(self, result: FrameResult) -> tuple[list[Ready], list[int]]:
        """What is to be decided about after this frame, and the tracks that are over. Only detections count."""
        if result.carried:
            return [], []
        now_s = self._now_s = result.frame.pts_s
        seen = {row.track_id: row for row in rows(result) if row.track_id is not None}
        ready, over = self._end_missed(seen, now_s)
        here = [self._see(track_id, row, result) for track_id, row in seen.items()]
        followed = [track for track in here if track is not None]
        self._sought = [track for track in followed if self._is_sought(track, now_s)]
        self._take_crops(result)
        ready += [self._ready(track) for track in followed if self._is_settled(track, now_s)]
        return ready, over

    def end_all(self) -> tuple[list[Ready], list[int]]:
        """All tracks are over: those that are being looked at are decided about."""
        tracks, self._tracks, self._sought = self._tracks, {}, []
        return [self._ready(each) for each in tracks.values() if each.since_s is not None], list(tracks)

    def begin_epoch(self, epoch: int, now_s: float) -> None:
        """The source began anew, and its time may have gone back; :meth:`end_all` comes before."""
        self.epoch = epoch
        self._asked = Asked(camera_s=min(self._asked.camera_s, now_s))

    def decide(self, ready: Ready) -> tuple[Decision, bool]:
        """The decision about a track, and whether it says anything else than the last one about it."""
        track = ready.track
        decision = self._policy.decide(ready.candidate, self._asked, ready.now_s, track.luck)
        is_news = decision.send or decision.cause is not track.last_cause
        track.last_cause, track.decided_s, track.decided_class = decision.cause, ready.now_s, track.class_name
        track.since_s = None
        if decision.send:
            track.asked_as.add(track.class_name)
            self._asked.note(track.track_id, ready.now_s)
        return decision, is_news

    def _end_missed(self, seen: Mapping[int, Row], now_s: float) -> tuple[list[Ready], list[int]]:
        """End the tracks that are lost, and those whose numbers mean something else from now on."""
        leapt = [track for track in self._tracks.values() if _has_leapt(track, seen.get(track.track_id), now_s)]
        over = leapt + [track for track in self._tracks.values() if _is_lost(track, seen, now_s)]
        for track in over:
            del self._tracks[track.track_id]
        for track in leapt:
            self._asked.tracks.pop(track.track_id, None)
            row = seen[track.track_id]
            self._tracks[track.track_id] = Followed(
                track.track_id, row, row.confidence, since_s=now_s, denied=track.denied, leaps=track.leaps + 1
            )
        ready = [self._ready(track) for track in over if track.since_s is not None]
        return ready, [track.track_id for track in over]

    def _see(self, track_id: int, row: Row, result: FrameResult) -> Followed | None:
        """The track, None where there are too many."""
        now_s = result.frame.pts_s
        track = self._tracks.get(track_id)
        if track is None:
            if len(self._tracks) >= MOST_TRACKS:
                return None
            track = self._tracks[track_id] = Followed(track_id, row, row.confidence, since_s=now_s)
        zones = frozenset(zone.name for zone in result.zones if track_id in zone.inside)
        track.see(row, zones, denied=self._policy.denies(row))
        track.seen_s = now_s
        if now_s >= track.luck_until_s:  # one draw for each time it could be asked about, not one a frame
            track.luck, track.luck_until_s = self._luck(), now_s + max(1.0, self.settings.track_cooldown_s)
        if track.since_s is None and self._may_differ(track, now_s):
            track.since_s, track.best = now_s, None
        return track

    def _may_differ(self, track: Followed, now_s: float) -> bool:
        if track.last_cause in _POOR and now_s - track.decided_s < AGAIN_AFTER_S:
            return False
        return self._is_open(track, now_s) or track.class_name != track.decided_class

    def _is_open(self, track: Followed, now_s: float) -> bool:
        """Whether its picture is what decides."""
        return self._policy.refusal(track.candidate(), self._asked, now_s, track.luck) is None

    def _is_sought(self, track: Followed, now_s: float) -> bool:
        return track.since_s is not None and self._is_open(track, now_s)

    def _is_settled(self, track: Followed, now_s: float) -> bool:
        if track.since_s is None or track.hits < self.settings.min_hits:
            return False
        looked_s = now_s - track.since_s
        needs_picture = track.best is None and looked_s < PICTURE_WITHIN_S and self._is_open(track, now_s)
        return looked_s >= self.settings.settle_s and not needs_picture

    def _take_crops(self, result: FrameResult) -> None:
        picture = result.frame.picture
        if picture is None or not self._sought:
            return
        everything = list(rows(result))
        denied = [self._policy.denies(row) for row in everything]
        wanted = {track.track_id: track for track in self._sought if track.row.class_name == track.class_name}
        found = [(wanted[row.track_id], row) for row in everything if row.track_id in wanted]
        found.sort(key=lambda pair: (pair[0].best is not None, -pair[1].confidence))
        for track, row in found[:MOST_CROPS_A_FRAME]:
            crop = self._crop(picture, row, everything, denied)
            if crop is not None and (track.best is None or crop.quality > track.best.crop.quality):
                frame = result.frame
                track.best = Sight(crop, frame.index, frame.pts_s, frame.width, frame.height, result.model)

    def _crop(self, picture: Pixels, row: Row, everything: Sequence[Row], denied: Sequence[bool]) -> Crop | None:
        hide_all = self.settings.blur_others
        return take(
            picture,
            row,
            margin=self.settings.margin,
            hidden=others_of(row, everything, denied=denied, hide_all=hide_all),
            hide_margin=hide_all,
            longest_px=self._crop_side_px,
        )

    def _ready(self, track: Followed) -> Ready:
        return Ready(track, track.candidate(), self.epoch, self._now_s)


def _is_lost(track: Followed, seen: Collection[int], now_s: float) -> bool:
    """The time runs from the first detection that misses it: while nobody looks, nobody goes."""
    if track.track_id in seen:
        track.missed_since_s = None
        return False
    if track.missed_since_s is None:
        track.missed_since_s = now_s
    return now_s - track.missed_since_s >= LOST_AFTER_S


def _has_leapt(track: Followed, row: Row | None, now_s: float) -> bool:
    if row is None or now_s - track.seen_s > LEAP_WITHIN_S:
        return False
    before, after = _area(track.row), _area(row)
    return max(before, after) > LEAP_GROWTH * min(before, after)


def _area(row: Row) -> float:
    x1, y1, x2, y2 = row.xyxy
    return max(0.0, x2 - x1) * max(0.0, y2 - y1)


def _picture(sight: Sight | None) -> Picture | None:
    return None if sight is None else Picture(sight.crop.sharpness, sight.crop.quality, sight.crop.visible)
