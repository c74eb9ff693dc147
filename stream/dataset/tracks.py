"""How far the opinions about a track agree."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

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


AgreementOf = Callable[[TrackName, str], float | None]
"""How far the cloud's last answer about a track confirms a class: from 0 to 1, None where there is none."""


def no_agreement(_track: TrackName, _class_name: str) -> None:
    """Where nobody asks the cloud."""
    return


class Agreements:
    """The cloud's last answers about the tracks of all cameras, as far as they tell; for any threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, TrackName], tuple[str, float]] = OrderedDict()

    def tell(self, camera: str, track: TrackName, class_name: str, agreement: float | None) -> None:
        """An answer came, to the question whether the track is a ``class_name``."""
        if agreement is None:
            return
        with self._lock:
            self._known[camera, track] = class_name, agreement
            self._known.move_to_end((camera, track))
            if len(self._known) > MOST_TRACKS:
                self._known.popitem(last=False)

    def forget(self, camera: str) -> None:
        """The camera's tracks count from the beginning again."""
        with self._lock:
            for key in [key for key in self._known if key[0] == camera]:
                del self._known[key]

    def of(self, camera: str) -> AgreementOf:
        """What is known of one camera's tracks."""

        def agreement(track: TrackName, class_name: str) -> float | None:
            with self._lock:
                asked, said = self._known.get((camera, track), ("", 0.0))
            return said if asked == class_name else None

        return agreement


class TrackOpinions:
    """Follows the tracks of one camera, of which it forgets those not seen for longest. For one thread."""

    def __init__(self) -> None:
        self._tracks: OrderedDict[TrackName, _Opinions] = OrderedDict()

    def see(self, track: TrackName, class_name: str, agreement: float | None = None) -> float | None:
        """A detection of a track, and how far the cloud's last answer confirmed it; how far all opinions of it agree
        by now, from 0 to 1.

        It is the smaller of the part of its detections that are of its most frequent class, and of how far the
        cloud's answers confirmed it on average; None while there are too few of either.
        """
        known = self._tracks.setdefault(track, _Opinions())
        self._tracks.move_to_end(track)
        if len(self._tracks) > MOST_TRACKS:
            self._tracks.popitem(last=False)
        known.classes[class_name] += 1
        # an answer stays the last one for many frames, and counts once
        if agreement is not None and known.agreements[-1:] != [agreement]:
            known.agreements = [*known.agreements, agreement][-MOST_ANSWERS:]
        parts = [fmean(known.agreements)] if known.agreements else []
        if (total := known.classes.total()) >= ENOUGH_DETECTIONS:
            parts.append(known.classes.most_common(1)[0][1] / total)
        return min(parts, default=None)
