"""``videodisco checks``: what this machine and installation really offer."""

from __future__ import annotations


def checks() -> None:
    """List Python, libraries, codecs, cameras and providers found, and which bundled model is the default and why."""
    from rich.table import Table

    from edge.cli.console import Terminal
    from edge.inventory import inventory

    console = Terminal()
    for title, facts in inventory():
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        for name, value in facts:
            table.add_row(name, value)
        console.print(table)
