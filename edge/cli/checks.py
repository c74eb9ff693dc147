"""``videodisco checks``: what this machine and installation really offer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge.cli.console import Terminal


def checks(
    measure: Annotated[
        Path | None,
        typer.Option(metavar="CLIP", help="Try every device that is here on this clip, and remember the best."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="With --measure: the model, as in run. \\[default: auto]")] = None,
    conf: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --measure: the confidence you run with. \\[default: 0.4]"),
    ] = None,
) -> None:
    """List Python, libraries, codecs, cameras, providers and what was measured, and the default model and why."""
    from rich.table import Table

    from edge.cli.console import Terminal
    from stream.errors import UsageError

    console = Terminal()
    if measure is not None:
        _measure(console, measure, "auto" if model is None else model, 0.4 if conf is None else conf)
        return
    for option, value in (("--model", model), ("--conf", conf)):
        if value is not None:
            raise UsageError(f"{option} is for --measure CLIP; without a clip, models bench measures a model")
    from edge.inventory import inventory

    for title, facts in inventory():
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        for name, value in facts:
            table.add_row(name, value)
        console.print(table)


def _measure(console: Terminal, clip: Path, model: str, confidence: float) -> None:
    from edge.device_choice import measure_devices, plans_used
    from stream.machine import usable_cores

    for choice in measure_devices(model, plans_used(usable_cores()), clip=clip, confidence=confidence):
        console.print(f"{choice.model}: {choice}", soft_wrap=True)
    say_if_busy(console)


def say_if_busy(console: Terminal) -> None:
    """A measurement on a busy machine is worth less, and whoever asked for it should know."""
    import os

    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores:
        console.print(f"other programs were busy (load {load:.1f} on {cores} cores): measure again when it is quiet")
