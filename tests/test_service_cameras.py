"""The cameras over HTTP: shown, added, changed, watched; files played in a circle stand for them."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
import yaml

from tests import clips
from tests.clips import Clip
from tests.service_runs import Serving

pytestmark = pytest.mark.slow

WAIT_S = 60.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "street.mp4", Clip(frames=50, width=320, height=240))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, clip: Path, vtest_clip: Path) -> Iterator[Serving]:
    project = tmp_path_factory.mktemp("serve")
    content = {
        "cameras": {
            "street": {
                "source": str(vtest_clip),
                "loop": True,
                "record": {"mode": "continuous", "segment_s": 2, "what": "annotated"},
            },
            "yard": {"source": str(clip), "loop": True, "motion": "off"},
        },
        "serve": {"camera_sources": {"folders": [str(clip.parent)], "networks": ["127.0.0.0/8"]}},
    }
    with pytest.MonkeyPatch.context() as patched, Serving(project, content) as running:
        # A machine that stands still for some seconds is not what is looked at here.
        patched.setattr("edge.service.live.SNAPSHOT_WITHIN_S", WAIT_S)
        patched.setattr("edge.service.live.STILL_THERE_S", WAIT_S)
        until(lambda: camera(running, "street")["state"] == camera(running, "yard")["state"] == "live")
        yield running


def until(condition: Callable[[], object], what: str = "") -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, what or "waited in vain"
        time.sleep(0.05)


def camera(service: Serving, name: str) -> Any:
    return service.get(f"/cameras/{name}").json


def frames(service: Serving, name: str) -> int:
    """How many pictures of a camera have gone through."""
    running = service.call(lambda: service.hub.running.camera(name))
    assert running is not None
    return running.meter.frames


def test_all_cameras_are_shown_with_how_they_do(service: Serving) -> None:
    seen: dict[str, Any] = {}

    def does_well() -> bool:
        seen.update({each["name"]: each for each in service.get("/cameras").json["cameras"]})
        yard = seen["yard"]
        return bool(yard["fps_in"] > 10 and yard["fps_detect"] > 1 and yard["age_ms"] < 2000)

    until(does_well)
    assert list(seen) == ["street", "yard"]
    yard = seen["yard"]
    assert (yard["width"], yard["height"], yard["connects"] >= 1) == (320, 240, True)
    assert isinstance(yard["dropped"], dict)
    assert service.get("/cameras/nobody").status == 404
    figures = service.get("/cameras/street/figures").json
    assert set(figures) == {"latency_ms", "timeline", "detections", "objects"}


def test_a_snapshot_shows_what_is_there(service: Serving) -> None:
    plain = service.get("/cameras/street/snapshot.jpg?boxes=0")
    assert plain.headers["Content-Type"] == "image/jpeg"
    picture = cv2.imdecode(np.frombuffer(plain.body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (576, 768, 3)
    assert service.get("/cameras/street/snapshot.jpg").status == 200


def test_moving_pictures_come_one_after_the_other(service: Serving) -> None:
    async def watching() -> list[bytes]:
        async with aiohttp.ClientSession() as session, session.get(service.url + "/cameras/yard/live.mjpeg") as found:
            assert found.headers["Content-Type"].startswith("multipart/x-mixed-replace")
            reader = aiohttp.MultipartReader.from_response(found)
            pictures = []
            for _ in range(5):
                part = await reader.next()
                assert isinstance(part, aiohttp.BodyPartReader)
                pictures.append(bytes(await part.read()))
            return pictures

    pictures = asyncio.run(watching())
    assert all(each.startswith(b"\xff\xd8") and each.endswith(b"\xff\xd9") for each in pictures)
    assert len(set(pictures)) > 1


def parts_of(service: Serving, path: str, many: int) -> tuple[list[tuple[int, ...]], float]:
    """The sizes of so many moving pictures, and the seconds from asking for them to the last of them."""

    async def watching() -> tuple[list[tuple[int, ...]], float]:
        begun_s = time.monotonic()
        async with aiohttp.ClientSession() as session, session.get(service.url + path) as found:
            reader = aiohttp.MultipartReader.from_response(found)
            sizes = []
            for _ in range(many):
                part = await reader.next()
                assert isinstance(part, aiohttp.BodyPartReader)
                data = np.frombuffer(await part.read(), np.uint8)
                picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
                assert picture is not None
                sizes.append(picture.shape[:2])
            return sizes, time.monotonic() - begun_s

    return asyncio.run(watching())


def test_a_small_tile_gets_small_pictures_and_few(service: Serving) -> None:
    sizes, lasted_s = parts_of(service, "/cameras/street/live.mjpeg?width=300&fps=5", 8)
    assert set(sizes) == {(240, 320)}, "rounded up, so that many tiles share one encoding"
    assert lasted_s > 1.1, "the first comes at once, the others a fifth of a second apart"
    small = service.get("/cameras/street/snapshot.jpg?width=200").body
    picture = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (150, 200, 3)
    assert service.get("/cameras/street/live.mjpeg?width=1").status == 400


def test_nothing_is_encoded_while_nobody_looks(service: Serving) -> None:
    until(lambda: service.call(lambda: service.hub.feeds.viewers) == 0)
    assert not service.call(lambda: service.hub.feeds.of("yard").watched)


def test_the_page_gets_pictures_and_detections_of_the_same_frame(service: Serving) -> None:
    async def watching() -> tuple[list[Any], list[tuple[Any, bytes]]]:
        states: list[Any] = []
        pictures: list[tuple[Any, bytes]] = []
        address = service.url.replace("http", "ws") + "/cameras/street/live"

        def enough() -> bool:
            live = "live" in {each["state"] for each in states}
            return live and len(pictures) >= 5 and any(line["detections"] for line, _ in pictures)

        async with asyncio.timeout(WAIT_S), aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
            while not enough():
                message = await socket.receive()
                if message.type is aiohttp.WSMsgType.TEXT:
                    states.append(json.loads(message.data))
                else:
                    length = int.from_bytes(message.data[:4], "big")
                    pictures.append((json.loads(message.data[4 : 4 + length]), message.data[4 + length :]))
        return states, pictures

    states, pictures = asyncio.run(watching())
    assert {each["camera"] for each in states} == {"street"}
    line, jpeg = pictures[-1]
    assert (line["type"], line["source"], line["width"]) == ("picture", "street", 768)
    assert {"detections", "zones", "age_ms", "frame", "timings_ms"} <= set(line)
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[:2] == (576, 768)
    numbers = [each["frame"] for each, _ in pictures]
    assert numbers == sorted(set(numbers))


def test_a_viewer_that_never_reads_keeps_nobody_waiting(service: Serving) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    for each in silent:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        each.sendall(b"GET /cameras/street/live.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    until(lambda: service.call(lambda: service.hub.feeds.of("street").viewers) >= 20)
    before = frames(service, "street")
    assert service.get("/cameras/street/snapshot.jpg").status == 200
    until(lambda: frames(service, "street") >= before + 15)
    assert service.call(lambda: service.hub.feeds.of("street").viewers) >= 20
    for each in silent:
        each.close()
    until(lambda: service.call(lambda: service.hub.feeds.of("street").viewers) == 0, "viewers that left are forgotten")


def test_a_camera_is_added_changed_paused_and_taken_away(service: Serving, clip: Path) -> None:
    added = service.ask("POST", "/cameras", json={"name": "gate", "source": str(clip), "loop": True, "motion": "off"})
    assert added.status == 201, added.body
    assert added.json == {"changes": ["gate: added"], "saved": False}
    until(lambda: camera(service, "gate")["state"] == "live")
    assert service.ask("POST", "/cameras", json={"name": "gate", "source": str(clip)}).status == 409
    zone = {"name": "door", "points": [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]}
    changed = service.ask("PATCH", "/cameras/gate", json={"zones": [zone], "confidence": 0.5})
    assert changed.status == 200, changed.body
    assert camera(service, "gate")["settings"]["zones"][0]["name"] == "door"
    assert service.ask("PATCH", "/cameras/gate", json={"paused": True}).status == 200
    until(lambda: camera(service, "gate")["state"] == "paused")
    assert service.ask("PATCH", "/cameras/gate", json={"paused": None}).status == 200
    until(lambda: camera(service, "gate")["state"] == "live")
    assert camera(service, "gate")["settings"]["confidence"] == 0.5, "what is not named stays"
    assert service.ask("DELETE", "/cameras/gate").json["changes"] == ["gate: removed"]
    assert service.get("/cameras/gate").status == 404
    assert service.ask("DELETE", "/cameras/gate").status == 404


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://169.254.169.254/x",
        "http://[::1]:1/x",
        "/etc/passwd",
        "udp://@:5000",
        "webcam:/dev/sda",
        "0",
        "file:///etc/passwd",
    ],
)
def test_sources_that_reach_into_this_machine_are_refused(service: Serving, source: str) -> None:
    answered = service.ask("POST", "/cameras", json={"name": "evil", "source": source})
    assert answered.status == 422, answered.body
    assert service.get("/cameras/evil").status == 404


def test_no_odd_spelling_of_an_address_gives_away_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    audit = tmp_path / "audit.log"
    users = ("admin:Xge heim@", "admin:Xgeheim@", 'admin:X"geheim@', "admin:12345/Xgeheim@", "Xgeheim@")
    heads = ("rtsp://", "rtsp//", "rtsp:/", "rtsp:", "", " rtsp://", "rtps://", "//", "webcam://")
    with Serving(tmp_path / "runs", options={"serve": {"http": {"audit_log": audit}}}) as service:
        caplog.clear()
        for source in (f"{head}{user}127.0.0.1/x" for head in heads for user in users):
            answered = service.ask("POST", "/cameras", json={"name": "odd", "source": source})
            assert answered.status == 422, source
            assert b"heim" not in answered.body, source
    assert len(audit.read_text().splitlines()) == len(heads) * len(users)
    assert "heim" not in audit.read_text()
    assert "heim" not in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"guard": None},
        {"record": {"folder": "elsewhere"}},
        {"model": "/etc/passwd"},
        {"model": "../x.onnx"},
        {"unknown": 1},
        {"source": ""},
        {"zones": [{"name": "x", "points": [[0, 0]]}]},
        {"events": {"zones": ["nowhere"]}},
    ],
)
def test_changes_that_are_not_allowed_change_nothing(service: Serving, change: dict[str, Any]) -> None:
    before = camera(service, "yard")["settings"]
    answered = service.ask("PATCH", "/cameras/yard", json=change)
    assert 400 <= answered.status < 500, answered.body
    assert camera(service, "yard")["settings"] == before


def test_another_model_takes_over_and_a_wrong_one_does_not(service: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    # How fast this machine is just now is not the question.
    monkeypatch.setattr("edge.swap.is_too_slow", lambda new_s, old_s: False)
    monkeypatch.setattr("edge.cameras.swaps.is_too_slow", lambda new_s, old_s: False)
    assert service.get("/model").json["model"]["name"].startswith("nanodet-g-416")
    names = [each["name"] for each in service.get("/models").json["models"]]
    assert {"nanodet-g-416", "nanodet-g-416-int8"} <= set(names)
    other = "nanodet-g-416"
    swapped = service.ask("PUT", "/model", json={"model": other})
    assert swapped.status == 200, swapped.body
    assert service.get("/model").json["model"]["name"] == other
    until(lambda: camera(service, "street")["model"] == other)
    assert service.ask("PUT", "/model", json={"model": "nothing"}).status == 404
    assert service.ask("PUT", "/model", json={"model": "/etc/passwd"}).status == 404
    assert service.get("/model").json["model"]["name"] == other


def test_recordings_are_listed_and_given_out_by_range(service: Serving) -> None:
    def finished() -> list[Any]:
        listed = service.get("/recordings?camera=street").json["recordings"]
        return [each for each in listed if each["end_time"]]

    until(finished)
    recording = finished()[0]
    whole = service.get(recording["url"])
    assert whole.status == 200
    assert whole.headers["Content-Type"] == "video/mp4"
    assert len(whole.body) == recording["size_bytes"]
    day, file = recording["url"].removeprefix("/recordings/street/").split("/")
    assert whole.headers["Content-Disposition"] == f"inline; filename*=UTF-8''street%20{day}%20{file}"
    part = service.get(recording["url"], headers={"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, whole.body[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole.body)}"
    assert service.get(recording["url"], headers={"Range": f"bytes={len(whole.body)}-"}).status == 416
    until(lambda: len(finished()) >= 3)
    first = service.get("/recordings?camera=street&limit=2").json
    second = service.get(f"/recordings?camera=street&limit=2&after={first['next']}").json
    assert first["recordings"][-1]["url"] < second["recordings"][0]["url"]
    newest = service.get("/recordings?camera=street&limit=2&newest=1").json
    older = service.get(f"/recordings?camera=street&limit=2&newest=1&after={newest['next']}").json
    urls = [each["url"] for each in (*newest["recordings"], *older["recordings"])]
    assert urls == sorted(urls, reverse=True)


def test_recordings_in_a_folder_below_the_working_directory_are_given_out(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"mode": "continuous", "segment_s": 2, "folder": "recordings"}
    content = {"cameras": {"yard": {"source": str(clip), "loop": True, "motion": "off", "record": record}}}
    with Serving(tmp_path / "runs", content) as service:
        until(lambda: service.get("/recordings").json["recordings"])
        recording = service.get("/recordings").json["recordings"][0]
        assert service.get(recording["url"]).status == 200
        assert Path("recordings", "yard").is_dir()


@pytest.mark.parametrize(
    "path",
    [
        "/recordings/street/2026-01-01/../../config.yaml",
        "/recordings/..%2F..%2Fetc/2026-01-01/passwd",
        "/recordings/%2e%2e/%2e%2e/config.yaml",
        "/recordings/street/2026-01-01/12-00-00Z.mp4",
        "/recordings/street/..%2f..%2f2026-01-01/12-00-00Z.mp4",
        "/events/nothing",
        "/events/..%2F..%2Fconfig.yaml/clip",
        "/events/nothing/snapshot.jpg",
    ],
)
def test_paths_never_leave_their_folder(service: Serving, path: str) -> None:
    from yarl import URL

    async def asking() -> int:
        async with aiohttp.ClientSession() as session, session.get(URL(service.url + path, encoded=True)) as found:
            return found.status

    assert asyncio.run(asking()) == 404


def test_events_are_found_by_camera_class_and_time(service: Serving) -> None:
    until(lambda: len(service.get("/events?camera=street").json["events"]) >= 3)
    events = service.get("/events?camera=street&limit=2").json
    assert len(events["events"]) == 2
    starts = [each["start_time"] for each in events["events"]]
    assert starts == sorted(starts, reverse=True)
    more = service.get(f"/events?camera=street&limit=500&after={events['next']}").json["events"]
    assert not {each["id"] for each in more} & {each["id"] for each in events["events"]}
    event = events["events"][0]
    assert service.get(f"/events/{event['id']}").json["id"] == event["id"]
    assert service.get("/events?class=unicorn").json["events"] == []
    assert service.get(f"/events?class={event['class'].upper()}&limit=1").json["events"]
    assert service.get("/events?end=2001-01-01T00:00:00Z").json["events"] == []
    assert service.get("/events?after=nonsense").status == 400
    snapshots: list[str] = []

    def found() -> list[str]:
        snapshots.extend(each["snapshot"] for each in service.get("/events").json["events"] if each["snapshot"])
        return snapshots

    until(found)
    assert service.get(snapshots[0]).headers["Content-Type"] == "image/jpeg"


def test_recording_by_hand(service: Serving) -> None:
    def made() -> list[Any]:
        listed: list[Any] = service.get("/recordings?camera=yard").json["recordings"]
        return listed

    assert camera(service, "yard")["record_mode"] == "off"
    assert service.ask("POST", "/cameras/yard/recording", json={"on": True}).status == 204
    until(lambda: camera(service, "yard")["recording"])
    assert camera(service, "yard")["recorded_by_hand"]
    # Where the file that stands for a camera begins anew, so does the recording: the first part is whole by then.
    until(lambda: len(made()) > 1)
    assert service.ask("POST", "/cameras/yard/recording", json={"on": False}).status == 204
    until(lambda: not camera(service, "yard")["recording"])
    assert not camera(service, "yard")["recorded_by_hand"]
    until(lambda: all(each["end_time"] for each in made()))
    recordings = made()
    assert recordings
    for recording in recordings:
        assert recording["kind"] == "manual"
        assert len(service.get(recording["url"]).body) == recording["size_bytes"] > 0


def test_a_camera_that_does_not_run_cannot_be_recorded(service: Serving) -> None:
    assert service.ask("PATCH", "/cameras/yard", json={"paused": True}).status == 200
    until(lambda: camera(service, "yard")["state"] == "paused")
    assert camera(service, "yard")["away_s"] is None
    assert service.ask("POST", "/cameras/yard/recording", json={"on": True}).status == 409
    nothing = service.get("/cameras/yard/snapshot.jpg")
    assert (nothing.status, nothing.json["error"]) == (503, "yard shows nothing: it is paused")
    assert service.ask("PATCH", "/cameras/yard", json={"paused": None}).status == 200
    until(lambda: camera(service, "yard")["state"] == "live")


def config_file(folder: Path, clip: Path) -> Path:
    path = folder / "cameras.yaml"
    content = {
        "cameras": {
            "yard": {"source": str(clip), "loop": True},
            "away": {"source": "rtsp://me:s3cret@127.0.0.1:9/x", "paused": True},
        },
        "webhooks": [{"name": "chat", "url": "http://127.0.0.1:9/hook/s3cret", "secret": "s3cret-of-the-hook"}],
        "mlflow": {"enabled": False},
    }
    path.write_text(yaml.safe_dump(content))
    path.chmod(0o644)
    return path


def test_the_configuration_is_shown_tried_and_written_without_its_secrets(tmp_path: Path, clip: Path) -> None:
    path = config_file(tmp_path, clip)
    with Serving(tmp_path / "runs", config=path) as service:
        shown = service.get("/config")
        assert b"s3cret" not in shown.body
        config = shown.json["config"]
        assert config["webhooks"][0]["url"] == config["webhooks"][0]["secret"] == "***"
        assert config["cameras"]["away"]["source"] == "rtsp://***@127.0.0.1:9/x"
        config["cameras"]["yard"]["confidence"] = 0.7
        config["cameras"]["away"]["source"] = "rtsp://***@127.0.0.1:9/other"
        assert service.ask("POST", "/config/validate", json={"config": config}).json["valid"] is False, "it is guarded"
        config["cameras"]["away"]["source"] = "rtsp://***@127.0.0.1:9/x"
        assert service.ask("POST", "/config/validate", json={"config": config}).json == {"valid": True, "problem": None}
        written = service.ask("PUT", "/config", json={"config": config})
        assert written.status == 200, written.body
        assert written.json == {"changes": ["yard: changed"], "saved": True}
        stored = yaml.safe_load(path.read_text())
        assert stored["cameras"]["away"]["source"] == "rtsp://me:s3cret@127.0.0.1:9/x"
        assert stored["webhooks"][0] == {
            "name": "chat",
            "url": "http://127.0.0.1:9/hook/s3cret",
            "secret": "s3cret-of-the-hook",
        }
        assert stored["cameras"]["yard"]["confidence"] == 0.7
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.with_name("cameras.yaml.bak").exists()
        for place, value in (("trust", {"require_signature": True}), ("sources", ["/etc/passwd"])):
            refused = service.ask("PUT", "/config", json={"config": {**config, place: value}})
            assert refused.status == 400, place
        elsewhere = {**config, "cameras": {"away": {"source": "rtsp://***@192.0.2.1/x", "paused": True}}}
        refused = service.ask("PUT", "/config", json={"config": elsewhere})
        assert (refused.status, "again" in refused.json["error"]) == (400, True), "a password goes to no other host"
        added = service.ask("POST", "/cameras", json={"name": "far", "source": "rtsp://u:pw@192.0.2.1/x"})
        assert added.json["saved"] is True
        assert yaml.safe_load(path.read_text())["cameras"]["far"] == {"source": "rtsp://u:pw@192.0.2.1/x", "guard": {}}
        assert b"pw" not in service.get("/cameras/far").body
        kept = service.ask("PATCH", "/cameras/far", json={"source": "rtsp://***@192.0.2.1/y"})
        assert kept.status == 200, kept.body
        assert yaml.safe_load(path.read_text())["cameras"]["far"]["source"] == "rtsp://u:pw@192.0.2.1/y"
        assert service.ask("PATCH", "/cameras/far", json={"source": "rtsp://***@192.0.2.9/y"}).status == 400


def test_a_service_goes_on_in_its_folder_after_a_restart(tmp_path: Path, clip: Path) -> None:
    content = {"cameras": {"yard": {"source": str(clip), "loop": True}}}
    for _ in range(2):
        with Serving(tmp_path, content) as service:
            until(lambda: camera(service, "yard")["state"] == "live")
            folder = service.hub.running.folder.path
            assert folder == tmp_path / "serve"
    assert [each.name for each in tmp_path.iterdir()] == ["serve"]


def test_cameras_that_are_not_there_make_it_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.service.live.SNAPSHOT_WITHIN_S", 0.1)
    content = {"cameras": {"away": {"source": "rtsp://127.0.0.1:9/x", "open_timeout_s": 0.5}}}
    with Serving(tmp_path, content) as service:
        shown: dict[str, Any] = {}
        until(lambda: shown.update(camera(service, "away")) or shown["state"] == "backing_off")
        assert shown["reason"]
        assert shown["retry_in_s"] >= 0
        ready = service.get("/readyz")
        assert ready.status == 503
        assert "away is" in ready.json["error"]
        assert service.get("/healthz").status == 200
        until(lambda: shown.update(camera(service, "away")) or shown["state_s"] + 1 < shown["away_s"], "tried again")
        assert shown["reason"], "also while it is tried again"
        assert service.get("/cameras/away/snapshot.jpg").status == 503
