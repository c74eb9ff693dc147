"""``videodisco config``: check a configuration, or print its JSON schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check a configuration, or print its schema.", no_args_is_help=True)


REFINERS_KEYS = frozenset({"http", "refiner", "batches", "crops", "results", "samples", "project", "name"})
"""Keys that only the configuration of ``videodisco cloud`` has."""


@app.command("validate")
def validate(file: Annotated[Path, typer.Argument(help="A YAML file for run --config.")]) -> None:
    """Say whether FILE is a configuration that run --config takes (exit code 2 when not)."""
    from edge.cli.console import Terminal
    from edge.config import RunSettings
    from stream.config import build, load_yaml
    from stream.errors import UsageError

    values = load_yaml(file)
    try:
        build(RunSettings, values, origin=str(file))
    except UsageError as exc:
        if REFINERS_KEYS.isdisjoint(values):
            raise
        raise UsageError(
            f"{exc}; a file of the refiner is checked by videodisco cloud --config {file} --check"
        ) from exc
    Terminal().out(f"{file} is valid")


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of the configuration, for editors that complete and check as you type."""
    import json

    from edge.cli.console import Terminal
    from edge.config import RunSettings

    Terminal().out(json.dumps(RunSettings.model_json_schema(), indent=2))
