"""Single pictures over real sockets, through the bundled model."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.detector import OnnxDetector
from stream.frame import Frame
from stream.pipeline import Detected
from tests.service_runs import WAIT_S, Answered, Serving, encoded, form, frame_of, until

PATIENT = {"deadline_s": WAIT_S}
"""Nobody gives up a request but where a test wants that."""


@pytest.fixture(scope="module")
def scene(vtest_clip: Path) -> NDArray[np.uint8]:
    return frame_of(vtest_clip)


@pytest.fixture(scope="module")
def jpeg(scene: NDArray[np.uint8]) -> bytes:
    return encoded(scene)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("serve"), {"serve": {"images": PATIENT}}) as running:
        yield running


def persons(answer: Any) -> list[Any]:
    return [each for each in answer["detections"] if each["class"] == "person"]


def test_the_answer_is_as_designed(service: Serving, jpeg: bytes) -> None:
    answered = service.post_picture(jpeg)
    assert answered.status == 200, answered.body
    answer = answered.json
    assert set(answer) == {"detections", "latency_ms", "model", "image"}
    assert answer["image"] == {"width": 768, "height": 576}
    assert len(persons(answer)) >= 4
    assert set(answer["detections"][0]) == {"class", "class_id", "confidence", "bbox"}
    assert set(answer["model"]) == {"name", "version", "sha256", "signer"}
    scores = [each["confidence"] for each in answer["detections"]]
    assert scores == sorted(scores, reverse=True)
    assert 0 < answer["latency_ms"] < WAIT_S * 1e3


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "image/png"), (".webp", "image/webp"), (".jpg", "image/jpeg")])
def test_every_format_shows_the_same(service: Serving, scene: NDArray[np.uint8], suffix: str, kind: str) -> None:
    answer = service.post_picture(encoded(scene, suffix), kind=kind).json
    assert len(persons(answer)) >= 4
    assert service.post_picture(encoded(scene, suffix), kind="application/octet-stream").json["image"]["width"] == 768


def test_several_pictures_of_a_form_are_answered_in_their_order(service: Serving, jpeg: bytes) -> None:
    small = encoded(np.full((60, 90, 3), 128, np.uint8))
    files = [("a.jpg", jpeg), ("b.jpg", small), ("c.jpg", jpeg)]
    answers = service.ask("POST", "/detect", data=form(*files)).json
    assert [each["image"]["width"] for each in answers] == [768, 90, 768]
    assert answers[0]["detections"] == answers[2]["detections"] != []
    alone = service.ask("POST", "/detect", data=form(("a.jpg", jpeg))).json
    assert alone["detections"] == answers[0]["detections"]


def test_parameters_come_by_query_or_form(service: Serving, jpeg: bytes) -> None:
    sure = service.post_picture(jpeg, "/detect?conf=0.75&classes=person,car").json["detections"]
    assert sure
    assert all(each["confidence"] >= 0.75 for each in sure)
    by_form = service.ask("POST", "/detect?conf=0.1", data=form(("a.jpg", jpeg), conf="0.75", classes="person,car"))
    assert by_form.json["detections"] == sure
    cars = service.post_picture(jpeg, "/detect?classes=car&classes=7&conf=0.3").json["detections"]
    assert {each["class"] for each in cars} <= {"car", "truck"}
    merged = service.post_picture(jpeg, "/detect?iou=0.05&conf=0.2").json["detections"]
    assert len(merged) <= len(service.post_picture(jpeg, "/detect?iou=1&conf=0.2").json["detections"])


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("conf=2", 400),
        ("conf=nan", 400),
        ("classes=unicorn", 400),
        ("unknown=1", 400),
        ("model=nothing-of-that-name", 404),
        ("model=..%2F..%2Fetc%2Fpasswd", 400),
        ("model=%2Fetc%2Fpasswd", 400),
    ],
)
def test_wrong_parameters_are_told_in_a_sentence(service: Serving, jpeg: bytes, query: str, status: int) -> None:
    answered = service.post_picture(jpeg, f"/detect?{query}")
    assert answered.status == status, answered.body
    assert answered.json["error"]


def test_another_model_can_be_asked_for(service: Serving, jpeg: bytes) -> None:
    for name in ("nanodet-g-416", "nanodet-g-416-int8"):
        answer = service.post_picture(jpeg, f"/detect?model={name}").json
        assert answer["model"]["name"] == name
        assert len(persons(answer)) >= 4


def test_the_picture_itself_comes_back_with_its_boxes(service: Serving, scene: NDArray[np.uint8], jpeg: bytes) -> None:
    answered = service.post_picture(jpeg, "/detect?annotate=1")
    assert answered.headers["Content-Type"] == "image/jpeg"
    drawn = cv2.imdecode(np.frombuffer(answered.body, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn.shape == scene.shape
    changed = (np.abs(drawn.astype(int) - scene) > 60).any(axis=2).mean()
    assert 0.005 < changed < 0.3, "boxes and labels, and nothing else"
    two = service.ask("POST", "/detect?annotate=1", data=form(("a.jpg", jpeg), ("b.jpg", jpeg)))
    assert two.status == 400


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_of_the_upright_picture(
    service: Serving, scene: NDArray[np.uint8], jpeg: bytes, orientation: int
) -> None:
    """Turned by a camera, and said so: the answer is that of the picture as people see it."""
    undo = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }
    stored = np.ascontiguousarray(undo[orientation](scene))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(stored[:, :, ::-1].copy()).save(out, "jpeg", exif=exif.tobytes(), quality=95)
    answer = service.post_picture(out.getvalue()).json
    plain = service.post_picture(jpeg).json
    assert answer["image"] == plain["image"] == {"width": 768, "height": 576}
    sure = [each["bbox"] for each in persons(plain) if each["confidence"] > 0.7]
    found = [each["bbox"] for each in persons(answer)]
    assert len(sure) >= 2
    for box in sure:
        assert min(np.abs(np.subtract(box, other)).max() for other in found) < 12


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_is_refused(service: Serving, data: bytes) -> None:
    answered = service.post_picture(data)
    assert answered.status in {400, 422}, answered.body
    assert answered.json["error"]


def test_a_bad_one_among_several_is_named(service: Serving, jpeg: bytes) -> None:
    answered = service.ask("POST", "/detect", data=form(("a.jpg", jpeg), ("b.jpg", b"nonsense")))
    assert answered.status == 422
    assert "picture 2" in answered.json["error"]


def test_too_many_pictures_are_refused(service: Serving, jpeg: bytes) -> None:
    answered = service.ask("POST", "/detect", data=form(*[("a.jpg", b"x")] * 17))
    assert answered.status == 413


def test_frigate_gets_what_its_client_reads(service: Serving, scene: NDArray[np.uint8]) -> None:
    """The exchange as Frigate's DeepStack plugin makes it: a form with the picture and a key, JSON read as it does."""
    picture = encoded(np.asarray(cv2.resize(scene, (320, 320)), np.uint8))
    data = aiohttp.FormData()
    data.add_field("api_key", "")
    data.add_field("image", picture, filename="image")
    answered = service.ask("POST", "/v1/vision/detection", data=data)
    assert answered.status == 200, answered.body
    predictions = answered.json["predictions"]
    assert answered.json["success"] is True
    assert 0 < len(predictions) <= 20
    slots = np.zeros((20, 6), np.float32)
    for number, found in enumerate(predictions):
        assert found["confidence"] >= 0.4, "its client stops here and loses the rest"
        slots[number] = (
            0,
            found["confidence"],
            found["y_min"] / 320,
            found["x_min"] / 320,
            found["y_max"] / 320,
            found["x_max"] / 320,
        )
    assert list(slots[:, 1]) == sorted(slots[:, 1], reverse=True)
    assert slots.max() <= 1


def test_deepstack_answers_twenty_at_most(service: Serving, scene: NDArray[np.uint8]) -> None:
    crowd = np.tile(scene[150:400, 350:700], (2, 2, 1))
    data = form(("image", encoded(np.ascontiguousarray(crowd))), field="image", min_confidence="0.01")
    predictions = service.ask("POST", "/v1/vision/detection", data=data).json["predictions"]
    assert len(predictions) == 20


class Held:
    """Lets no detection through until it is opened; counts those that began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self._open = threading.Event()
        real = OnnxDetector.detect

        def detect(detector: OnnxDetector, frame: Frame) -> Detected:
            self.begun += 1
            assert self._open.wait(WAIT_S)
            return real(detector, frame)

        monkeypatch.setattr(OnnxDetector, "detect", detect)

    def open(self) -> None:
        self._open.set()

    def wait_for(self, count: int) -> None:
        until(lambda: self.begun >= count)


async def many(
    service: Serving, jpeg: bytes, count: int, told: Callable[[int], None] = lambda _count: None
) -> list[Answered]:
    """The answers to so many requests at once; ``told`` how many of them there are yet."""
    answered = 0
    async with aiohttp.ClientSession() as session:

        async def one() -> Answered:
            nonlocal answered
            async with session.post(
                service.url + "/detect", data=jpeg, headers={"Content-Type": "image/jpeg"}
            ) as found:
                answer = Answered(found.status, dict(found.headers), await found.read())
            answered += 1
            told(answered)
            return answer

        return await asyncio.gather(*(one() for _ in range(count)))


def test_what_finds_no_room_is_told_so_at_once(tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with Serving(tmp_path, {"serve": {"images": {"queue": 4, **PATIENT}}}) as service:
        held = Held(monkeypatch)
        answers = asyncio.run(many(service, jpeg, 12, lambda count: held.open() if count == 8 else None))
    statuses = sorted(each.status for each in answers)
    assert statuses == [200] * 4 + [429] * 8
    assert all(int(each.headers["Retry-After"]) >= 1 for each in answers if each.status == 429)


def test_a_deadline_ends_the_wait(tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with Serving(tmp_path, {"serve": {"images": {"deadline_s": 0.4}}}) as service:
        held = Held(monkeypatch)
        begun_s = time.monotonic()
        answered = service.post_picture(jpeg)
        waited_s = time.monotonic() - begun_s
        held.open()
        assert answered.status == 503
        assert answered.headers["Retry-After"]
        assert 0.3 < waited_s < 8, "by default it would be ten"
        images = service.hub.images
        images._settings = images._settings.model_copy(update=PATIENT)
        assert service.post_picture(jpeg).status == 200, "the next one is served"


def test_a_client_that_leaves_is_not_worked_for(tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with Serving(tmp_path, {"detector": {"workers": 1}, "serve": {"images": PATIENT}}) as service:
        held = Held(monkeypatch)
        head = "POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        host, port = service.url.removeprefix("http://").split(":")
        sockets = [socket.create_connection((host, int(port))) for _ in range(6)]
        for each in sockets:
            each.sendall(f"{head}Content-Length: {len(jpeg)}\r\n\r\n".encode() + jpeg)
        held.wait_for(1)
        until(lambda: service.call(lambda: service.hub.images.lane.depth) == 5)
        for each in sockets:
            each.close()
        until(lambda: service.call(lambda: service.hub.images.depth) == 0)
        held.open()
        assert service.post_picture(jpeg).status == 200
        assert held.begun == 2, "the first, which was looked at already, and the last"


def test_deepstacks_clients_do_not_wait_behind_all_others(
    tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for tenths of a second only: their turn comes after one other, not after thirty."""
    small = encoded(np.full((320, 320, 3), 128, np.uint8))
    with Serving(tmp_path, {"detector": {"workers": 1}, "serve": {"images": {"queue": 8, **PATIENT}}}) as service:
        held = Held(monkeypatch)
        widths: list[int] = []
        waiting = OnnxDetector.detect

        def noting(detector: OnnxDetector, frame: Frame) -> Detected:
            widths.append(frame.width)
            return waiting(detector, frame)

        monkeypatch.setattr(OnnxDetector, "detect", noting)
        others = threading.Thread(target=lambda: asyncio.run(many(service, jpeg, 8)))
        others.start()
        held.wait_for(1)
        until(lambda: service.call(lambda: service.hub.images.lane.depth) == 7)
        assert service.post_picture(jpeg).status == 429, "there is no room for more of those"
        answers: list[Answered] = []
        data = form(("image", small), field="image")
        client = threading.Thread(target=lambda: answers.append(service.ask("POST", "/v1/vision/detection", data=data)))
        client.start()
        until(lambda: service.call(lambda: service.hub.deepstack.lane.depth) == 1)
        held.open()
        client.join(WAIT_S)
        others.join(WAIT_S)
    assert [each.status for each in answers] == [200]
    assert widths.index(320) <= 2, widths


def test_while_the_models_are_loaded_requests_are_told_to_come_back(
    tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = threading.Event()

    def slow(*_: object) -> None:
        assert loaded.wait(WAIT_S)

    monkeypatch.setattr("edge.service.program._warm_up", slow)
    with Serving(tmp_path, wait=False) as service:
        assert service.get("/healthz").status == 200
        ready = service.get("/readyz")
        assert (ready.status, ready.json["checks"]["models"]["ready"]) == (503, False)
        answered = service.post_picture(jpeg)
        assert (answered.status, answered.headers["Retry-After"]) == (503, "1")
        loaded.set()


def listens(service: Serving) -> bool:
    host, port = service.url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


def test_answers_are_finished_while_it_stops(tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with Serving(tmp_path, {"serve": {"images": PATIENT}}) as service:
        held = Held(monkeypatch)
        answers: list[Answered] = []
        client = threading.Thread(target=lambda: answers.append(service.post_picture(jpeg)))
        client.start()
        held.wait_for(1)
        service.stop()
        until(lambda: not listens(service))
        held.open()
        client.join(WAIT_S)
    assert [each.status for each in answers] == [200]


def test_a_token_is_asked_for_in_the_header_or_as_deepstacks_key(tmp_path: Path, jpeg: bytes) -> None:
    token = "a-token-that-is-long-enough"  # noqa: S105 - of this test alone
    http = {"tokens": [{"name": "me", "token": token}]}
    with Serving(tmp_path, {"serve": {"http": http}}) as service:
        assert service.post_picture(jpeg).status == 401
        bearer = {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
        assert service.ask("POST", "/detect", data=jpeg, headers=bearer).status == 200
        for key, status in (("", 401), ("wrong", 401), (token, 200)):
            data = form(("image", jpeg), field="image", api_key=key)
            assert service.ask("POST", "/v1/vision/detection", data=data).status == status


def test_the_page_is_served_beside_the_interface(service: Serving) -> None:
    page = service.get("/")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src" in page.headers["Content-Security-Policy"]
    assert service.get("/docs/").status == 200
    paths = service.get("/openapi.json").json["paths"]
    assert {"/detect", "/cameras", "/events", "/recordings", "/model", "/config", "/healthz", "/metrics"} <= set(paths)
