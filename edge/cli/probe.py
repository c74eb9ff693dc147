"""``videodisco probe``: what a source holds or sends, or why it does not open."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def probe(
    source: Annotated[str, typer.Argument(help="A video file, a camera's address (rtsp://...), or a webcam's number.")],
    rtsp_transport: Annotated[str, typer.Option(help="How an RTSP camera is to send: tcp or udp.")] = "tcp",
    timeout: Annotated[
        float, typer.Option(min=0.2, max=60, help="Seconds to wait for a camera that does not answer.")
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Say what SOURCE holds or sends: codec, size, rate, keyframes, sound; or why it does not open.

    A live source is watched for a few seconds; where it does not open, what is wrong and what to try is said.
    """
    from stream.errors import EXIT_DONE, EXIT_NO_SOURCE, UsageError
    from stream.sources.address import is_live

    if rtsp_transport not in ("tcp", "udp"):
        raise UsageError(f"--rtsp-transport must be tcp or udp, not {rtsp_transport}")
    found, rows = _live(source, rtsp_transport, timeout) if is_live(source) else _file(source)
    if found is None:
        return EXIT_NO_SOURCE
    _print(found, rows, as_json=as_json)
    return EXIT_DONE


def _file(source: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from stream.sources.probing import probe_file, rows

    found = probe_file(source)
    return found.as_dict(), rows(found)


def _live(source: str, rtsp_transport: str, timeout_s: float) -> tuple[dict[str, Any] | None, list[tuple[str, str]]]:
    """Facts of a live source; none where it did not open, which then has been said."""
    from edge.cli.console import Terminal
    from stream.discovery.diagnosis import diagnose
    from stream.sources.address import parse_address
    from stream.sources.connection import DisconnectedError
    from stream.sources.live_probing import ProbeLimits, live_rows, probe_live

    address = parse_address(source)
    try:
        found = probe_live(address, ProbeLimits(rtsp_transport, timeout_s, timeout_s))
    except DisconnectedError as exc:
        diagnosis = diagnose(address, exc)
        errors = Terminal(stderr=True)
        errors.out(f"videodisco: {diagnosis.sentence}")
        for line in diagnosis.advice:
            errors.out(line)
        return None, []
    return found.as_dict(), live_rows(found)


def _print(found: dict[str, Any], rows: list[tuple[str, str]], *, as_json: bool) -> None:
    import json

    from rich.table import Table

    from edge.cli.console import Terminal

    console = Terminal()
    if as_json:
        console.out(json.dumps(found, indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)
