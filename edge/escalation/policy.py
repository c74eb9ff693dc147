"""Whether a track is worth a question, and why. Reads no clock and no picture, and draws no chance of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from edge.escalation.settings import PolicySettings
from edge.zones import ClassFilter
from stream.sinks.rows import Row

MOST_REMEMBERED = 10_000
"""Tracks of a camera whose last question is remembered; the oldest are forgotten first."""


class Trigger(StrEnum):
    """What made a track a candidate."""

    NEW = "new_track"
    CHANGED = "changed_label"
    AGAIN = "seen_again"


class Cause(StrEnum):
    """Why a candidate is sent, or why not."""

    ALWAYS = "always_analyze"
    UNSURE = "within_band"
    AUDIT = "audit"

    DENIED = "denied"
    OTHER_CLASS = "class"
    NO_COUNTERPART = "no_counterpart"
    OUTSIDE = "zone"
    SMALL = "size"
    BRIEF = "min_hits"
    BLURRED = "sharpness"
    COVERED = "covered"
    NO_PICTURE = "no_picture"
    TOO_UNSURE = "below_band"
    CONFIDENT = "above_band"
    TRACK_COOLDOWN = "track_cooldown"
    CAMERA_COOLDOWN = "camera_cooldown"


@dataclass(frozen=True, slots=True)
class Picture:
    """The best crop of a candidate: ``sharpness`` is the variance of the Laplacian within the box, ``quality`` (0-1)
    what the crop is worth; ``visible`` is the part of the box that privacy leaves to be seen."""

    sharpness: float
    quality: float
    visible: float = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A track at the moment it is decided about.

    ``row`` is its box, where its crop is best if there is one, under the class that its detections agree on.
    ``confidence`` is the mean of its recent detections. ``denied`` says that it once passed for something of a class
    that never leaves.
    """

    row: Row
    confidence: float
    trigger: Trigger
    hits: int
    zones: frozenset[str] = frozenset()
    denied: bool = False
    picture: Picture | None = None

    @property
    def size_px(self) -> float:
        """The box's shorter side."""
        x1, y1, x2, y2 = self.row.xyxy
        return min(x2 - x1, y2 - y1)


@dataclass(frozen=True, slots=True)
class Decision:
    """``value`` orders what waits to be sent, 0 where nothing is sent; ``why`` is a sentence with the numbers."""

    send: bool
    cause: Cause
    why: str
    value: float = 0.0


@dataclass(slots=True)
class Asked:
    """When the tracks of a camera and the camera itself were asked about last, in the caller's seconds."""

    tracks: dict[int, float] = field(default_factory=dict)
    camera_s: float = float("-inf")

    def note(self, track_id: int, now_s: float) -> None:
        self.tracks.pop(track_id, None)
        self.tracks[track_id] = self.camera_s = now_s
        if len(self.tracks) > MOST_REMEMBERED:
            del self.tracks[next(iter(self.tracks))]

    def track_s(self, track_id: int | None) -> float:
        return float("-inf") if track_id is None else self.tracks.get(track_id, float("-inf"))


MOST_HIDDEN = 0.5
"""An object of which more is hidden for others' privacy cannot be told any more."""


class Policy:
    """Decides by the settings; ``without_counterpart`` are classes that the cloud has no labels for."""

    def __init__(self, settings: PolicySettings, without_counterpart: Collection[str] = ()) -> None:
        self.settings = settings
        self._without_counterpart = frozenset(name.casefold() for name in without_counterpart)
        self._zones = frozenset(settings.zones)
        self._classes = ClassFilter(settings.classes)
        self._always = ClassFilter(settings.always_analyze)
        self._deny = ClassFilter(settings.deny)

    def denies(self, row: Row) -> bool:
        """Whether nothing of this object may leave."""
        return bool(self.settings.deny) and row in self._deny

    def refusal(self, candidate: Candidate, asked: Asked, now_s: float, luck: float) -> Decision | None:
        """Why a candidate is not sent whatever its picture shows; None when its picture decides."""
        return (
            (_DENIED_ONCE if candidate.denied else None)
            or self._wrong_class(candidate.row)
            or self._wrong_place(candidate)
            or self._too_little(candidate)
            or self._too_soon(candidate, asked, now_s)
            or self._wrong_confidence(candidate, luck)
        )

    def decide(self, candidate: Candidate, asked: Asked, now_s: float, luck: float) -> Decision:
        """``now_s`` is on the clock of ``asked``; ``luck`` in [0, 1) decides about the audit."""
        refusal = self.refusal(candidate, asked, now_s, luck) or self._poor_picture(candidate.picture)
        return refusal or self._accepted(candidate)

    def _wrong_class(self, row: Row) -> Decision | None:
        name = row.class_name
        if self.denies(row):
            return _refused(Cause.DENIED, f"{name} never leaves")
        if self._is_always(row):
            return None
        if row not in self._classes:
            return _refused(Cause.OTHER_CLASS, f"{name} is none of the classes to ask about")
        wanted = self.settings.without_counterpart or self.settings.classes
        if not wanted and name.casefold() in self._without_counterpart:
            return _refused(Cause.NO_COUNTERPART, f"the cloud has no labels for {name}")
        return None

    def _wrong_place(self, candidate: Candidate) -> Decision | None:
        if not self._zones or self._is_always(candidate.row) or not self._zones.isdisjoint(candidate.zones):
            return None
        return _refused(Cause.OUTSIDE, f"it is in none of {', '.join(sorted(self._zones))}")

    def _too_little(self, candidate: Candidate) -> Decision | None:
        least = self.settings.min_size_px
        if candidate.size_px < least:
            return _refused(Cause.SMALL, f"{candidate.size_px:.0f} px is less than {least} px")
        if candidate.hits < self.settings.min_hits:
            return _refused(Cause.BRIEF, f"seen {candidate.hits} times, less than {self.settings.min_hits}")
        return None

    def _poor_picture(self, picture: Picture | None) -> Decision | None:
        least = self.settings.min_sharpness
        if picture is None:
            return _refused(Cause.NO_PICTURE, "there was no picture of it")
        if picture.visible < 1 - MOST_HIDDEN:
            return _refused(Cause.COVERED, f"others cover {1 - picture.visible:.0%} of it")
        if picture.sharpness < least:
            return _refused(Cause.BLURRED, f"a sharpness of {picture.sharpness:.1f} is less than {least:g}")
        return None

    def _too_soon(self, candidate: Candidate, asked: Asked, now_s: float) -> Decision | None:
        settings = self.settings
        since_s = now_s - asked.track_s(candidate.row.track_id)
        if since_s < settings.track_cooldown_s and candidate.trigger is not Trigger.CHANGED:
            return _refused(
                Cause.TRACK_COOLDOWN, f"asked {since_s:.1f} s ago, less than {settings.track_cooldown_s:g} s"
            )
        since_s = now_s - asked.camera_s
        if since_s < settings.camera_cooldown_s:
            return _refused(
                Cause.CAMERA_COOLDOWN,
                f"the camera asked {since_s:.1f} s ago, less than {settings.camera_cooldown_s:g} s",
            )
        return None

    def _wrong_confidence(self, candidate: Candidate, luck: float) -> Decision | None:
        settings, confidence = self.settings, candidate.confidence
        if self._is_always(candidate.row):
            return None
        if confidence < settings.confidence_low:
            return _refused(Cause.TOO_UNSURE, f"{confidence:.2f} is below {self._band}")
        if confidence > settings.confidence_high and luck >= settings.audit_rate:
            return _refused(Cause.CONFIDENT, f"{confidence:.2f} is above {self._band}")
        return None

    def _accepted(self, candidate: Candidate) -> Decision:
        worth, confidence = self._worth(candidate), candidate.confidence
        if self._is_always(candidate.row):
            why = f"{candidate.row.class_name} is always asked about"
            return Decision(send=True, cause=Cause.ALWAYS, why=why, value=1.0 + worth)
        if confidence <= self.settings.confidence_high:
            why = f"{confidence:.2f} is within {self._band}"
            return Decision(send=True, cause=Cause.UNSURE, why=why, value=worth)
        why = f"{confidence:.2f} is above {self._band}, but drawn for the audit"
        return Decision(send=True, cause=Cause.AUDIT, why=why, value=worth)

    @property
    def _band(self) -> str:
        return f"{self.settings.confidence_low:g}-{self.settings.confidence_high:g}"

    def _worth(self, candidate: Candidate) -> float:
        """0-2: up to 1 for how near to the middle of the band, half for what is new, half for the picture."""
        half = (self.settings.confidence_high - self.settings.confidence_low) / 2
        middle = self.settings.confidence_low + half
        off = abs(candidate.confidence - middle)
        doubt = max(0.0, 1 - off / half) if half > 0 else float(off == 0)
        news = 0.0 if candidate.trigger is Trigger.AGAIN else 0.5
        quality = candidate.picture.quality if candidate.picture else 0.0
        return round(doubt + news + quality / 2, 4)

    def _is_always(self, row: Row) -> bool:
        return bool(self.settings.always_analyze) and row in self._always


def _refused(cause: Cause, why: str) -> Decision:
    return Decision(send=False, cause=cause, why=why)


_DENIED_ONCE = _refused(Cause.DENIED, "it was taken for something that never leaves")
