"""One connection to a live source: opened, read and closed on one thread, and every way it can fail told in a sentence.

libav is given our own options alone. Which protocols and formats it may use is fixed by the kind of address, so that
nothing a server or playlist says leads it to files or to other kinds of servers.
"""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import av.error
from av.codec.context import Flags
from av.container import InputContainer
from av.device import enumerate_input_devices
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from stream.errors import SourceError
from stream.redaction import redact_url
from stream.sources.address import Address, AddressKind
from stream.sources.backoff import Failure
from stream.sources.opening import MAX_PICTURE_PX, open_file
from stream.sources.reach import refusal
from stream.sources.settings import ReachSettings

_ANALYSE_S = 2.0
"""How long libav may look at a stream before it says what is in it; the rest shows while it is decoded."""

_WARMING_UP_S = 0.005
"""Some webcams have nothing to give at first and say so at once."""

_PATIENCE = 0.9
"""An error after so much of the time limit is the limit: over RTSP libav calls it invalid data."""

_STREAMED_FORMATS = "hls,mpegts,mpjpeg,mjpeg,jpeg_pipe,mov,matroska,webm,flv,avi,h264,hevc,mpeg,aac,mp3,webvtt,asf,ogg"
_UNTIMED_FORMATS = frozenset({"mpjpeg", "mjpeg", "jpeg_pipe", "h264", "hevc"})
"""What states no times; libav makes some up from a rate that it guesses."""

_VIDEO4LINUX = Path("/sys/class/video4linux")


class Limits(Protocol):
    """The part of the settings that opening needs."""

    @property
    def rtsp_transport(self) -> str: ...

    @property
    def open_timeout_s(self) -> float: ...

    @property
    def read_timeout_s(self) -> float: ...

    @property
    def guard(self) -> ReachSettings | None: ...


class DisconnectedError(Exception):
    """A connection did not come about or is lost. ``reason`` is a sentence without credentials."""

    def __init__(self, kind: Failure, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Opening:
    """What libav is told about an address."""

    url: str
    format: str | None
    options: dict[str, str]


class Connection:
    """An open source and its one video stream. Not thread-safe; whoever opens it closes it.

    ``paced`` sources can be read faster than they play, ``finite`` ones really end, ``untimed`` ones state no times
    of their own worth believing. ``truncated`` says why a file could not be read to its end.
    """

    def __init__(self, container: InputContainer, address: Address, limits: Limits) -> None:
        self.container = container
        self.stream = _video_stream(container)
        self.context = self.stream.codec_context
        self.truncated: str | None = None
        self._address = address
        self._limits = limits
        format_names = set(container.format.name.split(","))
        over_http = address.kind is AddressKind.HTTP
        self.finite = address.kind is AddressKind.FILE or (over_http and bool(container.duration))
        self.paced = self.finite or (over_http and "hls" in format_names)
        self.untimed = over_http and bool(format_names & _UNTIMED_FORMATS)
        self._prepare()

    @property
    def frame_rate(self) -> Fraction:
        """Pictures a second by the source's word, 0 where it says nothing."""
        return Fraction(0) if self.untimed else Fraction(self.stream.average_rate or self.stream.guessed_rate or 0)

    def close(self) -> None:
        self.container.close()

    def packets(self) -> Iterator[av.Packet[VideoStream]]:
        """The video's packets until the source's end. Raises DisconnectedError when reading fails or takes too long."""
        packets = self.container.demux(self.stream)
        while True:
            started_s = time.monotonic()
            try:
                packet = next(packets, None)
            except av.error.BlockingIOError:
                time.sleep(_WARMING_UP_S)
                packets = self.container.demux(self.stream)
                continue
            except (av.error.FFmpegError, OSError) as exc:
                if self._address.kind is AddressKind.FILE:
                    self.truncated = f"{self._address.label}: reading stopped before the end: {_plain(exc)}"
                    return
                raise _lost(exc, time.monotonic() - started_s, self._limits) from _scrubbed(exc)
            if packet is None:
                return
            waited_s = time.monotonic() - started_s
            # An empty packet would tell the decoder that this was all.
            if packet.size:
                yield packet
            if waited_s >= self._limits.read_timeout_s and self._address.kind is not AddressKind.FILE:
                # libav first hands over what its parser still held, and would wait as long again for more.
                raise _lost(TimeoutError(), waited_s, self._limits)

    def _prepare(self) -> None:
        for other in self.container.streams:
            # What nobody wants would keep the read deadline from passing while the picture is gone.
            if other is not self.stream:
                other.discard = Discard.all
        # Frame threads would hold pictures back; slices are hardly ever sent.
        self.context.thread_count = 1
        self.context.options = {"max_pixels": str(MAX_PICTURE_PX)}
        if not self.paced:
            self.context.flags |= Flags.low_delay


def connect(address: Address, limits: Limits) -> Connection:
    """Open ``address`` within ``limits.open_timeout_s`` (twice that where libav connects and then finds nothing).

    Raises:
        DisconnectedError: it cannot be reached, refuses, or is where the limits' guard lets nobody go.
    """
    # Each time anew: the same name may lead elsewhere by now.
    if limits.guard is not None and (trouble := refusal(address, limits.guard)):
        raise DisconnectedError(Failure.REFUSED, trouble)
    container = _open_file(address) if address.kind is AddressKind.FILE else _open_stream(address, limits)
    try:
        return Connection(container, address, limits)
    except BaseException:
        container.close()
        raise


def webcam_input(device: str, platform: str = sys.platform) -> tuple[str, str]:
    """libav's format and address of the webcam with this number, name or device.

    Raises:
        DisconnectedError: there is none of this name.
    """
    if platform == "darwin":
        return "avfoundation", f"{device}:none"
    if platform == "win32":
        return "dshow", f"video={_directshow_name(device)}"
    if device.isdecimal():
        return "v4l2", f"/dev/video{device}"
    return "v4l2", device if device.startswith("/dev/") else _device_called(device)


def _open_file(address: Address) -> InputContainer:
    try:
        return open_file(Path(address.url))
    except SourceError as exc:
        raise DisconnectedError(Failure.REFUSED, str(exc)) from exc


def _open_stream(address: Address, limits: Limits) -> InputContainer:
    opening = _opening(address, limits)
    started_s = time.monotonic()
    try:
        return av.open(
            opening.url,
            format=opening.format,
            options=opening.options,
            timeout=(limits.open_timeout_s, limits.read_timeout_s),
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError) as exc:
        raise _not_opened(exc, address, time.monotonic() - started_s, limits) from _scrubbed(exc)


def _opening(address: Address, limits: Limits) -> _Opening:
    scheme = address.url.partition("://")[0]
    limit_us = str(round(limits.read_timeout_s * 1e6))
    # libav would wait for twenty pictures to measure a rate; one of nobuffer's would throw the first keyframe away.
    common = {"analyzeduration": str(round(_ANALYSE_S * 1e6)), "fpsprobesize": "0"}
    match address.kind:
        case AddressKind.RTSP:
            options = {
                "rtsp_transport": limits.rtsp_transport,
                "timeout": limit_us,
                "allowed_media_types": "video",
                "protocol_whitelist": "rtsp,rtp,udp,tcp,tls,crypto",
            }
            return _Opening(address.url, "rtsp", common | options)
        case AddressKind.HTTP:
            # A playlist is joined near its newest piece.
            formats = _STREAMED_FORMATS
            if limits.guard is not None:
                # A playlist or a redirection would lead to where nobody has looked.
                formats = formats.removeprefix("hls,")
                common["max_redirects"] = "0"
            options = {"rw_timeout": limit_us, "live_start_index": "-2", "format_whitelist": formats}
            protocols = {"protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto,data"}
            return _Opening(address.url, None, common | options | protocols)
        case AddressKind.RTMP:
            options = {"rw_timeout": limit_us, "rtmp_live": "live", "protocol_whitelist": "rtmp,rtmps,tcp,tls,crypto"}
            return _Opening(address.url, "flv", common | options)
        case AddressKind.WEBCAM:
            name, url = webcam_input(address.url)
            # Apple's devices take no rate that they were not asked for; DirectShow's own buffer is too small.
            wanted = {"avfoundation": {"framerate": "30"}, "dshow": {"rtbufsize": "64M"}}
            return _Opening(url, name, wanted.get(name, {}))
        case _:
            options = {"protocol_whitelist": f"{scheme},udp,rtp"}
            return _Opening(address.url, "rtp" if scheme == "rtp" else "mpegts", common | options)


def _video_stream(container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = " and ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise DisconnectedError(Failure.REFUSED, f"it sends no video, only {kinds}; is the picture switched on there?")
    # A codec that libav cannot name has no context.
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise DisconnectedError(
            Failure.REFUSED, "it sends video in a format that cannot be decoded here; set the camera to H.264"
        )
    stream = max(known, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
    check_size(stream.codec_context.width, stream.codec_context.height)
    return stream


def check_size(width: int, height: int) -> None:
    """Raise DisconnectedError for pictures too large to be decoded safely."""
    if width * height > MAX_PICTURE_PX:
        raise DisconnectedError(
            Failure.REFUSED,
            f"it sends pictures of {width}x{height}, more than can be decoded safely; choose a smaller size",
        )


def _lost(exc: Exception, waited_s: float, limits: Limits) -> DisconnectedError:
    """Why an open connection cannot be read any more."""
    if isinstance(exc, (av.error.ExitError, TimeoutError)) or waited_s >= _PATIENCE * limits.read_timeout_s:
        return DisconnectedError(Failure.UNREACHABLE, f"no picture came from it for {limits.read_timeout_s:g} s")
    if isinstance(exc, (ConnectionResetError, BrokenPipeError)):
        return DisconnectedError(Failure.UNREACHABLE, "it broke the connection off")
    if isinstance(exc, OSError) and exc.errno == errno.ENODEV:
        return DisconnectedError(Failure.UNREACHABLE, "it was unplugged")
    return DisconnectedError(Failure.UNREACHABLE, f"reading from it failed: {_plain(exc)}")


def _not_opened(exc: Exception, address: Address, waited_s: float, limits: Limits) -> DisconnectedError:
    """Why an address cannot be opened, and what to do about it."""
    if address.kind is AddressKind.WEBCAM:
        return _no_webcam(exc)
    if isinstance(exc, av.error.HTTPError | av.error.HTTPClientError):
        return _http_refusal(exc, address)
    if isinstance(exc, av.error.ProtocolNotFoundError):
        scheme = address.kind.value
        return DisconnectedError(
            Failure.REFUSED, f"this build of libav does not know {scheme}; let the camera send RTSP"
        )
    host, port = address.endpoint or ("the host", 0)
    place = f"{host}:{port}" if port else host
    if isinstance(exc, ConnectionRefusedError):
        return DisconnectedError(
            Failure.UNREACHABLE, f"nothing listens at {place}; is it switched on, and is the port right?"
        )
    if isinstance(exc, (av.error.ExitError, TimeoutError)) or waited_s >= _PATIENCE * limits.open_timeout_s:
        limit = f"within {limits.open_timeout_s:g} s"
        return DisconnectedError(Failure.UNREACHABLE, f"{place} does not answer {limit}; is the address right?")
    if isinstance(exc, OSError) and exc.errno == errno.EIO and _unknown_name(host):
        return DisconnectedError(
            Failure.UNREACHABLE, f"the name {host} is not known in this network; is it spelt right?"
        )
    if isinstance(exc, (ConnectionResetError, BrokenPipeError, EOFError)):
        return DisconnectedError(Failure.UNREACHABLE, f"{place} breaks the connection off at once")
    if isinstance(exc, av.error.InvalidDataError):
        return _not_understood(address, place)
    return DisconnectedError(Failure.UNREACHABLE, f"{place} cannot be opened: {_plain(exc)}")


def _not_understood(address: Address, place: str) -> DisconnectedError:
    if address.kind is AddressKind.HTTP:
        return DisconnectedError(
            Failure.REFUSED,
            "what it sends is no video that can be read; is this the address of a stream, not of a page?",
        )
    scheme = address.kind.value.upper()
    return DisconnectedError(Failure.UNREACHABLE, f"{place} breaks off or does not speak {scheme}; is the port right?")


def _http_refusal(exc: Exception, address: Address) -> DisconnectedError:
    """RTSP uses HTTP's numbers too."""
    if isinstance(exc, av.error.HTTPUnauthorizedError):
        given = "@" in address.url.partition("://")[2].split("/")[0]
        reason = (
            "the user or password is wrong"
            if given
            else f"it asks for a user and a password; write them as {address.kind}://user:password@host/..."
        )
        return DisconnectedError(Failure.REFUSED, reason)
    if isinstance(exc, av.error.HTTPForbiddenError):
        return DisconnectedError(
            Failure.REFUSED, "this user may not see it; give the user the right to view at the camera"
        )
    if isinstance(exc, av.error.HTTPNotFoundError):
        return DisconnectedError(
            Failure.REFUSED, "the path is not known to the camera; 'videodisco probe' tries those of common vendors"
        )
    if isinstance(exc, (av.error.HTTPServerError, av.error.HTTPTooManyRequestsError)):
        return DisconnectedError(
            Failure.UNREACHABLE, "it cannot serve the stream now; is it starting, or serving too many?"
        )
    return DisconnectedError(Failure.REFUSED, "it refuses to send; is there a picture under this path?")


def _no_webcam(exc: Exception) -> DisconnectedError:
    if isinstance(exc, FileNotFoundError):
        return DisconnectedError(Failure.REFUSED, "there is no such webcam; 'videodisco cameras' lists those there are")
    if isinstance(exc, PermissionError):
        return DisconnectedError(
            Failure.REFUSED, "this user may not use the webcam; join the group 'video', or allow it in the settings"
        )
    if isinstance(exc, OSError) and exc.errno == errno.EBUSY:
        return DisconnectedError(Failure.UNREACHABLE, "another program is using the webcam; close it there")
    return DisconnectedError(Failure.UNREACHABLE, f"the webcam cannot be opened: {_plain(exc)}")


def _device_called(name: str) -> str:
    for entry in sorted(_VIDEO4LINUX.glob("video*/name")):
        if entry.read_text(errors="replace").strip() == name:
            return f"/dev/{entry.parent.name}"
    raise DisconnectedError(
        Failure.REFUSED, f"there is no webcam called {name}; 'videodisco cameras' lists those there are"
    )


def _directshow_name(device: str) -> str:
    """DirectShow knows webcams by name alone."""
    if not device.isdecimal():
        return device
    webcams = [found for found in enumerate_input_devices("dshow") if "video" in found.media_types]
    if int(device) >= len(webcams):
        raise DisconnectedError(
            Failure.REFUSED, f"there is no webcam {device}; 'videodisco cameras' lists those there are"
        )
    return webcams[int(device)].description


def _unknown_name(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return True
    return False


def _scrubbed(exc: Exception) -> Exception:
    """libav's errors carry the whole address; whoever prints the traceback would print the password."""
    exc.args = exc.args[:2]
    return exc


def _plain(exc: Exception) -> str:
    """libav's words without the address, which its errors carry along."""
    return redact_url(str(getattr(exc, "strerror", None) or type(exc).__name__)).lower()
