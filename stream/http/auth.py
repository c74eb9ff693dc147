"""Who asks, and whether he may."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from stream.http.endpoints import Identity
from stream.http.errors import HttpError
from stream.http.rates import RateLimiter
from stream.http.sessions import Sessions
from stream.http.settings import HttpSettings, Role

OPEN = Identity("local", Role.ADMIN, "open")
"""Whoever asks a service that has no tokens."""

NOBODY = Identity("nobody", Role.VIEW, "unknown")
"""Somebody who has not said who he is."""

_ASK_FOR_TOKEN = {"WWW-Authenticate": 'Bearer realm="videodisco"'}


class Doorkeeper:
    """Knows the tokens by their hashes, the sessions, and who guessed wrongly how often."""

    def __init__(self, settings: HttpSettings) -> None:
        self.login_needed = settings.login_needed
        self.sessions = Sessions(settings.session_hours * 3600)
        self._tokens = [(token.digest, Identity(token.name, token.role, "token")) for token in settings.tokens]
        self._certificate_role = settings.tls.client_role if settings.tls and settings.tls.client_ca else None
        self._failures = RateLimiter(settings.limits.failed_logins_per_minute)

    def identify(
        self,
        authorization: str,
        cookie: str,
        certificate: Mapping[str, Any] | None,
        *,
        client: str,
        now_s: float,
    ) -> Identity | None:
        """Who it is by the Authorization header, else by the cookie, else by the certificate; None: unknown.

        Raises:
            HttpError: 401 for a wrong token, 429 after too many of them.
        """
        if not self.login_needed:
            return OPEN
        if authorization and self._tokens:
            return self.by_token(token_of(authorization), client=client, now_s=now_s)
        session = self.sessions.find(cookie, now_s) if cookie else None
        if session is not None:
            return session.identity
        if certificate and self._certificate_role and not self._tokens:
            return Identity(_common_name(certificate), self._certificate_role, "certificate")
        return None

    def by_token(self, token: str, *, client: str, now_s: float) -> Identity:
        """Whose token it is.

        Raises:
            HttpError: 401, or 429 for a client that guessed wrongly too often: then nothing is compared.
        """
        wait_s = self._failures.wait_s(client, now_s)
        if wait_s > 0:
            raise HttpError(429, "too many wrong tokens; wait", retry_after_s=wait_s, cause="login")
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        found = None
        for known, identity in self._tokens:  # all of them, however early one fits
            if hmac.compare_digest(digest, known):
                found = identity
        if found is None:
            self._failures.take(client, now_s)
            raise HttpError(401, "the token is not known here", headers=_ASK_FOR_TOKEN, cause="token")
        return found


def require(identity: Identity | None, needed: Role) -> None:
    """Raises: HttpError 401 for somebody unknown, 403 for somebody who may not."""
    if identity is None:
        raise HttpError(401, "say who you are: send a token, or log in", headers=_ASK_FOR_TOKEN, cause="unknown")
    if not identity.role.allows(needed):
        raise HttpError(403, f"this needs the role {needed.value}, yours is {identity.role.value}", cause="role")


def is_explicit(authorization: str) -> bool:
    """Whether no browser sends this by itself; what it remembers of Basic it does send."""
    return authorization[:7].lower() == "bearer "


def token_of(authorization: str) -> str:
    """The token of ``Bearer <token>``, or the password of ``Basic``, which is all some clients can send."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _common_name(certificate: Mapping[str, Any]) -> str:
    names = {key: value for part in certificate.get("subject", ()) for key, value in part}
    return str(names.get("commonName", "certificate"))[:100]
