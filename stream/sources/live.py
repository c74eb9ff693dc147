"""A live source: a camera, a stream or a file played at its own pace, kept up whatever happens to it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Protocol

import av

from stream.errors import SourceError
from stream.frame import Frame, Pixels, SourceInfo
from stream.live_clock import TIME_BASE, LiveClock
from stream.packets import PacketTap
from stream.sources.address import Address, AddressKind
from stream.sources.backoff import Backoff, Failure
from stream.sources.base import PictureDemand, SourceLosses, ViewPlanner
from stream.sources.clean import Cause
from stream.sources.connection import Connection, DisconnectedError, connect
from stream.sources.health import SourceHealth
from stream.sources.pictures import PictureConverter, upright_size
from stream.sources.playback import Hooks, Playback, Shot
from stream.sources.settings import LiveSettings
from stream.sources.status import SourceStatus

log = logging.getLogger(__name__)


class Attentive(Protocol):
    """What :class:`stream.attention.Attention` is to a source; asked on the decode thread."""

    def wants(self, luma: Callable[[], Pixels], received_s: float) -> bool: ...

    @property
    def idle(self) -> bool: ...

    @property
    def still(self) -> bool: ...


class LiveSource:
    """Frames of one address for as long as it is wanted, as :class:`stream.sources.base.Source`.

    ``open``, ``frames`` and ``close`` are called on one thread, which alone touches libav; ``interrupt``, ``status``,
    ``losses`` and ``drops`` may be called on any. A call into libav cannot be broken off: a source whose camera is
    silent ends within ``read_timeout_s``.
    """

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        settings: LiveSettings,
        attention: Attentive,
        wants_pictures: Callable[[], PictureDemand],
        tap: PacketTap | None = None,
    ) -> None:
        self.name = name
        self._address = address
        self._settings = settings
        self._attention = attention
        self._wants_pictures = wants_pictures
        self._quit = threading.Event()
        self._health = SourceHealth(time.monotonic(), stall_s=settings.stall_s)
        self._hooks = Hooks(self._keyframes_are_enough, self._health.packet, tap)
        self._clock = LiveClock()
        self._skipped = dict.fromkeys(Cause, 0)
        self._backoff = Backoff()
        self._complaint = ""
        self._playback: Playback | None = None
        self._shots: Generator[Shot, None, None] | None = None
        self._converter = PictureConverter()

    @property
    def losses(self) -> SourceLosses:
        """What was lost of a file; what a camera's connection lost is in ``drops``."""
        return SourceLosses(
            pts_missing=self._clock.missing,
            pts_not_forward=self._clock.not_forward,
            truncated=self._playback.connection.truncated if self._playback else None,
        )

    @property
    def drops(self) -> Mapping[str, int]:
        """Pictures that were left out, by cause; those that an idle camera was spared are none."""
        return {cause.value: count for cause, count in self._skipped.items() if cause is not Cause.IDLE}

    def status(self, now_s: float) -> SourceStatus:
        """How it stands at ``now_s`` of the monotonic clock."""
        return self._health.status(now_s)

    def interrupt(self) -> None:
        """Let the frames end: at once while it waits to connect again, else with the next packet."""
        self._quit.set()

    def open(self) -> SourceInfo:
        """Connect, again and again as the settings say, until the first clean picture is there.

        Raises:
            SourceError: it refuses, cannot be reached in time, or was interrupted.
        """
        self._shots = self._all_shots()
        first = next(self._shots, None)
        if first is None or self._playback is None:
            raise SourceError(f"{self.name} was stopped before it gave a picture")
        info = self._describe(self._playback.connection, first.picture)
        self._shots = _put_back(first, self._shots)
        return info

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
        """Every clean picture in time, over all reconnections, until the source ends or is interrupted."""
        for index, shot in enumerate(self._shots or ()):
            if not shot.late:
                yield self._frame(shot, index, plan)

    def close(self) -> None:
        if self._shots is not None:
            self._shots.close()
            self._shots = None
        self._health.ended(time.monotonic(), "it was stopped")

    def _all_shots(self) -> Generator[Shot, None, None]:
        """The pictures of one connection after the other. Raises SourceError before the first picture only."""
        started_s = time.monotonic()
        while not self._quit.is_set():
            try:
                yield from self._connected_shots()
                if not self._quit.is_set() and not self._settings.loop:
                    self._health.ended(time.monotonic(), "it was played to its end")
                    return
            except DisconnectedError as failure:
                self._wait_after(failure, started_s)
                self._health.connecting(time.monotonic())

    def _connected_shots(self) -> Generator[Shot, None, None]:
        """The pictures of one connection; returns where it was interrupted or really ended."""
        connection = connect(self._address, self._settings)
        with contextlib.closing(connection):
            playback = self._playback = self._play(connection)
            seen = False
            for shot in playback.shots(self._quit):
                if not seen:
                    seen = True
                    self._connected()
                yield shot
        if self._quit.is_set():
            return
        if not connection.finite:
            before = "" if seen else " before its first picture"
            raise DisconnectedError(Failure.UNREACHABLE, f"it ended the connection{before}")
        if not seen:
            raise DisconnectedError(Failure.REFUSED, "it holds no picture that can be decoded")

    def _play(self, connection: Connection) -> Playback:
        return Playback(
            connection,
            self._clock,
            self._skipped,
            self._hooks,
            epoch=self._playback.epoch + 1 if self._playback else 0,
            max_staleness_s=self._settings.max_staleness_s,
            picture_limit_s=self._settings.read_timeout_s,
        )

    def _connected(self) -> None:
        if self._health.live(time.monotonic()):
            log.info("%s is live", self.name)
            self._complaint = ""

    def _wait_after(self, failure: DisconnectedError, started_s: float) -> None:
        """Wait until it is worth trying again, or give up a source that never was there."""
        now_s = time.monotonic()
        never = self._health.status(now_s).connects == 0
        # A webcam that was there is plugged in again.
        unplugged = self._address.kind is AddressKind.WEBCAM and not never
        kind = Failure.UNREACHABLE if unplugged else failure.kind
        delay_s = self._backoff.delay_s(kind, self._health.live_for_s(now_s))
        self._health.failed(kind, failure.reason, now_s, now_s + delay_s)
        hopeless = kind is Failure.REFUSED or now_s + delay_s - started_s > self._settings.first_connect_limit_s
        if never and hopeless and not self._settings.wait:
            raise SourceError(f"{self.name} ({self._address.label}): {failure.reason}") from failure
        # A camera that is away for a night says so once.
        log.log(
            logging.DEBUG if failure.reason == self._complaint else logging.INFO,
            "%s: %s; it is tried again in %.1f s",
            *(self.name, failure.reason, delay_s),
        )
        self._complaint = failure.reason
        self._quit.wait(delay_s)

    def _keyframes_are_enough(self) -> bool:
        return self._attention.idle and self._wants_pictures() is not PictureDemand.ALL

    def _frame(self, shot: Shot, index: int, plan: ViewPlanner) -> Frame:
        picture = shot.picture
        width, height = upright_size(picture)
        view = plan(width, height)
        received_s = time.monotonic()
        looked_at = view is not None and self._attention.wants(lambda: self._converter.luma(picture), received_s)
        network, letterbox = self._converter.network(picture, view) if looked_at and view else (None, None)
        demand = self._wants_pictures()
        wanted = demand is PictureDemand.ALL or (looked_at and demand is PictureDemand.LOOKED_AT)
        whole = self._converter.picture(picture) if wanted else None
        return Frame(
            source=self.name,
            index=index,
            pts=shot.pts,
            time_base=TIME_BASE,
            received_s=received_s,
            width=width,
            height=height,
            network=network,
            letterbox=letterbox,
            picture=whole,
            decode_s=shot.decode_s,
            preprocess_s=time.monotonic() - received_s,
            epoch=shot.epoch,
            still=self._attention.still,
            view=view if looked_at else None,
        )

    def _describe(self, connection: Connection, picture: av.VideoFrame) -> SourceInfo:
        width, height = upright_size(picture)
        return SourceInfo(
            name=self.name,
            location=self._address.label,
            container=connection.container.format.name,
            codec=connection.context.codec.canonical_name,
            width=width,
            height=height,
            frame_rate=connection.frame_rate,
            time_base=TIME_BASE,
            rotation_degrees=picture.rotation,
            started_at=time.time() - (time.monotonic() - (self._clock.start_s or 0.0)),
        )


def _put_back(first: Shot, rest: Generator[Shot, None, None]) -> Generator[Shot, None, None]:
    with contextlib.closing(rest):
        yield first
        yield from rest
