"""Live sources against a real RTSP server, and everything that can go wrong between them and it."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator

import pytest

from stream.sources.address import parse_address
from stream.sources.status import SourceState
from tests import clips, rtsp_server
from tests.conftest import missing
from tests.faulty_camera import Fault, FaultyCamera
from tests.live_runs import QUICK, Looking, Run
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
def camera() -> Iterator[RtspCamera]:
    """One camera for all tests that do it no harm."""
    with RtspCamera() as camera:
        yield camera


def assert_one_timeline(run: Run) -> None:
    assert all(a.pts < b.pts for a, b in itertools.pairwise(run.frames))
    assert all(a.dts < b.dts for a, b in itertools.pairwise(run.tapped.packets))
    for frame in run.frames:
        assert abs(frame.received_s - run.frames[0].received_s - (frame.pts - run.frames[0].pts) / 90_000) < 1.0


def test_the_first_picture_is_there_at_once_and_frames_and_packets_share_a_timeline(camera: RtspCamera) -> None:
    with Run(camera.url) as run:
        run.until_frames(30)
    assert run.first_s < 3
    assert run.info is not None
    assert (run.info.codec, run.info.width, run.info.height, float(run.info.frame_rate)) == ("h264", 320, 240, 25.0)
    assert run.info.location == camera.url
    assert run.info.started_at == pytest.approx(time.time() - (time.monotonic() - run.started_s), abs=3)
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
        camera.stop()
        gone = run.until(SourceState.BACKING_OFF)
        assert gone.reason
        assert run.wait(lambda: "nothing listens" in run.status.reason or None, 5, "the reason")
        time.sleep(1)
        seen = len(run.frames)
        camera.start()
        back_s = time.monotonic()
        frame = run.until_frames(seen + 1)
        assert time.monotonic() - back_s < 5
        assert run.status.state is SourceState.LIVE
        assert run.status.connects == 2
        run.until_frames(seen + 10)
    assert frame.epoch == 1
    assert run.frames[0].epoch == 0
    assert_one_timeline(run)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.RESET, Fault.CLOSED, Fault.DRIP])
def test_a_connection_that_goes_bad_in_mid_picture_is_replaced(camera: RtspCamera, fault: Fault) -> None:
    with FaultyCamera(camera.port) as faulty, Run(f"rtsp://127.0.0.1:{faulty.port}/live") as run:
        run.until_frames(10)
        faulty.fault = fault
        if fault in {Fault.SILENT, Fault.DRIP}:
            stalled = run.until(SourceState.STALLED)
            assert "nothing has come" in stalled.reason
        lost = run.until(SourceState.BACKING_OFF)
        hung = fault in {Fault.SILENT, Fault.DRIP}
        assert lost.reason == ("no picture came from it for 1 s" if hung else "it ended the connection")
        assert lost.retry_at_s is not None
        seen = len(run.frames)
        faulty.fault = Fault.NONE
        run.until_frames(seen + 5)
        assert run.status.connects == 2
    assert_one_timeline(run)
    assert run.frames[-1].epoch > 0


def test_a_camera_that_ends_before_its_first_picture_is_tried_again(camera: RtspCamera) -> None:
    with FaultyCamera(camera.port) as faulty:
        faulty.fault = Fault.BLIND
        with Run(f"rtsp://127.0.0.1:{faulty.port}/live") as run:
            lost = run.until(SourceState.BACKING_OFF)
            assert lost.reason == "it ended the connection before its first picture"
            faulty.fault = Fault.NONE
            run.until_frames(5)


def test_another_size_in_mid_stream_begins_a_new_epoch() -> None:
    with RtspCamera() as camera, Run(camera.url) as run:
        run.until_frames(10)
        camera.resize(160, 128)
        run.wait(lambda: run.frames[-1].width == 160 or None, 5, "the new size")
        run.until_frames(len(run.frames) + 10)
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
        run.wait(lambda: run.frames[-1].width == 176 or None, 8, "the new stream")
        run.until_frames(len(run.frames) + 5)
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
        run.until(SourceState.BACKING_OFF)
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
        with Run(url, QUICK.model_copy(update={"wait": True})) as waiting:
            refused = waiting.until(SourceState.REFUSED)
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
    with Run(camera.url, QUICK.model_copy(update={"wait": True, "first_connect_limit_s": 0.0})) as run:
        assert "nothing listens" in run.until(SourceState.BACKING_OFF).reason
        time.sleep(0.5)
        with camera:
            run.until_frames(3)


def test_a_reader_that_is_held_up_leaves_out_what_is_old_and_is_fresh_again(camera: RtspCamera) -> None:
    def hold_up(frame: object) -> None:
        if len(run.frames) == 20:
            time.sleep(1.5)

    run = Run(camera.url, QUICK.model_copy(update={"max_staleness_s": 0.3}), on_frame=hold_up)
    with run:
        run.until_frames(60)
    late = run.source.drops["late"]
    assert 25 <= late <= 45
    # The gap is seen in the index as well.
    assert sum(b.index - a.index - 1 for a, b in itertools.pairwise(run.frames)) == late
    ages_s = [frame.received_s - frame.pts_s for frame in run.frames]
    assert ages_s[-1] - min(ages_s) < 0.3


def test_an_idle_camera_decodes_keyframes_alone_and_all_when_it_is_wanted_again(camera: RtspCamera) -> None:
    looking = Looking(at_all=False, idle=True)
    with Run(camera.url, looking=looking, pictures=False) as run:
        run.until_frames(3)
        assert run.tapped.packets[-1].pts > run.frames[-1].pts or len(run.tapped.packets) > 25
        looking.idle = False
        run.until_frames(20)
    assert [round(b.pts_s - a.pts_s, 1) for a, b in itertools.pairwise(run.frames[:3])] == [1.0, 1.0]
    assert len(run.tapped.packets) > 50
    assert run.source.drops == {"corrupt": 0, "before_keyframe": 0, "late": 0}
    assert run.frames[0].network is None
    assert run.frames[0].picture is None
    assert run.frames[0].still
