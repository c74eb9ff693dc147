"""WS-Discovery as cameras speak it: the question sent to all, and the reading of what comes back."""

from __future__ import annotations

import ipaddress
import uuid
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from stream.discovery.xml_reading import UnreadableXmlError, printable, read_xml, text_at

MULTICAST_HOST = "239.255.255.250"
DISCOVERY_PORT = 3702

CAMERA_TYPES: Final = (
    ("http://www.onvif.org/ver10/network/wsdl", "NetworkVideoTransmitter"),
    ("http://www.onvif.org/ver10/device/wsdl", "Device"),
)
"""What is asked for, one question each: asked for both at once only devices that are both would answer."""

MAX_SCOPES = 100
MAX_ADDRESSES = 16

_PROBE = """<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
 xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:t="{namespace}">
<s:Header><a:MessageID>{message_id}</a:MessageID><a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To>
<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action></s:Header>
<s:Body><d:Probe><d:Types>t:{name}</d:Types></d:Probe></s:Body></s:Envelope>"""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a device says of itself when asked who is there; ``sender`` is the IP address that said it.

    ``addresses`` are its own claims of where it is to be asked: any text, from anybody.
    """

    endpoint: str
    sender: str
    addresses: tuple[str, ...]
    scopes: tuple[str, ...]

    @property
    def address(self) -> str | None:
        """Where to ask it: the first of its addresses that lies on the machine which answered; None without one."""
        return next((address for address in self.addresses if _is_http_at(address, self.sender)), None)

    def scope(self, kind: str) -> str:
        """The value of ``onvif://www.onvif.org/<kind>/<value>``, empty where it says none."""
        prefix = f"onvif://www.onvif.org/{kind}/"
        values = (scope[len(prefix) :] for scope in self.scopes if scope.lower().startswith(prefix))
        return printable(unquote(next(values, "")))


def new_message_id() -> str:
    return f"urn:uuid:{uuid.uuid4()}"


def probe(message_id: str, kind: tuple[str, str]) -> bytes:
    """The question for devices of one of :data:`CAMERA_TYPES`."""
    namespace, name = kind
    return _PROBE.format(message_id=message_id, namespace=namespace, name=name).encode()


def announcements(data: bytes, sender: str, message_ids: frozenset[str]) -> list[Announcement]:
    """The devices in one datagram from ``sender``, an answer to one of ``message_ids``.

    Raises:
        UnreadableXmlError: it is no such answer.
    """
    envelope = read_xml(data)
    if _uuid_of(text_at(envelope, "{*}Header/{*}RelatesTo")) not in {_uuid_of(known) for known in message_ids}:
        raise UnreadableXmlError("it answers a question that was not asked")
    matches = envelope.findall("{*}Body/{*}ProbeMatches/{*}ProbeMatch")
    return [
        Announcement(
            endpoint=text_at(match, "{*}EndpointReference/{*}Address"),
            sender=sender,
            addresses=_listed(match.findtext("{*}XAddrs"), MAX_ADDRESSES),
            scopes=_listed(match.findtext("{*}Scopes"), MAX_SCOPES),
        )
        for match in matches
    ]


def _listed(text: str | None, at_most: int) -> tuple[str, ...]:
    return tuple(printable(word) for word in (text or "").split()[:at_most])


def _uuid_of(message_id: str) -> str:
    """Devices write ``urn:uuid:``, ``uuid:`` or nothing before it, in either case."""
    return message_id.rpartition(":")[2].lower()


def _is_http_at(address: str, host: str) -> bool:
    try:
        parts = urlsplit(address)
        same = ipaddress.ip_address(parts.hostname or "") == ipaddress.ip_address(host)
        return same and parts.scheme in ("http", "https") and parts.port != 0 and parts.username is None
    except ValueError:
        return False
