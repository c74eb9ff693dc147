"""From a table of endpoints to an aiohttp application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from stream.http.audit import AuditLog
from stream.http.endpoints import Endpoint
from stream.http.metrics import Metrics
from stream.http.settings import HttpSettings

Check = Callable[[], Awaitable[str | None]]
"""Why something is not ready, in a sentence; None: it is."""


@dataclass(frozen=True, slots=True)
class About:
    """What a service is called; ``name`` is a short word ("edge"), also in the session cookie's name."""

    name: str
    title: str
    version: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Pages:
    """Files of ``folder`` inside a package, served below ``prefix``; ``index.html`` is also the prefix itself."""

    package: str
    folder: str = "static"
    prefix: str = "/"


@dataclass(frozen=True, slots=True)
class Instruments:
    """What a service writes down; ``ready`` is asked by /readyz, each check by its name."""

    metrics: Metrics = field(default_factory=Metrics)
    audit: AuditLog | None = None
    ready: Mapping[str, Check] = field(default_factory=dict)


def build_app(
    settings: HttpSettings,
    endpoints: Sequence[Endpoint],
    *,
    about: About,
    instruments: Instruments | None = None,
    pages: Sequence[Pages] = (),
) -> web.Application:
    """The application: ``endpoints`` and the common ones (healthz, readyz, metrics, openapi.json, docs, login).

    Without ``instruments`` (or their audit log) those of the settings are made.
    """
    raise NotImplementedError
