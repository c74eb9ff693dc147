"""Where runs are logged: a tracking server, or a SQLite file of the project."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from stream.errors import UsageError
from stream.redaction import redact_url
from stream.telemetry import MlflowSettings

_SQLITE = "sqlite:///"
_SQLITE_HEADER = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html
_WEB_SCHEMES = ("http", "https")
_SCHEMES = (*_WEB_SCHEMES, "postgresql", "mysql", "mssql", "databricks")


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
    if scheme not in _SCHEMES or (scheme in _WEB_SCHEMES and not _is_web_address(uri)):
        raise UsageError(
            f"The MLflow URI {redact_url(uri)} is no tracking store; give http(s)://HOST:PORT "
            f"or sqlite:///FOLDER/mlflow.db."
        )
    return Destination(uri, None)


def page_of(settings: MlflowSettings) -> str | None:
    """Where people look at runs in a browser, without credentials; None where that is not known."""
    if settings.ui_url is not None:
        return settings.ui_url.rstrip("/")
    if settings.uri is None or not _is_web_address(settings.uri):
        return None
    parts = urlsplit(settings.uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def trouble_with(where: Destination) -> str:
    """Why a local store can take nothing, as far as its file shows at once; empty for a sound or remote one."""
    file = sqlite_file(where.uri)
    if file is None or not file.exists():
        return ""
    if not file.is_file():
        return f"{file} is a folder, not a file; name a file in it"
    if not os.access(file, os.R_OK | os.W_OK):
        return f"{file} may not be written by this user"
    with file.open("rb") as store:
        header = store.read(len(_SQLITE_HEADER))
    return f"{file} is not a SQLite database; move it away" if header not in (b"", _SQLITE_HEADER) else ""


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store, None for any other."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def _is_web_address(uri: str) -> bool:
    """Whether it is http(s) and names a host."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # half an IPv6 address
        return False
    return parts.scheme in _WEB_SCHEMES and bool(parts.hostname)
