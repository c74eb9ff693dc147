"""``videodisco cameras``: the cameras plugged in, and those on the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream.discovery.soap import Credentials

PASSWORD_VARIABLE = "VIDEODISCO_CAMERA_PASSWORD"  # noqa: S105 - the variable's name


def cameras(
    timeout: Annotated[
        float, typer.Option(min=0.2, max=60, help="Seconds to listen for answers from the network.")
    ] = 3.0,
    address: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Ask only this host; for other networks. May be repeated.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"A user of the cameras: guarded ones then tell their streams. The password is asked for, or taken "
            f"from ${PASSWORD_VARIABLE}; it is sent as a digest, to every camera that answers.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List webcams, and network cameras that answer ONVIF discovery, with what to give to run."""
    import asyncio

    from edge.cli import camera_list
    from edge.cli.console import Terminal
    from stream.discovery.onvif import Search, find_cameras
    from stream.discovery.webcams import webcams

    search = Search(timeout, tuple(address or ()), _credentials(user))
    plugged_in = webcams()
    found = asyncio.run(find_cameras(search))
    console = Terminal()
    if as_json:
        console.out(camera_list.as_json(plugged_in, found))
        return
    for line in camera_list.lines(plugged_in, found, search):
        console.out(line)


def _credentials(user: str | None) -> Credentials | None:
    import getpass
    import os
    import sys

    from stream.discovery.soap import Credentials
    from stream.errors import UsageError

    if user is None:
        return None
    if not user or ":" in user or not user.isprintable():
        raise UsageError("--user takes a user's name alone, without a colon or a password")
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        if not sys.stdin.isatty():
            raise UsageError(f"--user needs a password and there is nobody to ask for it: set {PASSWORD_VARIABLE}")
        password = getpass.getpass(f"Password of {user} on the cameras: ")
    return Credentials(user, password)
