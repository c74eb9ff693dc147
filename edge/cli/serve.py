"""``videodisco serve``: the cameras, and detection in single pictures, as a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE...", help="Camera addresses and webcam numbers; none serves pictures alone."),
]


def serve(
    sources: Sources = None,
    config: Annotated[Path | None, typer.Option(help="Settings from a YAML file; options override it.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. \\[default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: a free one. \\[default: 8080]")] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="VIDEODISCO_TOKEN", help="Whoever comes in must show this; best in the environment."),
    ] = None,
    insecure: Annotated[bool | None, typer.Option("--insecure", help="Let in whoever reaches it.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate for HTTPS, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    model: Annotated[str | None, typer.Option(help="A bundled model's name or an ONNX file.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, coreml or openvino.")] = None,
    conf: Annotated[
        float | None, typer.Option(help="Least confidence of a detection, 0 to 1. \\[default: 0.4]")
    ] = None,
    realtime: Annotated[bool | None, typer.Option("--realtime", help="Play files as if they were cameras.")] = None,
    loop: Annotated[bool | None, typer.Option("--loop", help="Play them over and over.")] = None,
    project: Annotated[Path | None, typer.Option(help="Folder of all runs. \\[default: runs]")] = None,
    name: Annotated[str | None, typer.Option(help="Folder of this service. \\[default: serve]")] = None,
    mlflow: Annotated[bool | None, typer.Option("--mlflow/--no-mlflow", help="Log to MLflow. \\[default: on]")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print what happens inside, and tracebacks.")] = False,
) -> int:
    """Serve detection and the cameras over HTTP: POST /detect, a page at /, figures at /metrics, /docs for the rest.

    Runs until Ctrl-C; SIGHUP reads the configuration again. Exit codes: 0 done, 2 usage or output, 4 model refused,
    5 ended with losses, 130 Ctrl-C.
    """
    from stream.runtime import without_collecting

    with without_collecting():
        from edge.cli.execute_serve import serve_from_terminal

    options: dict[str, Any] = {
        "sources": tuple(sources) if sources else None,
        "realtime": realtime,
        "defaults": {"loop": loop},
        "detector": {"model": model, "device": device, "confidence": conf},
        "output": {"project": project, "name": name},
        "mlflow": {"enabled": mlflow},
        "serve": {
            "http": {
                "host": host,
                "port": port,
                "insecure": insecure,
                "tokens": [{"name": "command line", "token": token, "role": "admin"}] if token else None,
                "tls": {"certificate": tls_cert, "key": tls_key},
            }
        },
    }
    return serve_from_terminal(config, options, quiet=quiet, debug=debug)
