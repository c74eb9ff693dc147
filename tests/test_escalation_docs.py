"""docs/escalation.md names every key of the settings with its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.escalation.settings import EscalationSettings

PAGE = Path(__file__).parents[1] / "docs" / "escalation.md"


def defaults(values: dict[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from defaults(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", value


def as_written(value: Any) -> str:
    if value in (None, "", []):
        return ""
    return str(value).lower() if isinstance(value, bool) else f"{value:.10g}"


def test_the_page_has_every_key_with_its_default() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## All keys")[2].partition("\n## ")[0]
    written = dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]*?) ?\|", table, re.MULTILINE))
    settings = EscalationSettings().model_dump(mode="json")
    assert written == {name: as_written(value) for name, value in defaults(settings)}
