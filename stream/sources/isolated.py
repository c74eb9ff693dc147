"""A live source whose decoding runs in a child process: what crashes the decoder then crashes that process alone."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from stream.errors import DecodeError, SourceError
from stream.frame import Frame, SourceInfo
from stream.isolation.continuity import Continuity
from stream.isolation.link import LinkEndedError, LinkSilentError
from stream.isolation.messages import LayOut, Opened, Over, ProtocolError, Start
from stream.isolation.process import DecodingProcess
from stream.isolation.session import HungError, Patience, Session
from stream.isolation.standing import Standing
from stream.live_clock import JUMP_S
from stream.packets import PacketTap
from stream.sources.address import Address, AddressKind
from stream.sources.backoff import HEALTHY_S, Backoff, Failure
from stream.sources.base import PictureDemand, SourceLosses, ViewPlanner
from stream.sources.settings import LiveSettings, LookSettings
from stream.sources.status import SourceStatus

log = logging.getLogger(__name__)

QUICK_DEATHS = 3
"""After so many deaths in a row the stream is to blame, and starting processes for it would cost the other cameras. A
file, which does not change, is given up then."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """How the child is kept. ``factory`` (``module:name``) makes the source within it, as a
    :data:`stream.isolation.making.Factory`. ``margin_s`` is how much longer than the source would take to give up by
    itself a child may be silent. ``shared_memory`` is used where the system has it."""

    factory: str = "stream.isolation.making:live_source"
    margin_s: float = 5.0
    shared_memory: bool = True


IN_A_CHILD = Isolation()


class IsolatedSource:
    """A live source as :class:`stream.sources.live.LiveSource` is one, in a child process that is started anew when it
    dies, hangs or says what cannot be.

    Frames are counted and timed on over all children; ``epoch`` changes with each. Frames that the parent takes too
    slowly are dropped in the child, the oldest first, and counted in ``drops`` as ``isolation``.
    """

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        settings: LiveSettings,
        look: LookSettings,
        wants_pictures: Callable[[], PictureDemand],
        tap: PacketTap | None = None,
        isolation: Isolation = IN_A_CHILD,
    ) -> None:
        self.name = name
        self._address = address
        self._settings = settings
        self._look = look
        self._wants_pictures = wants_pictures
        self._tap = tap
        self._isolation = isolation
        self._quit = threading.Event()
        self._starting = threading.Lock()
        self._standing = Standing(time.monotonic(), stall_s=settings.stall_s)
        self._continuity = Continuity()
        self._backoff = Backoff()
        self._deaths = self._deaths_in_a_row = 0
        self._process: DecodingProcess | None = None
        self._session: Session | None = None

    @property
    def losses(self) -> SourceLosses:
        return self._standing.losses

    @property
    def drops(self) -> Mapping[str, int]:
        """Pictures that were left out, by cause, over all children."""
        return self._standing.drops

    @property
    def child_pid(self) -> int | None:
        """The process that decodes now."""
        process = self._process
        return process.pid if process else None

    def status(self, now_s: float) -> SourceStatus:
        """How it stands at ``now_s`` of the monotonic clock."""
        return self._standing.status(now_s)

    def interrupt(self) -> None:
        """Let the frames end at once; any thread may."""
        with self._starting:
            self._quit.set()
            if self._process is not None:
                self._process.hang_up()

    def open(self) -> SourceInfo:
        """Start the child and wait until its source is open; a child that dies is replaced as the settings say.

        Raises:
            SourceError: it refuses, cannot be reached in time, kills its process, or was interrupted.
        """
        if sys.platform == "win32":
            raise SourceError(f"{self.name}: a process of its own needs Linux or macOS; leave out 'isolate: true' here")
        try:
            return self._opened(time.monotonic()).info(self.name, self._address.label)
        except BaseException:
            self.close()
            raise

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
        """Every frame of every child, until the source ends or is interrupted.

        Raises:
            DecodeError: a file has killed its process again and again.
        """
        while not self._quit.is_set():
            try:
                yield from self._frames_of_child(plan)
                return
            except _LostError as lost:
                self._wait_after(lost)

    def close(self) -> None:
        """End the child; after some seconds by force."""
        if self._process is not None:
            self._process.end()
        self._process = self._session = None
        self._standing.ended(time.monotonic(), "it was stopped")

    def _opened(self, started_s: float) -> Opened:
        while not self._quit.is_set():
            try:
                return self._opened_by_child()
            except _LostError as lost:
                self._wait_after(lost, started_s)
        raise SourceError(f"{self.name} was stopped before it gave a picture")

    def _opened_by_child(self) -> Opened:
        session = self._begun(wait=self._settings.wait)
        while True:
            with self._blaming_the_child():
                said = session.receive()
                if isinstance(said, Opened):
                    return said
                if isinstance(said, (Frame, LayOut)):
                    raise ProtocolError("pictures before it was open")
            if isinstance(said, Over):
                self._end_of_child()
                if said.how == "refused":
                    raise SourceError(said.reason)
                raise self._lost_by(said)

    def _frames_of_child(self, plan: ViewPlanner) -> Iterator[Frame]:
        session = self._session or self._begun(wait=True)
        while not self._quit.is_set():
            with self._blaming_the_child():
                said = session.receive()
                if isinstance(said, LayOut):
                    session.lay_out(said, plan)
            if isinstance(said, Frame):
                yield said
            elif isinstance(said, Over):
                self._end(said)
                return

    def _end(self, said: Over) -> None:
        """Return where the source is over; raise where only its child is."""
        now_s = time.monotonic()
        if said.how == "ended":
            self._standing.ended(now_s, "")
            return
        self._end_of_child()
        if said.how == "failed":
            raise DecodeError(said.reason)
        raise self._lost_by(said)

    @staticmethod
    def _lost_by(said: Over) -> _LostError:
        if said.how == "refused":
            return _LostError(Failure.REFUSED, said.reason)
        return _LostError(Failure.UNREACHABLE, f"its decoding process failed: {said.reason or said.how}")

    def _begun(self, *, wait: bool) -> Session:
        """A new child, told what to do. Raises _LostError."""
        with self._starting:
            if self._quit.is_set():
                raise _LostError(Failure.UNREACHABLE, "it was stopped")
            try:
                self._process = DecodingProcess(shared_memory=self._isolation.shared_memory)
            except OSError as exc:
                reason = f"its decoding process cannot be started: {exc.strerror or exc}"
                raise _LostError(Failure.UNREACHABLE, reason) from exc
        self._standing.connecting(time.monotonic())
        with self._blaming_the_child():
            self._session = Session(
                self._process.link,
                self._process.memory,
                self._start(wait=wait),
                self._continuity,
                self._standing,
                self._patience(),
                wants_pictures=self._wants_pictures,
                tap=self._tap,
            )
        return self._session

    def _start(self, *, wait: bool) -> Start:
        # Cameras' settings are more than these, and hold what the child need not know.
        settings = self._settings.model_dump(mode="json", include=set(LiveSettings.model_fields))
        return Start(
            factory=self._isolation.factory,
            address_kind=self._address.kind,
            url=self._address.url,
            label=self._address.label,
            name=self.name,
            settings=settings | {"wait": wait},
            look=self._look.model_dump(mode="json", include=set(LookSettings.model_fields)),
            demand=self._wants_pictures(),
            tapped=self._tap is not None,
        )

    def _patience(self) -> Patience:
        settings = self._settings
        silence_s = settings.read_timeout_s + self._isolation.margin_s
        # A file that is played waits so long at most for its next picture.
        reading_s = silence_s + (JUMP_S if self._address.kind is AddressKind.FILE else 0.0)
        # libav applies the limit of opening twice; a first picture may take as long as two packets.
        connecting_s = reading_s + 2 * settings.open_timeout_s + settings.read_timeout_s
        return Patience(silence_s, reading_s, connecting_s)

    @contextlib.contextmanager
    def _blaming_the_child(self) -> Iterator[None]:
        """Whatever goes wrong in the talk is the end of this child. Raises _LostError."""
        try:
            yield
        except LinkEndedError as exc:
            raise self._lost(self._process.obituary() if self._process else "ended") from exc
        except (LinkSilentError, HungError) as exc:
            raise self._lost("hung: it does not get on with what the camera sends") from exc
        except ProtocolError as exc:
            raise self._lost(f"said what cannot be ({exc})") from exc

    def _lost(self, fate: str) -> _LostError:
        self._end_of_child()
        return _LostError(Failure.UNREACHABLE, f"its decoding process {fate}")

    def _end_of_child(self) -> None:
        with self._starting:
            process, self._process, self._session = self._process, None, None
        if process is not None:
            process.end(grace_s=0)

    def _wait_after(self, lost: _LostError, first_since_s: float | None = None) -> None:
        """Wait until it is worth starting another child. Raises SourceError for a first connection that takes too
        long, DecodeError for a file that kills every child."""
        if self._quit.is_set():
            return
        now_s = time.monotonic()
        held_s = self._standing.live_for_s(now_s)
        self._deaths += 1
        self._deaths_in_a_row = 1 if held_s >= HEALTHY_S else self._deaths_in_a_row + 1
        deadly = self._deaths_in_a_row >= QUICK_DEATHS
        delay_s = self._backoff.delay_s(Failure.REFUSED if deadly else lost.kind, held_s)
        self._standing.lost(lost.kind, lost.reason, now_s, now_s + delay_s)
        self._give_up_or_not(lost, now_s + delay_s, first_since_s)
        log.info("%s: %s; it is started anew in %.1f s", self.name, lost.reason, delay_s)
        self._quit.wait(delay_s)

    def _give_up_or_not(self, lost: _LostError, retry_at_s: float, first_since_s: float | None) -> None:
        sentence = f"{self.name} ({self._address.label}): {lost.reason}"
        limit_s = float("inf") if self._settings.wait else self._settings.first_connect_limit_s
        if first_since_s is not None and retry_at_s - first_since_s > limit_s:
            raise SourceError(sentence) from lost
        played_once = self._address.kind is AddressKind.FILE and not self._settings.loop
        if played_once and self._deaths >= QUICK_DEATHS:
            raise (DecodeError if first_since_s is None else SourceError)(sentence) from lost


class _LostError(Exception):
    """The child is gone, and with it the connection. ``reason`` is a sentence without credentials."""

    def __init__(self, kind: Failure, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
