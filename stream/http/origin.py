"""What a browser may do here on behalf of another site: nothing, except follow a link.

Two attacks are stopped. Cross-site requests: a page of somebody else makes the visitor's browser ask us, with our
cookie or, without tokens, simply from the visitor's machine. DNS rebinding: a name of somebody else suddenly points
at us, so that his page counts as ours; it is known by the name in Host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from stream.http.errors import HttpError
from stream.http.settings import is_loopback

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})


def check_host(host: str | None, *, own: Collection[str], any_name: bool) -> None:
    """Let through what is addressed to us: ``own`` names, localhost and plain addresses; any name if ``any_name``.

    Raises:
        HttpError: 400 for a Host that is none, 421 for a name that is not ours.
    """
    name = _host_name(host or "")
    if name is None:
        raise HttpError(400, "the Host header is missing or malformed", cause="host")
    if any_name or _is_address(name) or is_loopback(name) or name in {each.lower() for each in own}:
        return
    raise HttpError(421, "this service is not called by that name; add it to allowed_hosts", cause="host")


def check_origin(
    method: str, headers: Mapping[str, str], *, host: str, secure: bool, websocket: bool, ambient: bool
) -> None:
    """Refuse what another site's page asked for.

    ``ambient``: a cookie says who it is, which browsers send by themselves; then what changes something must show that
    it comes from our own page.

    Raises:
        HttpError: 403.
    """
    changing = websocket or method not in SAFE_METHODS
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if origin is not None and (changing or site is None) and not _is_own(origin, host, secure=secure):
        raise _foreign()
    if site is not None and site not in _OWN_SITES and (changing or not _follows_link(headers)):
        raise _foreign()
    if changing and ambient and origin is None and site is None:
        raise _foreign()


def _follows_link(headers: Mapping[str, str]) -> bool:
    return headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"


def _is_own(origin: str, host: str, *, secure: bool) -> bool:
    scheme, _, netloc = origin.partition("://")
    # A proxy we know nothing of may have taken HTTPS off; the other way round is an attack.
    return netloc.lower() == host.lower() and (scheme == "https" or (scheme == "http" and not secure))


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        port_is_valid = parts.port is None or parts.port >= 0
    except ValueError:
        return None
    bare = not (parts.path or parts.query or parts.fragment or parts.username is not None)
    return parts.hostname if bare and port_is_valid else None


@lru_cache(maxsize=256)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _foreign() -> HttpError:
    return HttpError(403, "a page of another site asked for this; it may not", cause="origin")
