"""Decides about pictures and keeps those that are worth it: of all cameras of a run, or of all clients of a refiner."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from stream.dataset.duplicates import fingerprint_of
from stream.dataset.sample import Box, Label, Origin, Sample
from stream.dataset.samplers import Dice, Sampler
from stream.dataset.settings import DatasetSettings, Kind
from stream.dataset.store import Store
from stream.errors import SinkError
from stream.frame import Pixels

log = logging.getLogger(__name__)

PRUNE_EVERY_S = 3600.0
"""What is too old is looked for this often."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of the pictures that a sampler chose, and how many were ``above_limit``, all since the start."""

    kept: int
    duplicates: int
    lost: int
    above_limit: int
    by_sampler: dict[str, int]

    def sentence(self) -> str:
        """What became of it, for the closing words."""
        words = f"{self.kept} pictures were kept for the data set"
        others = {"duplicates": self.duplicates, "above a limit": self.above_limit, "lost": self.lost}
        left_out = ", ".join(f"{count} {what}" for what, count in others.items() if count)
        return f"{words} ({left_out} left out)" if left_out else words

    def metrics(self) -> dict[str, float]:
        """Under their MLflow names."""
        values = {"kept": self.kept, "duplicates": self.duplicates, "lost": self.lost, "above_limit": self.above_limit}
        return {f"dataset/{name}": float(value) for name, value in values.items()}


class Collector:
    """Offered pictures, keeps some in the data set of ``folder``; one for a whole process, on any threads.

    Limits hold over all cameras, and go on after a restart with what was kept before. Raises OutputError where the
    folder cannot be used.
    """

    def __init__(
        self,
        settings: DatasetSettings,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        dice: Dice = random.random,
    ) -> None:
        self.settings = settings
        self.store = Store(folder)
        self._clock = clock
        self._wall_clock = wall_clock
        self._samplers = [Sampler(strategy, dice) for strategy in settings.sampling_strategies]
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._by_sampler: Counter[str] = Counter()
        self._prune_at_s = clock()
        for sampler in self._samplers:
            self._remember(sampler)

    def close(self) -> None:
        """Let go of the data set; offering another picture opens it again."""
        self.store.close()

    def wants_picture_now(self) -> bool:
        """Whether a picture may be taken at all: not when every strategy has reached a limit or lets this one pass."""
        now_s = self._clock()
        with self._lock:
            return any(sampler.is_ready(now_s) for sampler in self._samplers)

    def figures(self) -> Figures:
        with self._lock:
            above_limit = sum(sampler.refused for sampler in self._samplers)
            counts, by_sampler = self._counts, dict(self._by_sampler)
            return Figures(counts["kept"], counts["duplicates"], counts["lost"], above_limit, by_sampler)

    def pass_by(self, labels: Sequence[Label]) -> None:
        """A picture that nobody asked for went by, with these labels."""
        with self._lock:
            for sampler in self._samplers:
                sampler.let_pass(labels)

    def offer(
        self, picture: Pixels, labels: Sequence[Label], origin: Origin, *, kind: Kind, jpeg: bytes | None = None
    ) -> Sample | None:
        """Keep a BGR picture ``(h, w, 3)`` with its labels if a strategy wants it and it shows something new.

        ``jpeg`` is the same picture where it came encoded: then it is kept as it came, unless it is too large. Writes
        to the disk: call it where some milliseconds do not matter. Raises SinkError when it cannot be kept.
        """
        now_s = self._clock()
        with self._lock:
            chosen = self._chosen(labels, now_s)
        if chosen is None:
            return None
        sampler, reasons = chosen
        kept, outcome = None, "lost"
        try:
            kept = self._keep(picture, self._draft(picture, labels, origin, kind, sampler, reasons), jpeg)
            outcome = "kept" if kept else "duplicates"
            self._prune_if_due(now_s)
        finally:
            with self._lock:
                self._count(sampler, outcome, now_s)
        return kept

    def _chosen(self, labels: Sequence[Label], now_s: float) -> tuple[Sampler, Sequence[Label]] | None:
        for sampler in self._samplers:
            reasons = sampler.take(labels, now_s)
            if reasons is not None:
                return sampler, reasons
        return None

    def _count(self, sampler: Sampler, outcome: str, now_s: float) -> None:
        self._counts[outcome] += 1
        if outcome == "kept":
            self._by_sampler[sampler.strategy.name] += 1
        else:
            sampler.refund(now_s)

    def _draft(
        self,
        picture: Pixels,
        labels: Sequence[Label],
        origin: Origin,
        kind: Kind,
        sampler: Sampler,
        reasons: Sequence[Label],
    ) -> Sample:
        """The sample, with its labels as they lie in the picture that will be kept; still without a hash."""
        height, width = picture.shape[:2]
        scale = min(1.0, self.settings.max_image_size / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        surest = max(reasons or labels, key=lambda label: label.confidence, default=None)
        return Sample(
            sha256="",
            kind=kind,
            class_name=surest.class_name if surest else "",
            sampler=sampler.strategy.name,
            origin=origin,
            kept_at=self._wall_clock(),
            width=size[0],
            height=size[1],
            fingerprint=fingerprint_of(picture),
            labels=_laid_into(labels, size[0] / width, size[1] / height, size),
            tags=sampler.strategy.tags,
        )

    def _keep(self, picture: Pixels, draft: Sample, jpeg: bytes | None) -> Sample | None:
        duplicates = self.settings.duplicates
        if self.store.shows_nothing_new(draft, duplicates):
            return None
        size = (draft.width, draft.height)
        if size != (picture.shape[1], picture.shape[0]):
            picture, jpeg = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8), None
        if jpeg is None:
            jpeg = encode(picture, self.settings.jpeg_quality)
            # encoding changes some bits of a small crop: what counts is what is in the file
            draft = replace(draft, fingerprint=fingerprint_of(_decoded(jpeg)))
        return self.store.add(draft, jpeg, duplicates, max_bytes=self.settings.max_bytes)

    def _prune_if_due(self, now_s: float) -> None:
        with self._lock:
            if now_s < self._prune_at_s:
                return
            self._prune_at_s = now_s + PRUNE_EVERY_S
        self.store.prune(self._wall_clock(), max_bytes=self.settings.max_bytes, keep_days=self.settings.keep_days)

    def _remember(self, sampler: Sampler) -> None:
        """Count what a former run kept against the limits."""
        if not sampler.memory_s:
            return
        now, now_s = self._wall_clock(), self._clock()
        for kept_at in self.store.manifest.kept_since(sampler.strategy.name, now - sampler.memory_s):
            sampler.spend(now_s - max(0.0, now - kept_at))


def cut_out(picture: Pixels, label: Label, margin: float) -> tuple[Pixels, Label] | None:
    """The pixels of one object with ``margin`` parts of its longer side around it, and its label in there; None where
    nothing of it lies in the picture."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = label.bbox
    around = margin * max(x2 - x1, y2 - y1)
    left, top = max(0, math.floor(x1 - around)), max(0, math.floor(y1 - around))
    right, bottom = min(width, math.ceil(x2 + around)), min(height, math.ceil(y2 + around))
    crop = picture[top:bottom, left:right]
    if not crop.size:
        return None
    box = (x1 - left, y1 - top, x2 - left, y2 - top)
    inside = _laid_into([replace(label, bbox=box)], 1.0, 1.0, (right - left, bottom - top))
    return (crop, inside[0]) if inside else None


def encode(picture: Pixels, quality: int) -> bytes:
    """As JPEG. Raises SinkError where it is too large for that."""
    encoded, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:  # JPEG ends at 65535 pixels a side
        raise SinkError(f"a picture of {picture.shape[1]}x{picture.shape[0]} is too large for JPEG")
    return jpeg.tobytes()


def _decoded(jpeg: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _laid_into(labels: Sequence[Label], x_scale: float, y_scale: float, size: tuple[int, int]) -> tuple[Label, ...]:
    """The labels scaled, and clipped to a picture of ``size``; without those of which nothing is left."""
    width, height = size
    laid = []
    for label in labels:
        x1, x2 = (min(max(value * x_scale, 0.0), float(width)) for value in label.bbox[::2])
        y1, y2 = (min(max(value * y_scale, 0.0), float(height)) for value in label.bbox[1::2])
        box: Box = (x1, y1, x2, y2)
        if x2 > x1 and y2 > y1:
            laid.append(replace(label, bbox=box))
    return tuple(laid)
