"""A picture that was kept, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from stream.dataset.settings import Kind
from stream.frame import ModelIdentity, Refinement

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


@dataclass(frozen=True, slots=True)
class Label:
    """An object in a picture; ``bbox`` is in pixels of that picture.

    ``refined`` is the cloud's name for it. ``agreement`` is how far the cloud confirms the class, ``track_agreement``
    how far all opinions of its track agree, both from 0 to 1 and None where nobody knows.
    """

    class_name: str
    class_id: int
    confidence: float
    bbox: Box
    track_id: int | None = None
    refined: Refinement | None = None
    agreement: float | None = None
    track_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a picture comes from. ``taken_at`` is when it was taken, in seconds since the epoch."""

    camera: str
    taken_at: float
    model: ModelIdentity
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture in the store, named by the sha256 of its file.

    ``class_name`` is what it was taken for, empty for a picture without objects. ``kept_at`` is when it was kept, in
    seconds since the epoch; ``fingerprint`` what it looks like (:func:`stream.dataset.duplicates.fingerprint_of`).
    """

    sha256: str
    kind: Kind
    class_name: str
    sampler: str
    origin: Origin
    kept_at: float
    width: int
    height: int
    fingerprint: int
    labels: tuple[Label, ...]
    tags: tuple[str, ...] = ()


def as_record(sample: Sample) -> dict[str, Any]:
    """The JSON object of a sample."""
    origin = sample.origin
    model = {"name": origin.model.name, "version": origin.model.version, "sha256": origin.model.sha256}
    return {
        "sha256": sample.sha256,
        "kind": sample.kind,
        "class": sample.class_name,
        "sampler": sample.sampler,
        "camera": origin.camera,
        "taken_at": _iso(origin.taken_at),
        "kept_at": _iso(sample.kept_at),
        "frame": origin.frame,
        "width": sample.width,
        "height": sample.height,
        "fingerprint": f"{sample.fingerprint:016x}",
        "model": model,
        "tags": list(sample.tags),
        "labels": [_label_record(label) for label in sample.labels],
    }


def from_record(record: Mapping[str, Any]) -> Sample:
    """What :func:`as_record` made. Raises ValueError, KeyError or TypeError where it is none."""
    kind = record["kind"]
    if kind not in ("frame", "crop"):
        raise ValueError(f"there is no kind {kind!r}")
    return Sample(
        sha256=str(record["sha256"]),
        kind=cast("Kind", kind),
        class_name=str(record["class"]),
        sampler=str(record["sampler"]),
        origin=Origin(
            str(record["camera"]), _epoch(record["taken_at"]), ModelIdentity(**record["model"]), record["frame"]
        ),
        kept_at=_epoch(record["kept_at"]),
        width=int(record["width"]),
        height=int(record["height"]),
        fingerprint=int(record["fingerprint"], 16),
        labels=labels_from(record["labels"]),
        tags=tuple(record["tags"]),
    )


def labels_from(records: Sequence[Mapping[str, Any]]) -> tuple[Label, ...]:
    """The labels of a record. Raises as :func:`from_record`."""
    return tuple(_label(each) for each in records)


def _label_record(label: Label) -> dict[str, Any]:
    record: dict[str, Any] = {
        "class": label.class_name,
        "class_id": label.class_id,
        "confidence": round(label.confidence, 4),
        "bbox": [round(value, 2) for value in label.bbox],
    }
    if label.track_id is not None:
        record["track_id"] = label.track_id
    if label.refined is not None:
        said = label.refined
        record["refined"] = {"label": said.label, "confidence": round(said.confidence, 4), "model": said.model}
    for key in ("agreement", "track_agreement"):
        if (value := getattr(label, key)) is not None:
            record[key] = round(value, 4)
    return record


def _label(record: Mapping[str, Any]) -> Label:
    x1, y1, x2, y2 = map(float, record["bbox"])
    refined = record.get("refined")
    return Label(
        class_name=str(record["class"]),
        class_id=int(record["class_id"]),
        confidence=float(record["confidence"]),
        bbox=(x1, y1, x2, y2),
        track_id=record.get("track_id"),
        refined=refined and Refinement(**refined),
        agreement=record.get("agreement"),
        track_agreement=record.get("track_agreement"),
    )


def _iso(epoch_s: float) -> str:
    """UTC to the millisecond, as in all files of a run."""
    return datetime.fromtimestamp(epoch_s, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
