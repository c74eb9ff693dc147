"""``videodisco checks``: what this machine and installation really offer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def checks(
    measure: Annotated[
        Path | None,
        typer.Option(metavar="CLIP", help="Try every device that is here on this clip, and remember the best."),
    ] = None,
    model: Annotated[str, typer.Option(help="With --measure: the model, as in run.")] = "auto",
    conf: Annotated[float, typer.Option(min=0, max=1, help="With --measure: the confidence you run with.")] = 0.4,
) -> None:
    """List Python, libraries, codecs, cameras, providers and what was measured, and the default model and why."""
    from rich.table import Table

    from edge.cli.console import Terminal
    from edge.inventory import inventory

    console = Terminal()
    if measure is not None:
        from edge.device_choice import measure_devices

        for choice in measure_devices(measure, model, confidence=conf):
            console.print(f"{choice.model}: {choice}", soft_wrap=True)
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        if load > cores:
            console.print(
                f"other programs were busy (load {load:.1f} on {cores} cores): measure again when it is quiet"
            )
        return
    for title, facts in inventory():
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        for name, value in facts:
            table.add_row(name, value)
        console.print(table)
