"""Who is at the other end: the address that limits count by, and how the browser sees us."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiohttp import web
from multidict import CIMultiDictProxy

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


def seen(peer: str, *, tls: bool, headers: CIMultiDictProxy[str], proxies: Sequence[Network]) -> Seen:
    """Look behind trusted proxies; what others claim is not believed."""
    if not is_proxy(peer, proxies):
        return Seen(counted_as(peer), tls)
    protocols = _listed(headers, "X-Forwarded-Proto")
    hops = _listed(headers, "X-Forwarded-For")[-_FORWARDED_MAX:]
    return Seen(counted_as(_behind(peer, hops, proxies)), tls or protocols[-1:] == ["https"])


def is_proxy(address: str, proxies: Sequence[Network]) -> bool:
    found = _address(address) if proxies else None
    return found is not None and any(found in network for network in proxies)


@lru_cache(maxsize=256)
def counted_as(address: str) -> str:
    """An IPv6 client has a whole /64 to itself; IPv4 in IPv6 is IPv4."""
    found = _address(address)
    if isinstance(found, ipaddress.IPv6Address) and not found.is_loopback:
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found) if found is not None else address


def _listed(headers: CIMultiDictProxy[str], name: str) -> list[str]:
    """Some proxies extend the line that came, others add one."""
    return [each.strip().lower() for line in headers.getall(name, ()) for each in line.split(",")]


def _behind(peer: str, hops: Sequence[str], proxies: Sequence[Network]) -> str:
    """The nearest of the addresses that is none of our proxies."""
    nearest = peer
    for hop in reversed(hops):
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
