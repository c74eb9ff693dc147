"""Options over a configuration file: what the command line says wins, what it leaves out stays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.config import RunSettings
from stream.config import build, given, load_yaml, merged
from stream.errors import UsageError


def overlay_options(config: Path | None, options: Mapping[str, Any]) -> RunSettings:
    """The settings of ``config`` with all options that were given laid over them.

    Raises:
        UsageError: a wrong value or key, or no source at all.
    """
    values = merged(load_yaml(config) if config else {}, given(options))
    settings = build(RunSettings, values, origin=str(config) if config else "the command line")
    if not (settings.sources or settings.cameras):
        raise UsageError("no source is named: videodisco run street.mp4, or videodisco run rtsp://camera/stream")
    return settings.model_copy(update={"mlflow": settings.mlflow.with_environment(os.environ)})
