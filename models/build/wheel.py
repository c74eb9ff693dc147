"""Files out of a wheel that is not installed: nothing is read that is not known by its hash."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def read_files(wheel: Path, sha256: Mapping[str, str]) -> dict[str, bytes]:
    """The files of ``wheel`` named by the keys of ``sha256``, each checked against its hash.

    Raises:
        ValueError: a file is missing or is not the one that was published.
    """
    found: dict[str, bytes] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in sha256.items():
            if name not in archive.namelist():
                raise ValueError(f"{wheel} holds no {name}; is it the wheel of the card?")
            found[name] = archive.read(name)
            seen = hashlib.sha256(found[name]).hexdigest()
            if seen != expected:
                raise ValueError(f"{name} in {wheel} has sha256 {seen}, expected {expected}")
    return found
