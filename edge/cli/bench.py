"""``videodisco bench``: this machine's speed, beside a plain loop and beside what the machine allows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    clip: Annotated[Path, typer.Argument(help="A video with things in it; a minute is enough.")],
    turns: Annotated[int, typer.Option(min=1, max=50, help="How often each program runs; medians are shown.")] = 3,
) -> None:
    """Measure whole runs, start-up included, beside a plain OpenCV and onnxruntime loop, and the machine's bound."""
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
