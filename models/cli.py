"""``videodisco models``: the shelf of models, and their signatures."""
# ruff: noqa: FBT002 - a flag of a command is a boolean parameter: that is how typer reads it

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.errors import EXIT_DONE, EXIT_MODEL, EXIT_USAGE

if TYPE_CHECKING:
    from models.shelf.adding import Added
    from models.shelf.download import Progress
    from models.shelf.pull import Confirm
    from models.shelf.upstream import OwnExport, Upstream

PASSWORD_VARIABLE = "VIDEODISCO_KEY_PASSWORD"  # noqa: S105 - the variable's name

app = typer.Typer(help="List, add, pull, check and sign models.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Named = Annotated[str, typer.Argument(metavar="NAME", help="A model's name, or a path.")]
Replace = Annotated[bool, typer.Option("--replace", help="Put it in the place of another model of that name.")]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the bundled models, those on the shelf, and those that can be pulled."""
    import json

    from models.shelf import store
    from models.shelf.cards import all_cards, table
    from models.shelf.upstream import OWN_EXPORTS, PULLABLE

    cards, here = all_cards(), store.names()
    pullable = [entry for entry in PULLABLE if entry.name not in here]
    own = [entry for entry in OWN_EXPORTS if entry.name not in here]
    if as_json:
        told = {
            "models": [card.as_dict() for card in cards],
            "pullable": [entry.as_dict() for entry in pullable],
            "own_exports": [entry.as_dict() for entry in own],
        }
        _say([json.dumps(told, indent=2)])
        return
    _say([*table(cards), *_pullable(pullable), *_own_exports(own)])


@app.command("show")
def show(
    name: Named,
    as_json: Json = False,
    measure: Annotated[bool, typer.Option("--measure", help="Measure its speed on this machine first.")] = False,
) -> None:
    """Show a model's card: what it finds and takes, its licence, source and signature, and how fast it is here."""
    import json

    from models.catalogue import look_up
    from models.shelf import trial
    from models.shelf.cards import card, lines

    if measure:
        found = look_up(name)
        trial.keep(found.sha256, trial.run(found.name, found.content))
    shown = card(name)
    _say([json.dumps(shown.as_dict(), indent=2)] if as_json else lines(shown))


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="An ONNX file; weights in a file beside it come along.")],
    name: Annotated[str, typer.Option(help="What to call it: run --model NAME.")],
    licence: Annotated[str, typer.Option(help="Its licence, where the file does not say.")] = "",
    replace: Replace = False,
) -> None:
    """Check a model file, recognise its family, try it out in a process of its own, and keep a copy."""
    from models.shelf.adding import add as put

    _say_added(put(file, name, licence=licence, replace=replace))


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="A name that models list shows.")],
    yes_sha256: Annotated[
        str, typer.Option(metavar="HASH", help="The file's sha256 as you know it; for models nobody vouches for.")
    ] = "",
    replace: Replace = False,
) -> int:
    """Fetch a well-known model from its publisher, check it against its known hash, and keep it."""
    from models.shelf.download import https_opener
    from models.shelf.pull import Wish
    from models.shelf.pull import pull as fetch
    from models.shelf.upstream import OWN_EXPORTS, PULLABLE
    from stream.errors import UsageError

    own = next((entry for entry in OWN_EXPORTS if entry.name == name), None)
    if own is not None:
        _say(_own_export(own))
        return EXIT_USAGE
    entry = next((entry for entry in PULLABLE if entry.name == name), None)
    if entry is None:
        known = ", ".join(each.name for each in (*PULLABLE, *OWN_EXPORTS))
        raise UsageError(f"there is no model {name!r} to be pulled; there are {known}; your own file: models add")
    _say([f"{entry.title}, {entry.licence}; {entry.published}", f"from {entry.url}"])
    wish = Wish(entry, yes_sha256.lower(), _asker(), replace)
    _say_added(fetch(wish, https_opener(), _progress()))
    return EXIT_DONE


@app.command("export")
def export(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS.pt", help="Weights of an Ultralytics detector.")],
    name: Annotated[str, typer.Option(help="What to call it. \\[default: the file's name]")] = "",
    imgsz: Annotated[
        int | None, typer.Option(min=32, help="Longest side of what it will see. \\[default: as it was trained]")
    ] = None,
    python: Annotated[
        Path | None, typer.Option(metavar="PYTHON", help="The Python that has ultralytics. \\[default: this one]")
    ] = None,
    replace: Replace = False,
) -> None:
    """Export an Ultralytics .pt to ONNX with its own package, if you have it, and keep it on the shelf.

    A .pt is a Python pickle: loading it runs what is in it, so that is done in another process, with your rights. Take
    weights from people you trust. The package and its exports are under the AGPL-3.0.
    """
    from models.shelf.exporting import LICENCE_WORDS, Wish
    from models.shelf.exporting import export as run

    # python is not resolved: that of a virtual environment is a link, and knows its packages by where the link lies.
    _say_added(run(Wish(weights, name, imgsz, python and python.expanduser().absolute(), replace)))
    _say(LICENCE_WORDS)


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="A model's name or a path; without it, all models.")] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(
            help="A public key: the model must be signed by one of these. \\[default: those this machine trusts]"
        ),
    ] = None,
) -> int:
    """Check that models are what their cards and manifests say, and who signed them (exit code 4 when not)."""
    from models.catalogue import bundled_names
    from models.shelf import store
    from models.shelf.checking import check_model

    checks = [check_model(each, key or ()) for each in ([name] if name else [*bundled_names(), *store.names()])]
    width = max(len(check.name) for check in checks)
    _say(f"{check.name:{width}}  {check.words}" for check in checks)
    return EXIT_DONE if all(check.holds for check in checks) else EXIT_MODEL


@app.command("sign")
def sign(
    name: Named,
    key: Annotated[Path, typer.Option(help="Your private key: openssl ecparam -name prime256v1 -genkey -noout")],
) -> None:
    """Sign a model with your own key, offline (OpenSSF model signing)."""
    from models.shelf.checking import sign_model

    path = sign_model(name, key, _password)
    _say([f"{name} is signed: {path}", "trust it by its public key: trust.trusted_keys in the configuration"])


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="The name of a model on the shelf.")]) -> None:
    """Take a model off the shelf."""
    from models.shelf import store

    store.remove(name)
    _say([f"{name} is removed"])


def _pullable(entries: Sequence[Upstream]) -> Iterator[str]:
    from models.shelf.cards import in_columns

    if entries:
        yield from ("", "to be had with videodisco models pull NAME:")
        rows = [("NAME", "LICENCE", "MB", "WHAT IT IS")]
        rows += [
            (
                each.name,
                each.licence,
                f"{each.size_bytes / 1e6:.1f}" if each.size_bytes else "?",
                f"{each.title}: {each.published}",
            )
            for each in entries
        ]
        yield from (f"  {line}" for line in in_columns(rows))


def _own_exports(entries: Sequence[OwnExport]) -> Iterator[str]:
    from models.shelf.cards import in_columns

    for licence in sorted({each.licence for each in entries}):
        yield from ("", f"export it yourself ({licence}): videodisco models export WEIGHTS.pt")
        rows = [("NAME", "WEIGHTS", "WHAT IT IS")]
        rows += [
            (each.name, each.weights, f"{each.title}: {each.published}") for each in entries if each.licence == licence
        ]
        yield from (f"  {line}" for line in in_columns(rows))


def _say_added(added: Added) -> None:
    from models.shelf.cards import card, lines

    name = added.manifest.name
    _say(lines(card(name)))
    _say(["", f"{'kept' if added.fresh else 'it was here already'}: videodisco run --model {name} SOURCE"])


def _own_export(entry: OwnExport) -> list[str]:
    return [
        f"{entry.title} ({entry.published}) is under the {entry.licence}, code and weights, by Ultralytics.",
        "VideoDisco neither ships nor fetches it: whoever uses it, over a network too, takes that licence's duties on,",
        "or buys another from Ultralytics. To use it, export it yourself in an environment of its own:",
        "",
        *(f"  {command}" for command in entry.commands),
    ]


def _asker() -> Confirm | None:
    """Somebody to show a hash to, if there is a person at the terminal."""
    import sys

    if not sys.stdin.isatty():
        return None

    def ask(sha256: str, size_bytes: int) -> bool:
        _say([f"nobody vouches for this file: {size_bytes} bytes, sha256 {sha256}"])
        return typer.confirm("Is that the hash its publisher or somebody you trust states?", default=False)

    return ask


def _progress() -> Progress:
    """A line that counts on a terminal, silence elsewhere."""
    import sys

    def tell(done: int, total: int | None) -> None:
        if sys.stderr.isatty():
            of = f" of {total / 1e6:.1f}" if total else ""
            print(f"\r{done / 1e6:.1f}{of} MB ", end="" if done != total else "\n", file=sys.stderr)  # noqa: T201 - this is the terminal

    return tell


def _password() -> str:
    import getpass
    import os
    import sys

    from stream.errors import UsageError

    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        if not sys.stdin.isatty():
            raise UsageError(f"the key is locked and there is nobody to ask for its password: set {PASSWORD_VARIABLE}")
        password = getpass.getpass("Password of the key: ")
    return password


def _say(lines: Iterable[str]) -> None:
    """Print lines as they are; a reader that left has what it wanted."""
    import os
    import sys

    try:
        for line in lines:
            print(line)  # noqa: T201 - this is the terminal
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
