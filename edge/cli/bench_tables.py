"""How the benchmark shows its figures."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from edge.bench.bound import Bound
from edge.bench.compare import Measured
from edge.bench.live import LiveFigures


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


def live_tables(figures: LiveFigures) -> list[Table | str]:
    """What every camera's results were like at the sink, and what all of it took."""
    table = Table("camera", title="age of results at the sink, ms", title_justify="left", box=None)
    for column in ("fps", "detected", "p50", "p95", "p99", "p95 without inference", "1st half", "2nd half", "gap"):
        table.add_column(column, justify="right")
    table.add_column("left out")
    for camera in figures.cameras:
        times_s = (*camera.age_s, camera.waited_s[1], *camera.halves_s, camera.longest_gap_s)
        left_out = ", ".join(f"{cause} {count}" for cause, count in camera.dropped.items())
        rates = (f"{camera.fps_in:.1f}", f"{camera.fps_detected:.1f}")
        table.add_row(camera.name, *rates, *(f"{each * 1e3:.1f}" for each in times_s), left_out)
    first_mb, last_mb = figures.memory_mb
    used = f"{figures.cpu_cores:.2f} cores, {first_mb:.0f} MB at first and {last_mb:.0f} MB at last"
    return [table, f"{figures.seconds:.0f} s: {used}"]
