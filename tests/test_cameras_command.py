"""``videodisco cameras`` as a newcomer meets it: the real command, and its words."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.cli import camera_list
from stream.discovery.onvif import Found, NetworkCamera, Search
from stream.discovery.soap import CameraStream, Credentials
from stream.discovery.webcams import Webcam, Webcams
from stream.discovery.ws_messages import DISCOVERY_PORT
from tests.commands import Ended, command, environment, videodisco
from tests.fake_onvif import LOOPBACK, Model, alone_on_the_port, fake_camera

PASSWORD = "s3cret:pa/ss"  # noqa: S105 - of a camera of ours
NO_WEBCAMS = Webcams((), "/sys/class/video4linux")
GUARDED = Model(name="Garage", user="admin", password=PASSWORD)


def listed(found: Found, search: Search | None = None, webcams: Webcams = NO_WEBCAMS) -> str:
    return "\n".join(camera_list.lines(webcams, found, search or Search()))


PATIENCE_S = ("0.5", "4", "20")
"""How long the command listens; a machine too busy to answer within the first is given more time."""


@pytest.fixture
def _alone() -> Iterator[None]:
    with alone_on_the_port():
        yield


def searched(*arguments: str, cwd: Path, until: str, extra: dict[str, str] | None = None) -> Ended:
    """What the command says once ``until`` is in it, or in the end."""
    for timeout_s in PATIENCE_S:
        ended = videodisco("cameras", "--timeout", timeout_s, *arguments, cwd=cwd, extra=extra)
        if until in ended.out:
            break
    return ended


@pytest.mark.slow
@pytest.mark.usefixtures("_alone")
def test_a_network_camera_is_found_and_its_stream_told(tmp_path: Path) -> None:
    with fake_camera(Model(name="Porch"), discovery_port=DISCOVERY_PORT) as camera:
        ended = searched(cwd=tmp_path, until="rtsp://127.0.0.1:8554/main")
        in_json = searched("--json", cwd=tmp_path, until="rtsp://127.0.0.1:8554/sub")
    assert (ended.code, ended.err) == (0, "")
    assert f"127.0.0.1  Acme Dome 4  'Porch'  {camera.address}" in ended.out
    assert "main  H264 1920x1080    rtsp://127.0.0.1:8554/main" in ended.out
    assert "next: videodisco probe 'rtsp://USER:PASSWORD@127.0.0.1:8554/main'" in ended.out
    found = [one for one in json.loads(in_json.out)["network_cameras"] if one["address"] == camera.address]
    assert found[0]["streams"][1]["uri"] == "rtsp://127.0.0.1:8554/sub"


@pytest.mark.slow
@pytest.mark.usefixtures("_alone")
def test_a_password_comes_from_the_environment_and_is_never_shown(tmp_path: Path) -> None:
    extra = {"VIDEODISCO_CAMERA_PASSWORD": PASSWORD}
    with fake_camera(GUARDED, discovery_port=DISCOVERY_PORT, on_group=False):
        arguments = ("--address", LOOPBACK, "--user", "admin")
        ended = searched(*arguments, cwd=tmp_path, until="rtsp://127.0.0.1:8554/main", extra=extra)
    assert ended.code == 0
    assert "rtsp://127.0.0.1:8554/main" in ended.out
    assert PASSWORD not in ended.out + ended.err


@pytest.mark.slow
@pytest.mark.usefixtures("_alone")
def test_a_password_is_asked_for_on_a_terminal_and_not_echoed(tmp_path: Path) -> None:
    with fake_camera(GUARDED, discovery_port=DISCOVERY_PORT, on_group=False):
        for timeout_s in PATIENCE_S:
            shown, out = told_the_password(tmp_path, timeout_s)
            if "rtsp://127.0.0.1:8554/main" in out:
                break
    assert PASSWORD not in shown + out
    assert "rtsp://127.0.0.1:8554/main" in out


def told_the_password(folder: Path, timeout_s: str) -> tuple[str, str]:
    """Type the password when it is asked for; what the terminal shows after the question, and what is printed."""
    ours, theirs = pty.openpty()
    arguments = command("cameras", "--address", LOOPBACK, "--timeout", timeout_s, "--user", "admin")
    process = subprocess.Popen(
        arguments, cwd=folder, env=environment(), stdin=theirs, stdout=subprocess.PIPE, stderr=theirs,
        text=True, start_new_session=True,
    )  # fmt: skip
    asked = ""
    while "Password of admin" not in asked:
        asked += os.read(ours, 1000).decode()
    os.write(ours, f"{PASSWORD}\n".encode())
    out, _ = process.communicate(timeout=90)
    os.write(theirs, b"\nthat was all")
    os.close(theirs)
    shown = ""
    while "that was all" not in shown:
        shown += os.read(ours, 1000).decode()
    os.close(ours)
    return shown, out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--user", "admin"), 2, "set VIDEODISCO_CAMERA_PASSWORD"),
        (("--user", "admin:secret"), 2, "without a colon or a password"),
        (("--address", "camera.invalid"), 3, "camera.invalid has no address"),
        (("--timeout", "0"), 2, "--timeout"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    ended = videodisco("cameras", *arguments, cwd=tmp_path)
    assert ended.code == code
    assert words in ended.sentence
    assert "secret" not in ended.sentence


def test_nothing_found_says_where_was_looked_and_what_to_try() -> None:
    said = listed(Found((), ("127.0.0.1", "192.0.2.2")), Search(3.0))
    assert "none in /sys/class/video4linux" in said
    assert "within 3 s to the question sent from 192.0.2.2." in said
    assert "videodisco cameras --address HOST" in said
    assert "firewall" in said
    assert "videodisco probe rtsp://" in said


def test_a_host_that_is_no_camera_is_named() -> None:
    said = listed(Found((), ("10.0.0.9",)), Search(hosts=("nvr.lan",)))
    assert "nvr.lan did not answer as a camera with ONVIF does" in said


def test_webcams_are_listed_with_what_to_type() -> None:
    webcams = Webcams(
        (Webcam("0", "C920", "/dev/video0"), Webcam("webcam:HD Cam", "HD Cam", "@x", "this user may not open it")), ""
    )
    said = listed(Found((), ()), webcams=webcams)
    assert "C920    videodisco run 0   (/dev/video0)" in said
    assert 'HD Cam  videodisco run "webcam:HD Cam"   (@x)   this user may not open it' in said


def test_a_guarded_camera_of_a_known_maker_shows_the_usual_path() -> None:
    camera = NetworkCamera(
        "10.0.0.5", "http://10.0.0.5/onvif", "", "", "HIKVISION DS-2CD", problem="it tells no stranger", wants_user=True
    )
    said = listed(Found((camera,), ()))
    assert "usual for Hikvision: rtsp://10.0.0.5:554/Streaming/Channels/101" in said
    assert "videodisco cameras --user NAME" in said
    asked_as_user = listed(Found((camera,), ()), Search(credentials=Credentials("admin", "wrong")))
    assert "--user NAME" not in asked_as_user


def test_a_stream_without_size_or_address_is_still_listed() -> None:
    camera = NetworkCamera("10.0.0.5", "", streams=(CameraStream("main"),))
    said = listed(Found((camera,), ()))
    assert "10.0.0.5  unnamed maker" in said
    assert "its address is not told" in said
