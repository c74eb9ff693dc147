"""File names made from names that others chose: sources, classes."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.frame import SourceInfo

# What no file system of the three platforms minds; letters of any alphabet stay.
_UNSAFE = re.compile(r"[^\w\-+=@,() ]+")
# File names end at 255 bytes nearly everywhere; a frame number and a suffix must still fit behind.
_LONGEST_BYTES = 120


def safe_name(name: str) -> str:
    """``name`` as one path component: no separators, no dots, never empty, at most 120 bytes of UTF-8."""
    plain = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).strip(" ")
    return plain.encode()[:_LONGEST_BYTES].decode(errors="ignore").strip(" ") or "_"


def stem_of(info: SourceInfo) -> str:
    """What a source's files begin with: its name, without the suffix of the file it was named after."""
    return safe_name(info.name.removesuffix(Path(info.location).suffix))
