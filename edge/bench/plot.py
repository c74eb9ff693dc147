"""Records of the benchmark as one picture, for people who have never seen it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from edge.bench.sheets import Record, bound_fps, median, times_as_fast, whole_fps
from stream.errors import OutputError, UsageError

OURS, OTHERS, BOUND, INK, FAINT = "#0f766e", "#aab4be", "#c2410c", "#1f2937", "#6b7280"
STAGES = {
    "decode": "#94a3b8",
    "preprocess": "#f59e0b",
    "inference": "#0f766e",
    "track": "#7c3aed",
    "picture": "#38bdf8",
    "draw and encode": "#2563eb",
}
WIDTH_IN, BAR_IN, AROUND_IN, HEAD_IN = 10.0, 0.34, 1.2, 0.75
"""Of the picture; of each bar; of what stands around the bars of a panel; and of what stands above them all."""
ABOVE_IN = 0.62
"""Of what stands above the bars of a panel: its title and the line below it."""
MARGIN, LEFT, RIGHT = 0.015, 0.34, 0.985
"""Where texts begin and where the bars may be, as parts of the width; names stand to the left of the bars."""

TIMES, RED = "\N{MULTIPLICATION SIGN}", "red: the bound, what the cores allow"

STYLE: Any = {  # the names of all settings are a type of their own
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "videodisco",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """Frames a second of a program, how many times those of the first it is, and what the machine allows."""

    label: str
    fps: float
    times: float | None
    bound: float | None
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Speeds:
    """A panel of programs, each with its speed."""

    title: str
    told: str
    bars: Sequence[Bar]

    @property
    def labels(self) -> list[str]:
        return [bar.label for bar in self.bars]

    def fill(self, axes: Axes) -> None:
        longest = max(max(bar.fps, bar.bound or 0.0) for bar in self.bars)
        axes.set_xlim(0, longest * 1.22)
        axes.set_xlabel("frames a second", loc="left")
        for row, bar in enumerate(self.bars):
            axes.barh(row, bar.fps, height=0.72, color=OURS if bar.is_ours else OTHERS)
            times = f" \N{MIDDLE DOT} {bar.times:.2f}{TIMES}" if bar.times is not None else ""
            _write(axes, max(bar.fps, bar.bound or 0.0) + longest * 0.012, row, f"{bar.fps:.1f}{times}")
            if bar.bound is not None:
                axes.plot([bar.bound] * 2, [row - 0.43, row + 0.43], color=BOUND, lw=2, solid_capstyle="butt")


@dataclass(frozen=True, slots=True)
class Stages:
    """A panel of models, each with the processor seconds of every stage."""

    title: str
    told: str
    models: Mapping[str, Mapping[str, float]]

    @property
    def labels(self) -> list[str]:
        return list(self.models)

    def fill(self, axes: Axes) -> None:
        longest_ms = max(sum(stages.values()) for stages in self.models.values()) * 1e3
        axes.set_xlim(0, longest_ms * 1.22)
        axes.set_xlabel("processor milliseconds a frame", loc="left")
        for row, stages in enumerate(self.models.values()):
            left_ms = 0.0
            for stage, colour in STAGES.items():
                axes.barh(row, stages.get(stage, 0.0) * 1e3, left=left_ms, height=0.72, color=colour)
                left_ms += stages.get(stage, 0.0) * 1e3
            _write(axes, left_ms + longest_ms * 0.012, row, f"{left_ms:.1f}")
        keys = [Patch(color=colour, label=stage) for stage, colour in STAGES.items()]
        above: Any = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": len(keys)}
        axes.legend(handles=keys, frameon=False, fontsize=9, handlelength=1.0, columnspacing=1.2, **above)


Panel = Speeds | Stages


def draw(records: Sequence[Record], path: Path) -> None:
    """Draw what the records hold of races, of whole runs and of stages, as SVG: the same bytes for the same records.

    Raises:
        UsageError: they hold nothing of that.
        OutputError: the picture cannot be written.
    """
    panels: list[Panel] = [*(panel for record in records for panel in _speeds(record)), *_stages(records)]
    if not panels:
        raise UsageError("these records hold neither runs nor stages: there is nothing to draw")
    heights_in = [AROUND_IN + BAR_IN * len(panel.labels) for panel in panels]
    whole_in = top_in = HEAD_IN + sum(heights_in)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, whole_in), facecolor="white")
        _write_head(figure, records[0], whole_in)
        top_in -= HEAD_IN
        for panel, height_in in zip(panels, heights_in, strict=True):
            bars_in = BAR_IN * len(panel.labels)
            low_in = top_in - ABOVE_IN - bars_in
            axes = figure.add_axes((LEFT, low_in / whole_in, RIGHT - LEFT, bars_in / whole_in))
            _frame(axes, panel)
            panel.fill(axes)
            top_in -= height_in
        try:
            figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        except OSError as exc:
            raise OutputError(f"cannot write {path}: {exc.strerror}") from exc


def _write_head(figure: Figure, record: Record, whole_in: float) -> None:
    machine = record["machine"]
    figure.text(MARGIN, 1 - 0.34 / whole_in, "How fast VideoDisco is", fontsize=15, fontweight="bold")
    said = f"{machine['cores']} cores of {machine['processor']}, no GPU; medians of programs run in turns"
    figure.text(MARGIN, 1 - 0.60 / whole_in, said, color=FAINT)


def _frame(axes: Axes, panel: Panel) -> None:
    """What all panels have alike: a title, a line that explains it, names to the left, and a scale below."""
    left_pt = -(LEFT - MARGIN) * WIDTH_IN * 72
    at: Any = {"xy": (0, 1), "xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(panel.title, xytext=(left_pt, 23), fontsize=12, fontweight="bold", **at)
    axes.annotate(panel.told, xytext=(left_pt, 8), fontsize=9.5, color=FAINT, **at)
    axes.set_yticks(range(len(panel.labels)), panel.labels)
    axes.set_ylim(len(panel.labels) - 0.5, -0.5)
    axes.tick_params(axis="both", length=0)
    axes.grid(axis="x", color="#e5e7eb", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def _write(axes: Axes, x: float, row: int, text: str) -> None:
    axes.text(x, row, text, va="center", color=INK, fontsize=9.5)


def _speeds(record: Record) -> Iterator[Speeds]:
    clip = f"{record['clip']['name']}, {record['clip']['width']}x{record['clip']['height']}"
    for records, said in ((False, "detections only"), (True, "recording the annotated video")):
        raced = [each for each in record.get("peers", ()) if each["records"] is records]
        if raced:
            told = f"{clip}; first frame to last; {TIMES}: times {raced[0]['name']}; {RED}"
            yield Speeds(f"{record['reference']}, {said}", told, [_steady(record, each, raced[0]) for each in raced])
    programs = record.get("runs", ())
    if programs:
        told = f"{clip}; whole commands, start and end included; {TIMES}: times the plain loop; {RED}"
        bars = [_whole(record, each, programs[0]) for each in programs]
        yield Speeds(f"{record['model']}, as people run it", told, bars)


def _stages(records: Sequence[Record]) -> list[Stages]:
    models = {
        f"{model}, {record['clip']['name']}": each["stages_s"]
        for record in records
        for model, each in record.get("stages", {}).items()
    }
    return [Stages("Where the time goes", "each stage alone", models)] if models else []


def _steady(record: Record, program: Mapping[str, Any], base: Mapping[str, Any]) -> Bar:
    fps, times = median(program, "steady_fps") or 0.0, times_as_fast(program, base, "steady_fps")
    return Bar(program["name"], fps, times, bound_fps(record, program), program["ours"])


def _whole(record: Record, program: Mapping[str, Any], base: Mapping[str, Any]) -> Bar:
    fps, times = whole_fps(program) or 0.0, times_as_fast(program, base, "seconds")
    return Bar(program["name"], fps, times, bound_fps(record, program), program["ours"])
