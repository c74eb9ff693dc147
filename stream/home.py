"""Where VideoDisco keeps its own state between runs: pulled models, provider choices, spools."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from stream.errors import OutputError

HOME_VARIABLE = "VIDEODISCO_HOME"


def home(environ: Mapping[str, str] | None = None) -> Path:
    """The state folder as an absolute path, made if missing and readable by its owner only.

    ``$VIDEODISCO_HOME``, else the platform's user data folder. Raises OutputError where it cannot be made.
    """
    folder = _chosen(os.environ if environ is None else environ)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(
            f"The state folder {folder} cannot be made ({exc.strerror}); set {HOME_VARIABLE} to a folder you may write."
        ) from exc
    return folder


def _chosen(environ: Mapping[str, str]) -> Path:
    if chosen := environ.get(HOME_VARIABLE):
        return Path(chosen).expanduser().absolute()
    return _platform_data_folder(environ, sys.platform) / "videodisco"


def _platform_data_folder(environ: Mapping[str, str], platform: str) -> Path:
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    data_home = Path(environ.get("XDG_DATA_HOME") or "")
    # the XDG specification has relative values ignored
    return data_home if data_home.is_absolute() else Path.home() / ".local" / "share"
