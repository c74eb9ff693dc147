"""Files that are written for months: begun anew when they are large, the oldest parts deleted."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

_rotating = threading.Lock()


@dataclass(frozen=True, slots=True)
class Rotation:
    """Begin anew at ``max_bytes``, keeping ``keep`` older parts: ``name.1.suffix`` is the newest of them."""

    max_bytes: int
    keep: int

    def is_due(self, path: Path) -> bool:
        return path.stat().st_size >= self.max_bytes

    def rotate(self, path: Path) -> None:
        """Move the file out of the way, unless another writer has just done so. Raises OSError."""
        with _rotating:
            if not self.is_due(path):
                return
            for number in range(self.keep - 1, 0, -1):
                if (older := _part(path, number)).exists():
                    older.replace(_part(path, number + 1))
            if self.keep:
                path.replace(_part(path, 1))
            else:
                path.unlink()
            path.touch()


def _part(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")
