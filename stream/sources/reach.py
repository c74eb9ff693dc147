"""Which places a source may be at, where somebody named it whose word is not the operator's.

A program that connects to whatever it is told can be made to talk to its own machine, to the metadata service of a
cloud, or to read local files. Names are resolved here before each connection, for they may mean something else today.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path

import psutil

from stream.sources.address import Address, AddressKind
from stream.sources.settings import Network, ReachSettings

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")))
"""Where clouds tell a machine its secrets; the last two are not link-local."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_DEVICE = re.compile(r"[0-9]{1,3}|/dev/video[0-9]{1,3}")


def refusal(address: Address, reach: ReachSettings) -> str | None:
    """Why a guarded source may not be at ``address``, in a sentence; None: it may. Asks the name service.

    A name that is not known is let through: connecting to it says so.
    """
    match address.kind:
        case AddressKind.FILE:
            return None if _is_within(Path(address.url), reach.folders) else "local files are not allowed here"
        case AddressKind.WEBCAM:
            allowed = reach.webcams and _DEVICE.fullmatch(address.url)
            return None if allowed else "webcams of this machine are not allowed here"
    if address.endpoint is None:
        return "it would listen on this machine, which is not allowed here"
    listens = address.kind is AddressKind.UDP
    for found in _addresses(*address.endpoint):
        if trouble := _trouble(found, reach.networks, listens=listens):
            return trouble
    return None


def _trouble(address: IpAddress, allowed: tuple[Network, ...], *, listens: bool) -> str | None:
    if any(address.version == network.version and address in network for network in allowed):
        return None
    for meant in (address, *_embedded(address)):
        if meant in _METADATA or meant.is_link_local:
            return "it is at a link-local or metadata address, which is not allowed here"
        if meant.is_loopback or meant.is_unspecified or meant in _own_addresses():
            return "it is at this machine itself, which is not allowed here"
        if meant.is_multicast != listens:
            return "it would listen on this machine, which is not allowed here" if listens else "it is at no host"
    return None


def _embedded(address: IpAddress) -> list[IpAddress]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[IpAddress] = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _addresses(host: str, port: int) -> list[IpAddress]:
    try:
        # As bytes the name is looked up as it is: libav does no more.
        found = socket.getaddrinfo(host.encode(), port or None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _own_addresses() -> set[IpAddress]:
    own: set[IpAddress] = set()
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family in {socket.AF_INET, socket.AF_INET6}:
                own.add(ipaddress.ip_address(each.address.partition("%")[0]))
    return own


def _is_within(path: Path, folders: tuple[Path, ...]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(folder.expanduser().resolve()) for folder in folders)
