"""Asking a network who is there: one question on every interface, and the datagrams that answer it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import psutil

from stream.discovery.ws_messages import (
    CAMERA_TYPES,
    MULTICAST_HOST,
    Announcement,
    announcements,
    new_message_id,
    probe,
)
from stream.discovery.xml_reading import UnreadableXmlError

REPEAT_AFTER_S = 0.3
"""A datagram may be lost: every question is sent again after this time."""

MAX_SENDERS = 512
MAX_DATAGRAMS_PER_SENDER = 64
"""More from one address is not read: a recorder announces a few dozen cameras, a flood must not hide the others."""


class Questions(asyncio.DatagramProtocol):
    """The questions of one search; every announcement that answers one of them goes to ``on_announcement``."""

    def __init__(self, on_announcement: Callable[[Announcement], None]) -> None:
        self.unread_answers = 0
        self._on_announcement = on_announcement
        self._kinds = {new_message_id(): kind for kind in CAMERA_TYPES}
        self._read: Counter[str] = Counter()

    @property
    def datagrams(self) -> list[bytes]:
        return [probe(message_id, kind) for message_id, kind in self._kinds.items()]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        sender = str(addr[0])
        if not self._has_room_for(sender):
            self.unread_answers += 1
            return
        self._read[sender] += 1
        try:
            for announcement in announcements(data, sender, frozenset(self._kinds)):
                self._on_announcement(announcement)
        except UnreadableXmlError:
            self.unread_answers += 1

    def error_received(self, exc: Exception) -> None:
        """A host without such a service may say so; that is an answer as well."""

    def _has_room_for(self, sender: str) -> bool:
        if sender not in self._read:
            return len(self._read) < MAX_SENDERS
        return self._read[sender] < MAX_DATAGRAMS_PER_SENDER


def interface_addresses() -> list[str]:
    """The IPv4 addresses of this machine's interfaces that are up, loopback included."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    addresses = psutil.net_if_addrs().items()
    return [item.address for name, items in addresses if name in up for item in items if item.family == socket.AF_INET]


async def ask_networks(questions: Questions, interfaces: Sequence[str], port: int, timeout_s: float) -> list[str]:
    """Ask everybody on the networks of ``interfaces`` and listen for ``timeout_s``; returns those it could use."""
    return await _ask(questions, [(address, address, MULTICAST_HOST) for address in interfaces], port, timeout_s)


async def ask_hosts(questions: Questions, hosts: Sequence[str], port: int, timeout_s: float) -> list[str]:
    """Ask only ``hosts`` (IP addresses) and listen for ``timeout_s``; returns those that could be sent to."""
    return await _ask(questions, [(host, "", host) for host in hosts], port, timeout_s)


async def _ask(questions: Questions, routes: Sequence[tuple[str, str, str]], port: int, timeout_s: float) -> list[str]:
    """Each route is its name, the own address to send from (empty: any) and the address to send to."""
    ends_at_s = asyncio.get_running_loop().time() + timeout_s
    with ExitStack() as stack:
        asked = []
        for name, own, host in routes:
            try:
                transport = await _transport(questions, own, host)
            except OSError:
                continue  # an interface that cannot multicast, an address family that this machine has not
            stack.callback(transport.close)
            asked.append((name, host, transport))
        for wait_s in (min(REPEAT_AFTER_S, timeout_s / 2), None):
            for _name, host, transport in asked:
                for datagram in questions.datagrams:
                    transport.sendto(datagram, (host, port))
            left_s = ends_at_s - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, left_s if wait_s is None else wait_s))
    return [name for name, _host, _transport in asked]


async def _transport(questions: Questions, own: str, host: str) -> asyncio.DatagramTransport:
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    sending = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if own:
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
            sending.bind((own, 0))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: questions, sock=sending)
    except OSError:
        sending.close()
        raise
    return transport
