"""``videodisco bench``: this machine's speed, beside other programs and beside what the machine allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.bench.live import LiveBench
    from edge.bench.suite import Asked


def bench(
    clip: Annotated[Path, typer.Argument(help="A video with things in it; a minute is enough.")],
    model: Annotated[str, typer.Option(help="What detects: a name of models list, or an ONNX file.")] = "auto",
    reference: Annotated[
        str, typer.Option(help="The float model of --model: the plain loop runs it, boxes are compared with its.")
    ] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, coreml or openvino.")] = "auto",
    turns: Annotated[int, typer.Option(min=1, max=50, help="How often each program runs; medians are shown.")] = 3,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART", help="network, stages, runs, start, memory, agreement, live or peers; may be given again."
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Where the figures go. \\[default: runs/bench-TIME.json]")] = None,
    peers: Annotated[
        Path | None, typer.Option(help="A Python with ultralytics: race it with --model instead (make bench-peers).")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Play the clip as cameras instead.")] = False,
    cameras: Annotated[int, typer.Option(min=1, max=64, help="With --live: how many.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, help="With --live: how long.")] = 30.0,
    motion: Annotated[str, typer.Option(help="With --live: auto or off.")] = "off",
    detect_fps: Annotated[float | None, typer.Option(help="With --live: detections a second and camera.")] = None,
    detector_ms: Annotated[float, typer.Option(min=0, help="With --live: make each detection take so long.")] = 0.0,
    save: Annotated[bool, typer.Option("--save", help="With --live: record the annotated video.")] = False,
) -> None:
    """Measure this machine: the network alone, every stage, whole runs, start, memory, agreement, live ages.

    Takes about five minutes for a minute of video. With --peers, the same model and file through ultralytics,
    supervision and a plain loop; with --live, how old results are when the clip is played as cameras.
    """
    from edge.bench.live import LiveBench
    from edge.bench.record import free_record_path
    from edge.bench.suite import Asked

    record_path = json or free_record_path()
    if live:
        settings = {"motion": motion} | ({"detect_fps": detect_fps} if detect_fps else {})
        _live(LiveBench(clip, cameras, seconds, detector_ms / 1e3, save, settings, model, device), record_path)
    else:
        parts = only or (["stages", "peers"] if peers else None)
        _suite(Asked(clip, model, reference, device, turns, peers), parts, record_path)


def _live(bench: LiveBench, record_path: Path) -> None:
    from dataclasses import asdict

    from edge.bench.live import measure_live
    from edge.bench.record import machine

    record = {"machine": machine(), "clip": {"name": bench.clip.name}}
    _tell({**record, "live": asdict(measure_live(bench))}, "live", record_path)


def _suite(asked: Asked, parts: list[str] | None, record_path: Path) -> None:
    from edge.bench.suite import Suite
    from edge.cli.console import Terminal
    from stream.errors import UsageError

    suite = Suite(asked)
    unknown = set(parts or ()) - suite.parts.keys()
    if unknown:
        raise UsageError(f"there is no part {', '.join(sorted(unknown))} to measure here: {', '.join(suite.parts)}")
    clip, models = suite.record["clip"], dict.fromkeys((suite.record["reference"], suite.record["model"]))
    size = f"{clip['width']}x{clip['height']}"
    Terminal(soft_wrap=True).print(
        f"{clip['name']}: {size}, {clip['codec']}, {clip['frames']} frames; {', '.join(models)}"
    )
    for part in parts or suite.parts:
        with Terminal(stderr=True).status(f"measuring {part}"):
            suite.measure(part)
        _tell(suite.record, part, record_path)
    Terminal(soft_wrap=True).print(f"\nrecord: {record_path}")


def _tell(record: Mapping[str, object], part: str, record_path: Path) -> None:
    """Keep what was measured so far, and show what was measured last."""
    from edge.bench.record import write_record
    from edge.bench.sheets import sheet_of
    from edge.cli.bench_tables import table_of
    from edge.cli.console import Terminal

    write_record(record_path, record)
    sheet, console = sheet_of(record, part), Terminal()
    console.print(f"\n{sheet.title}", style="bold")
    console.print(table_of(sheet))
    for note in sheet.notes:
        console.print(note)
