"""The closing words of a run: what was found, how fast, where it is, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from edge.cli.console import Terminal
from edge.cli.execute import Interrupts
from edge.report import RunReport, SourceReport

STAGES = ("decode", "preprocess", "queue", "inference", "postprocess", "track", "total", "draw", "encode")


def print_report(report: RunReport, console: Terminal, errors: Terminal) -> None:
    """Tables to ``console``; every loss as a sentence of its own to ``errors``."""
    if any(source.state != "refused" for source in report.sources):
        console.print(_headline(report))
        if report.frames:
            console.print(_latencies(report))
            console.print(_objects(report))
        for sentence in report.words:
            console.print(sentence)
        console.print(_files(report))
    troubles = [sentence for source in report.sources for sentence in _troubles(source)]
    for sentence in dict.fromkeys([*troubles, *report.errors]):
        errors.print(f"videodisco: {sentence}")


def deliver(
    code: int, deliver_rest: Callable[[], str], interrupts: Interrupts, console: Terminal, errors: Terminal
) -> None:
    """Let MLflow have what ``deliver_rest`` still owes it; a signal meanwhile ends the process with ``code``."""
    interrupts.leave_at_once_with(code)
    with console.status("delivering to MLflow"):
        waiting = deliver_rest()
    if waiting:
        errors.print(f"videodisco: {waiting}")


def _headline(report: RunReport) -> str:
    done = sum(source.state == "done" for source in report.sources)
    skipped = sum(source.state == "skipped" for source in report.sources)
    parts = [f"{report.frames} frames in {report.seconds:.1f} s: {report.fps:.1f} fps"]
    if len(report.sources) > 1:
        parts.append(f"{done} of {len(report.sources)} sources done" + (f", {skipped} skipped" if skipped else ""))
    parts.append(f"{report.model.name} on {report.provider}, {report.slots}")
    return " | ".join(parts)


def _latencies(report: RunReport) -> Table:
    table = Table("stage, ms", box=None, pad_edge=False, header_style="bold")
    for rank in ("p50", "p95", "p99"):
        table.add_column(rank, justify="right")
    for stage in STAGES:
        latency = report.figures.latencies.get(stage)
        if latency is not None:
            table.add_row(stage, *(f"{value * 1e3:.2f}" for value in (latency.p50, latency.p95, latency.p99)))
    return table


def _objects(report: RunReport) -> str:
    if not report.detections:
        return "nothing was detected"
    if report.objects:
        return "objects tracked: " + ", ".join(f"{name} {count}" for name, count in report.objects.items())
    return "detections: " + ", ".join(f"{name} {count}" for name, count in report.detections.items())


def _files(report: RunReport) -> Table:
    table = Table.grid(padding=(0, 2))
    files = [*report.outputs, report.folder / "summary.json"]
    for path in sorted(dict.fromkeys(files)):
        if path.exists():
            table.add_row(str(path), _size(path))
    return table


def _size(path: Path) -> str:
    if path.is_dir():
        return f"{sum(1 for file in path.rglob('*') if file.is_file())} files"
    return f"{path.stat().st_size / 1e6:.2f} MB"


def _troubles(source: SourceReport) -> list[str]:
    losses = source.losses
    sentences = list(source.errors)
    if losses.corrupt_packets:
        sentences.append(f"{source.name}: {losses.corrupt_packets} damaged packets could not be decoded, skipped")
    if losses.damaged_frames:
        sentences.append(f"{source.name}: {losses.damaged_frames} frames were damaged, kept as the decoder mended them")
    if losses.pts_missing or losses.pts_not_forward:
        count = losses.pts_missing + losses.pts_not_forward
        sentences.append(f"{source.name}: {count} times were missing or ran backwards, mended")
    return sentences
