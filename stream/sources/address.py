"""What a user names as a live source, made into an address that can be opened and one that can be shown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit

from stream.errors import SourceError
from stream.redaction import HIDDEN, redact_url
from stream.sources.mistaken import mistaken_address

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_WEBCAM = "webcam:"
_DEVICE = re.compile(r"/dev/video[0-9]+")
_UNWRITABLE = re.compile(r"[\s\x00-\x20\x7f\"<>`]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# ASCII alone: libav looks other names up as they are, and Python looks up what they are translated to.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.\-]+)(:[0-9]{1,5})?")
_MAX_HOST_LENGTH = 253
"""No name is longer, and libav cuts off what its buffers do not hold."""
# A path part worth naming a camera after: no parameters, nothing hidden, not as long as a token.
_PLAIN_PART = re.compile(r"[\w.\-]{1,24}")


class AddressKind(StrEnum):
    """How a source is reached; each kind has its own way of being opened."""

    RTSP = "rtsp"
    HTTP = "http"
    RTMP = "rtmp"
    UDP = "udp"
    SRT = "srt"
    WEBCAM = "webcam"
    FILE = "file"


_KINDS = {
    "rtsp": AddressKind.RTSP,
    "rtsps": AddressKind.RTSP,
    "http": AddressKind.HTTP,
    "https": AddressKind.HTTP,
    "rtmp": AddressKind.RTMP,
    "rtmps": AddressKind.RTMP,
    "udp": AddressKind.UDP,
    "rtp": AddressKind.UDP,
    "srt": AddressKind.SRT,
}
_ESCAPES = (
    "special characters of a password are written as %XX (@ is %40, : is %3A, / is %2F, ? is %3F, # is %23), "
    "and an @ in a path as %40"
)
_DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
# What follows the question mark of these is read by libav as options of the protocol: only harmless ones go through.
_OPTIONS = {
    AddressKind.UDP: frozenset({"localaddr", "sources", "reuse"}),
    AddressKind.SRT: frozenset({"mode", "streamid", "passphrase", "pbkeylen", "latency"}),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a source is. ``url`` holds the credentials: it goes to libav and nowhere else.

    For a webcam ``url`` is its index, name or device; for a file its path. ``label`` is for people: logs, errors,
    ``SourceInfo.location``, MLflow.
    """

    kind: AddressKind
    url: str = field(repr=False)
    label: str

    def __str__(self) -> str:
        return self.label

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Host and port that libav connects to; None where it would listen, and of what is at no host."""
        if self.kind in {AddressKind.WEBCAM, AddressKind.FILE}:
            return None
        scheme, _, rest = self.url.partition("://")
        found = _HOST.fullmatch(_authority(rest).rpartition("@")[2])
        if found is None:
            return None
        port = int(found.group(2)[1:]) if found.group(2) else _DEFAULT_PORTS.get(scheme, 0)
        return found.group(1).strip("[]"), port


def is_live(argument: str) -> bool:
    """Whether ``argument`` means anything but recorded files by their path: a URL, a webcam or its device.

    Also what only looks like an address: :func:`parse_address` then says how it is written.
    """
    return bool(_SCHEME.match(argument)) or _is_webcam(argument) or mistaken_address(argument) is not None


def parse_address(argument: str) -> Address:
    """The address that ``argument`` names; a file's path means that file, played at its own pace.

    Raises:
        SourceError: it is empty, cannot be an address, or its scheme is not known.
    """
    if not argument.strip():
        raise SourceError("a source is empty; was a variable not set?")
    if _is_webcam(argument):
        return _webcam(argument)
    if _SCHEME.match(argument):
        return _from_url(argument)
    if "\0" in argument:
        raise SourceError("this is no path: it holds a zero byte")
    if sentence := mistaken_address(argument):
        raise SourceError(sentence)
    # Path.expanduser raises for users it does not know; this leaves them as they are.
    path = str(Path(os.path.expanduser(argument)).absolute())  # noqa: PTH111 # see above
    return Address(AddressKind.FILE, path, path)


def name_of(address: Address) -> str:
    """A short name for a source that was given none: host and last part of the path, never credentials."""
    if address.kind is AddressKind.FILE:
        return Path(address.url).name
    if address.kind is AddressKind.WEBCAM:
        return f"webcam{address.url}" if address.url.isdecimal() else address.url.removeprefix("/dev/")
    if address.endpoint is None:
        return address.kind.value
    host = address.endpoint[0]
    _, _, path = address.label.partition("://")[2].removeprefix(f"{HIDDEN}@").partition("/")
    last = re.split(r"[?#]", path, maxsplit=1)[0].rstrip("/").rpartition("/")[2]
    return f"{host}-{last}" if _PLAIN_PART.fullmatch(last) else host


def _is_webcam(argument: str) -> bool:
    if argument.startswith(_WEBCAM) or _DEVICE.fullmatch(argument):
        return True
    return argument.isascii() and argument.isdecimal() and not os.path.lexists(argument)


def _webcam(argument: str) -> Address:
    device = argument.removeprefix(_WEBCAM)
    if not device or not device.isprintable() or device.startswith("//"):
        raise SourceError("this names no webcam; write its number (0) or its name (webcam:NAME)")
    return Address(AddressKind.WEBCAM, device, f"webcam {device}")


def _from_url(argument: str) -> Address:
    """No sentence repeats an address that is refused: what in it is a password is not known then."""
    scheme, _, rest = argument.partition("://")
    scheme = scheme.lower()
    kind = _KINDS.get(scheme)
    if kind is None:
        hint = "name a file by its path alone" if scheme == "file" else f"use one of {', '.join(_KINDS)}"
        raise SourceError(f"{scheme}:// is not known here; {hint}")
    if _UNWRITABLE.search(rest):
        raise SourceError(
            f"this {scheme} address holds a space, a quote or a control character; write it as %XX (a space is %20) "
            "or leave it out"
        )
    label = redact_url(argument)
    userinfo, location = _split_userinfo(rest)
    _check_location(scheme, location)
    _check_label(label, userinfo, location)
    _check_options(kind, location, label)
    prefix = f"{_encoded(userinfo)}@" if userinfo else ""
    # libav takes an empty user before a multicast group as part of the address.
    if rest.startswith("@") and kind is AddressKind.UDP:
        prefix = "@"
    return Address(kind, f"{scheme}://{prefix}{location}", label)


def _authority(rest: str) -> str:
    """User, password, host and port, of what follows ``scheme://``: up to where libav's own reading ends them."""
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _split_userinfo(rest: str) -> tuple[str, str]:
    """User and password, and all that follows them.

    Passwords are found as people paste them, with raw ``/``, ``?`` and ``#`` too where what is before these can be no
    host; they are encoded then, so that libav finds the same host.
    """
    authority = _authority(rest)
    end = authority.rfind("@")
    if end < 0 and ":" in authority and not _HOST.fullmatch(authority):
        end = rest.rfind("@")
    return rest[: max(0, end)], rest[end + 1 :]


def _check_location(scheme: str, location: str) -> None:
    authority = _authority(location)
    if not authority or (authority.startswith(":") and scheme not in {"udp", "rtp", "srt"}):
        raise SourceError(f"this {scheme} address names no host; it should look like {scheme}://host/path")
    host = _HOST.fullmatch(authority)
    port = int(host.group(2)[1:]) if host and host.group(2) else 0
    if authority.startswith(":"):
        return
    if host is None or port > 65_535 or len(host.group(1)) > _MAX_HOST_LENGTH:
        raise SourceError(f"this {scheme} address has a host or port that cannot be read; {_ESCAPES}")


def _check_label(label: str, userinfo: str, location: str) -> None:
    """What people are shown has to name the host that libav asks, and nothing of the password.

    ``rtsp://127.0.0.1:80/x@camera/y`` is this machine to libav, and to people who paste passwords with a ``/`` the
    camera: such an address is refused, for it is not known what was meant.
    """
    scheme, _, shown = label.partition("://")
    if _authority(shown).removeprefix("@") != (f"{HIDDEN}@" if userinfo else "") + _authority(location):
        raise SourceError(f"it is not certain which part of this {scheme.lower()} address is its host; {_ESCAPES}")


def _check_options(kind: AddressKind, location: str, label: str) -> None:
    allowed = _OPTIONS.get(kind)
    query = urlsplit(f"//{location}").query
    if allowed is None or not query:
        return
    unknown = {part.partition("=")[0] for part in query.split("&")} - allowed
    if unknown:
        raise SourceError(
            f"the address {label} has options that are not taken here; known are {', '.join(sorted(allowed))}"
        )


def _encoded(userinfo: str) -> str:
    """``user:password`` with everything encoded that would end it early; what is encoded already stays."""
    return quote(_BROKEN_ESCAPE.sub("%25", userinfo), safe="%:!$&'()*+,;=~")
