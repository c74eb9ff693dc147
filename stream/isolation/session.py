"""The parent's side of the talk with one child: nothing the child says is believed unchecked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from stream.frame import Frame, NetworkView, Pixels
from stream.geometry import Letterbox
from stream.isolation.continuity import Continuity
from stream.isolation.link import MOST_PAYLOAD_BYTES, Link
from stream.isolation.memory import Layout, ParentMemory
from stream.isolation.messages import (
    Coded,
    LaidOut,
    LayOut,
    Opened,
    Over,
    Picture,
    ProtocolError,
    Receipt,
    Report,
    Start,
    Track,
    read_saying,
)
from stream.isolation.standing import Standing
from stream.packets import EncodedPacket, PacketTap, VideoTrack
from stream.sources.base import PictureDemand, ViewPlanner
from stream.sources.status import SourceState

CLOCK_SLACK_S = 0.5
"""By how much the clocks of two processes may differ; on all known systems they are one."""


MOST_MESSAGES_A_SECOND = 5000
"""Far more than all that an outbox holds and a camera adds; who says more only means to keep the parent busy."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a child may say nothing at all, and those that its decode thread may be quiet: while it waits for
    packets, and while it connects."""

    silence_s: float
    reading_s: float
    connecting_s: float

    def left_s(self, report: Report) -> float:
        limit_s = self.connecting_s if report.state is SourceState.CONNECTING else self.reading_s
        return limit_s - report.quiet_s


class HungError(Exception):
    """The child answers, but its decode thread does not get on."""


class Session:
    """One child's messages in order, made into what a source gives. All on one thread."""

    def __init__(
        self,
        link: Link,
        memory: ParentMemory,
        start: Start,
        continuity: Continuity,
        standing: Standing,
        patience: Patience,
        *,
        wants_pictures: Callable[[], PictureDemand],
        tap: PacketTap | None,
    ) -> None:
        self._link = link
        self._memory = memory
        self._name = start.name
        self._continuity = continuity
        self._standing = standing
        self._patience = patience
        self._wants_pictures = wants_pictures
        self._demand = start.demand
        self._tap = tap
        self._layout: Layout | None = None
        self._plan: ViewPlanner | None = None
        self._told_view: NetworkView | None = None
        self._second_ends_s, self._messages = 0.0, 0
        self._track: VideoTrack | None = None
        continuity.begin()
        link.send(start)

    def receive(self) -> Frame | Opened | Over | LayOut | None:
        """The next message, None for one that is of no concern to the caller.

        Raises LinkEndedError, LinkSilentError, HungError, ProtocolError.
        """
        self._standing.listens(time.monotonic())
        body, payload = self._link.receive(self._most_payload_bytes)
        self._standing.listens(None)
        self._link.limit_s = self._patience.silence_s
        self._count_message(time.monotonic())
        said = read_saying(body)
        frame = self._frame(said, payload) if isinstance(said, Picture) else None
        self._acknowledge(1 if frame else 0)
        if isinstance(said, Report):
            self._heed(said)
        elif isinstance(said, Track):
            self._track = self._read_track(said, payload)
        elif isinstance(said, Coded):
            self._hand_on(said, payload)
        elif isinstance(said, Opened):
            self._continuity.ticks_in(Fraction(*said.time_base))
        return said if isinstance(said, (Opened, Over, LayOut)) else frame

    def lay_out(self, wanted: LayOut, plan: ViewPlanner) -> None:
        """Answer the child's question with room for its pictures."""
        layout = Layout.of(wanted.width, wanted.height, plan(wanted.width, wanted.height))
        try:
            self._memory.hold(layout)
        except OSError as exc:
            raise ProtocolError(f"pictures of {wanted.width}x{wanted.height}, for which there is no memory") from exc
        self._layout = layout
        self._plan, self._told_view = plan, layout.view
        seen = layout.view
        view = (seen.width, seen.height, seen.rgb, seen.placement) if seen else None
        self._link.send(LaidOut(view=view, slots=layout.slots))

    @property
    def _most_payload_bytes(self) -> int:
        layout = self._layout
        inline_bytes = layout.slot_bytes if layout and self._memory.inline else 0
        return max(MOST_PAYLOAD_BYTES, inline_bytes)

    def _count_message(self, now_s: float) -> None:
        if now_s > self._second_ends_s:
            self._second_ends_s, self._messages = now_s + 1, 0
        self._messages += 1
        if self._messages > MOST_MESSAGES_A_SECOND:
            raise ProtocolError(f"more than {MOST_MESSAGES_A_SECOND} messages a second")

    def _acknowledge(self, frames: int) -> None:
        demand, ready = self._wants_pictures(), self._got_ready()
        if frames or ready or demand is not self._demand:
            self._demand = demand
            self._link.send(Receipt(frames=frames, demand=demand, ready=ready))

    def _got_ready(self) -> bool:
        """Whether the detector is ready for the pictures of now, or another one, as the child does not know yet; said
        once."""
        if self._plan is None or self._layout is None:
            return False
        view = self._plan(self._layout.width, self._layout.height)
        if view is None or view == self._told_view:
            return False
        self._told_view = view
        return True

    def _heed(self, report: Report) -> None:
        self._standing.heard(report)
        if self._patience.left_s(report) < 0:
            raise HungError

    def _frame(self, said: Picture, payload: bytearray) -> Frame:
        received_s = _moment(said.received_s)
        index, epoch, pts = self._continuity.frame(said.index, said.epoch, said.pts, received_s)
        picture, network, letterbox = self._pixels(said, payload)
        return Frame(
            source=self._name,
            index=index,
            pts=pts,
            time_base=self._continuity.time_base,
            received_s=received_s,
            width=said.width,
            height=said.height,
            network=network,
            letterbox=letterbox,
            picture=picture,
            decode_s=said.decode_s,
            preprocess_s=said.preprocess_s,
            epoch=epoch,
            still=said.still,
            view=self._layout.view if self._layout and network is not None else None,
        )

    def _pixels(self, said: Picture, payload: bytearray) -> tuple[Pixels | None, Pixels | None, Letterbox | None]:
        layout = self._layout
        if not (said.has_picture or said.has_network):
            return None, None, None
        unannounced = said.has_network and (layout is None or layout.view is None)
        if layout is None or unannounced or (said.width, said.height) != (layout.width, layout.height):
            raise ProtocolError(f"pixels of {said.width}x{said.height} that were not announced")
        picture, network = self._memory.pixels(
            layout, said.slot, payload, picture=said.has_picture, network=said.has_network
        )
        return picture, network, layout.letterbox if said.has_network else None

    def _read_track(self, said: Track, extradata: bytearray) -> VideoTrack:
        self._continuity.ticks_in(Fraction(*said.time_base))
        return VideoTrack(
            codec=said.codec,
            width=said.width,
            height=said.height,
            time_base=self._continuity.time_base,
            frame_rate=Fraction(*said.frame_rate),
            extradata=bytes(extradata),
        )

    def _hand_on(self, said: Coded, data: bytearray) -> None:
        if self._track is None or self._tap is None:
            raise ProtocolError("a packet of no track")
        received_s = _moment(said.received_s)
        epoch, pts, dts = self._continuity.packet(said.epoch, said.pts, said.dts, received_s)
        self._tap.packet(
            EncodedPacket(
                track=self._track,
                data=bytes(data),
                pts=pts,
                dts=dts,
                is_keyframe=said.is_keyframe,
                received_s=received_s,
                epoch=epoch,
            )
        )


def _moment(said_s: float) -> float:
    """A time of the monotonic clock, which both processes share."""
    now_s = time.monotonic()
    if said_s > now_s + CLOCK_SLACK_S:
        raise ProtocolError("a time to come")
    return min(said_s, now_s)
