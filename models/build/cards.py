"""The cards of the bundled models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BUNDLED = Path(__file__).parents[1] / "bundled"


def write_card(path: Path, card: dict[str, Any]) -> None:
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def still_valid(card: Path, sha256: str) -> dict[str, Any]:
    """The figures of an earlier card if they were measured on this very file."""
    if not card.exists():
        return {}
    earlier = json.loads(card.read_text(encoding="utf-8"))
    measured: dict[str, Any] = earlier["measured"] if earlier["sha256"] == sha256 else {}
    return measured
