"""``videodisco cloud``: the refiner, as a service."""
# ruff: noqa: FBT002 - a flag of a command is a boolean parameter: that is how typer reads it

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def mount(app: typer.Typer) -> None:
    """Add the cloud's commands to ``app``."""
    app.command("cloud")(cloud)


def cloud(
    config: Annotated[Path | None, typer.Option(help="Settings from a YAML file; options override it.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. \\[default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: a free one. \\[default: 8000]")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="VIDEODISCO_CLOUD_TOKEN", help="What edges must send; best in the variable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model's name or an ONNX file. \\[default: bundled]")] = None,
    labels: Annotated[Path | None, typer.Option(help="Its labels, one a line, where the file names none.")] = None,
    kind: Annotated[str | None, typer.Option(help="classifier or detector. \\[default: classifier]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, coreml or openvino.")] = None,
    workers: Annotated[int | None, typer.Option(help="Batches at a time. \\[default: one a usable core]")] = None,
    batch: Annotated[int | None, typer.Option(help="Crops in a batch. \\[default: 8]")] = None,
    project: Annotated[Path | None, typer.Option(help="Folder of all runs. \\[default: runs]")] = None,
    name: Annotated[str | None, typer.Option(help="Folder of this run. \\[default: cloud]")] = None,
    mlflow: Annotated[bool | None, typer.Option("--mlflow/--no-mlflow", help="Log to MLflow. \\[default: on]")] = None,
    mlflow_uri: Annotated[str | None, typer.Option(help="An MLflow server. \\[default: a local store]")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Listen for other machines without any token.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say whether the settings are valid, and start nothing.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of the settings.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print what happens inside, and tracebacks.")] = False,
) -> int:
    """Look again at crops that edges send, until Ctrl-C.

    Says where it listens once it is ready. Exit codes: 2 usage or output, 4 model refused, 130 Ctrl-C, 143 stopped.
    """
    from cloud.serving import check_settings, print_schema, read_settings, serve

    if schema:
        return print_schema()
    values: dict[str, Any] = {
        "http": {"host": host, "port": port, "insecure": insecure},
        "refiner": {"model": model, "labels": labels, "kind": kind, "device": device, "workers": workers},
        "batches": {"max_size": batch},
        "project": project,
        "name": name,
        "mlflow": {"enabled": mlflow, "uri": mlflow_uri},
    }
    settings = read_settings(config, values, token)
    return check_settings(settings, config) if check else serve(settings, debug=debug)
