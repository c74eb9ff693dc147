"""Where runs are logged: a tracking server, or a SQLite file of the project."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stream.errors import UsageError
from stream.telemetry import MlflowSettings

_SQLITE = "sqlite:///"
_SCHEMES = ("http", "https", "postgresql", "mysql", "mssql", "databricks")


@dataclass(frozen=True, slots=True)
class Destination:
    """A tracking store. ``artifact_root`` is a file URI for a local store, None where the server decides.

    ``uri`` may hold credentials: it goes to the spool and to mlflow, and is shown only as ``shown``.
    """

    uri: str
    artifact_root: str | None

    @property
    def shown(self) -> str:
        return without_credentials(self.uri)


def destination(settings: MlflowSettings, project: Path) -> Destination:
    """The store that the settings name; without one, ``mlflow.db`` and ``mlartifacts`` in ``project``.

    Paths become absolute, for another run may deliver later from another folder.
    Raises UsageError for a URI that is no tracking store.
    """
    uri = settings.uri or _SQLITE + str(project.absolute() / "mlflow.db")
    if uri.startswith(_SQLITE):
        database = Path(uri.removeprefix(_SQLITE)).absolute()
        return Destination(_SQLITE + str(database), (database.parent / "mlartifacts").as_uri())
    scheme = uri.partition(":")[0].partition("+")[0].lower()
    if scheme not in _SCHEMES:
        raise UsageError(
            f"The MLflow URI {without_credentials(uri)} is no tracking store; give http(s)://HOST:PORT "
            f"or sqlite:///FOLDER/mlflow.db."
        )
    return Destination(uri, None)


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store, None for any other."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def without_credentials(text: str) -> str:
    """``text`` with the user part and the query of every URL in it masked."""
    # greedy up to the last @ before a blank: a password may itself hold / or @
    masked = re.sub(r"([A-Za-z][A-Za-z0-9+.\-]*://)[^\s'\"]*@", r"\1***@", text)
    return re.sub(r"([A-Za-z][A-Za-z0-9+.\-]*://[^\s?'\"]*)\?[^\s'\")]*", r"\1?***", masked)
