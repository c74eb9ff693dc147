"""``videodisco models quantize``: a model in 8-bit integers, calibrated with clips and held against what it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge.quantising import Result
    from models.quantising import Attempt


def quantize(
    model: Annotated[str, typer.Argument(help="The float model: a name of models list, or an ONNX file.")],
    calibrate: Annotated[
        list[Path], typer.Option(metavar="CLIP...", help="Clips of what it will see; name several after it.")
    ],
    more_clips: Annotated[list[Path] | None, typer.Argument(metavar="[CLIP...]", show_default=False)] = None,
    name: Annotated[str, typer.Option(help="What to call it. \\[default: MODEL-int8]")] = "",
    least_f1: Annotated[
        float, typer.Option(min=0, max=1, help="Refuse it if its boxes agree less with the float model's.")
    ] = 0.97,
    conf: Annotated[float, typer.Option(min=0.05, max=1, help="The confidence you will run with.")] = 0.4,
    truth: Annotated[
        list[Path] | None, typer.Option(help="Marked boxes of the first clip (then the second, ...): COCO JSON or MOT.")
    ] = None,
    project: Annotated[Path, typer.Option(help="Folder of all reports.")] = Path("runs"),
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of another of that name.")] = False,
) -> None:
    """Make a model compute in 8-bit integers: about twice as fast on processors that are made for it.

    Parts are left in float until its boxes agree with the float model's on frames it was not calibrated on; if they
    never do, it is refused (exit code 4). The report has figures and pictures. Needs the extra quantize.
    """
    from edge import quantise_report
    from edge.cli.console import Terminal
    from edge.quantising import Asked, Quantising
    from stream.errors import ModelError

    clips = tuple(dict.fromkeys([*calibrate, *(more_clips or ())]))
    console = Terminal(stderr=True, soft_wrap=True)
    asked = Asked(model, clips, name, least_f1, conf, tuple(truth or ()), replace)
    quantising = Quantising(
        asked,
        say=lambda stage: console.print(f"{stage} ..."),
        tried=lambda attempt: typer.echo(_attempt(attempt)),
    )
    result = quantising.run()
    if result.chosen is not None:
        quantising.keep(result)
    folder = quantise_report.free_folder(project, result.name)
    quantise_report.write(result, folder)
    for line in _summary(result):
        typer.echo(line)
    typer.echo(f"report: {folder / 'report.md'}")
    if result.problem:
        raise ModelError(result.problem)


def _summary(result: Result) -> list[str]:
    lines = [
        f"{each.clip}, as marked: F1 {each.exact.f1:.3f} float, {each.quick.f1:.3f} int8" for each in result.marked
    ]
    if result.chosen is not None and result.speed is not None:
        lines.append(
            f"{result.name}: {result.chosen.activations}, {result.speed.ratio:.2f} times as fast"
            f" ({result.speed.exact:.1f} -> {result.speed.quick:.1f} pictures a second)"
        )
        lines.append(f"kept: videodisco run --model {result.name} SOURCE")
    return lines


def _attempt(each: Attempt) -> str:
    seen, integers = each.agreement, each.integer_convolutions
    return (
        f"{each.activations}, step {each.float_step}: F1 {seen.f1:.3f} on {seen.boxes} boxes, scores"
        f" {seen.score_drift:.4f} and boxes {seen.box_drift_px:.2f} px off, {integers} of"
        f" {integers + each.float_convolutions} convolutions in integers"
    )
