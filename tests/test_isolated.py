"""A source in a child process: the same frames, and none of its misfortunes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.attention import Attention, LookSettings
from stream.errors import DecodeError, SourceError
from stream.frame import Frame, NetworkView
from stream.isolation.continuity import Continuity
from stream.isolation.link import Link, LinkEndedError, LinkSilentError
from stream.isolation.memory import MOST_SLOTS, ChildMemory, Layout, ParentMemory
from stream.isolation.messages import (
    LayOut,
    Over,
    Picture,
    ProtocolError,
    Receipt,
    Report,
    read_order,
    read_saying,
    sentence,
)
from stream.isolation.outbox import MOST_FRAMES, MOST_PACKET_BYTES, MOST_PACKETS, MOST_UNANSWERED, Outbox, Placed
from stream.isolation.pulse import Pulse
from stream.packets import EncodedPacket, VideoTrack
from stream.sources import backoff
from stream.sources.address import AddressKind, parse_address
from stream.sources.backoff import BackoffPolicy, Failure
from stream.sources.base import PictureDemand, Source, SourceLosses, ViewPlanner
from stream.sources.isolated import IsolatedSource, Isolation
from stream.sources.live import LiveSettings, LiveSource
from stream.sources.status import SourceState, SourceStatus
from tests.clips import Clip, frame_number, write_clip, write_sizes
from tests.isolated_sources import FACTORY, TIME_BASE, Script, view_of

TRACK = VideoTrack("h264", 64, 48, TIME_BASE, Fraction(25))


class Tape:
    """A tap that keeps what it is handed."""

    def __init__(self) -> None:
        self.packets: list[EncodedPacket] = []

    def packet(self, packet: EncodedPacket) -> None:
        self.packets.append(packet)


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children are replaced at once."""
    for kind in Failure:
        monkeypatch.setitem(backoff.POLICIES, kind, BackoffPolicy(0.01, 0.01, 0.01))


def isolated(script: Script, **changes: Any) -> IsolatedSource:
    """A source whose child obeys ``script``."""
    settings = LiveSettings(**{"read_timeout_s": 0.5, "open_timeout_s": 0.2} | changes.pop("settings", {}))
    return IsolatedSource(
        script.address(changes.pop("kind", AddressKind.RTSP)),
        name="cam",
        settings=settings,
        look=LookSettings(),
        wants_pictures=changes.pop("wants_pictures", lambda: PictureDemand.ALL),
        tap=changes.pop("tap", None),
        isolation=Isolation(FACTORY, **{"margin_s": 3.0} | changes),
    )


@contextlib.contextmanager
def opened(source: IsolatedSource) -> Iterator[IsolatedSource]:
    source.open()
    try:
        yield source
    finally:
        source.close()


def some(source: Source, count: int, plan: ViewPlanner = view_of) -> list[Frame]:
    return list(itertools.islice(source.frames(plan), count))


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether the process ends in time; one that only waits to be reaped has ended."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Watcher:
    """Every status of a source there was."""

    def __init__(self, source: IsolatedSource) -> None:
        self.seen: list[SourceStatus] = []
        self._source = source
        self._quit = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._quit.set()
        self._thread.join()

    def reasons(self, state: SourceState) -> set[str]:
        return {status.reason for status in self.seen if status.state is state}

    def _watch(self) -> None:
        while not self._quit.wait(0.002):
            self.seen.append(self._source.status(time.monotonic()))


# The same as on a thread.


def on_a_thread(path: Path, tape: Tape) -> LiveSource:
    return LiveSource(
        parse_address(str(path)),
        name="cam",
        settings=LiveSettings(max_staleness_s=60),
        attention=Attention(LookSettings(motion="off")),
        wants_pictures=lambda: PictureDemand.ALL,
        tap=tape,
    )


def in_a_child(path: Path, tape: Tape, *, shared_memory: bool = True, **settings: Any) -> IsolatedSource:
    return IsolatedSource(
        parse_address(str(path)),
        name="cam",
        settings=LiveSettings(max_staleness_s=60, **settings),
        look=LookSettings(motion="off"),
        wants_pictures=lambda: PictureDemand.ALL,
        tap=tape,
        isolation=Isolation(shared_memory=shared_memory),
    )


def played(source: LiveSource | IsolatedSource) -> list[Frame]:
    source.open()
    try:
        return list(source.frames(view_of))
    finally:
        source.close()


def plain(frame: Frame) -> dict[str, Any]:
    """What must be the same in every playing of a clip."""
    names = ("source", "index", "pts", "time_base", "width", "height", "letterbox", "epoch", "still")
    return {name: getattr(frame, name) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shared_memory", "change_of_size"),
    [(True, False), (True, True), (False, False)],
    ids=["steady", "resized", "not shared"],
)
def test_frames_are_those_of_the_thread(tmp_path: Path, *, shared_memory: bool, change_of_size: bool) -> None:
    if change_of_size:
        path = write_sizes(tmp_path / "clip.ts", [(160, 120), (320, 240)], frames_each=12)
    else:
        path = write_clip(tmp_path / "clip.mp4", Clip(frames=40, rate=Fraction(50), b_frames=2))
    expected_tape, tape = Tape(), Tape()
    expected = played(on_a_thread(path, expected_tape))
    source = in_a_child(path, tape, shared_memory=shared_memory)
    frames = played(source)
    assert [plain(frame) for frame in frames] == [plain(frame) for frame in expected]
    for ours, theirs in zip(frames, expected, strict=True):
        assert np.array_equal(ours.picture, theirs.picture)  # type: ignore[arg-type] # None would not be equal
        assert np.array_equal(ours.network, theirs.network)  # type: ignore[arg-type] # likewise
    numbers = [frame_number(frame.picture) for frame in frames if frame.picture is not None]
    assert numbers == list(range(24 if change_of_size else 40))
    assert [(p.track, p.data, p.pts, p.dts, p.is_keyframe, p.epoch) for p in tape.packets] == [
        (p.track, p.data, p.pts, p.dts, p.is_keyframe, p.epoch) for p in expected_tape.packets
    ]
    assert source.status(time.monotonic()).state is SourceState.ENDED
    assert source.status(time.monotonic()).reason == "it was played to its end"
    assert sum(source.drops.values()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("death", [signal.SIGSEGV, signal.SIGKILL])
def test_frames_come_back_after_a_crash(tmp_path: Path, death: signal.Signals) -> None:
    path = write_clip(tmp_path / "clip.mp4", Clip(frames=25))
    tape = Tape()
    source = in_a_child(path, tape, loop=True)
    with opened(source), Watcher(source) as watcher:
        frames = source.frames(view_of)
        before = list(itertools.islice(frames, 10))
        assert source.child_pid is not None
        os.kill(source.child_pid, death)
        killed_s = time.monotonic()
        while (frame := next(frames)).epoch == before[-1].epoch:
            before.append(frame)
        after = [frame, *itertools.islice(frames, 10)]
    assert f"(signal {death.value})" in "".join(watcher.reasons(SourceState.BACKING_OFF))
    assert watcher.seen[-1].state is SourceState.LIVE
    assert watcher.seen[-1].connects == 2
    every = before + after
    assert [frame.index for frame in every] == list(range(len(every)))
    assert {frame.epoch for frame in after} == {before[-1].epoch + 1}
    assert all(later.pts > earlier.pts for earlier, later in itertools.pairwise(every))
    # The timeline goes on by the clock: the pause is as long as it was.
    pause_s = after[0].received_s - before[-1].received_s
    assert after[0].pts_s - before[-1].pts_s == pytest.approx(pause_s, abs=0.2)
    assert after[0].received_s > killed_s
    assert [frame_number(f.picture) for f in after if f.picture is not None] == list(range(11))
    assert all(later.dts > earlier.dts for earlier, later in itertools.pairwise(tape.packets))
    assert tape.packets[-1].epoch > tape.packets[0].epoch


# Misfortunes.


@pytest.mark.slow
@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize(
    ("then", "reason"), [("crash", "crashed (signal 11)"), ("hang", "hung"), ("stop", "hung"), ("end", "")]
)
def test_a_child_that_fails_is_replaced(tmp_path: Path, then: str, reason: str) -> None:
    script = Script(frames=5, then=then, once=str(tmp_path / "once"))
    source = isolated(script, margin_s=3.0 if then == "crash" else 0.7)
    with opened(source), Watcher(source) as watcher:
        first = source.child_pid
        frames = some(source, 12)
        assert (source.child_pid == first) == (then == "end")
    if then == "end":
        assert len(frames) == 5
        return
    assert [frame.index for frame in frames] == list(range(12))
    # What was still in the child when it died is lost.
    epochs = [frame.epoch for frame in frames]
    assert epochs == sorted(epochs)
    assert epochs[-1] > 0
    assert 0 < epochs.count(0) <= 5
    assert all(reason in said for said in watcher.reasons(SourceState.BACKING_OFF))
    assert watcher.reasons(SourceState.BACKING_OFF)
    assert first is not None
    assert gone(first)


def frame_of(index: int, *, width: int = 8, height: int = 6, level: int = 0) -> Frame:
    picture = np.full((height, width, 3), level, np.uint8)
    return Frame("cam", index, index, TIME_BASE, 0.0, width, height, picture=picture)


def message(**fields: Any) -> bytes:
    body = json.dumps(fields).encode()
    return struct.pack("<II", len(body), 0) + body


PICTURE: dict[str, Any] = Picture.of(frame_of(99, width=64, height=48), 0).model_dump()

CHATTER = message(**Report.of(SourceStatus(SourceState.LIVE, 0.0), 0.0, SourceLosses(), {}).model_dump(mode="json"))

LIES = {
    "noise": b"\xff" * 40,
    "endless": struct.pack("<II", 1 << 31, 0),
    "large payload": struct.pack("<II", 10, (1 << 32) - 1),
    "no json": struct.pack("<II", 4, 0) + b"\x80\x04\x95.",
    "deep json": struct.pack("<II", 60_000, 0) + b"[" * 60_000,
    "unknown": message(kind="exec", code="print()"),
    "order": message(kind="receipt", frames=1, demand="all", ready=False),
    "slot": message(**PICTURE | {"slot": 4_000_000_000}),
    "negative slot": message(**PICTURE | {"slot": -1}),
    "no slot": message(**PICTURE | {"slot": None}),
    "size": message(**PICTURE | {"width": 640}),
    "huge": message(kind="lay_out", width=65_535, height=65_535),
    "nan": message(**PICTURE | {"received_s": float("nan")}),
    "future": message(**PICTURE | {"received_s": 1e11}),
    "backwards": message(**PICTURE | {"index": 0}),
    "far": message(**PICTURE | {"pts": 1 << 50}),
    "packet": message(kind="coded", pts=0, dts=0, epoch=0, is_keyframe=True, received_s=0.0),
}


@pytest.mark.slow
@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize(("lie", "times"), [("noise", 1), ("slot", 1), ("huge", 1), ("chatter", 20_000)])
def test_a_child_that_lies_is_replaced(tmp_path: Path, lie: str, times: int) -> None:
    said = CHATTER if lie == "chatter" else LIES[lie]
    source = isolated(Script(frames=3, then="say", said=said.hex(), times=times, once=str(tmp_path / "once")))
    with opened(source), Watcher(source) as watcher:
        frames = some(source, 8)
    assert [frame.epoch for frame in frames] == [0] * 3 + [1] * 5
    (reason,) = watcher.reasons(SourceState.BACKING_OFF)
    assert reason.startswith("its decoding process said what cannot be (")


@pytest.mark.slow
def test_a_child_that_dies_at_once_is_a_source_that_does_not_open() -> None:
    source = isolated(Script(opens="crash"), settings={"first_connect_limit_s": 0})
    with pytest.raises(
        SourceError, match=r"cam \(rtsp://\*\*\*@camera/1\): its decoding process crashed \(signal 11\)"
    ):
        source.open()
    assert source.child_pid is None
    assert source.status(time.monotonic()).state is SourceState.ENDED


@pytest.mark.slow
def test_a_refusal_is_told_without_credentials_and_control_characters() -> None:
    source = isolated(Script(opens="refused"))
    with pytest.raises(SourceError) as refusal:
        source.open()
    assert str(refusal.value) == "rtsp://***@camera/1 says no [2J"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_backoff")
def test_a_file_that_kills_every_child_is_given_up() -> None:
    source = isolated(Script(frames=2, then="crash"), kind=AddressKind.FILE)
    with opened(source), pytest.raises(DecodeError, match="crashed"):
        some(source, 100)


@pytest.mark.slow
def test_a_child_dies_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-m", "tests.isolated_sources"], stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child, within_s=0.1)
        parent.kill()
        assert gone(child, within_s=3)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_backoff")
def test_nothing_is_left_of_twenty_children() -> None:
    source = isolated(Script(frames=1_000_000))
    children: set[int] = set()

    def kill_twenty() -> None:
        while len(children) < 20:
            pid = source.child_pid
            if pid is not None and pid not in children:
                children.add(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    with opened(source):
        frames = source.frames(view_of)
        next(frames)
        files = open_files()
        killer = threading.Thread(target=kill_twenty)
        killer.start()
        frame = next(frame for frame in frames if len(children) == 20 and frame.epoch > 0)
        killer.join()
        assert open_files() == files
        assert frame.index > 0
    assert open_files() < files
    # Not even zombies.
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


# A slow parent, a parent that goes.


@pytest.mark.slow
def test_a_slow_parent_costs_frames_and_sees_the_present() -> None:
    source = isolated(Script(frames=1_000_000, pause_s=0.005, width=1280, height=720))
    with opened(source):
        frames = source.frames(view_of)
        taken = [next(frames)]
        while missed(taken) < 50:
            time.sleep(0.1)
            taken.append(next(frames))
        resumed_s = time.monotonic()
        taken += itertools.islice(frames, 30)
        waiting = sum(frame.received_s < resumed_s for frame in taken[-30:])
        maps = Path(f"/proc/{source.child_pid}/maps").read_text().splitlines()
        while source.drops.get("isolation", 0) < missed(taken):
            taken.append(next(frames))
    # However long the parent was away: a dozen slots.
    assert waiting <= MOST_SLOTS
    (shared,) = [line for line in maps if "videodisco-pixels" in line]
    begin, end = (int(side, 16) for side in shared.split()[0].split("-"))
    assert end - begin <= 64 << 20
    for frame in taken:
        assert frame.picture is not None
        assert (frame.picture == frame.index % 256).all()


def missed(frames: list[Frame]) -> int:
    return frames[-1].index - frames[0].index + 1 - len(frames)


@pytest.mark.slow
@pytest.mark.parametrize("then", ["wait", "hang", "stop"])
def test_interrupt_ends_frames_at_once_and_close_soon(then: str) -> None:
    source = isolated(Script(frames=3, then=then), margin_s=30)
    source.open()
    child = source.child_pid
    timer = threading.Timer(0.3, source.interrupt)
    timer.start()
    begun_s = time.monotonic()
    assert len(some(source, 10)) == 3
    assert time.monotonic() - begun_s < 1.5
    source.close()
    assert time.monotonic() - begun_s < (1.5 if then == "wait" else 4)
    assert child is not None
    assert not Path(f"/proc/{child}").exists()
    assert source.status(time.monotonic()).state is SourceState.ENDED


@pytest.mark.slow
def test_interrupt_ends_opening() -> None:
    source = isolated(Script(opens="hang"), margin_s=30)
    threading.Timer(0.3, source.interrupt).start()
    with pytest.raises(SourceError, match="stopped"):
        source.open()
    source.interrupt()
    with pytest.raises(SourceError, match="stopped"):
        source.open()


@pytest.mark.slow
def test_pictures_are_made_while_somebody_looks_and_seen_once_the_detector_is_ready() -> None:
    demand, view = PictureDemand.NONE, None
    source = isolated(Script(frames=1_000_000, resize_every=60), wants_pictures=lambda: demand)
    with opened(source):
        frames = source.frames(lambda _width, _height: view)
        assert all(f.picture is None and f.network is None for f in itertools.islice(frames, 5))
        demand = PictureDemand.ALL
        assert any(f.picture is not None for f in itertools.islice(frames, 100))
        view = NetworkView(40, 30, rgb=False)
        looked_at = next(f for f in itertools.islice(frames, 200) if f.network is not None)
        assert looked_at.network is not None
        assert looked_at.network.shape == (30, 40, 3)
        assert looked_at.letterbox is not None
        assert (looked_at.letterbox.width, looked_at.letterbox.height) == (40, 30)
        assert (looked_at.network == looked_at.index % 256).all()


@pytest.mark.slow
def test_the_child_shows_no_credentials_and_ignores_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "hunter2")
    script = Script(frames=1_000_000)
    source = isolated(replace(script, said="736563726574"))
    with opened(source):
        assert source.child_pid is not None
        child = Path(f"/proc/{source.child_pid}")
        shown = (child / "cmdline").read_bytes() + (child / "environ").read_bytes() + (child / "comm").read_bytes()
        assert b"736563726574" not in shown
        assert b"hunter2" not in shown
        os.kill(source.child_pid, signal.SIGINT)
        assert len(some(source, 20)) == 20
        limits = (child / "limits").read_text()
    assert any(line.split()[-3:-1] == ["0", "0"] for line in limits.splitlines() if line.startswith("Max core"))
    assert source.losses.corrupt_packets == 3
    assert source.drops == {"late": 2}


# Its parts.


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
    assert took_s < 1


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
