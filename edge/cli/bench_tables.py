"""How the benchmark shows its figures."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from edge.bench.bound import Bound
from edge.bench.compare import Measured


def bound_table(bound: Bound) -> Table:
    """Processor time by stage, and the frames a second that follow from it."""
    table = Table("stage alone", title="processor time a frame", title_justify="left", box=None)
    table.add_column("ms", justify="right")
    for stage, seconds in bound.stages.items():
        table.add_row(stage, f"{seconds * 1e3:.2f}")
    for recording, name in ((True, "recording"), (False, "detections only")):
        table.add_row(f"bound, {name}", f"{bound.fps(recording=recording):.0f} fps")
    return table


def comparison_table(measured: Sequence[Measured], frames: int, bound: Bound) -> Table:
    """Medians of whole runs, how many times the plain loop each is, and its share of the bound."""
    table = Table(
        "program", title=f"whole runs, start-up included, {bound.cores} cores", title_justify="left", box=None
    )
    for column in ("seconds", "fps", "x plain", "of the bound"):
        table.add_column(column, justify="right")
    plain_s = measured[0].median_s
    for each in measured:
        fps = frames / each.median_s
        share = "" if "float" in each.name else f"{fps / bound.fps(recording='recording' in each.name):.2f}"
        table.add_row(each.name, f"{each.median_s:.1f}", f"{fps:.1f}", f"{plain_s / each.median_s:.2f}", share)
    return table
