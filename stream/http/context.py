"""What every request of a service shares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from stream.http.audit import AuditLog
from stream.http.auth import Doorkeeper
from stream.http.lasting import Lasting
from stream.http.metrics import Metrics
from stream.http.rates import RateLimiter
from stream.http.settings import HttpSettings
from stream.http.uploads import Uploads

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
class Instruments:
    """What a service writes down; ``ready`` is asked by /readyz, each check by its name."""

    metrics: Metrics = field(default_factory=Metrics)
    audit: AuditLog | None = None
    ready: Mapping[str, Check] = field(default_factory=dict)


@dataclass(slots=True)
class Context:
    """One service's shared parts; ``changes`` are under way; ``ending`` once it stops."""

    settings: HttpSettings
    about: About
    metrics: Metrics
    audit: AuditLog
    ready: Mapping[str, Check]
    doorkeeper: Doorkeeper
    rates: RateLimiter
    uploads: Uploads
    lasting: Lasting
    changes: set[asyncio.Task[web.StreamResponse]] = field(default_factory=set)
    ending: bool = False

    @classmethod
    def of(cls, settings: HttpSettings, about: About, instruments: Instruments) -> Context:
        return cls(
            settings=settings,
            about=about,
            metrics=instruments.metrics,
            audit=instruments.audit or AuditLog(settings.audit_log),
            ready=instruments.ready,
            doorkeeper=Doorkeeper(settings),
            rates=RateLimiter(settings.limits.requests_per_minute),
            uploads=Uploads(settings.limits),
            lasting=Lasting(),
        )

    def cookie_name(self, *, secure: bool) -> str:
        """Services of one host share its cookies, so each has a name of its own."""
        return f"{'__Host-' if secure else ''}videodisco_{self.about.name}"


CONTEXT = web.AppKey("context", Context)
