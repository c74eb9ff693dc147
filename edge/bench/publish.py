"""Records of the benchmark put into the documentation: a picture, and tables between two marks of a page.

    python -m edge.bench.publish docs/benchmarks/*.json [--page docs/benchmarks.md]

The picture goes beside the page, under its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from edge.bench.plot import draw
from edge.bench.record import read_record
from edge.bench.sheets import PARTS, Record, Sheet, sheet_of
from stream.errors import OutputError, UsageError, VideoDiscoError

BEGIN, END = "<!-- figures: made by edge.bench.publish -->", "<!-- end of figures -->"


def main(
    records: Annotated[list[Path], typer.Argument(help="What videodisco bench --json has written.")],
    page: Annotated[Path, typer.Option(help="The page with the two marks.")] = Path("docs/benchmarks.md"),
) -> None:
    """Write the tables and the picture."""
    try:
        publish([read_record(path) for path in records], page)
    except VideoDiscoError as exc:
        raise SystemExit(str(exc)) from exc


def publish(records: Sequence[Record], page: Path) -> None:
    """Write the tables into the page and draw the picture. Raises UsageError or OutputError."""
    try:
        whole = page.read_text(encoding="utf-8")
        head, begin, rest = whole.partition(BEGIN)
        _, end, tail = rest.partition(END)
        if not begin or not end:
            raise UsageError(f"{page} has no place for figures: it wants {BEGIN} and {END}")
        page.write_text(f"{head}{BEGIN}\n\n{tables(records)}\n{END}{tail}", encoding="utf-8")
    except OSError as exc:
        raise OutputError(f"cannot write {page}: {exc.strerror}") from exc
    draw(records, page.with_suffix(".svg"))


def tables(records: Sequence[Record]) -> str:
    """All that the records hold, as Markdown."""
    return "\n".join(line for record in records for line in _lines(record))


def _lines(record: Record) -> Iterator[str]:
    clip, machine = record["clip"], record["machine"]
    yield f"### {record['model']} on {clip['name']}"
    yield ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    yield f"{clip['width']}x{clip['height']}, {clip['codec']}, {clip['frames']} frames; {machine['time'][:10]}."
    yield f"{machine['cores']} cores of {machine['processor']} ({', '.join(machine['flags'])}), load {machine['load']}"
    yield f"before; Python {machine['python']}, {versions}."
    for part in PARTS:
        if part in record:
            yield from _table(sheet_of(record, part))
    yield ""


def _table(sheet: Sheet) -> Iterator[str]:
    yield from ("", f"**{sheet.title[0].upper()}{sheet.title[1:]}**", "")
    yield f"| {' | '.join(sheet.columns)} |"
    yield f"|---|{'---:|' * (len(sheet.columns) - 1)}"
    for row in sheet.rows:
        yield f"| {' | '.join(row)} |"
    for note in sheet.notes:
        yield from ("", note[0].upper() + note[1:] + ".")


if __name__ == "__main__":
    typer.run(main)
