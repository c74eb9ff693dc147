"""Live sources against a real RTSP server, and everything that can go wrong between them and it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from stream.frame import Frame
from stream.live_clock import OFF_S
from stream.sources.address import parse_address
from stream.sources.settings import LiveSettings
from stream.sources.status import SourceState
from tests import clips, rtsp_server
from tests.conftest import missing
from tests.faulty_camera import Fault, FaultyCamera
from tests.live_runs import PATIENT, Looking, Run
from tests.rtsp_server import CameraSpec, RtspCamera

pytestmark = pytest.mark.slow

USER, PASSWORD = "user.name", "p@ss/w:rd"
# As people paste it: half of it encoded.
SECRET = "user.name:p@ss%2Fw:rd@"  # noqa: S105 # made up


@pytest.fixture(scope="module", autouse=True)
def _server_is_installed() -> None:
    if not rtsp_server.available():
        missing("GStreamer's RTSP server", "install gir1.2-gst-rtsp-server-1.0, python3-gi and GStreamer's plugins")


@pytest.fixture(scope="module")
def _one_camera() -> Iterator[RtspCamera]:
    with RtspCamera() as camera:
        yield camera


@pytest.fixture
def camera(_one_camera: RtspCamera) -> RtspCamera:
    """One camera for all tests that do it no harm."""
    _one_camera.keep()
    return _one_camera


def set_up(**changes: object) -> LiveSettings:
    return PATIENT.model_copy(update=changes)


def assert_one_timeline(run: Run) -> None:
    assert all(a.pts < b.pts for a, b in itertools.pairwise(run.frames))
    assert all(a.dts < b.dts for a, b in itertools.pairwise(run.tapped.packets))


def until_it_is_our_clocks(run: Run) -> None:
    """Wait for a picture of this connection whose time is that of our clock, however late others were received."""
    assert run.info is not None
    assert run.info.started_at is not None
    zero_s = run.info.started_at - (time.time() - time.monotonic())
    epoch = run.frames[-1].epoch

    def one() -> Frame | None:
        frames = [frame for frame in list(run.frames) if frame.epoch == epoch]
        return next((f for f in frames if abs(f.received_s - zero_s - f.pts_s) < OFF_S + 0.2), None)

    run.wait(one, "the time of our clock")


def first_picture_s(camera: RtspCamera) -> float:
    with Run(camera.url) as run:
        run.until_frames(1)
    return run.first_s


def test_the_first_picture_is_there_at_once(camera: RtspCamera) -> None:
    assert any(first_picture_s(camera) < 3 for _ in range(5)), "whatever else this machine may have to do"


def test_frames_and_packets_share_a_timeline() -> None:
    with RtspCamera() as camera, Run(camera.url) as run:
        run.until_frames(30)
    assert run.info is not None
    assert (run.info.codec, run.info.width, run.info.height, float(run.info.frame_rate)) == ("h264", 320, 240, 25.0)
    assert run.info.location == camera.url
    began_at = time.time() - time.monotonic()
    assert run.info.started_at is not None
    assert run.started_s - 0.1 < run.info.started_at - began_at < run.frames[0].received_s + 0.1
    assert run.frames[0].pts == 0
    assert_one_timeline(run)
    assert {packet.pts for packet in run.tapped.packets[:30]} == {frame.pts for frame in run.frames[:30]}
    assert run.tapped.packets[0].is_keyframe
    assert run.tapped.packets[0].track.extradata
    first = run.frames[0]
    assert first.network is not None
    assert first.picture is not None
    assert (first.network.shape, first.picture.shape) == ((64, 64, 3), (240, 320, 3))
    assert run.looking.lumas[0][0] == (240, 320)


def test_h265_is_decoded_as_well() -> None:
    with RtspCamera(CameraSpec(codec="h265")) as camera, Run(camera.url) as run:
        run.until_frames(40)
    assert run.tapped.packets[0].track.codec == "hevc"
    assert_one_timeline(run)


def test_sound_and_reordered_pictures_are_no_obstacle() -> None:
    with RtspCamera(CameraSpec(b_frames=2, sound=True)) as camera, Run(camera.url) as run:
        run.until_frames(40)
    assert_one_timeline(run)
    assert sum(run.source.drops.values()) <= 2  # the last pictures of the connection


def test_a_clip_looped_into_the_camera_is_seen(tmp_path_factory: pytest.TempPathFactory) -> None:
    clip = clips.write_clip(tmp_path_factory.mktemp("clip") / "grey.mp4", clips.Clip(frames=40))
    with RtspCamera(CameraSpec(file=str(clip))) as camera, Run(camera.url) as run:
        run.until_frames(60)
    numbers = [clips.frame_number(frame.picture) for frame in run.frames if frame.picture is not None]
    assert len(set(numbers)) >= 30


def test_a_server_that_is_killed_and_comes_back_is_seen_again_within_five_seconds() -> None:
    with RtspCamera() as camera, Run(camera.url) as run:
        run.until_frames(10)
        assert any(seen_again_s(camera, run) < 5 for _ in range(3)), "whatever else this machine may have to do"
        assert run.status.state is SourceState.LIVE
        frame = run.frames[-1]
        until_it_is_our_clocks(run)
    assert run.status.connects == frame.epoch + 1 > 1
    assert run.frames[0].epoch == 0
    assert_one_timeline(run)


def seen_again_s(camera: RtspCamera, run: Run) -> float:
    """Kill the server and start it again; how long it takes from then on to the next picture."""
    former = len(run.failures)
    camera.stop()
    gone = run.lost(former)
    assert gone.state is SourceState.BACKING_OFF
    assert gone.reason
    run.wait(lambda: "nothing listens" in run.failures[-1].reason or None, "the reason")
    seen = len(run.frames)
    camera.start()
    back_s = time.monotonic()
    run.until_frames(seen + 1)
    return time.monotonic() - back_s


HUNG_S = 4.0
"""Longer than the machine itself stands still, and as long as two tests can wait."""


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.RESET, Fault.CLOSED, Fault.DRIP])
def test_a_connection_that_goes_bad_in_mid_picture_is_replaced(camera: RtspCamera, fault: Fault) -> None:
    hangs = fault in {Fault.SILENT, Fault.DRIP}
    limits = set_up(read_timeout_s=HUNG_S, stall_s=0.4) if hangs else PATIENT
    with FaultyCamera(camera.port) as faulty, Run(f"rtsp://127.0.0.1:{faulty.port}/live", limits) as run:
        run.until_frames(10)
        former = len(run.failures)
        faulty.fault, set_s = fault, time.monotonic()
        if hangs:
            assert "nothing has come" in run.until(SourceState.STALLED).reason
        lost = run.lost(former)
        assert lost.state is SourceState.BACKING_OFF
        assert lost.reason == ("no picture came from it for 4 s" if hangs else "it ended the connection")
        assert lost.since_s - set_s < 2 * HUNG_S, "it is given up at its limit, not at twice that"
        assert lost.retry_at_s is not None
        seen = len(run.frames)
        faulty.fault = Fault.NONE
        run.until_frames(seen + 5)
        until_it_is_our_clocks(run)
        assert run.status.connects == 2
    assert_one_timeline(run)
    assert run.frames[-1].epoch > 0


def test_a_camera_that_ends_before_its_first_picture_is_tried_again(camera: RtspCamera) -> None:
    with FaultyCamera(camera.port) as faulty:
        faulty.fault = Fault.BLIND
        with Run(f"rtsp://127.0.0.1:{faulty.port}/live") as run:
            assert run.lost().reason == "it ended the connection before its first picture"
            faulty.fault = Fault.NONE
            run.until_frames(5)


def test_another_size_in_mid_stream_begins_a_new_epoch() -> None:
    with RtspCamera() as camera, Run(camera.url) as run:
        run.until_frames(10)
        camera.resize(160, 128)
        run.wait(lambda: run.frames[-1].width == 160 or None, "the new size")
        run.until_frames(len(run.frames) + 10)
        until_it_is_our_clocks(run)
    small = [frame for frame in run.frames if frame.width == 160]
    assert {(frame.epoch, frame.height) for frame in small} == {(1, 128)}
    assert small[0].picture is not None
    assert small[0].picture.shape == (128, 160, 3)
    assert {(packet.epoch, packet.track.width) for packet in run.tapped.packets} == {(0, 320), (1, 160)}
    assert next(packet for packet in run.tapped.packets if packet.epoch == 1).is_keyframe
    assert run.status.connects == 1
    assert_one_timeline(run)


def test_another_codec_after_a_restart_is_taken_as_it_comes() -> None:
    camera = RtspCamera()
    with camera, Run(camera.url) as run:
        run.until_frames(5)
        camera.stop()
        camera.spec = CameraSpec(codec="jpeg", rate=10, width=176, height=144)
        camera.start()
        run.wait(lambda: run.frames[-1].width == 176 or None, "the new stream")
        until_it_is_our_clocks(run)
    assert run.tapped.packets[-1].track.codec == "mjpeg"
    assert_one_timeline(run)


@pytest.mark.parametrize("digest", [True, False])
def test_a_password_with_everything_in_it_is_taken_and_shown_nowhere(
    digest: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spec = CameraSpec(user=USER, password=PASSWORD, digest=digest)
    with RtspCamera(spec) as camera, Run(camera.url.replace("//", f"//{SECRET}")) as run:
        run.until_frames(3)
        camera.stop()
        run.lost()
        shown = f"{run.status} {run.info} {run.frames[0].source} {caplog.text}"
    for piece in ("user.name", "p@ss", "%2F", "w:rd"):
        assert piece not in shown


@pytest.mark.parametrize(
    ("user", "said"),
    [("user.name:Xwrong@", "the user or password is wrong"), ("", "it asks for a user and a password")],
)
def test_a_wrong_password_is_refused_in_a_sentence(user: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RtspCamera(CameraSpec(user=USER, password=PASSWORD)) as camera:
        url = camera.url.replace("//", f"//{user}")
        with Run(url) as run:
            run.join()
        assert run.refusal is not None
        assert str(run.refusal).startswith(f"cam ({parse_address(url).label}): {said}")
        assert run.status.state is SourceState.REFUSED
        with Run(url, set_up(wait=True)) as waiting:
            refused = waiting.lost()
            assert refused.state is SourceState.REFUSED
            assert said in refused.reason
            assert refused.retry_at_s is not None
            assert refused.retry_at_s - refused.since_s >= 2
    assert "Xwrong" not in f"{run.refusal} {refused} {caplog.text}"


def test_a_wrong_path_is_refused_in_a_sentence(camera: RtspCamera) -> None:
    with Run(camera.url + "x") as run:
        run.join()
    assert "the path is not known to the camera; 'videodisco probe'" in str(run.refusal)


def test_a_camera_without_a_picture_is_refused_in_a_sentence() -> None:
    with RtspCamera(CameraSpec(picture=False, sound=True)) as camera, Run(camera.url) as run:
        run.join()
    assert "is there a picture under this path?" in str(run.refusal)


def test_a_server_that_is_switched_on_late_is_waited_for() -> None:
    camera = RtspCamera()
    with Run(camera.url, set_up(wait=True, first_connect_limit_s=0.0)) as run:
        assert "nothing listens" in run.lost().reason
        with camera:
            run.until_frames(3)


class Detained:
    """A reader that can be held up."""

    def __init__(self, camera: RtspCamera) -> None:
        self.run = Run(camera.url, set_up(max_staleness_s=0.3), on_frame=self._take)
        self._hold = threading.Event()

    def hold_up(self) -> tuple[int, int]:
        """Hold it up for a moment; how many pictures it leaves out until it is fresh again, and how many that are by
        their index."""
        run = self.run
        late, left_out = run.source.drops["late"], self._left_out()
        self._hold.set()
        run.wait(lambda: not self._hold.is_set() or None, "being held up")
        seen = len(run.frames)
        run.wait(lambda: (len(run.frames) > seen and self._is_fresh()) or None, "the present")
        return run.source.drops["late"] - late, self._left_out() - left_out

    def _left_out(self) -> int:
        frames = list(self.run.frames)
        return frames[-1].index + 1 - len(frames)

    def _is_fresh(self) -> bool:
        ages_s = [frame.received_s - frame.pts_s for frame in list(self.run.frames)]
        return ages_s[-1] - min(ages_s) < 0.3

    def _take(self, frame: Frame) -> None:
        if self._hold.is_set():
            time.sleep(1.5)
            self._hold.clear()


def test_a_reader_that_is_held_up_leaves_out_what_is_old_and_is_fresh_again(camera: RtspCamera) -> None:
    detained = Detained(camera)
    with detained.run as run:
        run.until_frames(20)
        held_up = (detained.hold_up() for _ in range(5))  # the machine itself may hold it up as well
        assert any(25 <= late == left_out <= 45 for late, left_out in held_up)


def test_an_idle_camera_decodes_keyframes_alone_and_all_when_it_is_wanted_again() -> None:
    looking = Looking(at_all=False, idle=True)
    with RtspCamera() as camera, Run(camera.url, looking=looking, pictures=False) as run:
        run.until_frames(3)
        assert len(run.tapped.packets) > 25, "packets go on"
        looking.idle = False
        run.until_frames(20)
    keyframes = [packet.pts for packet in run.tapped.packets if packet.is_keyframe]
    assert [frame.pts for frame in run.frames[:3]] == keyframes[:3]
    assert len(run.tapped.packets) > 50
    assert run.source.drops == {"corrupt": 0, "before_keyframe": 0, "late": 0}
    assert run.frames[0].network is None
    assert run.frames[0].picture is None
    assert run.frames[0].still
