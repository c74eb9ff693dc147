"""What the child does: one thread decodes, one sends, the main one obeys the parent."""

from __future__ import annotations

import contextlib
import queue
import threading
import time

from stream.errors import DecodeError, SourceError
from stream.frame import Frame, NetworkView
from stream.isolation.link import Link, LinkEndedError
from stream.isolation.making import WatchedSource, factory_named
from stream.isolation.memory import ChildMemory, Layout
from stream.isolation.messages import (
    Coded,
    LaidOut,
    LayOut,
    Opened,
    Over,
    Picture,
    Receipt,
    Report,
    Start,
    Track,
    read_order,
    sentence,
)
from stream.isolation.outbox import Outbox, Outgoing, Placed
from stream.isolation.pulse import Pulse
from stream.packets import EncodedPacket, VideoTrack
from stream.sources.base import SourceLosses
from stream.sources.status import SourceState, SourceStatus

REPORT_EVERY_S = 0.25
HEARTBEAT_S = 1.0
"""A report is sent when something has changed, and at least so often."""

CLOSE_S = 1.5
"""Time to take leave of the camera."""


class Worker:
    """Decodes one source for the parent at the other end of ``link``."""

    def __init__(self, link: Link, memory_fd: int, start: Start) -> None:
        self._link = link
        self._start = start
        self._demand = start.demand
        self._detector_ready = False
        self._memory = ChildMemory(memory_fd) if memory_fd >= 0 else None
        self._outbox = Outbox()
        self._pulse = Pulse()
        self._reports = _Reports()
        self._answers: queue.SimpleQueue[LaidOut | None] = queue.SimpleQueue()
        self._source: WatchedSource | None = None
        self._layout: Layout | None = None
        self._track: VideoTrack | None = None

    def run(self) -> None:
        """Until the parent hangs up."""
        decoding = threading.Thread(target=self._decode, name="decode", daemon=True)
        threading.Thread(target=self._send_all, name="send", daemon=True).start()
        decoding.start()
        with contextlib.suppress(LinkEndedError):
            while True:
                self._obey(read_order(self._link.receive()[0]))
        if self._source is not None:
            self._source.interrupt()
        self._answers.put(None)
        decoding.join(CLOSE_S)

    def _obey(self, order: Start | LaidOut | Receipt) -> None:
        if isinstance(order, Receipt):
            self._demand = order.demand
            self._detector_ready = self._detector_ready or order.ready
            self._outbox.answered(order.frames)
        elif isinstance(order, LaidOut):
            self._answers.put(order)

    # The decode thread.

    def _decode(self) -> None:
        try:
            self._play()
            over = Over(how="ended")
        except SourceError as exc:
            over = Over(how="refused", reason=sentence(str(exc)))
        except DecodeError as exc:
            over = Over(how="failed", reason=sentence(str(exc)))
        except BaseException as exc:  # noqa: BLE001 - the thread's boundary: the parent is told
            over = Over(how="broken", reason=sentence(f"{type(exc).__name__}: {exc}"))
        self._outbox.put_word(over)

    def _play(self) -> None:
        make = factory_named(self._start.factory)
        tap = self._outbox if self._start.tapped else None
        source = self._source = make(self._start, lambda: self._demand, tap)
        info = source.open()
        with contextlib.closing(source):
            self._outbox.put_word(Opened.of(info))
            for frame in source.frames(self._plan):
                self._outbox.put_frame(self._placed(frame))

    def _placed(self, frame: Frame) -> Placed:
        if frame.picture is None and frame.network is None:
            return Placed(frame, None)
        if self._layout is None or (self._layout.width, self._layout.height) != (frame.width, frame.height):
            self._plan(frame.width, frame.height)
        slot = self._outbox.claim()
        if self._memory is not None:
            self._memory.write(slot, frame)
        return Placed(frame, slot)

    def _plan(self, width: int, height: int) -> NetworkView | None:
        """How the detector sees such pictures: the parent is asked when their size has changed, or the detector is
        ready at last."""
        layout = self._layout
        if layout is None or self._detector_ready or (layout.width, layout.height) != (width, height):
            self._detector_ready = False
            answer = self._asked(LayOut(width=width, height=height))
            view = NetworkView(*answer.view) if answer.view else None
            layout = self._layout = Layout(width, height, view, answer.slots)
            self._outbox.lay_out(answer.slots)
            if self._memory is not None:
                self._memory.hold(layout)
        return layout.view

    def _asked(self, question: LayOut) -> LaidOut:
        self._pulse.beat(waits=True)
        self._outbox.put_word(question)
        answer = self._answers.get()
        self._pulse.beat()
        if answer is None:
            raise LinkEndedError
        return answer

    # The sending thread.

    def _send_all(self) -> None:
        with contextlib.suppress(LinkEndedError):
            while True:
                found = self._outbox.take(REPORT_EVERY_S)
                now_s = time.monotonic()
                # The first word and the last are preceded by how it all stands.
                turning = isinstance(found, (Opened, Over))
                if self._reports.due(now_s) or turning:
                    self._report(now_s, surely=turning)
                if found is not None:
                    self._send(found)

    def _report(self, now_s: float, *, surely: bool) -> None:
        source = self._source
        status = source.status(now_s) if source else self._reports.at_first
        own = {"isolation": self._outbox.dropped_frames, "isolation_packets": self._outbox.dropped_packets}
        drops = {**(source.drops if source else {}), **{cause: count for cause, count in own.items() if count}}
        losses = source.losses if source else SourceLosses()
        quiet_s = self._pulse.quiet_s(status, now_s) if source else 0.0
        report = Report.of(status, quiet_s, losses, drops)
        if self._reports.worth_telling(report, now_s) or surely:
            self._link.send(report)

    def _send(self, found: Outgoing) -> None:
        if isinstance(found, Placed):
            self._link.send(Picture.of(found.frame, found.slot), () if self._memory else _pixels(found.frame))
        elif isinstance(found, EncodedPacket):
            if found.track is not self._track:
                self._track = found.track
                self._link.send(Track.of(found.track), [found.track.extradata])
            self._link.send(Coded.of(found), [found.data])
        else:
            self._link.send(found)


class _Reports:
    """When a report is due, and whether it says anything new."""

    def __init__(self) -> None:
        self.at_first = SourceStatus(SourceState.CONNECTING, time.monotonic())
        self._due_s = 0.0
        self._told: Report | None = None
        self._told_s = 0.0

    def due(self, now_s: float) -> bool:
        if now_s < self._due_s:
            return False
        self._due_s = now_s + REPORT_EVERY_S
        return True

    def worth_telling(self, report: Report, now_s: float) -> bool:
        told = self._told
        if (
            told
            and now_s - self._told_s < HEARTBEAT_S
            and report == told.model_copy(update={"quiet_s": report.quiet_s})
        ):
            return False
        self._told, self._told_s = report, now_s
        return True


def _pixels(frame: Frame) -> list[memoryview]:
    return [pixels.reshape(-1).data for pixels in (frame.picture, frame.network) if pixels is not None]
