"""Another model for a running camera: tried first, taken over between two frames, taken back if it fails or lags."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import av
import numpy as np

from stream.errors import ModelError, VideoDiscoError
from stream.frame import Frame, ModelIdentity, NetworkView, Pixels
from stream.pipeline import Detected, Detector
from stream.pool import GivenUpError
from stream.sources.pictures import PictureConverter

JUDGED_BY = 30
"""Detections after which a new model's speed is judged: a second or two of most cameras."""

MOST_SLOWDOWN = 3.0
"""A new model may take so many times as long as the old one..."""

SPARE_S = 0.05
"""... or as long as this, whatever the old one took."""

LEAST_LOOKS = 5
"""Both models are timed so often in turns, however few pictures there are..."""

DOUBTED_FOR_S = 2.0
"""... and again and again while the new one seems too slow, until this would be gone had each look taken the least time
so far: a busy machine may hold up a few looks in a row, and any one of them for seconds."""

SAME_PLACE_IOU = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trial:
    """Two models on the same pictures: the least seconds of each, and how far their boxes agree (F1 at IoU 0.5 with
    equal class names; None where neither finds anything)."""

    old_s: float
    new_s: float
    agreement: float | None
    pictures: int

    def __str__(self) -> str:
        agreement = "nothing found by either" if self.agreement is None else f"agreement F1 {self.agreement:.2f}"
        speeds = f"{self.old_s * 1e3:.0f} ms before, {self.new_s * 1e3:.0f} ms now"
        return f"{speeds}, {agreement} on {self.pictures} picture{'s' if self.pictures != 1 else ''}"


class SwappableDetector:
    """Looks with one detector and, from one frame to the next, with another, as :class:`stream.pipeline.Detector`.

    A frame that was prepared for the former one is looked at by that one, so that none is lost. Where the new one fails
    while it is judged, the former one is back at once, and looks at that very frame if it wants to see the same of it.
    """

    def __init__(self, first: Detector) -> None:
        self._lock = threading.Lock()
        self._current = first
        self._former: Detector | None = None
        self._judged: Detector | None = None
        self._failed: Detector | None = None
        self._failure = ""
        self._on_failure: Callable[[], None] = _tell_nobody
        self._seconds: deque[float] = deque(maxlen=JUDGED_BY)

    @property
    def identity(self) -> ModelIdentity:
        return self._current.identity

    @property
    def current(self) -> Detector:
        return self._current

    def view(self, width: int, height: int) -> NetworkView:
        return self._view(self._current, width, height) or self.view(width, height)

    def detect(self, frame: Frame) -> Detected:
        """Raises GivenUpError for a frame that only a model could have looked at that has failed."""
        detector = self._prepared_for(frame)
        found = self._answer(detector, lambda: detector.detect(frame))
        if found is None:
            return self.detect(frame)
        if detector is self._current:
            self._seconds.append(found.inference_s + found.postprocess_s)
        return Detected(found.detections, found.inference_s, found.postprocess_s, detector.identity)

    def swap(self, new: Detector, on_failure: Callable[[], None] | None = None) -> None:
        """Look with ``new`` from the next frame on that is prepared for it.

        With ``on_failure`` it is judged until it is trusted: where it fails, the former one is back, and then this is
        called, on the thread that looks. What was judged and gave way is not trusted with what it has yet to look at.
        """
        with self._lock:
            self._former, self._current = self._current, new
            self._failed = None
            if on_failure is not None:
                self._judged, self._on_failure = new, on_failure
            self._seconds.clear()

    def revert(self) -> None:
        """Look with the former detector again."""
        with self._lock:
            if self._former is not None:
                self._former, self._current = self._current, self._former
                self._seconds.clear()

    def trust(self, new: Detector) -> bool:
        """From now on an error of ``new`` is an error; False where it has failed and does not look any more."""
        with self._lock:
            if self._failed is new:
                return False
            if self._judged is new:
                self._judged = None
            return True

    def failure_of(self, new: Detector) -> str | None:
        """What was wrong with ``new``, where it failed while it was judged and no other has come since."""
        with self._lock:
            return self._failure if self._failed is new else None

    def median_s(self) -> float | None:
        """What the detector in use takes, None before there are enough detections to tell."""
        seconds = tuple(self._seconds)
        return statistics.median(seconds) if len(seconds) == JUDGED_BY else None

    def _prepared_for(self, frame: Frame) -> Detector:
        with self._lock:
            current, former, failed = self._current, self._former, self._failed
        if former is None or frame.view is None:
            return current
        wanted = self._view(current, frame.width, frame.height)
        if wanted is None:
            return self._prepared_for(frame)
        if frame.view == wanted:
            return current
        if former is failed:
            raise GivenUpError("model_failed")
        return former

    def _view(self, detector: Detector, width: int, height: int) -> NetworkView | None:
        return self._answer(detector, lambda: detector.view(width, height))

    def _answer(self, detector: Detector, ask: Callable[[], T]) -> T | None:
        """What ``detector`` answers; None where it failed while it was judged, so that the former one looks now."""
        try:
            return ask()
        except Exception as exc:
            if not self._gone_back_from(detector, exc):
                raise
            return None

    def _gone_back_from(self, detector: Detector, error: Exception) -> bool:
        with self._lock:
            if detector is not self._judged or self._former is None:
                return False
            looked = detector is self._current  # else it has given way already
            if looked:
                self._former, self._current = self._current, self._former
                self._seconds.clear()
            self._failed = detector
            self._failure = str(error) if isinstance(error, VideoDiscoError) else f"{type(error).__name__}: {error}"
        if looked:
            self._on_failure()
        return True


def _tell_nobody() -> None:
    """For models that are not judged."""


def is_too_slow(new_s: float, old_s: float) -> bool:
    """Whether a new model's seconds are a regression from the old one's, both taken in the same way."""
    return new_s > max(MOST_SLOWDOWN * old_s, SPARE_S)


def try_out(new: Detector, old: Detector, pictures: Sequence[Pixels]) -> Trial:
    """Look at BGR ``pictures`` with both; opens what the new one needs for their size.

    Raises:
        ModelError: the new one fails on them, or is too slow.
    """
    prepared = [_Prepared(old, pictures), _Prepared(new, pictures)]
    # The first look at each picture is not timed: sessions are cold, and boxes are all that is wanted of it.
    found = [each.found() for each in prepared]
    hits = sum(_matches(ours, theirs) for ours, theirs in zip(*found, strict=True))
    boxes = sum(len(each.detections) for side in found for each in side)
    old_s, new_s = _least_seconds(*prepared)
    trial = Trial(old_s, new_s, 2 * hits / boxes if boxes else None, len(pictures))
    if is_too_slow(trial.new_s, trial.old_s):
        raise ModelError(f"{new.identity.name} is too slow to take the place of {old.identity.name}: {trial}")
    return trial


def _least_seconds(old: _Prepared, new: _Prepared) -> tuple[float, float]:
    """What each takes at least, and not in the middle: whatever else the machine does can only make a look longer."""
    old_s = new_s = float("inf")
    for number in itertools.count():
        old_s, new_s = min(old_s, old.seconds(number)), min(new_s, new.seconds(number))
        doubted = is_too_slow(new_s, old_s) and (number + 1) * (old_s + new_s) < DOUBTED_FOR_S
        if number + 1 >= max(LEAST_LOOKS, new.pictures) and not doubted:
            break
    return old_s, new_s


class _Prepared:
    """A detector with pictures as it wants them."""

    def __init__(self, detector: Detector, pictures: Sequence[Pixels]) -> None:
        self._detector = detector
        converter = PictureConverter()
        self._frames = [_frame(picture, number, detector, converter) for number, picture in enumerate(pictures)]

    @property
    def pictures(self) -> int:
        return len(self._frames)

    def found(self) -> list[Detected]:
        """What it finds in each picture. Raises ModelError."""
        return [self._look(frame) for frame in self._frames]

    def seconds(self, number: int) -> float:
        """How long it takes for one of them, counted round and round."""
        begun_s = time.monotonic()
        self._look(self._frames[number % len(self._frames)])
        return time.monotonic() - begun_s

    def _look(self, frame: Frame) -> Detected:
        try:
            return self._detector.detect(frame)
        except VideoDiscoError:
            raise
        except Exception as exc:  # whatever a model does here, it does not come into use
            raise ModelError(f"{self._detector.identity.name} fails on this camera's pictures: {exc}") from exc


def _frame(picture: Pixels, number: int, detector: Detector, converter: PictureConverter) -> Frame:
    height, width = picture.shape[:2]
    view = detector.view(width, height)
    network, letterbox = converter.network(av.VideoFrame.from_ndarray(picture, format="bgr24"), view)
    return Frame(
        source="trial",
        index=number,
        pts=number,
        time_base=Fraction(1),
        received_s=time.monotonic(),
        width=width,
        height=height,
        network=network,
        letterbox=letterbox,
        view=view,
    )


def _matches(old: Detected, new: Detected) -> int:
    """How many boxes of the two pair off: best overlaps first, each box once, equal class names only."""
    ours, theirs = old.detections, new.detections
    if not len(ours) or not len(theirs):
        return 0
    from stream.vision import sv

    overlap = sv.box_iou_batch(ours.xyxy, theirs.xyxy)
    names = np.asarray(ours.data["class_name"])[:, None] == np.asarray(theirs.data["class_name"])[None, :]
    overlap = np.where(names, overlap, 0.0)
    matches = 0
    while overlap.size and overlap.max() >= SAME_PLACE_IOU:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        overlap[row, :] = overlap[:, column] = 0.0
        matches += 1
    return matches
