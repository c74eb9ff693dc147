"""The settings of ``videodisco serve``: a configuration's content with the options of the command line laid over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from edge.cameras.listing import cameras_of
from edge.config import RunSettings
from stream.config import build, given, merged

DEFAULT_NAME = "serve"
"""The folder of all runs of a service, which goes on after a restart."""


def serve_settings(content: Mapping[str, Any], options: Mapping[str, Any], *, origin: str) -> RunSettings:
    """Validated settings in which every camera has a name.

    Raises:
        UsageError, SourceError: a wrong value, key or address.
    """
    values = merged(content, given(options))
    settings = build(RunSettings, values, origin=origin)
    output = settings.output
    if "name" not in output.model_fields_set:
        output = output.model_copy(update={"name": DEFAULT_NAME})
    return settings.model_copy(
        update={
            "cameras": cameras_of(settings),
            "sources": (),
            "output": output,
            "mlflow": settings.mlflow.with_environment(os.environ),
        }
    )
