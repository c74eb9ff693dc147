"""``videodisco dataset``: what was kept to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.errors import EXIT_DONE, EXIT_LOSSES

if TYPE_CHECKING:
    from stream.dataset.manifest import Filter
    from stream.dataset.store import Store

app = typer.Typer(help="List, count, export, prune and check what was kept to learn from.", no_args_is_help=True)

FOLDER = Path("runs/dataset")

Folder = Annotated[Path, typer.Option(help="The data set's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Camera = Annotated[str | None, typer.Option(help="Only of this camera.")]
ClassName = Annotated[str | None, typer.Option("--class", metavar="NAME", help="Only what was taken for this class.")]
SamplerName = Annotated[str | None, typer.Option("--sampler", metavar="NAME", help="Only of this strategy.")]
KindName = Annotated[str | None, typer.Option("--kind", help="frame or crop. \\[default: both]")]


@app.command("list")
def list_samples(
    folder: Folder = FOLDER,
    camera: Camera = None,
    class_name: ClassName = None,
    sampler: SamplerName = None,
    kind: KindName = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List pictures, the newest first."""
    import json
    from itertools import islice

    from edge.cli.console import Terminal
    from edge.cli.dataset_tables import samples_table
    from stream.dataset.sample import as_record

    store = _known(folder)
    found = list(islice(store.manifest.samples(_filter(camera, class_name, sampler, kind), newest_first=True), limit))
    if as_json:
        Terminal().out(json.dumps([as_record(sample) for sample in found], indent=2, ensure_ascii=False))
    else:
        Terminal().print(samples_table(found))


@app.command("stats")
def stats(folder: Folder = FOLDER, as_json: Json = False) -> None:
    """Count pictures by class, camera, strategy and day."""
    import json

    from edge.cli.console import Terminal
    from edge.cli.dataset_tables import stats_tables
    from stream.dataset.statistics import statistics_of

    counted = statistics_of(_known(folder))
    console = Terminal()
    if as_json:
        console.out(json.dumps(counted, indent=2, ensure_ascii=False))
        return
    for table in stats_tables(counted):
        console.print(table)


@app.command("export")
def export(
    layout: Annotated[str, typer.Argument(metavar="LAYOUT", help="coco, yolo, or folders (crops by class).")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    folder: Folder = FOLDER,
    camera: Camera = None,
    class_name: ClassName = None,
    sampler: SamplerName = None,
    kind: KindName = None,
    val: Annotated[float, typer.Option(min=0, max=1, help="The part of the camera hours to judge by.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Another number splits otherwise.")] = 0,
    conf: Annotated[float, typer.Option(min=0, max=1, help="Least confidence of a label.")] = 0.0,
    refined: Annotated[bool, typer.Option("--refined", help="Call objects as the cloud does, where it did.")] = False,
    as_json: Json = False,
) -> int:
    """Export pictures and labels for training, with a note of where they come from.

    Pictures that are gone or were altered are left out, and named in it (exit code 5).
    """
    import json

    from edge.cli.console import Terminal
    from edge.cli.dataset_tables import export_lines
    from stream.dataset.export import LAYOUTS
    from stream.dataset.export import export as write
    from stream.dataset.export.plan import ExportSettings
    from stream.errors import UsageError

    if layout not in LAYOUTS:
        raise UsageError(f"there is no layout {layout!r}; there are {', '.join(LAYOUTS)}")
    settings = ExportSettings(_filter(camera, class_name, sampler, kind), val, seed, conf, refined)
    report = write(_known(folder), layout, out, settings)
    console = Terminal()
    if as_json:
        console.out(json.dumps({"folder": str(report.folder), **report.provenance}, indent=2, ensure_ascii=False))
    for line in [] if as_json else export_lines(report):
        console.out(line)
    return EXIT_LOSSES if report.left_out else EXIT_DONE


@app.command("prune")
def prune(
    folder: Folder = FOLDER,
    max_gb: Annotated[float | None, typer.Option(min=0, help="Keep so much, all classes alike.")] = None,
    keep_days: Annotated[float | None, typer.Option(min=0, help="Keep what was kept in so many days.")] = None,
) -> None:
    """Remove the oldest pictures, for good."""
    import time

    from edge.cli.console import Terminal
    from stream.errors import UsageError

    if max_gb is None and keep_days is None:
        raise UsageError("say what to keep: --max-gb, --keep-days or both")
    max_bytes = None if max_gb is None else round(max_gb * 1e9)
    removed = _store(folder).prune(time.time(), max_bytes=max_bytes, keep_days=keep_days)
    Terminal().out(f"{removed} removed")


@app.command("verify")
def verify(
    folder: Folder = FOLDER,
    repair: Annotated[bool, typer.Option("--repair", help="Put right what is wrong.")] = False,
    as_json: Json = False,
) -> int:
    """Check every picture against its hash, and the files against the manifest (exit code 5 when they differ)."""
    import json
    import time
    from dataclasses import asdict

    from edge.cli.console import Terminal
    from edge.cli.dataset_tables import findings_lines
    from stream.dataset.checking import verify as check

    found = check(_store(folder), time.time(), repair=repair)
    console = Terminal()
    lines = [json.dumps(asdict(found), indent=2)] if as_json else findings_lines(found, repaired=repair)
    for line in lines:
        console.out(line)
    return EXIT_DONE if found.is_sound or repair else EXIT_LOSSES


def _store(folder: Path) -> Store:
    from stream.dataset.store import Store

    return Store.existing(folder)


def _known(folder: Path) -> Store:
    from stream.errors import UsageError

    store = _store(folder)
    if not store.knows_its_pictures():
        raise UsageError(
            f"the manifest of {folder} knows none of the pictures there, it was lost; "
            f"make it anew: videodisco dataset verify --repair --folder {folder}"
        )
    return store


def _filter(camera: str | None, class_name: str | None, sampler: str | None, kind: str | None) -> Filter:
    from stream.dataset.manifest import Filter
    from stream.errors import UsageError

    if kind not in (None, "frame", "crop"):
        raise UsageError(f"there is no kind {kind!r}; there are frame and crop")
    return Filter(kind, camera, class_name, sampler)  # type: ignore[arg-type]  # checked just above
