"""Asking the cloud, put together: what all cameras of a run share."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTimeError
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from edge.escalation.board import Board
from edge.escalation.budget import Budget
from edge.escalation.client import RefineClient
from edge.escalation.decisions import DECISIONS, DecisionLog
from edge.escalation.figures import EscalationFigures, Tally
from edge.escalation.forwarder import Forwarder
from edge.escalation.means import Means
from edge.escalation.outbox import Outbox, depth_of
from edge.escalation.parcel import Parcel
from edge.escalation.permit import Permit
from edge.escalation.policy import Policy
from edge.escalation.reception import AnswerListener, FormerListener, Reception
from edge.escalation.refinements import REFINEMENTS
from edge.escalation.results import ResultStore
from edge.escalation.settings import CameraEscalation, EscalationSettings, is_in_the_open
from edge.escalation.sink import CropEncoding, EscalationSink
from edge.escalation.tracks import TrackWatch
from models.agreement import WITHOUT_COUNTERPART
from stream.frame import Refinement
from stream.locks import FileLock
from stream.runtime import LoopThread

log = logging.getLogger(__name__)

JOIN_S = 2.0
"""How long the loop may take to end once its time is up."""

_WHY_DROPPED = {
    "age": "it waited for too long",
    "bytes": "too many wait, and it was the least valuable",
    "unreadable": "it cannot be read: another version may have left it",
}


class Escalation:
    """Sinks for the cameras of one run, and one forwarder for all of them on a loop of its own.

    ``folder`` is the run's, ``home`` the program's state folder; ``without_counterpart`` are the classes that the cloud
    has no labels for; ``cameras`` are those of the run, with what each has of its own. Everything is safe from any
    thread, and no frame ever waits for anything here.

    Raises:
        UsageError: the certificates cannot be used.
        OutputError: the queue or the answers cannot be opened.
    """

    def __init__(
        self,
        settings: EscalationSettings,
        folder: Path,
        home: Path,
        *,
        without_counterpart: Collection[str] = WITHOUT_COUNTERPART,
        cameras: Mapping[str, CameraEscalation | None] = MappingProxyType({}),
        on_answer: AnswerListener = lambda _answer, _label: None,
        on_former: FormerListener = lambda _answer, _label: None,
        luck: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._folder = folder
        self._without_counterpart = without_counterpart
        self._luck = luck
        self._wall_clock = wall_clock
        self._board = Board()
        self._tally = Tally()
        self._permit = Permit(settings, cameras)
        self._office: _Office | None = None
        self._starting = threading.Lock()
        self._last: EscalationFigures | None = None
        if settings.enabled and settings.url:
            self._office = _Office(
                settings,
                folder,
                home,
                self._board,
                self._tally,
                self._permit,
                on_answer,
                on_former,
                luck=luck,
                wall_clock=wall_clock,
            )

    def sink(self, camera: str, own: CameraEscalation | None = None) -> EscalationSink | None:
        """A sink for one run of a camera's pipeline, made before its first frame; None where nothing is looked for.

        Raises UsageError where ``own`` and the run's policy together are none.
        """
        wanted = self.settings.of_camera(own)
        self._permit.learn(camera, wanted)
        if not wanted.enabled:
            return None
        mailbox = None
        if not wanted.shadow and self._office is not None:
            with self._starting:
                self._office.start()
            mailbox = self._office
        policy = Policy(wanted.policy, self._without_counterpart)
        return EscalationSink(
            camera,
            TrackWatch(policy, crop_side_px=self.settings.crop_side_px, luck=self._luck),
            folder=self._folder,
            board=self._board,
            tally=self._tally,
            log=DecisionLog(self._folder, wall_clock=self._wall_clock),
            encoding=_encoding(self.settings),
            mailbox=mailbox,
            wall_clock=self._wall_clock,
        )

    def refined(self, camera: str) -> Mapping[int, Refinement]:
        """The labels of a camera's living tracks, as :attr:`stream.frame.FrameResult.refined`; costs nothing."""
        return self._board.refined(camera)

    def agreement(self, camera: str) -> float | None:
        """How far edge and cloud agreed lately about a camera's objects; costs little, on any thread."""
        return self._tally.agreement_of(camera)

    def figures(self) -> EscalationFigures:
        """How it stands; after the end, how it ended."""
        if self._last is not None:
            return self._last
        office = self._office
        if office is None:
            return self._tally.snapshot(None, 0, 0)
        return self._tally.snapshot(office.forwarder.view(), depth_of(office.outbox), office.outbox.size_bytes)

    @property
    def outputs(self) -> list[Path]:
        """The files it made, for the closing words."""
        made = [self._folder / DECISIONS, self._folder / REFINEMENTS]
        return [path for path in made if path.exists()]

    def close(self, within_s: float) -> None:
        """Send what can be sent within that time, and end; what is left waits for the next start. Close the sinks
        before."""
        if self._office is not None:
            self._office.stop(within_s)
        self._last = self.figures()
        if self._office is not None:
            self._office.close()


class _Office:
    """The one who sends, and what it works with; as :class:`edge.escalation.sink.Mailbox`."""

    def __init__(
        self,
        settings: EscalationSettings,
        folder: Path,
        home: Path,
        board: Board,
        tally: Tally,
        permit: Permit,
        on_answer: AnswerListener,
        on_former: FormerListener,
        *,
        luck: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        if is_in_the_open(settings.url):
            log.warning("crops go out unencrypted; give escalation an https url")
        state, run = home / "escalation", str(folder.absolute())
        self._client = RefineClient(settings, settings.token_in())
        self._results = ResultStore(state / "results.db")
        self._reception = Reception(
            run,
            board,
            tally,
            self._results,
            DecisionLog(folder, wall_clock=wall_clock),
            on_answer,
            on_former=on_former,
            least_shown=settings.min_label_confidence,
        )
        self.outbox = Outbox(state, settings.url, settings.spool, on_drop=self._tell_dropped, wall_clock=wall_clock)
        self._turn = FileLock(state / f"{self.outbox.topic}.lock")
        former = self._results.expenses(self.outbox.topic, wall_clock())
        means = Means(
            outbox=self.outbox,
            results=self._results,
            client=self._client,
            budget=Budget(settings.budget, former=former, now_s=time.monotonic()),
            turn=self._turn,
            home=self._reception,
            tally=tally,
            permit=permit,
            run=run,
        )
        self.forwarder = Forwarder(
            means, settings.client, in_flight=settings.budget.in_flight, wall_clock=wall_clock, luck=luck
        )
        self._running = ExitStack()
        self._loop: LoopThread | None = None
        self._ended: Future[None] | None = None

    def start(self) -> None:
        """Begin to send; harmless when it was begun."""
        if self._loop is None:
            self._loop = self._running.enter_context(LoopThread())
            self._ended = self._loop.submit(self._run())

    def put(self, parcel: Parcel, value: float) -> None:
        self.outbox.put(parcel, value)
        self.forwarder.wake()

    def stop(self, within_s: float) -> None:
        """Send no more after that time."""
        loop, self._loop = self._loop, None
        if loop is not None and self._ended is not None:
            loop.call(self.forwarder.stop, within_s)
            try:
                self._ended.result(within_s + JOIN_S)
            except NotInTimeError:
                log.warning("escalation hangs while it ends and is left behind")
            self._running.close()

    def close(self) -> None:
        self._reception.close()
        self._turn.release()
        self.outbox.close()
        self._results.close()

    async def _run(self) -> None:
        try:
            async with self._client:
                await self.forwarder.run()
        except Exception:  # the loop's boundary: a bug here must not end the cameras
            log.exception("nothing is asked of the cloud any more")

    def _tell_dropped(self, parcel: Parcel | None, cause: str) -> None:
        why, obstacle = _WHY_DROPPED[cause], self.forwarder.obstacle
        self._reception.gave_up(parcel, cause, f"{why} ({obstacle})" if obstacle else why)


def _encoding(settings: EscalationSettings) -> CropEncoding:
    """Crops of at most half of what a budget lets through at once: of larger ones hardly two a period could be sent."""
    limits = (settings.budget.bytes_per_s, settings.budget.bytes_per_hour)
    most_bytes = min((limit / 2 for limit in limits if limit is not None), default=float("inf"))
    return CropEncoding(settings.jpeg_quality, most_bytes)
