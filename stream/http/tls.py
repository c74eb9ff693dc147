"""HTTPS: certificates that may be renewed while the service runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from stream.errors import UsageError
from stream.http.settings import TlsSettings

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class Certificates:
    """Gives each new connection a context with the newest good certificate.

    Raises:
        UsageError: when made with files that cannot be used. Later, such files are logged and the old ones serve on.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._state = self._stat()
        self._context = _context(settings)
        self._looked_s: float | None = None

    def context(self, now_s: float) -> ssl.SSLContext:
        """Looks at the files at most once a second."""
        if self._looked_s is None or now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            self._renew()
        return self._context

    def _renew(self) -> None:
        state = self._stat()
        if state == self._state:
            return
        self._state = state
        try:
            self._context = _context(self._settings)
        except UsageError as exc:
            log.warning("the new certificate is not used: %s", exc)
        else:
            log.info("the certificate %s was renewed", self._settings.certificate)

    def _stat(self) -> tuple[tuple[int, int, int] | None, ...]:
        files = (self._settings.certificate, self._settings.key, self._settings.client_ca)
        return tuple(_stat(path) for path in files if path is not None)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # without a password OpenSSL would ask for one on the terminal
    password = settings.key_password.get_secret_value() if settings.key_password else ""
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=password)
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"certificate {settings.certificate} and key {settings.key} cannot be used: {_reason(exc)}"
        ) from exc
    if settings.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(settings.client_ca)
        except (OSError, ValueError) as exc:
            raise UsageError(f"client_ca {settings.client_ca} cannot be used: {_reason(exc)}") from exc
    return context


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "it is not PEM").lower().replace("_", " ")
    return (isinstance(exc, OSError) and exc.strerror) or str(exc)
