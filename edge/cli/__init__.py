"""The edge's commands. Each module imports only typer and the standard library until its command runs."""

from __future__ import annotations

import typer

from edge.cli import bench, cameras, checks, config, dataset, models_bench, probe, quantize, run, serve
from models import cli as models_cli


def mount(app: typer.Typer) -> None:
    """Add the edge's commands to ``app``."""
    app.command("run")(run.run)
    app.command("predict", hidden=True)(run.run)
    app.command("serve")(serve.serve)
    app.command("probe")(probe.probe)
    app.command("cameras")(cameras.cameras)
    app.command("checks")(checks.checks)
    app.command("bench")(bench.bench)
    app.add_typer(config.app, name="config")
    app.add_typer(dataset.app, name="dataset")
    # These two join clips and models, which models alone may not.
    models_cli.app.command("quantize")(quantize.quantize)
    models_cli.app.command("bench")(models_bench.bench)
