"""How ``videodisco dataset`` shows what it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from stream.dataset.checking import Findings
from stream.dataset.export.plan import SPLITS
from stream.dataset.export.writing import Report
from stream.dataset.sample import Sample

SHOWN_HASH = 12


def samples_table(samples: Sequence[Sample]) -> Table:
    table = Table("picture", "taken (UTC)", "camera", "kind", "class", "strategy", box=None)
    table.add_column("objects", justify="right")
    for sample in samples:
        taken = datetime.fromtimestamp(sample.origin.taken_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        name, objects = sample.sha256[:SHOWN_HASH], str(len(sample.labels))
        table.add_row(name, taken, sample.origin.camera, sample.kind, sample.class_name, sample.sampler, objects)
    return table


def stats_tables(counted: dict[str, Any]) -> Iterator[Table]:
    """One table each for classes, cameras, strategies and days; the last line is the whole."""
    for title, counts in counted["by"].items():
        table = Table(title, box=None)
        table.add_column("pictures", justify="right")
        table.add_column("MB", justify="right")
        for name, each in counts.items():
            table.add_row(name or "(none)", str(each["samples"]), f"{each['bytes'] / 1e6:.1f}")
        yield table
    total = Table("together", str(counted["samples"]), f"{counted['bytes'] / 1e6:.1f} MB", box=None)
    yield total


def export_lines(report: Report) -> Iterator[str]:
    known = report.provenance
    for split in SPLITS:
        counts = known["splits"][split]
        yield f"{split:6}{counts['pictures']:8} pictures  {counts['labels']:8} labels"
    yield f"digest  {known['digest']}"
    yield str(report.folder)
    empty = [split for split in SPLITS if not known["splits"][split]["pictures"]]
    if empty:
        yield f"nothing is in {' and '.join(empty)}: whole camera hours are kept together, and there are few of them"
    if report.left_out:
        many = len(report.left_out)
        words = "1 picture was" if many == 1 else f"{many} pictures were"
        yield f"{words} left out, gone or altered since: videodisco dataset verify counts them, --repair forgets them"


def findings_lines(found: Findings, *, repaired: bool) -> Iterator[str]:
    yield f"{found.checked} pictures checked"
    causes = {
        "whose content is not what it was": found.damaged,
        "missing": found.missing,
        "without their record": found.without_record,
        "that the manifest does not know": found.without_row,
    }
    for words, count in causes.items():
        if count:
            yield f"{count} pictures {words}"
    if found.leftovers:
        yield f"{found.leftovers} files left behind"
    if found.is_sound:
        yield "all is well"
    elif repaired:
        yield f"put right; {found.adopted} pictures taken in again"
    else:
        yield "videodisco dataset verify --repair puts it right"
