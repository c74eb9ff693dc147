"""Why a camera's address does not open, as a newcomer needs it: what is wrong, and what to try."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import av.error

from stream.discovery import knocking
from stream.discovery.onvif import NetworkCamera, Search, bracketed, find_cameras
from stream.discovery.soap import Credentials
from stream.discovery.vendors import RTSP_PORT, VENDOR_PATHS, VendorPaths, vendors_of
from stream.discovery.xml_reading import printable
from stream.errors import SourceError
from stream.redaction import HIDDEN
from stream.sources.address import Address, AddressKind
from stream.sources.connection import DisconnectedError
from stream.sources.live_probing import ProbeLimits, rtsp_sound

ASK_CAMERA_S = 1.0
"""How long the camera is asked for its own addresses when the one given is wrong."""

ASK_DEADLINE_S = 2.0

_BY_TCP = frozenset({AddressKind.RTSP, AddressKind.HTTP, AddressKind.RTMP})
_PAGES = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One sentence, and lines that may follow it; neither holds credentials."""

    sentence: str
    advice: tuple[str, ...] = ()


def diagnose(address: Address, failure: DisconnectedError) -> Diagnosis:
    """What ``failure``, that of opening ``address``, means; its own reason where nothing more can be found out.

    Takes a few seconds: the host is looked up, its usual ports are tried, the camera is asked for its streams.
    """
    cause = failure.__cause__
    plain = Diagnosis(f"{address}: {failure.reason}")
    foreign = isinstance(cause, (av.error.FFmpegError, OSError))
    if cause is None or not foreign or address.kind not in _BY_TCP or address.endpoint is None:
        return plain
    host, port = address.endpoint
    if isinstance(cause, av.error.HTTPUnauthorizedError):
        return Diagnosis(_refused_user(address))
    if isinstance(cause, av.error.HTTPNotFoundError):
        return _unknown_path(address, host, port)
    if isinstance(cause, (av.error.HTTPError, av.error.HTTPClientError)):
        return _sound_alone(address) or plain
    if not knocking.is_known(host):
        advice = "check its spelling or use its IP address ('videodisco cameras' lists cameras that answer)"
        return Diagnosis(f"{address}: the host {host} is not known; {advice}")
    answering = knocking.open_ports(host, dict.fromkeys([port, *knocking.USUAL_PORTS]))
    if port not in answering:
        return _closed_port(address, answering, refused=isinstance(cause, ConnectionRefusedError))
    if address.kind is AddressKind.HTTP:
        return _page_there(address, host, answering) or plain
    return _wrong_service(address, host, port, answering) or plain


def path_table(vendors: Iterable[VendorPaths], place: str) -> Iterator[str]:
    """The makers' paths as aligned lines, with how to try one at ``place``, a host with or without a port."""
    rows = [(vendor.maker, vendor.main, vendor.sub, remark(vendor)) for vendor in vendors]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield f"  {'  '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True))}".rstrip()
    path = rows[0][2] or rows[0][1]
    yield "The second path is the small stream: enough for detection, and much lighter. In quotes, as in"
    yield f"  videodisco probe 'rtsp://USER:PASSWORD@{place}{path}'"


def remark(vendor: VendorPaths) -> str:
    """What else there is to know of a maker's address."""
    scheme = "" if vendor.scheme == "rtsp" else f"{vendor.scheme}, "
    port = "" if vendor.port == RTSP_PORT else f"{scheme}port {vendor.port}"
    return "; ".join(part for part in (port, vendor.note) if part)


def _refused_user(address: Address) -> str:
    if HIDDEN in address.label:
        return (
            f"{address}: the camera refuses this user or password (401); some have accounts of their own for streams, "
            "and many lock an account for a while after a few wrong tries"
        )
    scheme, _, rest = address.label.partition("://")
    return (
        f"{address} wants a user and a password; write them into the address: {scheme}://USER:PASSWORD@{rest} "
        "(special characters of the password as %XX: @ is %40)"
    )


def _unknown_path(address: Address, host: str, port: int) -> Diagnosis:
    camera = _ask_camera(host, _credentials(address))
    sentence = f"{address}: there is no stream at this path (404)"
    uris = [f"  {stream.name}: {stream.uri}" for stream in camera.streams if stream.uri]
    if uris:
        return Diagnosis(f"{sentence}; the camera itself names the streams below", tuple(uris))
    kind = " ".join(dict.fromkeys(word for word in (camera.maker, camera.model or camera.name) if word))
    vendors = vendors_of(kind)
    place = (
        bracketed(host) if port == RTSP_PORT or address.kind is not AddressKind.RTSP else f"{bracketed(host)}:{port}"
    )
    if vendors:
        return Diagnosis(f"{sentence}; it is a {kind}, whose usual paths are below", tuple(path_table(vendors, place)))
    return Diagnosis(f"{sentence}; the paths usual for its maker are below", tuple(path_table(VENDOR_PATHS, place)))


def _ask_camera(host: str, credentials: Credentials | None) -> NetworkCamera:
    """What the camera says of itself, little or nothing where it has no ONVIF."""
    search = Search(ASK_CAMERA_S, (host,), credentials, ASK_DEADLINE_S)
    try:
        found = asyncio.run(find_cameras(search))
    except SourceError:
        return NetworkCamera(host, "")
    return next(iter(found.cameras), NetworkCamera(host, ""))


def _credentials(address: Address) -> Credentials | None:
    """The user that the address names, for asking the same camera another way."""
    userinfo, _, _ = urlsplit(address.url).netloc.rpartition("@")
    user, password = (unquote(part) for part in userinfo.partition(":")[::2])
    return Credentials(user, password) if user and ":" not in user else None


def _closed_port(address: Address, answering: tuple[int, ...], *, refused: bool) -> Diagnosis:
    host, port = address.endpoint or ("", 0)
    sentence = f"{address}: port {port} of {host} {'refuses connections' if refused else 'does not answer'}"
    if not answering:
        usual = ", ".join(str(number) for number in knocking.USUAL_PORTS if number != port)
        question = "is the camera on, in this network, and is this its address?"
        return Diagnosis(f"{sentence}, and ports {usual} do not answer either; {question}")
    services = ", ".join(f"{number} ({knocking.USUAL_PORTS[number]})" for number in answering)
    return Diagnosis(f"{sentence}; what answers there is port {services}: {_rtsp_at(address, answering)}")


def _rtsp_at(address: Address, answering: tuple[int, ...]) -> str:
    """The same address on a port where RTSP is usual, or that there is none."""
    port = next((number for number in answering if knocking.USUAL_PORTS.get(number) == "RTSP"), None)
    if port is None:
        return "RTSP may be switched off in the camera's settings, or on a port that stands there"
    host = bracketed(address.endpoint[0]) if address.endpoint else ""
    userinfo = f"{HIDDEN}@" if f"{HIDDEN}@" in address.label else ""
    path = f"/{address.label.partition('://')[2].partition('/')[2]}" if address.kind is AddressKind.RTSP else "/"
    return f"try rtsp://{userinfo}{host}:{port}{path}"


def _sound_alone(address: Address) -> Diagnosis | None:
    """Asked for its picture, an RTSP camera that sends none refuses without saying why."""
    sound = rtsp_sound(address, ProbeLimits()) if address.kind is AddressKind.RTSP else None
    if sound is None:
        return None
    return Diagnosis(f"{address} sends sound alone ({sound.codec}) and no picture; is its video switched on?")


def _page_there(address: Address, host: str, answering: tuple[int, ...]) -> Diagnosis | None:
    """An HTTP address that shows a page or a picture instead of sending video."""
    kind = printable(knocking.content_type(address.url))
    if kind not in _PAGES and not kind.startswith("image/"):
        return None
    what = "a web page" if kind in _PAGES else "a single picture"
    sentence = f"{address} is {what} ({kind}), not a stream; {_rtsp_at(address, answering)}; usual paths are below"
    return Diagnosis(sentence, tuple(path_table(VENDOR_PATHS, bracketed(host))))


def _wrong_service(address: Address, host: str, port: int, answering: tuple[int, ...]) -> Diagnosis | None:
    """An open port that gives no stream."""
    word = knocking.greeting(host, port)
    if word is None:
        return Diagnosis(
            f"{address}: port {port} of {host} takes the connection and then says nothing; the camera may be "
            "starting, hanging (switch it off and on), or have all the viewers it can serve"
        )
    if address.url.startswith("rtsp://") and not word.startswith("RTSP/"):
        others = tuple(number for number in answering if number != port)
        what = "is a web server" if word.startswith("HTTP/") else "does not speak RTSP"
        return Diagnosis(f"{address}: what listens on port {port} of {host} {what}: {_rtsp_at(address, others)}")
    return None
