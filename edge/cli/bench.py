"""``videodisco bench``: this machine's speed, beside other programs and beside what the machine allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge.cli.console import Terminal


def bench(
    clip: Annotated[Path, typer.Argument(help="A video with things in it; a minute is enough.")],
    turns: Annotated[int, typer.Option(min=1, max=50, help="How often each program runs; medians are shown.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write the figures and the machine's there as well.")] = None,
    peers: Annotated[
        Path | None, typer.Option(help="A Python with ultralytics: race it with --model instead (make bench-peers).")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="With --peers: the ONNX file that all of them run.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Play the clip as cameras instead.")] = False,
    cameras: Annotated[int, typer.Option(min=1, max=64, help="With --live: how many.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, help="With --live: how long.")] = 30.0,
    motion: Annotated[str, typer.Option(help="With --live: auto or off.")] = "off",
    detect_fps: Annotated[float | None, typer.Option(help="With --live: detections a second and camera.")] = None,
    detector_ms: Annotated[float, typer.Option(min=0, help="With --live: make each detection take so long.")] = 0.0,
    save: Annotated[bool, typer.Option("--save", help="With --live: record the annotated video.")] = False,
) -> None:
    """Measure whole runs beside a plain OpenCV and onnxruntime loop and the machine's bound.

    With --peers, the same model and file through ultralytics and supervision; with --live, how old results are when
    the clip is played as cameras.
    """
    from edge.bench.record import write_record
    from edge.cli.console import Terminal

    console = Terminal()
    if live:
        figures = _live(console, clip, cameras, seconds, motion, detect_fps, detector_ms, save=save)
    elif peers is not None:
        figures = _peers(console, clip, peers, model, turns)
    else:
        figures = _whole_runs(console, clip, turns)
    if json is not None:
        write_record(json, {"clip": str(clip), **figures})


def _live(
    console: Terminal,
    clip: Path,
    cameras: int,
    seconds: float,
    motion: str,
    detect_fps: float | None,
    detector_ms: float,
    *,
    save: bool,
) -> dict[str, object]:
    from dataclasses import asdict

    from edge.bench.live import LiveBench, measure_live
    from edge.cli.bench_tables import live_tables

    settings = {"motion": motion} | ({"detect_fps": detect_fps} if detect_fps else {})
    figures = measure_live(LiveBench(clip, cameras, seconds, detector_ms / 1e3, save, settings))
    for table in live_tables(figures):
        console.print(table)
    return {"live": asdict(figures)}


def _peers(console: Terminal, clip: Path, python: Path, model: Path | None, turns: int) -> dict[str, object]:
    from edge.bench.peers import against, peers, race
    from edge.cli.bench_tables import peers_table
    from stream.errors import UsageError

    if model is None:
        raise UsageError("--peers wants --model: the ONNX file that all of them run")
    programs = peers(python.absolute(), clip.absolute(), model.absolute())
    race(programs, turns)
    console.print(peers_table(programs))
    return {"peers": {each.name: {"fps": each.fps, "times": against(programs, each)} for each in programs}}


def _whole_runs(console: Terminal, clip: Path, turns: int) -> dict[str, object]:
    from edge.bench.bound import measure
    from edge.bench.compare import compare, contenders
    from edge.cli.bench_tables import bound_table, comparison_table
    from stream.sources.probing import probe_file

    info = probe_file(str(clip)).info
    console.print(f"{info.location}: {info.width}x{info.height}, {info.codec}, {info.frame_count} frames")
    bound = measure(clip, "auto")
    console.print(bound_table(bound))
    measured = compare(contenders(clip), turns)
    console.print(comparison_table(measured, info.frame_count or 0, bound))
    runs = {each.name: {"seconds": each.seconds, "steady_fps": each.steady_fps} for each in measured}
    bounds = {"recording": bound.fps(recording=True), "detections only": bound.fps(recording=False)}
    return {"stages_s": bound.stages, "bound_fps": bounds, "frames": info.frame_count, "runs": runs}
