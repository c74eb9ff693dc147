"""How the benchmark shows its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from edge.bench.bound import Bound
from edge.bench.compare import Measured
from edge.bench.live import LiveFigures
from edge.bench.peers import Peer, against


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
    for column in ("seconds", "fps", "x plain", "of the bound", "without its start"):
        table.add_column(column, justify="right")
    plain_s = measured[0].median_s
    for each in measured:
        fps, steady_fps = frames / each.median_s, each.median_steady_fps
        bound_fps = bound.fps(recording="recording" in each.name)
        is_float = "float" in each.name  # the bound is of the INT8 build
        share = "" if is_float else f"{fps / bound_fps:.2f}"
        steady = "" if is_float or steady_fps is None else f"{steady_fps / bound_fps:.2f}"
        table.add_row(each.name, f"{each.median_s:.1f}", f"{fps:.1f}", f"{plain_s / each.median_s:.2f}", share, steady)
    return table


def peers_table(programs: Sequence[Peer]) -> Table:
    """Medians from the first frame to the last, and how many times Ultralytics' own each is."""
    table = Table("program", title="first frame to last, start-up left out", title_justify="left", box=None)
    for column in ("fps", "x ultralytics"):
        table.add_column(column, justify="right")
    for each in programs:
        table.add_row(each.name, f"{each.median_fps:.1f}", f"{against(programs, each):.2f}")
    return table


def live_tables(figures: LiveFigures) -> list[Table | str]:
    """What every camera's results were like at the sink, and what all of it took."""
    table = Table("camera", title="age of results at the sink, ms", title_justify="left", box=None)
    for column in ("fps", "detected", "p50", "p95", "p99", "waited p95", "halves", "gap"):
        table.add_column(column, justify="right", no_wrap=True)
    for camera in figures.cameras:
        halves = " > ".join(_ms(each) for each in camera.halves_s)
        times = [*map(_ms, camera.age_s), _ms(camera.waited_s[1]), halves, _ms(camera.longest_gap_s)]
        table.add_row(camera.name, f"{camera.fps_in:.1f}", f"{camera.fps_detected:.1f}", *times)
    first_mb, last_mb = figures.memory_mb
    left_out: Counter[str] = Counter()
    for camera in figures.cameras:
        left_out.update(camera.dropped)
    told = ", ".join(f"{cause} {count}" for cause, count in left_out.items()) or "nothing"
    return [
        table,
        "waited: of detections, without their own inference; halves: medians of the first and of the second half",
        f"left out since the start, in all: {told}",
        f"{figures.seconds:.0f} s: {figures.cpu_cores:.2f} cores, {first_mb:.0f} MB at first, {last_mb:.0f} MB at last",
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f}"
