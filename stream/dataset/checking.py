"""Whether a data set is what its manifest says, and putting right what is not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stream.dataset import manifest
from stream.dataset.sample import Sample, from_record
from stream.dataset.store import IMAGES, PARTIAL, Store, hash_of
from stream.errors import SinkError

LEFT_BEHIND_S = 600.0
"""A file that is being written gets its name within seconds; one that is as old as this has lost its writer."""


@dataclass(slots=True)
class Findings:
    """Samples by what is wrong with them. ``without_row`` are pictures that the manifest does not know, of which
    ``adopted`` were taken in again; ``leftovers`` are files that are no sample's."""

    checked: int = 0
    damaged: int = 0
    missing: int = 0
    without_record: int = 0
    without_row: int = 0
    leftovers: int = 0
    adopted: int = 0

    @property
    def is_sound(self) -> bool:
        return not (self.damaged or self.missing or self.without_record or self.without_row or self.leftovers)


def verify(store: Store, now: float, *, repair: bool = False) -> Findings:
    """Compare every picture with its hash, and the files with the manifest; other processes may go on collecting.

    With ``repair`` damaged and missing pictures are forgotten, records written anew, pictures without a row taken in
    again where their record is whole (so that a lost manifest is made anew) and removed where it is not.

    ``now`` is in seconds since the epoch. Raises SinkError where the data set cannot be read or written.
    """
    found = Findings()
    try:
        _check_files(store, found, now, repair=repair)
        for sha256 in store.manifest.rows():
            _check_row(store, sha256, found, repair=repair)
    except OSError as exc:
        raise SinkError(f"cannot read the data set in {store.folder}: {exc.strerror or exc}") from exc
    return found


def _check_row(store: Store, sha256: str, found: Findings, *, repair: bool) -> None:
    found.checked += 1
    if hash_of(store.picture_path(sha256)) == sha256 and _record_of(store, sha256) is not None:
        return

    def settle(connection: sqlite3.Connection) -> None:
        if not manifest.holds(connection, sha256):
            found.checked -= 1  # pruned meanwhile
            return
        actual = hash_of(store.picture_path(sha256))
        if actual == sha256 and _record_of(store, sha256) is not None:
            return  # it went and came back meanwhile
        if actual == sha256:
            found.without_record += 1
        elif actual is None:
            found.missing += 1
        else:
            found.damaged += 1
        if not repair:
            return
        if actual == sha256:
            [row] = connection.execute("SELECT record FROM samples WHERE sha256 = ?", (sha256,))
            store.write_record(from_record(json.loads(row[0])))
            return
        store.unlink(sha256)
        manifest.forget(connection, [sha256])

    store.manifest.run(settle)


def _check_files(store: Store, found: Findings, now: float, *, repair: bool) -> None:
    known = store.manifest.rows()
    for path in _files(store.folder / IMAGES):
        if path.stem in known and path.name in {f"{path.stem}.jpg", f"{path.stem}.json"}:
            continue
        if path.name.startswith(PARTIAL) and _age_s(path, now) < LEFT_BEHIND_S:
            continue
        store.manifest.run(_settling_file(store, path, found, repair=repair))


def _settling_file(store: Store, path: Path, found: Findings, *, repair: bool) -> Callable[[sqlite3.Connection], None]:
    """Files get their names within transactions: in one of ours, one that has no row will never get one."""

    def settle(connection: sqlite3.Connection) -> None:
        if not path.exists() or manifest.holds(connection, path.stem):
            return
        if path.suffix == ".json" and path.with_suffix(".jpg").exists():
            return  # goes with its picture
        is_picture = path.suffix == ".jpg" and not path.name.startswith(PARTIAL)
        if is_picture:
            found.without_row += 1
        else:
            found.leftovers += 1
        if not repair:
            return
        sample = _record_of(store, path.stem) if is_picture and hash_of(path) == path.stem else None
        if sample is None:
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)
            return
        size_bytes = path.stat().st_size + path.with_suffix(".json").stat().st_size
        manifest.insert(connection, sample, size_bytes)
        found.adopted += 1

    return settle


def _files(folder: Path) -> Iterator[Path]:
    """All files; a listing of each folder at a time, for files come and go."""
    for inner in sorted(folder.glob("*")) if folder.is_dir() else []:
        if inner.is_file():
            yield inner
        yield from (path for path in sorted(inner.glob("*")) if path.is_file())


def _age_s(path: Path, now: float) -> float:
    """Zero for a file that is gone."""
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _record_of(store: Store, sha256: str) -> Sample | None:
    """The record beside a picture; None where there is none that can be read."""
    try:
        sample = from_record(json.loads(store.record_path(sha256).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return sample if sample.sha256 == sha256 else None
