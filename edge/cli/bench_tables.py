"""How the benchmark shows its figures in a terminal."""

from __future__ import annotations

from rich.table import Table

from edge.bench.sheets import Sheet


def table_of(sheet: Sheet) -> Table:
    """The sheet's rows, figures to the right."""
    table = Table(box=None, pad_edge=False, header_style="")
    for place, column in enumerate(sheet.columns):
        table.add_column(column, justify="right" if place else "left")
    for row in sheet.rows:
        table.add_row(*row)
    return table
