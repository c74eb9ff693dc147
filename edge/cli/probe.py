"""``videodisco probe``: what a file holds, or why it does not open."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def probe(
    source: Annotated[str, typer.Argument(help="A video file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what SOURCE holds: container, codec, size, rate, keyframes, sound; or why it does not open."""
    from rich.table import Table

    from edge.cli.console import Terminal
    from stream.sources.probing import probe_file, rows

    found = probe_file(source)
    console = Terminal()
    if as_json:
        console.out(json.dumps(found.as_dict(), indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows(found):
        table.add_row(name, value)
    console.print(table)
