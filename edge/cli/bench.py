"""``videodisco bench``: this machine's speed, beside a plain loop and beside what the machine allows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    clip: Annotated[Path, typer.Argument(help="A video with things in it; a minute is enough.")],
    turns: Annotated[int, typer.Option(min=1, max=50, help="How often each program runs; medians are shown.")] = 3,
    live: Annotated[bool, typer.Option("--live", help="Play the clip as cameras instead.")] = False,
    cameras: Annotated[int, typer.Option(min=1, max=64, help="With --live: how many.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, help="With --live: how long.")] = 30.0,
    motion: Annotated[str, typer.Option(help="With --live: auto or off.")] = "off",
    detect_fps: Annotated[float | None, typer.Option(help="With --live: detections a second and camera.")] = None,
    detector_ms: Annotated[float, typer.Option(min=0, help="With --live: make each detection take so long.")] = 0.0,
    save: Annotated[bool, typer.Option("--save", help="With --live: record the annotated video.")] = False,
) -> None:
    """Measure whole runs beside a plain OpenCV and onnxruntime loop and the machine's bound; or, with --live, how old
    results are when the clip is played as cameras."""
    if live:
        from edge.bench.live import LiveBench, measure_live
        from edge.cli.bench_tables import live_tables
        from edge.cli.console import Terminal

        settings = {"motion": motion} | ({"detect_fps": detect_fps} if detect_fps else {})
        figures = measure_live(LiveBench(clip, cameras, seconds, detector_ms / 1e3, save, settings))
        for table in live_tables(figures):
            Terminal().print(table)
        return
    from edge.bench.bound import measure
    from edge.bench.compare import compare, contenders
    from edge.cli.bench_tables import bound_table, comparison_table
    from edge.cli.console import Terminal
    from stream.sources.probing import probe_file

    console = Terminal()
    info = probe_file(str(clip)).info
    console.print(f"{info.location}: {info.width}x{info.height}, {info.codec}, {info.frame_count} frames")
    bound = measure(clip, "auto")
    console.print(bound_table(bound))
    measured = compare(contenders(clip), turns)
    console.print(comparison_table(measured, info.frame_count or 0, bound))
