"""Who is at the other end: the address that limits count by, and how the browser sees us."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORWARDED_MAX = 32
"""Proxies in a row that are looked at; more is nonsense."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a request reached us. ``client``: what limits count by; ``secure``: by HTTPS, as far as the client sees."""

    client: str
    secure: bool


REQUEST_ID = web.RequestKey("request_id", str)
SEEN = web.RequestKey("seen", Seen)


def seen(peer: str, *, tls: bool, headers: Mapping[str, str], proxies: Sequence[Network]) -> Seen:
    """Look behind trusted proxies; what others claim is not believed."""
    if not is_proxy(peer, proxies):
        return Seen(counted_as(peer), tls)
    proto = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    return Seen(counted_as(_behind(peer, headers, proxies)), tls or proto == "https")


def is_proxy(address: str, proxies: Sequence[Network]) -> bool:
    found = _address(address)
    return found is not None and any(found in network for network in proxies)


def counted_as(address: str) -> str:
    """An IPv6 client has a whole /64 to itself; IPv4 in IPv6 is IPv4."""
    found = _address(address)
    if isinstance(found, ipaddress.IPv6Address) and not found.is_loopback:
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found) if found is not None else address


def _behind(peer: str, headers: Mapping[str, str], proxies: Sequence[Network]) -> str:
    """The nearest address of X-Forwarded-For that is none of our proxies."""
    chain = headers.get("X-Forwarded-For", "").split(",")[-_FORWARDED_MAX:]
    nearest = peer
    for text in reversed(chain):
        hop = text.strip()
        if _address(hop) is None:
            return nearest
        nearest = hop
        if not is_proxy(hop, proxies):
            return hop
    return nearest


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found
