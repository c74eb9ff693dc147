"""Live sources without a network camera: files at their own pace, HTTP cameras, hostile servers, webcams."""

from __future__ import annotations

import itertools
import traceback
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream.errors import SourceError
from stream.frame import Frame
from stream.sources import backoff
from stream.sources.address import parse_address
from stream.sources.backoff import BackoffPolicy, Failure
from stream.sources.base import PictureDemand
from stream.sources.connection import DisconnectedError, check_size, connect, webcam_input
from stream.sources.live import LiveSource
from stream.sources.pictures import PictureConverter
from stream.sources.settings import LiveSettings
from stream.sources.status import SourceState
from tests import clips
from tests.clips import Clip
from tests.faulty_camera import Fault, FaultyCamera
from tests.http_camera import HttpCamera, write_playlist
from tests.live_runs import PATIENT, Looking, OwnTime, Run, play, square_view

SECRET = "user.name:p@ss%2Fw:rd@"  # noqa: S105 # made up


def set_up(**changes: object) -> LiveSettings:
    return PATIENT.model_copy(update=changes)


def numbers(frames: list[Frame]) -> list[int]:
    return [clips.frame_number(frame.picture) for frame in frames if frame.picture is not None]


# Files at their own pace


def test_a_file_is_played_at_its_own_pace_and_ends(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.mp4", Clip(frames=30, rate=Fraction(30)))
    run = play(str(clip))
    assert numbers(run.frames) == list(range(30))
    assert [frame.pts for frame in run.frames] == [i * 3000 for i in range(30)]
    assert [frame.received_s - 1000 for frame in run.frames] == pytest.approx([i / 30 for i in range(30)])
    assert (run.status.state, run.status.reason) == (SourceState.ENDED, "it was played to its end")
    assert not any(run.source.drops.values())
    assert not run.source.losses.any_frames


def test_the_pace_of_a_file_is_that_of_the_clock_on_the_wall(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.mp4", Clip(frames=20))
    with Run(str(clip)) as run:
        run.join()
    assert numbers(run.frames) == list(range(20))
    assert all(frame.received_s >= run.started_s + frame.pts_s for frame in run.frames), "none is early"
    assert run.status.state is SourceState.ENDED


def test_reordered_pictures_come_out_to_the_last(tmp_path: Path) -> None:
    run = play(str(clips.write_clip(tmp_path / "a.ts", Clip(frames=25, b_frames=2))))
    assert numbers(run.frames) == list(range(25))


def test_a_looped_file_goes_on_without_a_seam(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.mp4", Clip(frames=10))
    run = play(str(clip), set_up(loop=True), count=25)
    assert numbers(run.frames) == [*range(10), *range(10), *range(5)]
    assert [frame.pts for frame in run.frames] == [i * 3600 for i in range(25)]
    assert [frame.epoch for frame in run.frames] == [0] * 10 + [1] * 10 + [2] * 5
    assert [packet.epoch for packet in run.tapped.packets[:20]] == [0] * 10 + [1] * 10
    assert (run.status.state, run.status.connects) == (SourceState.LIVE, 1)


def test_a_source_is_interrupted_at_once_even_while_it_paces_itself(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.mp4", Clip(frames=3, pts=[0, 1, 240], time_base=Fraction(1, 25)))
    with Run(str(clip)) as run:
        run.until_frames(2)
        run.source.interrupt()
        run.join()
    assert len(run.frames) == 2, "the third is due in ten seconds"
    assert run.status.state is SourceState.ENDED


def test_spoilt_pictures_and_all_that_build_on_them_are_left_out_and_counted(tmp_path: Path) -> None:
    whole = clips.write_clip(tmp_path / "whole.mp4", Clip(frames=40, gop=10))
    run = play(str(clips.corrupt_packets(whole, tmp_path / "a.mp4", [13])))
    assert numbers(run.frames) == [*range(13), *range(20, 40)]
    assert run.source.drops == {"corrupt": 7, "before_keyframe": 0, "late": 0}


def test_a_file_that_begins_without_a_keyframe_is_shown_from_the_first_on(tmp_path: Path) -> None:
    whole = clips.write_clip(tmp_path / "whole.mp4", Clip(frames=40, gop=10))
    run = play(str(clips.corrupt_packets(whole, tmp_path / "a.mp4", [0])))
    assert numbers(run.frames) == list(range(10, 40))
    assert sum(run.source.drops.values()) == 10


def test_a_change_of_size_within_a_file_begins_a_new_epoch(tmp_path: Path) -> None:
    run = play(str(clips.write_sizes(tmp_path / "a.ts", [(320, 240), (160, 128)])))
    assert [(frame.width, frame.epoch) for frame in run.frames] == [(320, 0)] * 10 + [(160, 1)] * 10
    assert [(packet.track.width, packet.epoch) for packet in run.tapped.packets] == [(320, 0)] * 10 + [(160, 1)] * 10


def test_a_rotated_file_is_turned_upright_and_so_is_its_luma(tmp_path: Path) -> None:
    run = play(str(clips.write_clip(tmp_path / "a.mp4", Clip(frames=3, rotation_degrees=90, marked=True))))
    assert run.info is not None
    assert (run.info.width, run.info.height, run.frames[0].width) == (240, 320, 240)
    assert run.looking.lumas[0][0] == (320, 240)


def test_what_nobody_wants_is_not_converted(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.mp4", Clip(frames=5))
    run = play(str(clip), looking=Looking(at_all=False), pictures=False)
    assert [(frame.network, frame.picture) for frame in run.frames] == [(None, None)] * 5
    assert len(run.looking.lumas) == 5


def test_a_slow_reader_of_a_played_file_leaves_pictures_out_instead_of_falling_behind(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.mp4", Clip(frames=50, rate=Fraction(50)))
    clock = OwnTime()
    run = play(str(clip), set_up(max_staleness_s=0.1), clock=clock, on_frame=lambda _frame: clock.go_on(0.06))
    ages_s = [frame.received_s - run.frames[0].received_s - frame.pts_s for frame in run.frames]
    assert max(ages_s) < 0.2
    assert run.source.drops["late"] + len(run.frames) == 50
    assert run.source.drops["late"] > 10


def test_a_missing_file_and_one_without_pictures_are_refused(tmp_path: Path) -> None:
    sound = clips.write_audio_only(tmp_path / "sound.mp4")
    for path, said in ((tmp_path / "none.mp4", "does not exist"), (sound, "no video, only audio")):
        with Run(str(path)) as run:
            run.join()
        assert said in str(run.refusal)
        assert run.status.state is SourceState.REFUSED


# HTTP cameras


def test_mjpeg_takes_the_times_of_arrival_and_survives_another_size_and_a_pause() -> None:
    with HttpCamera(rate=10) as camera, Run(f"{camera.url}/mjpeg") as run:
        # libav itself would say that they are 0.04 s apart.
        run.wait(lambda: any(off_s < 0.03 for off_s in offs_s(run.frames)) or None, "times of arrival")
        camera.rate = 20
        camera.size = (80, 60)
        run.wait(lambda: run.frames[-1].width == 80 or None, "the new size")
        camera.ended.set()
        assert run.lost().state is SourceState.BACKING_OFF
        camera.ended.clear()
        seen = len(run.frames)
        run.until_frames(seen + 5)
    assert run.info is not None
    assert run.info.frame_rate == 0
    assert run.source.losses.pts_missing == 0
    assert all(a.pts < b.pts for a, b in itertools.pairwise(run.frames))
    assert {frame.epoch for frame in run.frames} == {0, 1, 2}


def offs_s(frames: list[Frame]) -> list[float]:
    """For every five frames, how far the mean of their distances is from that of their arrivals."""
    fives = zip(frames, frames[4:], strict=False)
    return [abs((b.pts_s - a.pts_s) - (b.received_s - a.received_s)) / 4 for a, b in fives]


def test_a_password_over_http_is_taken_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    with HttpCamera(login="user.name:p@ss/w:rd") as camera:
        with Run(camera.url.replace("//", f"//{SECRET}") + "/mjpeg?token=Xsecret") as run:
            run.until_frames(3)
            camera.ended.set()
            run.lost()
        with Run(camera.url.replace("//", "//user.name:wrong@") + "/mjpeg?token=Xsecret") as refused:
            refused.join()
    assert "the user or password is wrong" in str(refused.refusal)
    assert refused.refusal is not None
    trace = "".join(traceback.format_exception(refused.refusal))
    assert "HTTPUnauthorizedError" in trace
    shown = f"{run.status} {run.info} {trace} {refused.status} {caplog.text}"
    assert not [piece for piece in ("user.name", "p@ss", "%2F", "w:rd", "Xsecret", ":wrong") if piece in shown]


def test_a_playlist_that_ends_is_played_to_its_end(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.ts", Clip(frames=25))
    write_playlist(tmp_path, clip, ends=True)
    with HttpCamera(tmp_path) as camera, Run(f"{camera.url}/index.m3u8") as run:
        run.join()
    assert numbers(run.frames) == list(range(25))
    assert all(frame.received_s >= run.started_s + frame.pts_s for frame in run.frames), "none is early"
    assert run.status.state is SourceState.ENDED


@pytest.mark.slow
def test_a_live_playlist_that_stands_still_is_connected_anew(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.ts", Clip(frames=25))
    write_playlist(tmp_path, clip, ends=False)
    with HttpCamera(tmp_path) as camera, Run(f"{camera.url}/index.m3u8", set_up(read_timeout_s=1)) as run:
        assert run.lost().state is SourceState.BACKING_OFF
        run.wait(lambda: run.frames[-1].epoch or None, "the next connection")
    assert numbers([next(frame for frame in run.frames if frame.epoch)]) == [0]


def test_a_playlist_leads_to_no_file_of_this_machine(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.ts", Clip(frames=25))
    served = tmp_path / "served"
    served.mkdir()
    (served / "x.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nfile://{clip}\n#EXT-X-ENDLIST\n")
    (served / "x.txt").write_text(f"ffconcat version 1.0\nfile {clip}\n")
    with HttpCamera(served) as camera:
        for path in ("x.m3u8", "x.txt"):
            with Run(f"{camera.url}/{path}", set_up(first_connect_limit_s=0.0)) as run:
                run.join()
            assert run.refusal is not None
            assert not run.frames


@pytest.mark.parametrize(
    ("path", "said", "state"),
    [
        ("401", "it asks for a user and a password; write them as http://user:password@host", SourceState.REFUSED),
        ("403", "this user may not see it", SourceState.REFUSED),
        ("404", "the path is not known to the camera; 'videodisco probe'", SourceState.REFUSED),
        ("410", "is there a picture under this path?", SourceState.REFUSED),
        ("503", "it cannot serve the stream now", SourceState.BACKING_OFF),
        ("page", "is this the address of a stream, not of a page?", SourceState.REFUSED),
    ],
)
def test_each_refusal_has_its_sentence(path: str, said: str, state: SourceState) -> None:
    with HttpCamera() as camera, Run(f"{camera.url}/{path}", set_up(first_connect_limit_s=0.0)) as run:
        run.join()
    assert said in str(run.refusal)
    assert str(run.refusal).startswith(f"cam ({camera.url}/{path}): ")
    assert run.status.state is state


# Hostile servers and dead addresses


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time(scheme: str) -> None:
    with FaultyCamera() as server:
        server.fault = Fault.SILENT
        with Run(f"{scheme}://127.0.0.1:{server.port}/x", set_up(open_timeout_s=0.5, first_connect_limit_s=1.0)) as run:
            run.join()
            run.wait(lambda: server.connections >= 1 or None, "the server's own word")
    assert f"127.0.0.1:{server.port} does not answer within 0.5 s" in str(run.refusal)
    assert run.failures[0].since_s - run.started_s < 15, "not as long as it reads"
    assert run.status.state is SourceState.BACKING_OFF


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CLOSED])
def test_a_server_that_breaks_off_is_tried_again_and_again(fault: Fault) -> None:
    with FaultyCamera() as server:
        server.fault = fault
        with Run(f"rtsp://127.0.0.1:{server.port}/x") as run:
            assert f"127.0.0.1:{server.port} breaks" in run.lost().reason
            run.wait(lambda: server.connections > 1 or None, "another try")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rtsp://127.0.0.1:1/x", "nothing listens at 127.0.0.1:1"),
        ("http://127.0.0.1:1/x", "nothing listens at 127.0.0.1:1"),
        ("rtmp://127.0.0.1:1/app/x", "nothing listens at 127.0.0.1:1"),
        ("rtsp://no.such.host.invalid/x", "the name no.such.host.invalid is not known"),
        ("srt://127.0.0.1:1", "does not know srt"),
    ],
)
def test_a_dead_address_is_given_up_with_its_sentence(url: str, said: str) -> None:
    with Run(url, set_up(first_connect_limit_s=0.0)) as run:
        run.join()
    assert said in str(run.refusal)


def test_a_source_that_waits_to_connect_is_interrupted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backoff.POLICIES, Failure.UNREACHABLE, BackoffPolicy(1000, 1000, 1000))
    with Run("rtsp://127.0.0.1:1/x", set_up(wait=True)) as run:
        run.lost()
        run.source.interrupt()
        run.join()
    assert "stopped before it gave a picture" in str(run.refusal)


def test_udp_without_a_sender_is_given_up_in_time() -> None:
    with Run("udp://127.0.0.1:0", set_up(open_timeout_s=0.3, first_connect_limit_s=0.0)) as run:
        run.join()
    assert "does not answer" in str(run.refusal)


def test_pictures_too_large_to_decode_are_refused() -> None:
    check_size(7680, 4320)
    with pytest.raises(DisconnectedError, match="65535x65535, more than can be decoded safely") as refused:
        check_size(65_535, 65_535)
    assert refused.value.kind is Failure.REFUSED


# Webcams


def test_an_absent_webcam_is_refused_at_once() -> None:
    for webcam in ("97", "webcam:No Such Camera"):
        with Run(webcam) as run:
            run.join()
        assert "'videodisco cameras' lists those there are" in str(run.refusal)
        assert len(run.failures) == 1, "it is not tried again"


@pytest.mark.parametrize(
    ("device", "platform", "opened"),
    [
        ("0", "linux", ("v4l2", "/dev/video0")),
        ("/dev/video3", "linux", ("v4l2", "/dev/video3")),
        ("1", "darwin", ("avfoundation", "1:none")),
        ("FaceTime HD Camera", "darwin", ("avfoundation", "FaceTime HD Camera:none")),
        ("Logitech C920", "win32", ("dshow", "video=Logitech C920")),
    ],
)
def test_webcams_are_opened_as_each_platform_wants(device: str, platform: str, opened: tuple[str, str]) -> None:
    assert webcam_input(device, platform) == opened


# Parts


def test_closing_what_was_never_open_does_no_harm() -> None:
    source = LiveSource(
        parse_address("rtsp://h/x"),
        name="cam",
        settings=PATIENT,
        attention=Looking(),
        wants_pictures=lambda: PictureDemand.NONE,
    )
    assert list(source.frames(square_view)) == []
    source.close()
    assert source.status(0.0).state is SourceState.ENDED


def test_a_failed_connection_leaves_nothing_open() -> None:
    with pytest.raises(DisconnectedError) as failed:
        connect(parse_address("/nowhere/x.mp4"), PATIENT)
    assert isinstance(failed.value.__cause__, SourceError)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gray", "yuv420p10le", "bgr24"])
def test_luma_is_the_brightness_of_the_picture_in_every_format(pix_fmt: str) -> None:
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (34, 1))
    grey = av.VideoFrame.from_ndarray(ramp, format="gray")
    luma = PictureConverter().luma(grey.reformat(format=pix_fmt))
    assert luma.shape == (34, 60)
    assert np.abs(luma.astype(int) - ramp).max() <= 20  # limited range
    assert (np.diff(luma[0].astype(int)) >= 0).all()
