"""The closing pictures of a run, drawn from its ``pictures`` record. Runs in the courier: it imports matplotlib."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from stream.telemetry.records import Record

# The order in which a frame meets the stages; others, such as draw and encode, follow by name.
STAGE_ORDER = ("total", "queue", "decode", "preprocess", "inference", "postprocess", "track")

# More lines than this say nothing in a picture.
MOST_CAMERAS = 8


def draw(record: Record, folder: Path) -> list[Path]:
    """Draw what the record has data for into ``folder``; the files made."""
    made = []
    if record["latencies"]:
        made.append(draw_latencies(record["latencies"], folder / "latency_histogram.png"))
    if any(record["timelines"].values()):
        made.append(draw_timeline(record["timelines"], folder / "timeline.png"))
    return made


def draw_latencies(latencies: dict[str, Record], path: Path) -> Path:
    """A histogram for each stage, one below the other on one logarithmic axis, with p50 and p95 marked."""
    stages = sorted(latencies, key=lambda stage: (STAGE_ORDER.index(stage) if stage in STAGE_ORDER else 99, stage))
    figure = Figure(figsize=(9, 1.2 + 0.95 * len(stages)), layout="constrained")
    grid = figure.subplots(len(stages), 1, sharex=True, squeeze=False)
    for axes, stage in zip(grid[:, 0], stages, strict=True):
        _draw_stage(axes, stage, latencies[stage])
    figure.suptitle("Latency by stage, all cameras")
    grid[-1, 0].set_xscale("log")
    grid[-1, 0].set_xlim(left=min(_first_visible_ms(latency) for latency in latencies.values()))
    grid[-1, 0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    grid[-1, 0].set_xlabel("milliseconds a frame (logarithmic)")
    grid[0, 0].legend(loc="upper left", frameon=False, fontsize=8, ncols=2)
    figure.savefig(path, dpi=110)
    return path


def _draw_stage(axes: Axes, stage: str, latency: Record) -> None:
    edges_ms, counts = latency["edges_ms"], latency["counts"]
    axes.stairs(counts, edges_ms, fill=True, color="#4c78a8" if stage != "total" else "#f58518")
    axes.axvline(latency["p50_ms"], color="black", linewidth=1, label="p50")
    axes.axvline(latency["p95_ms"], color="black", linewidth=1, linestyle="--", label="p95")
    axes.set_ylabel(stage, rotation=0, ha="right", va="center")
    axes.set_ylim(0, max(counts) * 1.15 or 1)
    axes.set_yticks([])
    note = "\n".join(f"{rank}  {_short(latency[f'{rank}_ms'])} ms" for rank in ("p50", "p95", "p99"))
    axes.text(1.01, 0.5, note, transform=axes.transAxes, ha="left", va="center", fontsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _first_visible_ms(latency: Record) -> float:
    """Where a stage's histogram begins to show: buckets of a few stray frames would stretch the axis for nothing."""
    least = max(latency["counts"]) / 50
    first = next(index for index, count in enumerate(latency["counts"]) if count >= least)
    return float(latency["edges_ms"][first])


def draw_timeline(timelines: dict[str, list[Record]], path: Path) -> Path:
    """Frames a second, the 95th percentile of the latency and the drops over the run's time, a line a camera."""
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    rates, latencies, drops = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.3))
    cameras = sorted(timelines)[:MOST_CAMERAS]
    seconds, unit = _time_unit(max(points[-1]["to_s"] for points in timelines.values() if points))
    for index, camera in enumerate(cameras):
        points, colour = _in_units(timelines[camera], seconds), f"C{index}"
        # a pair of $ would be set as a formula, and a leading _ would hide the line from the legend
        name = " " + (camera or "source").replace("$", r"\$")
        _steps(rates, points, "fps_out", label=f"{name}: results", color=colour)
        _steps(rates, points, "fps_in", label=f"{name}: frames in", color=colour, linestyle=":")
        _steps(latencies, points, "total_p95_ms", label=f"{name}: total", color=colour)
        _steps(latencies, points, "inference_p95_ms", label=f"{name}: inference", color=colour, linestyle=":")
        _steps(drops, points, "dropped", label=name, color=colour)
    more = len(timelines) - len(cameras)
    figure.suptitle("Run over time" + (f" (first {MOST_CAMERAS} cameras, {more} more not shown)" if more else ""))
    for axes, title in ((rates, "frames a second"), (latencies, "p95 latency, ms"), (drops, "frames dropped")):
        axes.set_ylabel(title)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (rates, latencies):
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    drops.set_xlabel(f"{unit} since the start")
    figure.savefig(path, dpi=110)
    return path


def _time_unit(length_s: float) -> tuple[float, str]:
    """The unit, in seconds, in which a run's length is a number that can be read."""
    units = ((1.0, "seconds"), (60.0, "minutes"), (3600.0, "hours"), (86400.0, "days"))
    return next((unit for unit in units if length_s < 300 * unit[0]), units[-1])


def _in_units(points: list[Record], unit_s: float) -> list[Record]:
    return [{**point, "from": point["from_s"] / unit_s, "to": point["to_s"] / unit_s} for point in points]


def _steps(axes: Axes, points: list[Record], key: str, *, label: str, color: str, linestyle: str = "-") -> None:
    """A value for each window, held over the window's length."""
    if points:
        edges = [point["from"] for point in points] + [points[-1]["to"]]
        values = [point[key] for point in points]
        axes.stairs(values, edges, baseline=None, linewidth=1.4, label=label, color=color, linestyle=linestyle)


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:.0f}"
