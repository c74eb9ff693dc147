"""How much of what a data set holds."""

from __future__ import annotations

from typing import Any

from stream.dataset.store import Store

# Titles and SQL over a row of the manifest.
_BY = {"class": "class", "camera": "camera", "strategy": "sampler", "day": "date(taken_at, 'unixepoch')"}


def statistics_of(store: Store) -> dict[str, Any]:
    """Pictures and bytes, altogether and by class, camera, strategy and day (UTC), the most first; plain values."""
    by = {
        title: {name: {"samples": count, "bytes": size} for name, count, size in store.manifest.counts(expression)}
        for title, expression in _BY.items()
    }
    classes = by["class"].values()
    return {
        "folder": str(store.folder),
        "samples": sum(each["samples"] for each in classes),
        "bytes": sum(each["bytes"] for each in classes),
        "by": by,
    }
