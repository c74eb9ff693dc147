"""Which samples are exported, as what, and which of them are kept apart to judge by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from stream.dataset.manifest import EVERYTHING, Filter
from stream.dataset.sample import Label, Sample
from stream.dataset.store import Store, hash_of
from stream.errors import UsageError

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """``val_share`` of the camera hours are for judging. ``min_confidence`` leaves out weaker labels, and ``refined``
    calls objects as the cloud does where it gave them a name."""

    which: Filter = EVERYTHING
    val_share: float = 0.2
    seed: int = 0
    min_confidence: float = 0.0
    refined: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to export: ``name`` is that of its file, ``labels`` are called by their final names."""

    sample: Sample
    split: Split
    path: Path
    name: str
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """``classes`` are the names of all labels in the order of their numbers. ``left_out`` are the hashes of samples
    whose picture is gone or was altered."""

    items: Sequence[Item]
    classes: Sequence[str]
    settings: ExportSettings
    folder: Path
    numbers: dict[str, int] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    def of(self, split: Split) -> list[Item]:
        return [item for item in self.items if item.split == split]


def make_plan(store: Store, settings: ExportSettings) -> Plan:
    """The samples whose pictures are what they were. Raises UsageError when there are none."""
    items: list[Item] = []
    left_out: list[str] = []
    for sample in store.manifest.samples(settings.which):
        path = store.picture_path(sample.sha256)
        if hash_of(path) != sample.sha256:
            left_out.append(sample.sha256)
            continue
        split = split_of(sample, val_share=settings.val_share, seed=settings.seed)
        items.append(Item(sample, split, path, f"{sample.sha256[:24]}.jpg", tuple(_named(sample.labels, settings))))
    if not items:
        raise UsageError(f"there is nothing to export in {store.folder}; videodisco dataset stats shows what there is")
    if settings.val_share < 1 and not any(item.split == "train" for item in items):
        items = [replace(item, split="train") for item in items]  # a few camera hours, all of them drawn for judging
    classes = sorted({label.class_name for item in items for label in item.labels})
    numbers = {name: number for number, name in enumerate(classes)}
    return Plan(items, classes, settings, store.folder, numbers, left_out)


def split_of(sample: Sample, *, val_share: float, seed: int = 0) -> Split:
    """Where a sample belongs: the same for all of a camera's hour, for pictures of one scene must not be on both
    sides, and the same in every export, whatever else the data set holds."""
    group = f"{seed}|{sample.origin.camera}|{int(sample.origin.taken_at // HOUR_S)}"
    number = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
    return "val" if number < val_share * 2**64 else "train"


def _named(labels: Sequence[Label], settings: ExportSettings) -> list[Label]:
    strong = [label for label in labels if label.confidence >= settings.min_confidence]
    return [_as_refined(label) if settings.refined else label for label in strong]


def _as_refined(label: Label) -> Label:
    if label.refined is None:
        return label
    return Label(label.refined.label, label.class_id, label.refined.confidence, label.bbox, label.track_id)
