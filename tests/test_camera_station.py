"""Several cameras under one roof: real sources played at their own pace, a detector that answers at once."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv

from edge.cameras.station import CameraStation
from edge.config import RunSettings
from edge.report import RunReport
from stream import live
from stream.config import build
from stream.errors import UsageError
from stream.frame import Frame, ModelIdentity, NetworkView
from stream.pipeline import Detected, Detector
from stream.sources.status import SourceState, SourceStatus
from tests import clips
from tests.clips import Clip
from tests.silent_camera import SilentCamera

pytestmark = pytest.mark.slow

WAIT_S = 60.0


@pytest.fixture(autouse=True)
def _room_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """No frame gives way while this machine stands still for some seconds."""
    monkeypatch.setattr(live, "FRAMES_AHEAD", 10_000)
    monkeypatch.setattr(live, "OUTLET_MOST", 10_000)


class Instant:
    """Finds one person in every frame; fails, or hangs, at the camera it is told to."""

    identity = ModelIdentity("instant", "1", "0" * 64)

    def __init__(self, *, fail_for: str = "") -> None:
        self._fail_for = fail_for

    def view(self, width: int, height: int) -> NetworkView:
        return NetworkView(64, 64, rgb=False)

    def detect(self, frame: Frame) -> Detected:
        if frame.source == self._fail_for:
            raise ZeroDivisionError("a bug")
        one = sv.Detections(
            xyxy=np.array([[20, 20, 80, 160]], np.float32),
            confidence=np.array([0.9], np.float32),
            class_id=np.array([0]),
            data={"class_name": np.array(["person"])},
        )
        return Detected(one)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "second.mp4", Clip(frames=25))


def settings(project: Path, cameras: dict[str, dict[str, Any]], **values: Any) -> RunSettings:
    given = {
        "cameras": cameras,
        "defaults": {"motion": "off", "max_staleness_s": 60, "stall_s": 60},
        "output": {"project": project},
        "mlflow": {"enabled": False},
    }
    return build(RunSettings, {**given, **values}, origin="the test")


class Watched:
    """A station with what it told; ``during`` acts while it runs."""

    def __init__(
        self,
        settings: RunSettings,
        *,
        detector: Detector | None = None,
        wrap: Callable[[Detector], Detector] | None = None,
    ) -> None:
        self.states: list[tuple[str, SourceState]] = []
        self.notes: list[str] = []
        self._more = threading.Condition()
        self.station = CameraStation(
            settings,
            wrap_detector=wrap or (lambda _inner: detector or Instant()),
            on_state=self._state,
            on_note=self._note,
        )

    def run(self, during: Callable[[Watched], Awaitable[None]] | None = None) -> RunReport:
        async def scenario() -> RunReport:
            running = asyncio.create_task(self.station.run())
            if during is not None:
                await asyncio.wait_for(during(self), WAIT_S)
                self.station.stop()
            return await running

        return asyncio.run(scenario())

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - what is waited for is told to nobody
            await asyncio.sleep(0.02)

    def frames(self, name: str) -> int:
        return next((camera.meter.frames for camera in self.station.cameras if camera.name == name), 0)

    def _state(self, name: str, status: SourceStatus) -> None:
        self.states.append((name, status.state))

    def _note(self, note: str) -> None:
        self.notes.append(note)


def lines(report: RunReport) -> dict[str, list[int]]:
    """The frames of each source in predictions.jsonl, in the order of the file."""
    found: dict[str, list[int]] = {}
    for line in (report.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        found.setdefault(entry["source"], []).append(entry["frame"])
    return found


def test_files_played_as_cameras_end_by_themselves_with_every_frame_told(clip: Path, tmp_path: Path) -> None:
    report = Watched(settings(tmp_path, {"one": {"source": str(clip)}, "two": {"source": str(clip)}})).run()
    assert lines(report) == {"one": list(range(25)), "two": list(range(25))}
    assert [(source.name, source.state) for source in report.sources] == [("one", "done"), ("two", "done")]
    assert report.exit_code == 0
    assert report.frames == 50


def test_a_camera_that_cannot_be_reached_leaves_the_others_running(clip: Path, tmp_path: Path) -> None:
    cameras: dict[str, dict[str, Any]] = {
        "dead": {"source": "rtsp://u:pa55@127.0.0.1:9/none"},
        "fine": {"source": str(clip), "loop": True},
    }

    async def during(watched: Watched) -> None:
        await watched.until(lambda: watched.frames("fine") > 25)
        await watched.until(lambda: ("dead", SourceState.BACKING_OFF) in watched.states)

    watched = Watched(settings(tmp_path, cameras))
    report = watched.run(during)
    states = {source.name: source.state for source in report.sources}
    assert states == {"dead": "refused", "fine": "done"}
    told = json.dumps(report.summary()) + str(watched.notes) + str([source.errors for source in report.sources])
    assert "pa55" not in told


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_silent_camera_ends_in_time(clip: Path, tmp_path: Path, transport: str) -> None:
    fine = {"source": str(clip), "loop": True}
    patient = {"rtsp_transport": transport, "open_timeout_s": 60, "read_timeout_s": 60}

    async def during(watched: Watched) -> None:
        await watched.until(lambda: watched.frames("fine") > 10 and camera.playing.is_set())
        await watched.station.apply(settings(tmp_path, {"fine": fine}))

    with SilentCamera() as camera:
        report = Watched(settings(tmp_path, {"fine": fine, "silent": {"source": camera.url, **patient}})).run(during)
    assert report.errors == ()


def test_when_no_camera_can_be_reached_the_run_ends_with_their_reasons(tmp_path: Path) -> None:
    cameras = {
        name: {"source": f"rtsp://127.0.0.1:9/{name}", "first_connect_limit_s": 0.2, "open_timeout_s": 0.5}
        for name in ("one", "two")
    }
    report = Watched(settings(tmp_path, cameras)).run()
    assert report.exit_code == 3
    assert all(source.state == "refused" and source.errors for source in report.sources)
    assert not report.folder.exists(), "nothing is left behind"


def test_an_error_of_ours_in_one_camera_is_said_and_the_others_go_on(clip: Path, tmp_path: Path) -> None:
    cameras: dict[str, dict[str, Any]] = {name: {"source": str(clip), "loop": True} for name in ("broken", "fine")}

    async def during(watched: Watched) -> None:
        await watched.until(lambda: watched.frames("fine") > 25 and bool(watched.notes))

    watched = Watched(settings(tmp_path, cameras), detector=Instant(fail_for="broken"))
    report = watched.run(during)
    assert any("broken failed" in note and "ZeroDivisionError" in note for note in watched.notes)
    assert {source.name: source.state for source in report.sources}["fine"] == "done"


def test_cameras_come_go_and_change_while_the_others_never_notice(clip: Path, tmp_path: Path) -> None:
    looped = {"source": str(clip), "loop": True}
    before = settings(tmp_path, {"stays": looped, "goes": looped, "changes": looped})
    after = settings(tmp_path, {"stays": looped, "changes": {**looped, "detect_fps": 2}, "comes": looped})

    async def during(watched: Watched) -> None:
        await watched.until(lambda: all(watched.frames(name) > 10 for name in ("stays", "goes", "changes")))
        stays = next(camera for camera in watched.station.cameras if camera.name == "stays")
        told = await watched.station.apply(after)
        assert told == ["goes: removed", "changes: changed", "comes: added"]
        assert stays in watched.station.cameras
        reached = stays.meter.frames
        await watched.until(lambda: watched.frames("comes") > 10 and stays.meter.frames > reached + 10)
        assert [camera.name for camera in watched.station.cameras] == ["stays", "changes", "comes"]

    report = Watched(before).run(during)
    frames = lines(report)["stays"]
    assert frames == list(range(len(frames))), "it was never begun anew"


def test_what_the_user_took_away_or_corrected_is_no_loss_and_a_camera_that_is_away_fails_no_run(
    clip: Path, tmp_path: Path
) -> None:
    fine, dead = {"source": str(clip), "loop": True}, {"source": "rtsp://127.0.0.1:9/none", "wait": True}
    before = settings(tmp_path, {"fine": fine, "goes": dead, "corrected": dead, "away": dead})
    ended: list[str] = []

    async def during(watched: Watched) -> None:
        watched.station.log._journal = Journal(ended)  # type: ignore[assignment] # what is said of the end
        away = [(name, SourceState.BACKING_OFF) for name in ("goes", "corrected", "away")]
        await watched.until(lambda: set(away) <= set(watched.states))
        await watched.station.apply(settings(tmp_path, {"fine": fine, "corrected": fine, "away": dead}))
        await watched.until(lambda: watched.frames("corrected") > 10 and watched.frames("fine") > 10)

    report = Watched(before).run(during)
    assert sorted((source.name, source.state) for source in report.sources) == [
        ("away", "refused"),
        ("corrected", "done"),
        ("fine", "done"),
    ]
    assert report.exit_code == 5
    assert ended == ["KILLED"]


class Journal:
    """Hears how a run ended."""

    def __init__(self, ended: list[str]) -> None:
        self._ended = ended

    def window(self, *_: object) -> None:
        """Of no interest here."""

    def begin(self, *_: object) -> None:
        """Of no interest here."""

    def start_courier(self) -> None:
        """Of no interest here."""

    def finish(self, status: str, *_: object) -> None:
        self._ended.append(status)


def test_a_paused_camera_waits_and_begins_when_it_is_let(clip: Path, tmp_path: Path) -> None:
    looped = {"source": str(clip), "loop": True}
    before = settings(tmp_path, {"runs": looped, "waits": {**looped, "paused": True}})

    async def during(watched: Watched) -> None:
        await watched.until(lambda: watched.frames("runs") > 10)
        assert ("waits", SourceState.PAUSED) in watched.states
        assert [camera.name for camera in watched.station.cameras] == ["runs"]
        await watched.station.apply(settings(tmp_path, {"runs": looped, "waits": looped}))
        await watched.until(lambda: watched.frames("waits") > 10)

    Watched(before).run(during)


def test_settings_that_cannot_be_used_change_nothing(clip: Path, tmp_path: Path) -> None:
    looped = {"source": str(clip), "loop": True}
    before = settings(tmp_path, {"one": looped})
    after = settings(tmp_path, {"one": {**looped, "classes": ["unicorn"]}, "two": looped})

    async def during(watched: Watched) -> None:
        await watched.until(lambda: watched.frames("one") > 10)
        with pytest.raises(UsageError, match="unicorn"):
            await watched.station.apply(after)
        reached = watched.frames("one")
        await watched.until(lambda: watched.frames("one") > reached + 10)
        assert [camera.name for camera in watched.station.cameras] == ["one"]

    Watched(before).run(during)


def test_a_limit_of_time_ends_the_run(clip: Path, tmp_path: Path) -> None:
    report = Watched(settings(tmp_path, {"one": {"source": str(clip), "loop": True}}, end_s=1.0)).run()
    assert report.exit_code == 0
    assert [source.state for source in report.sources] == ["done"]
    assert report.frames > 0
    assert report.seconds > 1.0


def test_no_thread_is_left_behind(clip: Path, tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    Watched(settings(tmp_path, {"one": {"source": str(clip)}}, output={"project": tmp_path, "video": True})).run()
    deadline_s = time.monotonic() + WAIT_S
    while left := {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio")} - before:
        assert time.monotonic() < deadline_s, left
        time.sleep(0.01)


class Slow(Instant):
    """Takes five intervals of a 25 fps camera for each frame."""

    def detect(self, frame: Frame) -> Detected:
        time.sleep(0.2)
        return super().detect(frame)


def test_a_detector_five_times_too_slow_costs_detections_not_age_nor_recording(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "long.mp4", Clip(frames=100))
    camera = {"source": str(clip), "record": {"mode": "continuous"}}
    watched = Watched(settings(tmp_path, {"cam": camera}), detector=Slow())
    report = watched.run()
    told = [json.loads(line) for line in (report.folder / "predictions.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in told] == list(range(100)), "each frame has its line"
    looked = [line for line in told if not line.get("carried")]
    assert len(looked) <= 100 / 4
    ages_ms = [line["timings_ms"]["total"] for line in told]
    early, late = sorted(ages_ms[30:65]), sorted(ages_ms[65:])
    # However slow: its own 200 ms, one more that was begun before, and what a busy machine adds to most of them.
    assert early[17] < 700
    assert late[17] < early[17] + 500, "it does not grow while it runs: by five seconds, if all were looked at"
    # Nobody is asked before the detector is ready for such pictures.
    assert sum(report.figures.drops.values()) >= 100 - len(looked) - looked[0]["frame"]
    recorded = [frame for path in sorted(report.folder.rglob("*.mp4")) for frame in clips.decode(path)]
    assert [clips.frame_number(picture) for _, picture in recorded] == [number % clips.NUMBERS for number in range(100)]
