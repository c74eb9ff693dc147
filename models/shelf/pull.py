"""Pulling a well-known model: fetched, compared with the hash that is known of it, and put on the shelf."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.files import MAX_BYTES
from models.shelf import store
from models.shelf.adding import Added, add
from models.shelf.download import Bounds, Opener, Progress, fetch
from models.shelf.upstream import Upstream
from stream.errors import ModelError, OutputError
from stream.home import home

MOST_S = 1800.0
"""The largest entry at a hundredth of a usual connection."""

Confirm = Callable[[str, int], bool]
"""Asked about a hash that nobody vouches for, with the size in bytes: is it the file that is wanted?"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to pull, and what its user knows of it: a hash got elsewhere, or somebody to show the hash to."""

    entry: Upstream
    sha256: str = ""
    confirm: Confirm | None = None
    replace: bool = False

    @property
    def expected(self) -> str:
        return self.entry.sha256 or self.sha256


def pull(wish: Wish, opener: Opener, progress: Progress, clock: Callable[[], float] = time.monotonic) -> Added:
    """Fetch a model unless it is there, check it, and put it on the shelf.

    Raises:
        ModelError: it cannot be fetched, is not the expected file, nobody confirmed it, or it is refused as a model.
        OutputError: it cannot be written.
    """
    entry = wish.entry
    if wish.sha256 and entry.sha256 and wish.sha256 != entry.sha256:
        raise ModelError(f"the catalogue knows {entry.name} by the sha256 {entry.sha256}, not by {wish.sha256}")
    with _alone(entry.name) as part:
        kept = _kept(wish)
        if kept is not None:
            return kept
        bounds = Bounds(MAX_BYTES, entry.size_bytes, MOST_S, clock)
        fetch(entry.url, part, bounds, opener, progress)
        source = entry.source(_check(wish, part))
        added = add(part, entry.name, source=source, licence=entry.licence, replace=wish.replace)
        _discard(part)
        return added


def _kept(wish: Wish) -> Added | None:
    """The model as it was pulled before."""
    if wish.entry.name not in store.names():
        return None
    try:
        manifest = store.take(wish.entry.name).manifest
    except ModelError:
        return None  # damaged: what comes now may replace it if it is asked for
    same = manifest.source.location == wish.entry.url and manifest.source.sha256 == (
        wish.expected or manifest.source.sha256
    )
    return Added(manifest, fresh=False) if same else None


def _check(wish: Wish, part: Path) -> str:
    """The file's hash, if it is the one that is expected or somebody confirms it."""
    with part.open("rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
    size_bytes = part.stat().st_size
    if wish.expected:
        if seen != wish.expected:
            _discard(part)
            raise ModelError(
                f"what came for {wish.entry.name} has the sha256 {seen}, expected was {wish.expected}: not kept"
            )
    elif wish.confirm is None or not wish.confirm(seen, size_bytes):
        raise ModelError(
            f"nobody vouches for {wish.entry.name}: what came has {size_bytes} bytes and the sha256 {seen}; if that is "
            f"what its publisher offers, say videodisco models pull {wish.entry.name} --yes-sha256 {seen}"
        )
    return seen


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.etag").unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(name: str) -> Iterator[Path]:
    """Where the download's parts lie, for this process alone."""
    folder = home() / "downloads"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = (folder / f"{name}.lock").open("a")
    except OSError as exc:
        raise OutputError(f"{folder} cannot be written: {exc.strerror}") from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise ModelError(f"another process is pulling {name} just now") from exc
        yield folder / f"{name}.part"
