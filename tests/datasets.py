"""Pictures, labels and stores made by hand, for the tests of data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from stream.config import build
from stream.dataset.collector import Collector, encode
from stream.dataset.duplicates import fingerprint_of
from stream.dataset.sample import Label, Origin, Sample
from stream.dataset.settings import DatasetSettings, DuplicateSettings, Kind
from stream.dataset.store import Store
from stream.frame import ModelIdentity, Pixels

MODEL = ModelIdentity("nanodet-g", "1.0.0", "ab" * 32)
NOON = 1_760_000_400.0
"""The beginning of an hour in October 2025."""

PLENTY = 10**12
STRICT = DuplicateSettings()
ANYTHING = DuplicateSettings(distance=-1)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def scene(seed: int, width: int = 96, height: int = 64) -> Pixels:
    """A picture of large patches, another for each seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)
    return np.asarray(cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def decoded(jpeg: bytes) -> Pixels:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def label(
    class_name: str = "person",
    confidence: float = 0.5,
    bbox: tuple[float, float, float, float] = (10, 10, 30, 50),
    *,
    agreement: float | None = None,
    track_agreement: float | None = None,
) -> Label:
    return Label(class_name, len(class_name), confidence, bbox, agreement=agreement, track_agreement=track_agreement)


def sample(
    picture: Pixels,
    labels: Sequence[Label] = (),
    *,
    camera: str = "cam1",
    kind: Kind = "frame",
    sampler: str = "random",
    taken_at: float = NOON,
    kept_at: float = NOON,
) -> Sample:
    return Sample(
        sha256="",
        kind=kind,
        class_name=labels[0].class_name if labels else "",
        sampler=sampler,
        origin=Origin(camera, taken_at, MODEL, 7),
        kept_at=kept_at,
        width=picture.shape[1],
        height=picture.shape[0],
        fingerprint=fingerprint_of(picture),
        labels=tuple(labels),
    )


def put(store: Store, seed: int, labels: Sequence[Label] = (), **about: object) -> Sample:
    """Keep the scene of a seed."""
    picture = scene(seed)
    draft = sample(picture, labels, **about)  # type: ignore[arg-type]  # the keywords of sample
    kept = store.add(draft, encode(picture, 95), ANYTHING, max_bytes=PLENTY)
    assert kept is not None
    return kept


def settings(**values: object) -> DatasetSettings:
    """Everything is taken unless told otherwise."""
    return build(
        DatasetSettings, {"sampling_strategies": [{"name": "all", "type": "random"}], **values}, origin="the test"
    )


def collector(
    folder: Path,
    clock: Clock | None = None,
    wall_clock: Clock | None = None,
    dice: Callable[[], float] = lambda: 0.5,
    **values: object,
) -> Collector:
    return Collector(
        settings(**values),
        folder,
        clock=clock or Clock(),
        wall_clock=wall_clock or Clock(NOON),
        dice=dice,
    )


def files(folder: Path) -> Iterator[Path]:
    """The pictures in a store's folder."""
    return folder.glob("images/*/*.jpg")
