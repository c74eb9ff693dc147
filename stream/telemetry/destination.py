"""Where runs are logged: a tracking server, or a SQLite file of the project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stream.errors import UsageError
from stream.redaction import redact_url
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
        return redact_url(self.uri)


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
            f"The MLflow URI {redact_url(uri)} is no tracking store; give http(s)://HOST:PORT "
            f"or sqlite:///FOLDER/mlflow.db."
        )
    return Destination(uri, None)


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store, None for any other."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None
