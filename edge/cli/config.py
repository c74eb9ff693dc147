"""``videodisco config``: check a configuration, or print its JSON schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check a configuration, or print its schema.", no_args_is_help=True)


@app.command("validate")
def validate(file: Annotated[Path, typer.Argument(help="A YAML file for run --config.")]) -> None:
    """Say whether FILE is a configuration that run --config takes (exit code 2 when not)."""
    from edge.cli.console import Terminal
    from edge.config import RunSettings
    from stream.config import build, load_yaml

    build(RunSettings, load_yaml(file), origin=str(file))
    Terminal().out(f"{file} is valid")


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of the configuration, for editors that complete and check as you type."""
    import json

    from edge.cli.console import Terminal
    from edge.config import RunSettings

    Terminal().out(json.dumps(RunSettings.model_json_schema(), indent=2))
