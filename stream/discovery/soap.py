"""The few ONVIF messages that lead to a camera's streams: asking, and reading the answers."""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from stream.discovery.xml_reading import UnreadableXmlError, printable, read_xml, text_at
from stream.redaction import HIDDEN, redact_url

MAX_PROFILES = 8
"""Streams of one camera that are asked for; the first are the ones people use."""

NONCE_BYTES = 16
"""Some cameras refuse longer ones."""

# From the clock of a camera without a battery up to where the calendar ends: times are counted on from what is told.
_YEARS = range(1970, 9999)

_STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope">'
    "{header}<s:Body>{body}</s:Body></s:Envelope>"
)
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
_SECURITY = (
    f'<s:Header><w:Security xmlns:w="{_WSSE}-wssecurity-secext-1.0.xsd" s:mustUnderstand="1"><w:UsernameToken>'
    "<w:Username>{user}</w:Username>"
    f'<w:Password Type="{_WSSE}-username-token-profile-1.0#PasswordDigest">{{digest}}</w:Password>'
    f'<w:Nonce EncodingType="{_WSSE}-soap-message-security-1.0#Base64Binary">{{nonce}}</w:Nonce>'
    f'<u:Created xmlns:u="{_WSSE}-wssecurity-utility-1.0.xsd">{{created}}</u:Created>'
    "</w:UsernameToken></w:Security></s:Header>"
)
_DEVICE = "http://www.onvif.org/ver10/device/wsdl"
_MEDIA = "http://www.onvif.org/ver10/media/wsdl"
_SCHEMA = "http://www.onvif.org/ver10/schema"

GET_CLOCK = f'<GetSystemDateAndTime xmlns="{_DEVICE}"/>'
GET_INFORMATION = f'<GetDeviceInformation xmlns="{_DEVICE}"/>'
GET_CAPABILITIES = f'<GetCapabilities xmlns="{_DEVICE}"><Category>Media</Category></GetCapabilities>'
GET_PROFILES = f'<GetProfiles xmlns="{_MEDIA}"/>'


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user of a camera."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CameraStream:
    """One way a camera sends its picture. ``codec`` is as the camera spells it; ``width`` and ``height`` are 0 where
    it does not say; ``uri`` holds no credentials, and is empty where the camera did not tell it."""

    name: str
    codec: str = ""
    width: int = 0
    height: int = 0
    uri: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A stream with the token by which the camera is asked for its address."""

    token: str
    stream: CameraStream


class SoapFaultError(Exception):
    """The device answered that it will not. ``wants_user`` says that it asks for a (nother) user or password."""

    def __init__(self, reason: str, *, wants_user: bool) -> None:
        super().__init__(reason)
        self.wants_user = wants_user


def get_stream_uri(token: str) -> str:
    return (
        f'<GetStreamUri xmlns="{_MEDIA}"><StreamSetup><Stream xmlns="{_SCHEMA}">RTP-Unicast</Stream>'
        f'<Transport xmlns="{_SCHEMA}"><Protocol>RTSP</Protocol></Transport></StreamSetup>'
        f"<ProfileToken>{escape(token)}</ProfileToken></GetStreamUri>"
    )


def envelope(body: str, credentials: Credentials | None, created: datetime, nonce: bytes) -> bytes:
    """A message with ``body``, signed by ``credentials``; ``created`` is the time by the device's own clock (UTC).

    The password itself is not sent: only a digest of it with the nonce and the time.
    """
    return _ENVELOPE.format(header=_security(credentials, created, nonce), body=body).encode()


def read_answer(data: bytes) -> ET.Element:
    """The body of an answer.

    Raises:
        SoapFaultError: the device refuses.
        UnreadableXmlError: it is no such answer.
    """
    body = read_xml(data).find("{*}Body")
    if body is None:
        raise UnreadableXmlError("it has no body")
    fault = body.find("{*}Fault")
    if fault is not None:
        codes = " ".join(text_at(element, ".") for element in fault.iter() if element.tag.endswith("}Value"))
        reason = text_at(fault, "{*}Reason/{*}Text") or text_at(fault, "faultstring") or codes
        raise SoapFaultError(reason, wants_user=_is_about_user(f"{codes} {reason}"))
    return body


def clock_in(body: ET.Element) -> datetime | None:
    """The device's time, None where it does not tell one that could be."""
    utc = body.find("{*}GetSystemDateAndTimeResponse/{*}SystemDateAndTime/{*}UTCDateTime")
    if utc is None:
        return None
    parts = ("Date/{*}Year", "Date/{*}Month", "Date/{*}Day", "Time/{*}Hour", "Time/{*}Minute", "Time/{*}Second")
    try:
        year, month, day, hour, minute, second = (int(text_at(utc, f"{{*}}{part}")) for part in parts)
        told = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return told if told.year in _YEARS else None


def media_address_in(body: ET.Element) -> str:
    """Where the device wants to be asked for its streams, empty where it does not say."""
    return text_at(body, "{*}GetCapabilitiesResponse/{*}Capabilities/{*}Media/{*}XAddr")


def maker_and_model_in(body: ET.Element) -> tuple[str, str]:
    information = "{*}GetDeviceInformationResponse"
    return text_at(body, f"{information}/{{*}}Manufacturer"), text_at(body, f"{information}/{{*}}Model")


def profiles_in(body: ET.Element) -> list[Profile]:
    """The first :data:`MAX_PROFILES` streams, still without their addresses."""
    found = body.findall("{*}GetProfilesResponse/{*}Profiles")[:MAX_PROFILES]
    return [Profile(printable(element.get("token", "")), _stream(element)) for element in found]


def stream_uri_in(body: ET.Element) -> str:
    """The stream's address without credentials; empty where it is none that could be opened."""
    uri = text_at(body, "{*}GetStreamUriResponse/{*}MediaUri/{*}Uri")
    try:
        parts = urlsplit(uri)
        usable = parts.scheme in _STREAM_SCHEMES and bool(parts.hostname)
    except ValueError:
        return ""
    return redact_url(uri).replace(f"{HIDDEN}@", "") if usable and " " not in uri else ""


def _stream(profile: ET.Element) -> CameraStream:
    encoder = profile.find("{*}VideoEncoderConfiguration")
    name = text_at(profile, "{*}Name") or printable(profile.get("token", ""))
    if encoder is None:
        return CameraStream(name)
    width, height = (_number(text_at(encoder, f"{{*}}Resolution/{{*}}{side}")) for side in ("Width", "Height"))
    return CameraStream(name, text_at(encoder, "{*}Encoding"), width, height)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0


def _is_about_user(words: str) -> bool:
    return any(word in words.casefold() for word in ("notauthorized", "not authorized", "failedauth", "unauthorized"))


def _security(credentials: Credentials | None, created: datetime, nonce: bytes) -> str:
    if credentials is None:
        return ""
    moment = created.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    signed = nonce + moment.encode() + credentials.password.encode()
    digest = hashlib.sha1(signed, usedforsecurity=False).digest()  # the protocol knows no other
    return _SECURITY.format(
        user=escape(credentials.user),
        digest=base64.b64encode(digest).decode(),
        nonce=base64.b64encode(nonce).decode(),
        created=moment,
    )
