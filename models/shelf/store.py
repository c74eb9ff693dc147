"""Models by name on disk: put there whole or not at all, by one process at a time, and checked when taken.

A model's folder holds ``model.onnx``, ``manifest.json`` and, once signed, ``model.sig`` over both. Signatures of files
that are not on the shelf lie in ``signatures/<sha256>/``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.files import read
from models.shelf.manifest import MAX_BYTES, Manifest
from models.trust.policy import Offer, read_signature, signature_files
from models.trust.signing import WHOLE
from stream.errors import ModelError, OutputError, UsageError
from stream.home import home

MODEL, MANIFEST, SIGNATURE = "model.onnx", "manifest.json", "model.sig"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Begun by a process that was killed before it came to the renaming.
_UNFINISHED = ".new-"
_REPLACED = ".old-"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Shelved:
    """A model of the shelf, read and found to be what its manifest says."""

    folder: Path
    manifest: Manifest
    manifest_bytes: bytes
    content: bytes

    @property
    def path(self) -> Path:
        return self.folder / MODEL

    def files(self) -> dict[str, bytes]:
        """What its signature is over."""
        return {MODEL: self.content, MANIFEST: self.manifest_bytes}

    def offers(self) -> list[Offer]:
        """The signatures there are of it."""
        signature = read_signature(self.folder / SIGNATURE)
        own = [Offer(signature, self.files())] if signature else []
        return own + offers(self.manifest.sha256, self.content)


def names() -> list[str]:
    """What is on the shelf; nothing where there is none."""
    try:
        folder = _shelf()
    except OutputError:
        return []
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(entry.name for entry in entries if is_name(entry.name) and (entry / MANIFEST).is_file())


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and ".." not in name and not name.endswith((".", ".onnx"))


def check_name(name: str, taken: list[str]) -> None:
    """Raises UsageError for a name that is none, or is among ``taken``."""
    if not is_name(name):
        raise UsageError(
            f"{name[:100]!r} cannot be a model's name: small letters, digits, '.', '_' and '-', "
            "at most 64, beginning with a letter or digit, not ending in .onnx"
        )
    if name in taken:
        raise UsageError(f"{name!r} is the name of a bundled model: choose another with --name")


def take(name: str) -> Shelved:
    """Read a model of the shelf and check it against its manifest.

    Raises:
        ModelError: there is none of this name, or a byte of it or its manifest was changed.
    """
    if not is_name(name):
        raise _absent(name)
    try:
        return _take(name)
    except (OSError, ModelError):
        with _settled():
            try:
                return _take(name)
            except OSError as exc:
                raise _absent(name) from exc


def has(name: str) -> bool:
    """Whether there is a model of this name, whole or damaged."""
    if not is_name(name):
        return False
    try:
        manifest = _shelf() / name / MANIFEST
    except OutputError:
        return False
    if manifest.is_file():
        return True
    with _settled():
        return manifest.is_file()


def put(manifest: Manifest, content: bytes, *, replace: bool = False) -> bool:
    """Put a model on the shelf; False if the very same one is there already.

    Raises:
        ModelError: another model has the name, and it is not to be replaced.
        OutputError: the shelf cannot be written.
    """
    with _alone():
        folder = _shelf() / manifest.name
        if folder.exists():
            if _same(manifest):
                return False
            if not replace:
                raise ModelError(f"another model is called {manifest.name!r}: choose another --name, or --replace it")
        fresh = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=_shelf()))
        _write(fresh / MODEL, content)
        _write(fresh / MANIFEST, manifest.to_bytes())
        _sync(fresh)
        _put_in_place(fresh, folder)
    return True


def put_signature(shelved: Shelved, signature: bytes) -> Path:
    """Keep a signature over a model of the shelf and its manifest. Raises OutputError where it cannot be written."""
    with _alone():
        return _keep(shelved.folder / SIGNATURE, signature)


def put_loose_signature(sha256: str, signature: bytes) -> Path:
    """Keep a signature over a file that lies elsewhere. Raises OutputError where it cannot be written."""
    with _alone():
        folder = _signatures(sha256)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _keep(folder / f"{hashlib.sha256(signature).hexdigest()[:16]}.sig", signature)


def remove(name: str) -> None:
    """Take a model off the shelf, signature and all.

    Raises:
        ModelError: there is none of this name.
    """
    with _alone():
        folder = _shelf() / name
        if not is_name(name) or not folder.is_dir():
            raise _absent(name)
        shutil.rmtree(_set_aside(folder))


def offers(sha256: str, content: bytes) -> list[Offer]:
    """The signatures kept for a file of this hash, wherever it lies."""
    try:
        kept = signature_files(_signatures(sha256))
    except OutputError:
        return []
    return [Offer(signature, {WHOLE: content}) for signature in kept]


def _absent(name: str) -> ModelError:
    return ModelError(f"there is no model {name[:100]!r} on the shelf: videodisco models list")


def _take(name: str) -> Shelved:
    folder = _shelf() / name
    with (folder / MANIFEST).open("rb") as file:
        manifest_bytes = file.read(MAX_BYTES)
    manifest = Manifest.from_bytes(manifest_bytes, str(folder / MANIFEST))
    content = read(folder / MODEL)
    seen = hashlib.sha256(content).hexdigest()
    if seen != manifest.sha256 or manifest.name != name:
        raise ModelError(
            f"{folder / MODEL} was changed: its sha256 is {seen}, its manifest says {manifest.sha256}; "
            "remove the model and add it again"
        )
    return Shelved(folder, manifest, manifest_bytes, content)


def _same(manifest: Manifest) -> bool:
    try:
        return _take(manifest.name).manifest == manifest
    except (ModelError, OSError):
        return False  # what is there is damaged


def _put_in_place(fresh: Path, folder: Path) -> None:
    former = _set_aside(folder) if folder.exists() else None
    fresh.rename(folder)
    _sync(folder.parent)
    if former is not None:
        shutil.rmtree(former)


def _set_aside(folder: Path) -> Path:
    """Rename it out of sight at once; removing takes its time."""
    aside = Path(tempfile.mkdtemp(prefix=_REPLACED, dir=folder.parent))
    return folder.rename(aside / folder.name).parent


def _keep(path: Path, content: bytes) -> Path:
    fresh = path.with_name(f".{path.name}.part")
    _write(fresh, content)
    fresh.replace(path)
    _sync(path.parent)
    return path


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _shelf() -> Path:
    return home() / "models"


def _signatures(sha256: str) -> Path:
    return home() / "signatures" / sha256


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """The shelf for this process alone; what killed ones left half done is cleared away."""
    try:
        _shelf().mkdir(mode=0o700, exist_ok=True)
        with (_shelf() / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _clear()
            yield
    except OSError as exc:
        raise OutputError(f"the shelf {_shelf()} cannot be written: {exc.strerror or exc}") from exc


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """The shelf while nobody changes it: what looked absent or mixed may have been about to be replaced."""
    try:
        lock = (_shelf() / _LOCK).open("rb")
    except OSError:
        yield  # nobody has ever written here, or nobody can
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _clear() -> None:
    for pattern in (f"{_UNFINISHED}*", f"{_REPLACED}*"):
        for left in _shelf().glob(pattern):
            shutil.rmtree(left, ignore_errors=True)
