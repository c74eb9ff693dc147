"""Pictures named by their content, each with its record beside it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream.dataset import manifest
from stream.dataset.manifest import EVERYTHING, MANIFEST, Filter, Manifest
from stream.dataset.sample import Sample, as_record
from stream.dataset.settings import DuplicateSettings
from stream.errors import SinkError, UsageError
from stream.sinks.base import write_failure

IMAGES = "images"
PARTIAL = ".partial-"

DAY_S = 86_400.0


class Store:
    """The data set in one folder; for any threads and processes.

    ``images/ab/abcd....jpg`` has the sha256 ``abcd...``, and beside it ``abcd....json``, all that is known of it;
    ``manifest.db`` is an index over these. A sample's files get their names and its row is added within one
    transaction, and files are removed in a later one than their rows: a process that is killed at any point leaves
    files without a row at worst, never a row without files, and :func:`stream.dataset.checking.verify` finds them.

    Raises OutputError where the folder cannot be used; SinkError where a later call fails.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.manifest = Manifest(self.folder / MANIFEST)

    @classmethod
    def existing(cls, folder: Path) -> Store:
        """The store of a folder that has one; raises UsageError elsewhere."""
        if not (folder / MANIFEST).exists() and not (folder / IMAGES).is_dir():
            raise UsageError(f"there is no data set in {folder}; name its folder with --folder")
        return cls(folder)

    def knows_its_pictures(self) -> bool:
        """False where the manifest is empty and pictures are there: it was lost. Raises SinkError."""
        known = next(iter(self.manifest.samples(EVERYTHING)), None) is not None
        return known or next((self.folder / IMAGES).glob("*/*.jpg"), None) is None

    def close(self) -> None:
        """Let go of the manifest; a later call opens it again."""
        self.manifest.close()

    def picture_path(self, sha256: str) -> Path:
        return self.folder / IMAGES / sha256[:2] / f"{sha256}.jpg"

    def record_path(self, sha256: str) -> Path:
        return self.picture_path(sha256).with_suffix(".json")

    def shows_nothing_new(self, sample: Sample, duplicates: DuplicateSettings) -> bool:
        """Whether :meth:`add` would refuse it; before it is worth encoding."""
        return self.manifest.run(lambda connection: manifest.has_alike(connection, sample, duplicates))

    def add(self, sample: Sample, jpeg: bytes, duplicates: DuplicateSettings, *, max_bytes: int) -> Sample | None:
        """Keep a picture under its hash, and make room for it; None when it shows nothing new."""
        sample = replace(sample, sha256=hashlib.sha256(jpeg).hexdigest())
        record = _record(sample)
        path, beside = self.picture_path(sample.sha256), self.record_path(sample.sha256)

        def put(connection: sqlite3.Connection) -> list[str] | None:
            if manifest.holds(connection, sample.sha256) or manifest.has_alike(connection, sample, duplicates):
                return None
            _rename([(record_part, beside), (picture_part, path)])
            manifest.insert(connection, sample, len(jpeg) + len(record))
            return manifest.forget_surplus(connection, max_bytes)

        # what takes time is done before, so that others need not wait for it
        with _part(path, jpeg, durably=True) as picture_part, _part(beside, record) as record_part:
            try:
                surplus = self.manifest.run(put)
            except SinkError:
                with suppress(SinkError):
                    self._remove_files([sample.sha256])
                raise
        if surplus:
            self._remove_files(surplus)
        return None if surplus is None or sample.sha256 in surplus else sample

    def prune(self, now: float, *, max_bytes: int | None = None, keep_days: float | None = None) -> int:
        """Remove what is too old, then the oldest of the largest classes; how many."""

        def forget(connection: sqlite3.Connection) -> list[str]:
            gone = [] if keep_days is None else manifest.forget_older(connection, now - keep_days * DAY_S)
            return gone + ([] if max_bytes is None else manifest.forget_surplus(connection, max_bytes))

        gone = self.manifest.run(forget)
        if gone:
            self._remove_files(gone)
        return len(gone)

    def provenance(self, which: Filter = EVERYTHING) -> dict[str, Any]:
        """What the data set is, as plain values for a run's log: ``digest`` changes with any picture or label."""
        return {"folder": str(self.folder), **provenance_of(self.manifest.samples(which))}

    def write_record(self, sample: Sample) -> None:
        """Write a sample's record anew; within a transaction."""
        path = self.record_path(sample.sha256)
        with _part(path, _record(sample)) as part:
            _rename([(part, path)])

    def _remove_files(self, hashes: Iterable[str]) -> None:
        """Remove the files of rows that are gone, unless they have come back meanwhile."""

        def remove(connection: sqlite3.Connection) -> None:
            for sha256 in hashes:
                if not manifest.holds(connection, sha256):
                    self.unlink(sha256)

        self.manifest.run(remove)

    def unlink(self, sha256: str) -> None:
        """Remove a sample's files; within a transaction."""
        # the picture first: a record alone is no sample
        for path in (self.picture_path(sha256), self.record_path(sha256)):
            try:
                path.unlink(missing_ok=True)
            except OSError as exc:
                raise write_failure(path, exc) from exc


def hash_of(path: Path) -> str | None:
    """The sha256 of a file in hexadecimal; None where there is none. Raises OSError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def provenance_of(samples: Iterable[Sample]) -> dict[str, Any]:
    """The digest of these samples, whatever their order, and how many there are by class, sampler and model."""
    digests, classes, samplers, models = [], Counter[str](), Counter[str](), Counter[str]()
    for sample in samples:
        canonical = json.dumps(as_record(sample), sort_keys=True)
        digests.append(hashlib.sha256(canonical.encode()).digest())
        model = sample.origin.model
        classes.update(label.class_name for label in sample.labels)
        samplers[sample.sampler] += 1
        models[f"{model.name} {model.version} {model.sha256[:12]}".strip()] += 1
    return {
        "digest": hashlib.sha256(b"".join(sorted(digests))).hexdigest(),
        "samples": len(digests),
        "objects": dict(classes.most_common()),
        "samplers": dict(samplers.most_common()),
        "models": dict(models.most_common()),
    }


@contextmanager
def _part(path: Path, content: bytes, *, durably: bool = False) -> Iterator[Path]:
    """A file beside ``path`` with this content, to be renamed; it is gone afterwards in any case. ``durably``: it
    outlives a power cut, which may take a record, for that is made anew from its row. Raises SinkError."""
    part = path.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
    try:
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                if durably:
                    os.fsync(file.fileno())
        except OSError as exc:
            raise write_failure(path, exc) from exc
        yield part
    finally:
        with suppress(OSError):
            part.unlink()


def _rename(pairs: Sequence[tuple[Path, Path]]) -> None:
    for part, path in pairs:
        try:
            part.replace(path)
        except OSError as exc:
            raise write_failure(path, exc) from exc


def _record(sample: Sample) -> bytes:
    return (json.dumps(as_record(sample), ensure_ascii=False, indent=1) + "\n").encode()
