"""A source in a child process: the same frames, and none of its misfortunes."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import pytest

from stream.attention import Attention
from stream.errors import DecodeError, SourceError
from stream.frame import Frame, NetworkView
from stream.isolation import memory, session
from stream.isolation.memory import MOST_SLOTS
from stream.sources import backoff
from stream.sources.address import AddressKind, parse_address
from stream.sources.backoff import BackoffPolicy, Failure
from stream.sources.base import PictureDemand
from stream.sources.isolated import IsolatedSource, Isolation
from stream.sources.live import LiveSource
from stream.sources.settings import LiveSettings, LookSettings
from stream.sources.status import SourceState
from tests.clips import Clip, frame_number, write_clip, write_sizes
from tests.isolated_sources import Script, view_of
from tests.isolation import CHATTER, LIES, PATIENT_S, Deaths, Tape, gone, isolated, open_files, opened, some
from tests.live_runs import OwnQuit, OwnTime


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children are replaced at once."""
    for kind in Failure:
        monkeypatch.setitem(backoff.POLICIES, kind, BackoffPolicy(0.01, 0.01, 0.01))


@pytest.fixture
def _room_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """No frame gives way while this process stands still for some seconds: the child holds 64 ready for it."""
    monkeypatch.setattr(memory, "MOST_SLOTS", 250)


# The same as on a thread.


def on_a_thread(path: Path, tape: Tape) -> LiveSource:
    return LiveSource(
        parse_address(str(path)),
        name="cam",
        settings=LiveSettings(max_staleness_s=60, stall_s=60),
        attention=Attention(LookSettings(motion="off")),
        wants_pictures=lambda: PictureDemand.ALL,
        tap=tape,
    )


def in_a_child(path: Path, tape: Tape, *, shared_memory: bool = True, **settings: Any) -> IsolatedSource:
    return IsolatedSource(
        parse_address(str(path)),
        name="cam",
        settings=LiveSettings(max_staleness_s=60, stall_s=60, **settings),
        look=LookSettings(motion="off"),
        wants_pictures=lambda: PictureDemand.ALL,
        tap=tape,
        isolation=Isolation(margin_s=PATIENT_S, shared_memory=shared_memory),
    )


def played(source: LiveSource | IsolatedSource) -> list[Frame]:
    source.open()
    try:
        return list(source.frames(view_of))
    finally:
        source.close()


def played_at_once(source: LiveSource) -> list[Frame]:
    """By a clock of its own, which no busy machine disturbs."""
    clock = OwnTime()
    source._quit = OwnQuit(clock)
    with patch("stream.sources.live.time", clock), patch("stream.sources.playback.time", clock):
        return played(source)


def plain(frame: Frame) -> dict[str, Any]:
    """What must be the same in every playing of a clip."""
    names = ("source", "index", "pts", "time_base", "width", "height", "letterbox", "epoch", "still")
    return {name: getattr(frame, name) for name in names}


@pytest.mark.slow
@pytest.mark.usefixtures("_room_for_all")
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
    expected = played_at_once(on_a_thread(path, expected_tape))
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
@pytest.mark.usefixtures("_room_for_all")
@pytest.mark.parametrize("death", [signal.SIGSEGV, signal.SIGKILL])
def test_frames_come_back_after_a_crash(tmp_path: Path, death: signal.Signals) -> None:
    path = write_clip(tmp_path / "clip.mp4", Clip(frames=150, rate=Fraction(15)))
    tape = Tape()
    source = in_a_child(path, tape, loop=True)
    with opened(source), Deaths(source) as deaths:
        frames = source.frames(view_of)
        before = list(itertools.islice(frames, 10))
        assert source.child_pid is not None
        os.kill(source.child_pid, death)
        killed_s = time.monotonic()
        while (frame := next(frames)).epoch == before[-1].epoch:
            before.append(frame)
        after = [frame, *itertools.islice(frames, 10)]
        status = source.status(time.monotonic())
    (reason,) = deaths.reasons
    assert f"(signal {death.value})" in reason
    assert (status.state, status.connects) == (SourceState.LIVE, 2)
    every = before + after
    assert [frame.index for frame in every] == list(range(len(every)))
    assert {frame.epoch for frame in after} == {before[-1].epoch + 1}
    assert all(later.pts > earlier.pts for earlier, later in itertools.pairwise(every))
    assert after[0].received_s > killed_s
    assert [frame_number(f.picture) for f in after if f.picture is not None] == list(range(11))
    # The timeline goes on by the clock: the pause is as long as it was.
    first, again = tape.packets[0], next(packet for packet in tape.packets if packet.epoch == after[0].epoch)
    pause_s = again.received_s - first.received_s
    assert float((again.dts - first.dts) * again.track.time_base) == pytest.approx(pause_s, abs=0.001)
    assert all(later.dts > earlier.dts for earlier, later in itertools.pairwise(tape.packets))


# Misfortunes.


@pytest.mark.slow
@pytest.mark.usefixtures("quick_backoff", "_room_for_all")
@pytest.mark.parametrize(
    ("then", "reason"), [("crash", "crashed (signal 11)"), ("hang", "hung"), ("stop", "hung"), ("end", "")]
)
def test_a_child_that_fails_is_replaced(tmp_path: Path, then: str, reason: str) -> None:
    script = Script(frames=5, pause_s=0.05, then=then, once=str(tmp_path / "once"))
    source = isolated(script, margin_s=0.7 if reason == "hung" else PATIENT_S)
    with opened(source), Deaths(source) as deaths:
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
    assert deaths.reasons
    assert all(reason in said for said in deaths.reasons)
    assert first is not None
    assert gone(first)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_backoff", "_room_for_all")
@pytest.mark.parametrize(("lie", "times"), [("noise", 1), ("chatter", 20_000)])
def test_a_child_that_lies_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str, times: int) -> None:
    monkeypatch.setattr(session, "MOST_MESSAGES_A_SECOND", 500)  # so many can be read on any machine
    said = CHATTER if lie == "chatter" else LIES[lie]
    source = isolated(Script(frames=3, then="say", said=said.hex(), times=times, once=str(tmp_path / "once")))
    with opened(source), Deaths(source) as deaths:
        frames = some(source, 8)
    epochs = [frame.epoch for frame in frames]
    # The lie may overtake what the child still meant to send.
    assert epochs == [0] * epochs.count(0) + [1] * epochs.count(1)
    assert 0 < epochs.count(0) <= 3
    (reason,) = deaths.reasons
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
        assert gone(child)


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
        gc.collect()
        files = open_files()
        killer = threading.Thread(target=kill_twenty)
        killer.start()
        frame = next(frame for frame in frames if len(children) == 20 and frame.epoch > 0)
        killer.join()
        assert open_files() <= files
        assert frame.index > 0
    assert open_files() < files
    # Not even zombies.
    assert not children & {process.pid for process in psutil.Process().children()}


# A slow parent, a parent that goes.


@pytest.mark.slow
def test_a_slow_parent_costs_frames_and_sees_the_present() -> None:
    source = isolated(Script(frames=1_000_000, pause_s=0.005, width=1280, height=720))
    with opened(source):
        frames = map(checked, source.frames(view_of))
        first, taken = next(frames)[0], 1
        last = first
        while (missed := last - first + 1 - taken) < 50:
            time.sleep(0.1)
            last, taken = next(frames)[0], taken + 1
        resumed_s = time.monotonic()
        waiting = sum(received_s < resumed_s for _, received_s in itertools.islice(frames, 30))
        maps = Path(f"/proc/{source.child_pid}/maps").read_text().splitlines()
        while source.drops.get("isolation", 0) < missed:
            next(frames)
    # However long the parent was away: a dozen slots, and the one that was being filled.
    assert waiting <= MOST_SLOTS + 1
    (shared,) = [line for line in maps if "videodisco-pixels" in line]
    begin, end = (int(side, 16) for side in shared.split()[0].split("-"))
    assert end - begin <= 64 << 20


def checked(frame: Frame) -> tuple[int, float]:
    """A frame's index and when it was received; its pixels are its own, and not kept."""
    assert frame.picture is not None
    assert (frame.picture == frame.index % 256).all()
    return frame.index, frame.received_s


@pytest.mark.slow
@pytest.mark.parametrize("then", ["wait", "hang", "stop"])
def test_interrupt_ends_frames_at_once_and_close_soon(then: str) -> None:
    source = isolated(Script(frames=3, then=then))
    source.open()
    child = source.child_pid
    frames = source.frames(view_of)
    for _ in range(3):
        next(frames)
    threading.Timer(0.3, source.interrupt).start()
    begun_s = time.monotonic()
    assert next(frames, None) is None
    source.close()
    assert time.monotonic() - begun_s < PATIENT_S / 3, "nobody waits until it counts as hung"
    assert child is not None
    assert not Path(f"/proc/{child}").exists()
    assert source.status(time.monotonic()).state is SourceState.ENDED


@pytest.mark.slow
def test_interrupt_ends_opening() -> None:
    source = isolated(Script(opens="hang"))
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
        assert any(f.picture is not None for f in itertools.islice(frames, 5000))
        view = NetworkView(40, 30, rgb=False)
        looked_at = next(f for f in itertools.islice(frames, 5000) if f.network is not None)
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
    assert source.drops["late"] == 2
