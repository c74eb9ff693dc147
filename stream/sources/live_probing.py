"""Looking at a live address for a moment: what it sends, how fast, and how long the first picture takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any

import av
import av.error
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from stream.frame import AudioInfo, SourceInfo
from stream.sources.address import Address, AddressKind, name_of
from stream.sources.backoff import Failure
from stream.sources.clean import Attendance, Cause, CleanDecoder
from stream.sources.connection import Connection, DisconnectedError, connect

MEASURE_S = 2.0
"""How long a stream is watched."""

KEYFRAME_WAIT_S = 6.0
"""How long, at most, until the distance of keyframes shows."""

DOUBT_S = 6.0
"""How long a stream is watched whose own times fall behind the clock: they may do so only because this machine was held
up, and what came meanwhile still lies ready."""

LOOK_LIMIT_S = 15.0
"""How long a look takes at most, whatever comes."""

SOUND_LIMIT_S = 2.0
SOUND_RETRIES_S = (0.0, 0.3, 0.6)
"""Pauses before each try: a server still busy with ending the last connection refuses the next for a moment."""

CLOCK_TOLERANCE_S = 0.5
"""How far a stream's own times may fall behind the clock and still be believed."""

BURST_LIMIT_S = 5.0
"""How far they may be ahead: some servers begin with all pictures since the last keyframe."""

REORDERED_LIMIT = 16
"""How many pictures, at most, a coded one may be sent ahead of those shown before it."""

REORDERED_S = 1.0
"""How far their times go back; further is another beginning of the stream's clock."""

_NO_PICTURE = (
    f"it sends video, but no clean picture came in {LOOK_LIMIT_S:g} s; set its distance of keyframes to a second or two"
)


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """How an address is opened for a look."""

    rtsp_transport: str = "tcp"
    open_timeout_s: float = 5.0
    read_timeout_s: float = 5.0
    guard: None = None


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """What was measured of the packets of ``span_s`` seconds, by the stream's own times or, where it states none, by
    the clock. Rates are None with too few packets; ``gop_s`` and ``gop_frames`` are the longest distance between
    keyframes, None with fewer than two."""

    packets: int
    span_s: float
    fps: float | None
    bits_per_s: float | None
    gop_frames: int | None
    gop_s: float | None
    b_frames: bool


@dataclass(frozen=True, slots=True)
class LiveProbe:
    """What a live address sends. ``first_picture_s`` is counted from before connecting to a clean picture."""

    info: SourceInfo
    transport: str
    first_picture_s: float
    figures: StreamFigures

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; fractions as text."""
        values = asdict(self.info) | {"transport": self.transport, "first_picture_s": round(self.first_picture_s, 3)}
        values |= asdict(self.figures)
        return {key: str(value) if isinstance(value, Fraction) else value for key, value in values.items()}


@dataclass(frozen=True, slots=True)
class _Seen:
    """A packet as the meter remembers it."""

    received_s: float
    time_s: float | None
    size_bytes: int
    is_keyframe: bool


class PacketMeter:
    """Measures a stream by its packets.

    ``paced`` streams come faster than they play, so that only their own times count; those of others are believed
    as long as they agree with the clock.
    """

    def __init__(self, *, paced: bool = False) -> None:
        self._paced = paced
        self._seen: list[_Seen] = []

    def add(self, received_s: float, time_s: float | None, size_bytes: int, *, is_keyframe: bool) -> None:
        """One packet, received at ``received_s`` by the monotonic clock, to be shown at ``time_s`` by its own."""
        self._seen.append(_Seen(received_s, time_s, size_bytes, is_keyframe))

    @property
    def span_s(self) -> float:
        """Seconds of the stream that were seen."""
        return _span_s(self._times_s())

    @property
    def has_enough(self) -> bool:
        """Whether the rate is known, and the distance of keyframes unless that is too long."""
        own_s, received_s = self._both_times_s()
        in_doubt = bool(own_s) and not self._paced and _span_s(own_s) - _span_s(received_s) < -CLOCK_TOLERANCE_S
        span_s = self.span_s
        return span_s >= (DOUBT_S if in_doubt else MEASURE_S) and (self._knows_gop or span_s >= KEYFRAME_WAIT_S)

    @property
    def _knows_gop(self) -> bool:
        return sum(seen.is_keyframe for seen in self._seen) > 1

    def figures(self) -> StreamFigures:
        """What was measured so far."""
        times_s = self._times_s()
        span_s, count = _span_s(times_s), len(times_s)
        b_frames = any(0 < earlier - later < REORDERED_S for earlier, later in pairwise(self._both_times_s()[0]))
        keys = [number for number, seen in enumerate(self._seen) if seen.is_keyframe]
        steps = list(pairwise(keys))
        measurable = count > 1 and span_s > 0
        # The last packet lasts beyond the span.
        size_bytes = sum(seen.size_bytes for seen in self._seen[:-1])
        return StreamFigures(
            packets=count,
            span_s=round(span_s, 3),
            fps=_rate(times_s, incomplete=REORDERED_LIMIT if b_frames else 0),
            bits_per_s=round(8 * size_bytes / span_s) if measurable else None,
            gop_frames=max((after - before for before, after in steps), default=None),
            gop_s=max((round(times_s[after] - times_s[before], 3) for before, after in steps), default=None),
            b_frames=b_frames,
        )

    def _both_times_s(self) -> tuple[list[float], list[float]]:
        """The stream's own, none where it states none, and those of our clock."""
        return _mended([seen.time_s for seen in self._seen]), [seen.received_s for seen in self._seen]

    def _times_s(self) -> list[float]:
        own_s, received_s = self._both_times_s()
        ahead_s = _span_s(own_s) - _span_s(received_s)
        agree = self._paced or -CLOCK_TOLERANCE_S <= ahead_s <= BURST_LIMIT_S
        return own_s if own_s and agree else received_s


def _mended(times_s: list[float | None]) -> list[float]:
    """The times with those missing put between their neighbours' (RTSP's first is); none where most are missing."""
    known = sorted(time_s for time_s in times_s if time_s is not None)
    if len(known) < 2 or 2 * len(known) < len(times_s):
        return []
    step_s = median(later - earlier for earlier, later in pairwise(known))
    mended: list[float] = []
    leading = next(number for number, time_s in enumerate(times_s) if time_s is not None)
    following_s = (times_s[leading] or 0.0) - leading * step_s
    for time_s in times_s:
        mended.append(following_s if time_s is None else time_s)
        following_s = mended[-1] + step_s
    return mended


def _rate(times_s: list[float], *, incomplete: int) -> float | None:
    """Pictures a second; between the ``incomplete`` last ones some may be still to come."""
    complete_s = sorted(times_s)[: len(times_s) - incomplete]
    span_s = _span_s(complete_s)
    return round((len(complete_s) - 1) / span_s, 2) if span_s > 0 else None


def probe_live(address: Address, limits: ProbeLimits, clock: Callable[[], float] = time.monotonic) -> LiveProbe:
    """Open ``address`` and watch it for a few seconds.

    Raises:
        DisconnectedError: it does not open, or gives no clean picture.
    """
    started_s = clock()
    with closing(connect(address, limits)) as connection:
        decoder = CleanDecoder(connection.context, dict.fromkeys(Cause, 0))
        meter = PacketMeter(paced=connection.paced)
        first: tuple[av.VideoFrame, float] | None = None
        for packet in connection.packets():
            now_s = clock()
            meter.add(now_s, _time_s(packet, connection), packet.size, is_keyframe=packet.is_keyframe)
            if first is None:
                first = next(((picture, now_s) for picture in decoder.decode(packet, Attendance.ALL)), None)
            if _seen_enough(meter, now_s - started_s, has_picture=first is not None):
                break
        if first is None:
            raise DisconnectedError(Failure.REFUSED, _NO_PICTURE)
        info = _info(address, connection, first[0])
    if address.kind is AddressKind.RTSP:
        info = replace(info, audio=rtsp_sound(address, limits))
    return LiveProbe(info, _transport(address, limits), round(first[1] - started_s, 3), meter.figures())


def _seen_enough(meter: PacketMeter, elapsed_s: float, *, has_picture: bool) -> bool:
    return (has_picture and meter.has_enough) or elapsed_s >= LOOK_LIMIT_S


def _time_s(packet: av.Packet[VideoStream], connection: Connection) -> float | None:
    if connection.untimed or packet.pts is None or packet.time_base is None:
        return None
    return float(packet.pts * packet.time_base)


def _span_s(times_s: list[float]) -> float:
    return max(times_s) - min(times_s) if times_s else 0.0


def _info(address: Address, connection: Connection, picture: av.VideoFrame) -> SourceInfo:
    return SourceInfo(
        name=name_of(address),
        location=address.label,
        container=connection.container.format.name,
        codec=connection.context.name,
        width=picture.width,
        height=picture.height,
        frame_rate=connection.frame_rate,
        time_base=Fraction(connection.stream.time_base or 0),
        audio=_sound(connection.container.streams.audio),
    )


def _sound(streams: Sequence[AudioStream]) -> AudioInfo | None:
    """The first sound whose codec is known."""
    contexts = [stream.codec_context for stream in streams if stream.codec_context is not None]
    return next((AudioInfo(c.name, c.sample_rate or 0, c.channels) for c in contexts), None)


def rtsp_sound(address: Address, limits: ProbeLimits) -> AudioInfo | None:
    """The sound of an RTSP camera, None without; a connection asks for its picture alone."""
    options = {
        "rtsp_transport": limits.rtsp_transport,
        "timeout": str(round(SOUND_LIMIT_S * 1e6)),
        "allowed_media_types": "audio",
        "protocol_whitelist": "rtsp,rtp,udp,tcp,tls,crypto",
        "analyzeduration": "500000",
    }
    for pause_s in SOUND_RETRIES_S:
        time.sleep(pause_s)
        try:
            with av.open(address.url, format="rtsp", options=options, timeout=SOUND_LIMIT_S) as container:
                return _sound(container.streams.audio)
        except av.error.HTTPServerError:
            continue
        except (av.error.FFmpegError, OSError):
            break
    return None


def _transport(address: Address, limits: ProbeLimits) -> str:
    scheme = address.url.partition("://")[0].upper()
    match address.kind:
        case AddressKind.RTSP:
            return f"{scheme} over {limits.rtsp_transport.upper()}"
        case AddressKind.WEBCAM:
            return "webcam"
        case _:
            return scheme


def live_rows(probe: LiveProbe) -> list[tuple[str, str]]:
    """Name and value of each fact, for a table."""
    info, figures = probe.info, probe.figures
    stated = f" (it states {float(info.frame_rate):g})" if info.frame_rate else ""
    measured = f"{figures.fps:.1f} fps measured over {figures.span_s:.1f} s" if figures.fps else "too few pictures came"
    sound = f"{info.audio.codec}, {info.audio.sample_rate_hz} Hz, {info.audio.channels} ch" if info.audio else "none"
    rate = figures.bits_per_s
    return [
        ("source", info.location),
        ("transport", probe.transport),
        ("codec", info.codec + (", B-frames" if figures.b_frames else "")),
        ("size", f"{info.width}x{info.height}"),
        ("rate", f"{measured}{stated}"),
        ("keyframes", _keyframes(figures)),
        ("bitrate", f"{rate / 1e6:.2f} Mbit/s" if rate else "not measured"),
        ("sound", sound),
        ("first picture", f"after {probe.first_picture_s:.2f} s"),
    ]


def _keyframes(figures: StreamFigures) -> str:
    if figures.gop_frames is None or figures.gop_s is None:
        return f"fewer than two in {figures.span_s:.1f} s; a shorter distance makes starts and reconnections quicker"
    if figures.gop_frames == 1:
        return "every frame"
    return f"every {figures.gop_frames} frames ({figures.gop_s:.1f} s) at most"
