"""A loopback port that stays one's own while its server is away."""

from __future__ import annotations

import socket


class HeldPort:
    """A port that nobody else is given as long as this lives, whether or not a server of ours listens on it.

    It is bound and never listened on: who connects is refused until a server listens, which must set SO_REUSEADDR.
    """

    def __init__(self) -> None:
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.number: int = self._held.getsockname()[1]

    def __del__(self) -> None:
        self._held.close()
