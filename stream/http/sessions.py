"""Sessions of browsers: a random cookie for a token, in memory, for hours. A restart asks for the token again."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from stream.http.endpoints import Identity

_MAX_SESSIONS = 1000
"""Past this the oldest one has to log in again."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who logged in, until ``expires_s``."""

    identity: Identity
    expires_s: float


class Sessions:
    """Kept by the hash of their cookie: whoever reads this memory or a dump of it gets no cookie."""

    def __init__(self, lifetime_s: float, *, max_sessions: int = _MAX_SESSIONS) -> None:
        self.lifetime_s = lifetime_s
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def open(self, identity: Identity, now_s: float) -> str:
        """A new session; returns the cookie's value."""
        cookie = secrets.token_urlsafe(32)
        self._sessions[_digest(cookie)] = Session(identity, now_s + self.lifetime_s)
        while len(self._sessions) > self._max_sessions:
            self._sessions.popitem(last=False)
        return cookie

    def find(self, cookie: str, now_s: float) -> Session | None:
        """The session of a cookie, unless it is over."""
        session = self._sessions.get(_digest(cookie))
        if session is None or now_s < session.expires_s:
            return session
        self.close(cookie)
        return None

    def close(self, cookie: str) -> None:
        self._sessions.pop(_digest(cookie), None)


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
