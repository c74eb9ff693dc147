"""``videodisco probe`` on live addresses: what it measures, and what it says when they do not open."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import videodisco
from stream.discovery import diagnosis, knocking
from stream.discovery.diagnosis import path_table, remark
from stream.discovery.onvif import Search
from stream.discovery.vendors import VENDOR_PATHS
from stream.sources import live_probing
from tests import commands, rtsp_server
from tests.conftest import missing
from tests.fake_onvif import FakeCamera, Model, fake_camera
from tests.ports import HeldPort
from tests.rtsp_server import CameraSpec, RtspCamera

PATIENT_S = 30.0
USER, PASSWORD = "ad.min", "s3cr:t@/x"
PATIENTLY = ("--timeout", f"{PATIENT_S}")
USERINFO = "ad.min:s3cr%3At%40%2Fx@"


@pytest.fixture(scope="module")
def gstreamer() -> None:
    if not rtsp_server.available():
        missing("GStreamer's RTSP server", "install gir1.2-gst-rtsp-server-1.0 and GStreamer's plugins")


@pytest.fixture(autouse=True)
def _other_programs_of_this_machine_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "Search", partial(Search, port=9))
    monkeypatch.setattr(diagnosis, "ASK_DEADLINE_S", PATIENT_S)
    monkeypatch.setattr(knocking, "USUAL_PORTS", {})
    monkeypatch.setattr("stream.discovery.onvif.DEVICE_SERVICE_PORTS", ())


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers may be as busy as this machine is."""
    for name in ("open_ports", "greeting", "content_type"):
        monkeypatch.setattr(knocking, name, partial(getattr(knocking, name), timeout_s=PATIENT_S))
    monkeypatch.setattr(live_probing, "SOUND_LIMIT_S", PATIENT_S)
    monkeypatch.setattr(live_probing, "SOUND_RETRIES_S", (0.0, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0))


@contextmanager
def web_server(body: bytes, content_type: str) -> Iterator[str]:
    """A web server on loopback that answers everything with ``body``; its host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def refused(url: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, list[str]]:
    """The sentence and the lines after it of a probe that finds no source."""
    assert videodisco.main(["probe", url, *(options or PATIENTLY)]) == 3
    ended = commands.Ended(3, *capsys.readouterr())
    assert not ended.out
    assert not any(secret in ended.err for secret in (PASSWORD, USERINFO, USER))
    first, *others = ended.err.splitlines()
    assert first == f"videodisco: {ended.sentence}"
    return ended.sentence, others


# Real cameras


def probed(url: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert videodisco.main(["probe", url, "--json", *PATIENTLY]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("gstreamer", "_patient")
def test_a_camera_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    spec = CameraSpec(width=640, height=360, rate=20, sound=True, user=USER, password=PASSWORD)
    with RtspCamera(spec) as camera:
        begun_s = time.monotonic()
        found = probed(camera.url.replace("//", f"//{USERINFO}"), capsys)
        took_s = time.monotonic() - begun_s
    assert found["location"] == camera.url.replace("//", "//***@")
    assert (found["codec"], found["width"], found["height"]) == ("h264", 640, 360)
    assert found["fps"] == pytest.approx(20, abs=0.5)
    assert (found["gop_frames"], found["gop_s"], found["b_frames"]) == (20, pytest.approx(1.0, abs=0.05), False)
    assert found["audio"] == {"codec": "pcm_alaw", "sample_rate_hz": 8000, "channels": 1}
    assert found["bits_per_s"] > 10_000
    assert 0 < found["first_picture_s"] < took_s - found["span_s"] + 1, "one of the first pictures"
    assert found["transport"] == "RTSP over TCP"


@pytest.mark.slow
@pytest.mark.usefixtures("gstreamer", "_patient")
def test_a_camera_by_udp_with_b_frames_and_seldom_keyframes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_probing, "KEYFRAME_WAIT_S", 2.5)
    with RtspCamera(CameraSpec(b_frames=2, keyframe_every_s=30)) as camera:
        assert videodisco.main(["probe", camera.url, "--rtsp-transport", "udp", *PATIENTLY]) == 0
    out = capsys.readouterr().out
    assert "RTSP over UDP" in out
    assert "h264, B-frames" in out
    assert "fewer than two in" in out
    assert "sound          none" in out


@pytest.mark.slow
@pytest.mark.usefixtures("gstreamer", "_patient")
def test_what_is_wrong_with_a_cameras_address_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RtspCamera(CameraSpec(user=USER, password=PASSWORD)) as camera:
        guarded = camera.url.replace("//", f"//{USERINFO}")
        sentence, advice = refused(f"{guarded}/nope", capsys)
        assert "there is no stream at this path (404)" in sentence
        assert len(advice) == len(VENDOR_PATHS) + 2
        assert any("Hikvision" in line and "/Streaming/Channels/102" in line for line in advice)
        assert f"'rtsp://USER:PASSWORD@127.0.0.1:{camera.port}/Streaming/Channels/102'" in advice[-1]

        sentence, advice = refused(camera.url, capsys)
        assert "wants a user and a password; write them into the address: rtsp://USER:PASSWORD@127" in sentence
        assert not advice

        sentence, advice = refused(camera.url.replace("//", "//ad.min:wrong@"), capsys)
        assert "refuses this user or password (401)" in sentence
        assert not advice

        monkeypatch.setattr(knocking, "USUAL_PORTS", {camera.port: "RTSP"})
        closed = HeldPort()
        sentence, advice = refused(guarded.replace(str(camera.port), str(closed.number)), capsys)
        assert f"port {closed.number} of 127.0.0.1 refuses connections" in sentence
        assert f"try rtsp://***@127.0.0.1:{camera.port}/live" in sentence
        assert not advice


@pytest.mark.slow
@pytest.mark.usefixtures("gstreamer", "_patient")
def test_the_camera_itself_is_asked_for_the_right_path(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked_until(words: str, url: str, asked: FakeCamera) -> tuple[str, list[str]]:
        """A camera too busy to answer within the second it has is given more time."""
        monkeypatch.setattr(diagnosis, "Search", partial(Search, port=asked.discovery_port))
        for patience_s in (diagnosis.ASK_CAMERA_S, 4.0, 16.0):
            monkeypatch.setattr(diagnosis, "ASK_CAMERA_S", patience_s)
            sentence, advice = refused(url, capsys)
            if words in sentence:
                break
        return sentence, advice

    with RtspCamera(CameraSpec(user=USER, password=PASSWORD)) as camera:
        wrong = camera.url.replace("//", f"//{USERINFO}") + "/wrong"
        profiles = (("main", "H264", 320, 240, camera.url),)
        with fake_camera(Model(user=USER, password=PASSWORD, profiles=profiles)) as onvif:
            sentence, advice = asked_until("the camera itself names", wrong, onvif)
        assert "the camera itself names the streams below" in sentence
        assert advice == [f"  main: {camera.url}"]

        with fake_camera(Model("HIKVISION", "DS-2CD", user="someone")) as onvif:
            sentence, advice = asked_until("HIKVISION", wrong, onvif)
        assert "it is a HIKVISION DS-2CD, whose usual paths are below" in sentence
        assert advice[0].startswith("  Hikvision  /Streaming/Channels/101")
        assert len(advice) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("gstreamer", "_patient")
def test_a_camera_without_a_picture_is_named_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with RtspCamera(CameraSpec(picture=False, sound=True)) as camera:
        sentence, _ = refused(camera.url, capsys)
    assert "sends sound alone (pcm_alaw) and no picture" in sentence


@pytest.mark.slow
@pytest.mark.usefixtures("gstreamer", "_patient")
def test_the_whole_command_as_a_stranger_types_it(tmp_path: Path) -> None:
    with RtspCamera(CameraSpec(user=USER, password=PASSWORD)) as camera:
        guarded = camera.url.replace("//", f"//{USERINFO}")
        good = commands.videodisco("probe", guarded, *PATIENTLY, cwd=tmp_path)
        wrong = commands.videodisco("probe", f"{guarded}x", cwd=tmp_path)
    assert (good.code, good.err) == (0, "")
    assert re.search(r"25\.0 fps measured over \d+\.\d s \(it states 25\)", good.out)
    assert wrong.code == 3
    assert "there is no stream at this path" in wrong.sentence
    assert PASSWORD not in good.out + wrong.err
    assert USERINFO not in good.out + wrong.err


# Addresses without a camera


@pytest.mark.usefixtures("_patient")
def test_a_host_where_nothing_listens(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    closed, rtsp, web = HeldPort(), HeldPort(), HeldPort()
    monkeypatch.setattr(knocking, "USUAL_PORTS", {rtsp.number: "RTSP", web.number: "a web page"})
    sentence, advice = refused(f"rtsp://{USERINFO}127.0.0.1:{closed.number}/x", capsys)
    assert "refuses connections" in sentence
    assert "do not answer either; is the camera on" in sentence
    assert not advice


@pytest.mark.usefixtures("_patient")
def test_a_host_with_a_web_page_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(b"", "text/html") as place:
        port = int(place.rpartition(":")[2])
        monkeypatch.setattr(knocking, "USUAL_PORTS", {port: "a web page"})
        closed = HeldPort()
        sentence, _ = refused(f"rtsp://127.0.0.1:{closed.number}/x", capsys)
    assert f"what answers there is port {port} (a web page): RTSP may be switched off" in sentence


def test_a_host_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    sentence, advice = refused(f"rtsp://{USERINFO}camera.invalid/x", capsys)
    assert "the host camera.invalid is not known; check its spelling" in sentence
    assert not advice


def test_a_host_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    # A listener whose queue is full: the system leaves further connections without an answer.
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        place = listening.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(place)
            sentence, _ = refused(f"rtsp://127.0.0.1:{place[1]}/x", capsys, "--timeout", "0.5")
        finally:
            for one in waiting:
                one.close()
    assert "does not answer" in sentence


def test_a_port_that_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knocking, "open_ports", partial(knocking.open_ports, timeout_s=PATIENT_S))
    with silent_server() as port:
        sentence, _ = refused(f"rtsp://127.0.0.1:{port}/x", capsys, "--timeout", "0.5")
    assert f"port {port} of 127.0.0.1 takes the connection and then says nothing" in sentence


@pytest.mark.usefixtures("_patient")
def test_a_web_servers_port_asked_for_rtsp(capsys: pytest.CaptureFixture[str]) -> None:
    with web_server(b"", "text/html") as place:
        sentence, _ = refused(f"rtsp://{place}/x", capsys)
    assert "does not speak RTSP: RTSP may be switched off" in sentence


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize(
    ("content_type", "what"),
    [("text/html; charset=utf-8", "a web page (text/html)"), ("image/jpeg", "a single picture (image/jpeg)")],
)
def test_the_address_of_a_page_instead_of_a_stream(
    content_type: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with web_server(b"<html>login</html>" * 100, content_type) as place:
        sentence, advice = refused(f"http://{USERINFO}{place}/", capsys)
    assert f"is {what}, not a stream" in sentence
    assert advice[-1] == "  videodisco probe 'rtsp://USER:PASSWORD@127.0.0.1/Streaming/Channels/102'"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("7", "'videodisco cameras' lists"),
        ("webcam:No Such Camera", "'videodisco cameras' lists"),
        ("ftp://host/x", "ftp:// is not known here"),
        (f"rtsp://{USERINFO}host:99999/x", "has a host or port that cannot be read"),
    ],
)
def test_what_is_no_address_or_no_webcam(source: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    sentence, _ = refused(source, capsys)
    assert words in sentence


def test_a_wrong_transport_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert videodisco.main(["probe", "rtsp://127.0.0.1/x", "--rtsp-transport", "pigeon"]) == 2
    assert "tcp or udp" in capsys.readouterr().err


def test_the_table_of_paths_fits_its_columns() -> None:
    *rows, hint, example = path_table(VENDOR_PATHS, "10.0.0.5")
    assert len(rows) == len(VENDOR_PATHS)
    assert len({line.index("/") for line in rows if "Frigate" not in line}) == 1
    assert "small stream" in hint
    assert example.endswith("@10.0.0.5/Streaming/Channels/102'")


def test_the_documentation_lists_the_same_paths() -> None:
    text = (Path(__file__).parent.parent / "docs" / "finding-cameras.md").read_text(encoding="utf-8")
    for vendor in VENDOR_PATHS:
        sub = f"`{vendor.sub}`" if vendor.sub else ""
        assert f"| {vendor.maker} | `{vendor.main}` | {sub} | {remark(vendor)} |" in text
