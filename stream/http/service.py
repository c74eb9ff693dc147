"""A service on its address: started on the running loop, drained within a budget."""

from __future__ import annotations

from aiohttp import web

from stream.http.settings import HttpSettings


class Service:
    """Serves ``app`` (made by :func:`stream.http.app.build_app`) as ``settings`` say."""

    def __init__(self, app: web.Application, settings: HttpSettings) -> None:
        raise NotImplementedError

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, as URLs; empty before :meth:`start`."""
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            UsageError: the door would be open to all, the address cannot be listened on, or a certificate is wrong.
        """
        raise NotImplementedError

    async def drain(self, budget_s: float = 10.0) -> None:
        """Stop listening, let requests finish, close WebSockets (1001) and live answers; ends within ``budget_s``."""
        raise NotImplementedError
