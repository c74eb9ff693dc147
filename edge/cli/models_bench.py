"""``videodisco models bench``: how fast a model is on this machine, by slot plan and by what runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from models.choice import Choice, Tried


def bench(
    model: Annotated[str, typer.Argument(help="A name of models list, or an ONNX file.")],
    clip: Annotated[
        Path | None, typer.Option(help="Pictures to look at; without one it is noise, and no boxes are compared.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How long each runtime is timed in each plan.")] = 1.0,
    conf: Annotated[float, typer.Option(min=0, max=1, help="With --clip: the confidence you run with.")] = 0.4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model's speed here: every way to share the cores among inferences, every runtime that is installed.

    What comes of it is remembered: models list and show have it, and --device auto goes by it, as after checks
    --measure. A run takes the plan that suits its sources, whatever is fastest here; --workers is yours to choose.
    """
    import json

    from edge.cli.checks import say_if_busy
    from edge.cli.console import Terminal
    from edge.device_choice import measure_devices
    from edge.slots import every_plan
    from stream.machine import usable_cores

    cores = usable_cores()
    choices = measure_devices(model, every_plan(cores), clip=clip, confidence=conf, seconds=seconds)
    console = Terminal(soft_wrap=True)
    if as_json:
        console.print(json.dumps(_plain(choices), indent=2))
        return
    console.print(_table(choices, cores))
    for sentence in _sentences(choices, judged=clip is not None):
        console.print(sentence)
    say_if_busy(console)


def _plain(choices: Sequence[Choice]) -> dict[str, Any]:
    from dataclasses import asdict

    from models.choice import facts

    plans = [
        {"slots": each.slots} | {name: value for name, value in asdict(each).items() if name not in ("model", "sha256")}
        for each in choices
    ]
    return {"model": choices[0].model, "sha256": choices[0].sha256, "host": facts(), "plans": plans}


def _table(choices: Sequence[Choice], cores: int) -> Table:
    from rich.table import Table

    first = choices[0]
    title = f"{first.model} at {first.width}x{first.height}, {cores} core{'s' if cores > 1 else ''}"
    table = Table("slots", "runtime", title=title, title_justify="left", title_style="bold", box=None)
    for column in ("a second", "ms", "cpu ms"):
        table.add_column(column, justify="right")
    table.add_column("agreement")
    for choice in choices:
        for tried in choice.tried:
            table.add_row(f"{choice.workers} x {choice.threads}", *_row(choice, tried))
    return table


def _row(choice: Choice, tried: Tried) -> tuple[str, ...]:
    runtime = tried.provider if tried.device == "openvino" else tried.device  # with its precision
    if tried.problem:
        return tried.device, "", "", "", tried.problem
    each_ms = 1e3 * choice.workers / tried.pictures_per_s if tried.pictures_per_s else 0.0
    cpu_ms = 1e3 / tried.pictures_per_cpu_s if tried.pictures_per_cpu_s else 0.0
    return runtime, f"{tried.pictures_per_s:.1f}", f"{each_ms:.1f}", f"{cpu_ms:.1f}", tried.judgement


def _sentences(choices: Sequence[Choice], *, judged: bool) -> list[str]:
    """What a run makes of it."""
    from edge.device_choice import plans_used
    from stream.machine import usable_cores

    measured = {(each.workers, each.threads): each for each in choices}
    used = [measured[plan.workers, plan.threads] for plan in plans_used(usable_cores())]
    words = ("files and several cameras", "one camera") if len(used) > 1 else ("everything",)
    said = [
        f"for {what}, run takes {each.slots} with {each.device}: {each.pictures_per_s:.1f} pictures a second"
        for what, each in zip(words, used, strict=True)
    ]
    if not judged and len(choices[0].tried) > 1:
        said.append("nobody looked whether the boxes agree: --clip CLIP does, and only then is another runtime used")
    return said
