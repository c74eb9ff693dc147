"""How far the opinions about a track agree."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from statistics import fmean

from stream.frame import Refinement

ENOUGH_DETECTIONS = 5
"""With fewer a single slip of the detector would make a track doubtful."""

MOST_TRACKS = 1000
MOST_ANSWERS = 20

TrackName = tuple[int, int]
"""The source's epoch and the track's id in it."""


@dataclass(slots=True)
class _Opinions:
    classes: Counter[str] = field(default_factory=Counter)
    agreements: list[float] = field(default_factory=list)
    last: Refinement | None = None


class TrackOpinions:
    """Follows the tracks of one camera, of which it forgets those not seen for longest. For one thread."""

    def __init__(self) -> None:
        self._tracks: OrderedDict[TrackName, _Opinions] = OrderedDict()

    def see(
        self, track: TrackName, class_name: str, refined: Refinement | None = None, agreement: float | None = None
    ) -> float | None:
        """A detection of a track, and the cloud's last answer; how far all opinions of it agree by now, from 0 to 1.

        It is the smaller of the part of its detections that are of its most frequent class, and of how far the
        cloud's answers confirmed it on average; None while there are too few of either.
        """
        known = self._tracks.setdefault(track, _Opinions())
        self._tracks.move_to_end(track)
        if len(self._tracks) > MOST_TRACKS:
            self._tracks.popitem(last=False)
        known.classes[class_name] += 1
        if refined is not None and refined != known.last and agreement is not None:
            known.agreements = [*known.agreements, agreement][-MOST_ANSWERS:]
            known.last = refined
        parts = [fmean(known.agreements)] if known.agreements else []
        if (total := known.classes.total()) >= ENOUGH_DETECTIONS:
            parts.append(known.classes.most_common(1)[0][1] / total)
        return min(parts, default=None)
