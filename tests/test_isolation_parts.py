"""The parts of isolation: what is said and how, the shared memory, what waits, and one count over all children."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from stream.frame import Frame, NetworkView, SourceInfo
from stream.isolation.continuity import Continuity
from stream.isolation.link import Link, LinkEndedError, LinkSilentError
from stream.isolation.memory import ChildMemory, Layout, ParentMemory
from stream.isolation.messages import (
    LayOut,
    Opened,
    Over,
    Picture,
    ProtocolError,
    Receipt,
    Report,
    Start,
    read_order,
    read_saying,
    sentence,
)
from stream.isolation.outbox import MOST_FRAMES, MOST_PACKET_BYTES, MOST_PACKETS, MOST_UNANSWERED, Outbox, Placed
from stream.isolation.pulse import Pulse
from stream.isolation.session import HungError, Patience, Session
from stream.isolation.standing import Standing
from stream.packets import EncodedPacket, VideoTrack
from stream.sources.address import AddressKind
from stream.sources.backoff import Failure
from stream.sources.base import PictureDemand, SourceLosses
from stream.sources.status import SourceState, SourceStatus
from tests.isolated_sources import TIME_BASE, view_of
from tests.isolation import LIES, frame_of

TRACK = VideoTrack("h264", 64, 48, TIME_BASE, Fraction(25))


@pytest.mark.parametrize("lie", sorted(set(LIES) - {"noise", "endless", "large payload", "slot", "no slot", "size"}))
def test_lies_are_not_read(lie: str) -> None:
    body = LIES[lie][8:]
    if lie in {"huge", "future", "backwards", "far", "packet"}:
        read_saying(body)  # well-formed; what it says is refused where it is used
        return
    with pytest.raises(ProtocolError) as refusal:
        read_saying(body)
    assert "print" not in str(refusal.value)


def test_orders_and_sayings_are_read_back() -> None:
    receipt = Receipt(frames=2, demand=PictureDemand.LOOKED_AT, ready=True)
    assert read_order(receipt.model_dump_json().encode()) == receipt
    over = Over(how="failed", reason=sentence("x" * 600 + "\n"))
    assert read_saying(over.model_dump_json().encode()) == over
    assert len(over.reason) == 500


@pytest.fixture
def talk() -> Iterator[tuple[Session, socket.socket]]:
    """A session that has had a frame of 64x48, and the child's end of it."""
    ours, theirs = socket.socketpair()
    memory = ParentMemory(shared=True)
    child = Link(theirs)
    with contextlib.closing(Link(ours, 1.0)) as link, contextlib.closing(memory), theirs:
        session = Session(
            link,
            memory,
            start(),
            Continuity(),
            Standing(0.0, stall_s=1.0),
            Patience(1.0, 1.0, 1.0),
            wants_pictures=lambda: PictureDemand.ALL,
            tap=None,
        )
        child.send(Opened.of(SourceInfo("cam", "", "rtsp", "h264", 64, 48, Fraction(25), TIME_BASE)))
        assert isinstance(session.receive(), Opened)
        session.lay_out(LayOut(width=64, height=48), view_of)
        child.send(Picture.of(frame_of(0, width=64, height=48), 0))
        assert isinstance(session.receive(), Frame)
        yield session, theirs


def start() -> Start:
    return Start(
        factory="",
        address_kind=AddressKind.RTSP,
        url="",
        label="",
        name="cam",
        settings={},
        look={},
        demand=PictureDemand.ALL,
        tapped=False,
    )


@pytest.mark.parametrize("lie", sorted(set(LIES) - {"huge"}))
def test_a_session_ends_with_a_lie(talk: tuple[Session, socket.socket], lie: str) -> None:
    session, theirs = talk
    theirs.sendall(LIES[lie])
    with pytest.raises(ProtocolError):
        session.receive()


def test_a_session_has_no_room_for_absurd_pictures(talk: tuple[Session, socket.socket]) -> None:
    session, theirs = talk
    theirs.sendall(LIES["huge"])
    wanted = session.receive()
    assert isinstance(wanted, LayOut)
    with pytest.raises(ProtocolError):
        session.lay_out(wanted, view_of)


def test_a_thread_that_is_quiet_too_long_hangs(talk: tuple[Session, socket.socket]) -> None:
    session, theirs = talk
    child, stalled = Link(theirs), SourceStatus(SourceState.STALLED, 0.0)
    child.send(Report.of(stalled, 0.9, SourceLosses(), {}))
    assert session.receive() is None
    child.send(Report.of(stalled, 1.1, SourceLosses(), {}))
    with pytest.raises(HungError):
        session.receive()


@pytest.fixture
def wire() -> Iterator[tuple[Link, socket.socket]]:
    ours, theirs = socket.socketpair()
    link = Link(ours, 0.1)
    with contextlib.closing(link), theirs:
        yield link, theirs


def test_a_link_carries_messages_whole(wire: tuple[Link, socket.socket]) -> None:
    link, theirs = wire
    other = Link(theirs)
    other.send(Over(how="ended"), [b"abc", np.arange(3, dtype=np.uint8).data])
    body, payload = link.receive()
    assert read_saying(body) == Over(how="ended")
    assert payload == b"abc\0\1\2"


def test_a_link_gives_up_what_is_too_large_too_slow_or_over(wire: tuple[Link, socket.socket]) -> None:
    link, theirs = wire
    theirs.sendall(struct.pack("<II", 3, 0) + b"{}")
    with pytest.raises(LinkSilentError):
        link.receive()
    theirs.sendall(struct.pack("<II", 3, 11))
    with pytest.raises(ProtocolError):
        link.receive(most_payload_bytes=10)
    with pytest.raises(LinkSilentError):
        for _ in range(10_000):
            link.send(Over(how="ended"), [bytes(10_000)])
    theirs.close()
    with pytest.raises(LinkEndedError):
        link.send(Over(how="ended"))


def test_drip_fed_messages_do_not_keep_a_link_alive(wire: tuple[Link, socket.socket]) -> None:
    link, theirs = wire
    stop = threading.Event()

    def drip() -> None:
        theirs.sendall(struct.pack("<II", 60_000, 0))
        while not stop.wait(0.02):
            theirs.sendall(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    begun_s = time.monotonic()
    with pytest.raises(LinkSilentError):
        link.receive()
    took_s = time.monotonic() - begun_s
    stop.set()
    dripping.join()
    assert took_s < 30, "the whole message would take twenty minutes"


def test_memory_holds_what_the_child_wrote_and_copies_it_out() -> None:
    memory = ParentMemory(shared=True)
    with contextlib.closing(memory):
        assert memory.fd is not None
        child = ChildMemory(memory.fd)
        for width, height in ((8, 6), (640, 480)):
            layout = Layout.of(width, height, NetworkView(4, 2, rgb=True))
            memory.hold(layout)
            child.hold(layout)
            last = layout.slots - 1
            child.write(last, frame_of(0, width=width, height=height, level=7))
            picture, network = memory.pixels(layout, last, bytearray(), picture=True, network=False)
            assert picture is not None
            assert network is None
            assert picture.shape == (height, width, 3)
            child.write(last, frame_of(0, width=width, height=height, level=8))
            assert (picture == 7).all()
        with pytest.raises(ProtocolError):
            memory.pixels(layout, layout.slots, bytearray(), picture=True, network=False)
        with pytest.raises(PermissionError):
            os.ftruncate(memory.fd, 10)


def test_memory_without_sharing_takes_exactly_the_bytes_announced() -> None:
    memory = ParentMemory(shared=False)
    layout = Layout.of(2, 1, NetworkView(1, 1, rgb=True))
    memory.hold(layout)
    picture, network = memory.pixels(layout, 0, bytearray(range(9)), picture=True, network=True)
    assert picture is not None
    assert network is not None
    assert (picture.tolist(), network.tolist()) == ([[[0, 1, 2], [3, 4, 5]]], [[[6, 7, 8]]])
    _, network = memory.pixels(layout, 0, bytearray(range(3)), picture=False, network=True)
    assert network is not None
    assert network.tolist() == [[[0, 1, 2]]]
    with pytest.raises(ProtocolError):
        memory.pixels(layout, 0, bytearray(8), picture=True, network=True)


@pytest.mark.parametrize(
    ("width", "height", "slots"), [(64, 48, 12), (1280, 720, 12), (1920, 1080, 9), (3840, 2160, 5)]
)
def test_there_is_room_for_some_frames_of_any_size(width: int, height: int, slots: int) -> None:
    assert Layout.of(width, height, NetworkView(416, 416, rgb=True)).slots == slots


def test_absurd_pictures_have_no_layout() -> None:
    with pytest.raises(ProtocolError, match="65535x65535"):
        Layout.of(65_535, 65_535, None)


def drained(outbox: Outbox) -> list[Any]:
    return list(iter(lambda: outbox.take(0), None))


def test_the_oldest_frames_give_way_and_their_slots_are_used_again() -> None:
    outbox = Outbox()
    outbox.lay_out(5)
    for index in range(10):
        outbox.put_frame(Placed(frame_of(index), outbox.claim()))
    assert outbox.dropped_frames == 5
    sent = drained(outbox)
    assert [placed.frame.index for placed in sent] == [5, 6]
    assert len(sent) == MOST_UNANSWERED
    outbox.answered(2)
    assert [placed.frame.index for placed in drained(outbox)] == [7, 8]
    # Slots of frames that were sent are never written again before the answer.
    for index in range(10, 20):
        outbox.put_frame(Placed(frame_of(index), outbox.claim()))
    outbox.answered(2)
    assert [placed.frame.index for placed in drained(outbox)] == [17, 18]
    assert outbox.dropped_frames == 5 + 8


def test_frames_without_pixels_are_bounded_too() -> None:
    outbox = Outbox()
    for index in range(MOST_FRAMES + 3):
        outbox.put_frame(Placed(frame_of(index), None))
    assert outbox.dropped_frames == 3
    assert drained(outbox)[0].frame.index == 3


def test_words_come_after_all_frames_before_them() -> None:
    outbox = Outbox()
    outbox.put_frame(Placed(frame_of(0), None))
    outbox.put_frame(Placed(frame_of(1), None))
    outbox.put_frame(Placed(frame_of(2), None))
    outbox.put_word(LayOut(width=1, height=1))
    assert [type(sent) for sent in drained(outbox)] == [Placed, Placed]
    outbox.answered(1)
    assert [type(sent) for sent in drained(outbox)] == [Placed, LayOut]


def packet_of(number: int, size_bytes: int, *, key: bool) -> EncodedPacket:
    return EncodedPacket(TRACK, bytes(size_bytes), number, number, key, 0.0)


def test_packets_that_wait_too_long_give_way_up_to_a_keyframe() -> None:
    outbox = Outbox()
    third = MOST_PACKET_BYTES // 3
    for number, key in enumerate([True, False, False, False, False, True, False]):
        outbox.packet(packet_of(number, third + (number == 3), key=key))
    assert [packet.pts for packet in drained(outbox)] == [5, 6]
    assert outbox.dropped_packets == 5
    for number in range(MOST_PACKETS + 2):
        outbox.packet(packet_of(number, 1, key=number == 0))
    assert outbox.dropped_packets == 5 + MOST_PACKETS + 2
    outbox.packet(packet_of(9, MOST_PACKET_BYTES + 1, key=True))
    assert drained(outbox) == []
    assert outbox.dropped_packets == 8 + MOST_PACKETS


def counting() -> Continuity:
    continuity = Continuity()
    continuity.begin()
    continuity.ticks_in(TIME_BASE)
    return continuity


def test_a_new_child_goes_on_where_the_clock_is() -> None:
    continuity = counting()
    assert continuity.frame(0, 0, 0, 100.0) == (0, 0, 0)
    assert continuity.frame(3, 1, 9_000, 100.1) == (3, 1, 9_000)
    continuity.begin()
    continuity.ticks_in(TIME_BASE)
    assert continuity.packet(0, 3_600, 0, 105.0) == (2, 453_600, 450_000)
    assert continuity.frame(0, 0, 3_600, 105.1) == (4, 2, 453_600)


def test_a_new_child_never_goes_back() -> None:
    continuity = counting()
    continuity.frame(0, 0, 0, 100.0)
    continuity.frame(1, 0, 90_000, 100.5)
    continuity.begin()
    assert continuity.frame(0, 0, 0, 100.6) == (2, 1, 90_001)
    assert continuity.frame(1, 0, 0, 100.6) == (3, 1, 90_002)


@pytest.mark.parametrize(
    "lie",
    [
        lambda c: c.frame(0, 0, 9_000, 100.1),
        lambda c: c.frame(1, 0, 90_000 * 100, 100.1),
        lambda c: c.packet(0, 90_000 * 100, 0, 100.1),
        lambda c: c.ticks_in(Fraction(1, 25)),
    ],
)
def test_counts_that_cannot_be_are_refused(lie: Callable[[Continuity], object]) -> None:
    continuity = counting()
    continuity.frame(0, 0, 0, 100.0)
    with pytest.raises(ProtocolError):
        lie(continuity)


def test_who_waits_is_not_quiet() -> None:
    pulse = Pulse()
    now_s = time.monotonic()
    assert pulse.quiet_s(SourceStatus(SourceState.LIVE, now_s), now_s + 20) == 0
    stalled = SourceStatus(SourceState.STALLED, now_s + 15)
    assert pulse.quiet_s(stalled, now_s + 20) == pytest.approx(5)
    assert pulse.quiet_s(SourceStatus(SourceState.CONNECTING, now_s + 15), now_s + 20) == pytest.approx(5)
    assert pulse.quiet_s(SourceStatus(SourceState.REFUSED, now_s, retry_at_s=now_s + 60), now_s + 20) == 0
    pulse.beat(waits=True)
    assert pulse.quiet_s(stalled, now_s + 20) == 0


def report(status: SourceStatus, late: int) -> Report:
    return Report.of(status, 0.0, SourceLosses(pts_missing=late), {"late": late})


def test_what_children_count_adds_up_and_the_reason_stays_until_it_is_live_again() -> None:
    standing = Standing(0.0, stall_s=1.0)
    standing.heard(report(SourceStatus(SourceState.LIVE, 1.0, connects=2), 3))
    standing.lost(Failure.UNREACHABLE, "crashed", 5.0, 6.0)
    assert standing.status(5.5) == SourceStatus(SourceState.BACKING_OFF, 5.0, "crashed", 2, 6.0)
    standing.connecting(6.0)
    assert standing.status(6.1) == SourceStatus(SourceState.CONNECTING, 6.0, "crashed", 2)
    standing.heard(report(SourceStatus(SourceState.CONNECTING, 6.2), 0))
    assert standing.status(6.3).reason == "crashed"
    standing.heard(report(SourceStatus(SourceState.LIVE, 6.5, connects=1), 4))
    assert standing.status(7.0) == SourceStatus(SourceState.LIVE, 6.5, "", 3)
    assert standing.losses == SourceLosses(pts_missing=7)
    assert standing.drops == {"late": 7}
    standing.ended(8.0, "it was stopped")
    standing.ended(9.0, "again")
    assert standing.status(9.0) == SourceStatus(SourceState.ENDED, 8.0, "it was stopped", 3)


def test_a_live_child_that_says_nothing_is_stalled_while_somebody_listens() -> None:
    standing = Standing(0.0, stall_s=4.0)
    standing.heard(report(SourceStatus(SourceState.LIVE, 1.0, connects=1), 0))
    assert standing.status(20.0).state is SourceState.LIVE
    standing.listens(10.0)
    assert standing.status(13.9).state is SourceState.LIVE
    stalled = standing.status(16.0)
    assert (stalled.state, stalled.since_s) == (SourceState.STALLED, 14.0)
    assert stalled.reason == "its decoding process has said nothing for 6 s"
