"""One contract for all refiners, and what each does beyond it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import web
from onnx import TensorProto, helper

from cloud.config import CloudSettings
from cloud.crops import Crop, CropLimits, look_at
from cloud.errors import ItemError
from cloud.questions import Verdict, decode, encode
from cloud.refiners.base import Opinion, Refiner, shown
from cloud.refiners.detector import in_the_middle
from cloud.refiners.making import make_refiner, read_labels
from models.families import Boxes
from stream import wire
from stream.config import build
from stream.errors import ModelError, UsageError
from stream.frame import Pixels
from stream.geometry import Letterbox
from tests.model_files import of, save

BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LIMITS = CropLimits(8, 1_000_000)
COLOURS = ("red", "green", "blue")
TOP_K = 3


def crop_of(pixels: Pixels, edge_class: str = "car") -> Crop:
    done, data = cv2.imencode(".jpg", pixels)
    assert done
    return look_at(data.tobytes(), edge_class, LIMITS)


def plain(colour: tuple[int, int, int], edge_class: str = "car") -> Crop:
    return crop_of(np.full((40, 60, 3), colour, np.uint8), edge_class)


def by_colour(folder: Path, names: str | None = None) -> Path:
    """A network whose three outputs are a hundred times the mean level of each channel, red first."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Mul", ["flat", "hundred"], ["logits"]),
    ]
    tensors = [helper.make_tensor("hundred", TensorProto.FLOAT, [1], [100.0])]
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    model = of(helper.make_graph(nodes, "colours", [picture], [logits], tensors))
    helper.set_model_props(model, {"task": "classify", **({"names": names} if names else {})})
    return save(model, folder / "colours.onnx")


def settings(**refiner: Any) -> CloudSettings:
    return CloudSettings.model_validate({"refiner": {"top_k": TOP_K, **refiner}, "batches": {"max_size": 4}})


def bundled(_: Path, __: str) -> CloudSettings:
    return settings(workers=2)


def with_labels_file(folder: Path, _: str) -> CloudSettings:
    (folder / "labels.txt").write_text("red\ngreen\nblue\n\n", encoding="utf-8")
    return settings(model=str(by_colour(folder)), labels=folder / "labels.txt", workers=1)


def with_own_labels(folder: Path, _: str) -> CloudSettings:
    return settings(model=str(by_colour(folder, "['red', 'green', 'blue']")))


def detector(_: Path, __: str) -> CloudSettings:
    return settings(kind="detector", model="nanodet-g-416")


def endpoint(_: Path, url: str) -> CloudSettings:
    return settings(kind="endpoint", endpoint={"url": url, "token": "secret", "name": "mine", "timeout_s": 60})


KINDS = [bundled, with_labels_file, with_own_labels, detector, endpoint]
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def service_of_ones_own(answer: Answering) -> AsyncIterator[str]:
    """A real server that answers ``POST /look``."""
    app = web.Application()
    app.router.add_post("/look", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}/look"
    finally:
        await runner.cleanup()


async def tell_the_colour(request: web.Request) -> web.StreamResponse:
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.content_type == "image/jpeg"
    pixels = cv2.imdecode(np.frombuffer(await request.read(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    level = pixels.reshape(-1, 3).mean(axis=0)
    label = COLOURS[::-1][int(level.argmax())]
    others = [{"label": each, "confidence": 0.01} for each in COLOURS]
    agreement = 1.0 if request.headers["X-Edge-Class"] == label else None
    return web.json_response({"label": label, "confidence": 0.9, "top_k": others, "agreement": agreement, "more": 1})


@asynccontextmanager
async def refiner_of(kind: Callable[[Path, str], CloudSettings], folder: Path) -> AsyncIterator[Refiner]:
    async with service_of_ones_own(tell_the_colour) as url:
        refiner = make_refiner(kind(folder, url))
        try:
            await refiner.start()
            yield refiner
        finally:
            await refiner.close()


@functools.cache
def street(clip: Path, frame: int) -> Pixels:
    reader = cv2.VideoCapture(str(clip))
    reader.set(cv2.CAP_PROP_POS_FRAMES, frame)
    read, pixels = reader.read()
    assert read
    found: Pixels = np.asarray(pixels, np.uint8)
    return found


@pytest.fixture
def crops(bikes_clip: Path) -> list[Crop]:
    """A red, a green and a blue area, a person and a car."""
    person, car = street(bikes_clip, 80)[40:260, 400:560], street(bikes_clip, 160)[40:260, 0:160]
    return [plain(RED), plain(GREEN), plain(BLUE), crop_of(person, "person"), crop_of(car, "car")]


async def opinions(refiner: Refiner, crops: Sequence[Crop]) -> Sequence[Opinion | ItemError]:
    return await refiner.refine([refiner.prepare(crop) for crop in crops])


def label(outcome: Opinion | ItemError) -> str:
    return outcome.label if isinstance(outcome, Opinion) else outcome.code


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_batch_is_answered_in_order_and_as_each_crop_alone(
    kind: Callable[[Path, str], CloudSettings], tmp_path: Path, crops: list[Crop]
) -> None:
    async def scenario() -> None:
        async with refiner_of(kind, tmp_path) as refiner:
            alone = [label((await opinions(refiner, [crop]))[0]) for crop in crops]
            assert len(set(alone)) >= 3, "they are told apart"
            both = await asyncio.gather(opinions(refiner, crops), opinions(refiner, crops[::-1]))
            assert [list(map(label, each)) for each in both] == [alone, alone[::-1]]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_it_says_can_be_sent_and_stored(
    kind: Callable[[Path, str], CloudSettings], tmp_path: Path, crops: list[Crop]
) -> None:
    async def scenario() -> None:
        async with refiner_of(kind, tmp_path) as refiner:
            assert refiner.workers >= 1
            model = refiner.model
            wire.RefinerModel(name=model.name, version=model.version, sha256=model.sha256)
            for each in await opinions(refiner, crops):
                if isinstance(each, ItemError):
                    assert each.code == "nothing_found"
                    continue
                guesses = [wire.Guess(label=guess.label, confidence=guess.probability) for guess in each.top]
                assert 1 <= len(guesses) <= TOP_K
                wire.Guess(label=each.label, confidence=each.confidence)
                assert each.agreement is None or 0 <= each.agreement <= 1
                assert decode(encode(Verdict(each, model))) == Verdict(each, model)

    asyncio.run(scenario())


def test_the_bundled_one_has_finer_names_and_none_for_people(tmp_path: Path, crops: list[Crop]) -> None:
    async def scenario() -> None:
        async with refiner_of(bundled, tmp_path) as refiner:
            *_, person, car = await opinions(refiner, crops)
            assert isinstance(person, Opinion)
            assert isinstance(car, Opinion)
            assert person.agreement is None
            assert car.agreement is not None
            assert refiner.model.name.startswith("efficientnet-lite0")

    asyncio.run(scenario())


def test_a_label_that_is_the_edges_own_word_agrees(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with refiner_of(with_own_labels, tmp_path) as refiner:
            asked = [plain(RED, "red"), plain(RED, "green"), plain(RED, "car")]
            found = [each for each in await opinions(refiner, asked) if isinstance(each, Opinion)]
            assert [each.label for each in found] == ["red"] * 3
            assert [each.agreement for each in found] == [1.0, 0.0, None]

    asyncio.run(scenario())


def test_finer_names_of_ones_own_agree(tmp_path: Path) -> None:
    def with_finer_names(folder: Path, _: str) -> CloudSettings:
        names = {"car": ["green", "blue"], "bus": ["red"]}
        return settings(model=str(by_colour(folder, "['red', 'green', 'blue']")), finer_names=names)

    async def scenario() -> None:
        async with refiner_of(with_finer_names, tmp_path) as refiner:
            asked = [plain(RED, "car"), plain(GREEN, "car"), plain(RED, "bus"), plain(RED, "truck"), plain(RED, "red")]
            found = [each for each in await opinions(refiner, asked) if isinstance(each, Opinion)]
            assert [each.agreement for each in found] == [0.0, 1.0, 1.0, None, 1.0]

    asyncio.run(scenario())
    with pytest.raises(ModelError, match=r"no label 'gren'.*'car'"):
        make_refiner(settings(model=str(tmp_path / "colours.onnx"), finer_names={"car": ["gren"]}))


def test_the_second_detector_looks_at_the_middle(tmp_path: Path, crops: list[Crop]) -> None:
    async def scenario() -> None:
        async with refiner_of(detector, tmp_path) as refiner:
            *_, person, car = await opinions(refiner, crops)
            assert label(person) == "person"
            assert isinstance(car, Opinion)
            assert car.label == "car"
            assert car.agreement == car.confidence

    asyncio.run(scenario())


def test_of_boxes_over_the_middle_each_class_has_its_best() -> None:
    letterbox = Letterbox.fit(100, 50, 100, 100)  # the picture covers rows 25 to 75
    corners = np.array([[40, 40, 60, 60], [0, 0, 100, 100], [0, 0, 30, 30], [49, 49, 51, 51]], np.float32)
    boxes = Boxes(corners, np.array([0.5, 0.7, 0.9, 0.6], np.float32), np.array([1, 1, 0, 2]))
    assert in_the_middle(boxes, letterbox, 4).tolist() == pytest.approx([0.0, 0.7, 0.6, 0.0])


def test_labels_are_one_line_each_and_never_empty() -> None:
    assert shown(["a\nb", "\x00", "x" * 300, " dog "]) == ("a b", "unnamed", "x" * 200, "dog")


@pytest.mark.parametrize(
    ("labels", "error"),
    [("red\n\nblue", "none empty"), ("", "none empty"), ("red\ngreen", "3 classes"), (None, "names no classes")],
    ids=["a hole", "nothing", "too few", "no file"],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: str | None, error: str) -> None:
    wanted: dict[str, Any] = {"model": str(by_colour(tmp_path))}
    if labels is not None:
        (tmp_path / "labels.txt").write_text(labels)
        wanted["labels"] = tmp_path / "labels.txt"
    with pytest.raises((UsageError, ModelError), match=error):
        make_refiner(settings(**wanted))


async def lies_with(status: int = 200, body: bytes = b"{}", **headers: str) -> web.Response:
    return web.Response(status=status, body=body, headers=headers)


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(600)
    raise AssertionError


async def breaks_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"label"')
    assert request.transport is not None
    request.transport.abort()
    return response


async def never_ends(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(10_000):
        await response.write(bytes(16 << 10))
    return response


def says(**lie: Any) -> Answering:
    async def answer(_: web.Request) -> web.StreamResponse:
        return await lies_with(**lie)

    return answer


LIARS: dict[str, tuple[Answering, str]] = {
    "an error": (says(status=500), "answered 500"),
    "no entry": (says(status=401), "answered 401"),
    "a redirect": (says(status=307, Location="http://169.254.169.254/secret"), "answered 307"),
    "not json": (says(body=b"hello"), "not what it should be"),
    "no label": (says(body=b'{"confidence": 0.5}'), "not what it should be"),
    "an empty label": (says(body=b'{"label": "", "confidence": 0.5}'), "not what it should be"),
    "more than sure": (says(body=b'{"label": "cat", "confidence": 7}'), "not what it should be"),
    "not a number": (says(body=b'{"label": "cat", "confidence": NaN}'), "not what it should be"),
    "two lines": (says(body=b'{"label": "a\\nb", "confidence": 0.5}'), "not what it should be"),
    "too much": (never_ends, "longer than"),
    "half": (breaks_off, "cannot be reached"),
    "nothing": (hangs, "did not answer in time"),
}


@pytest.mark.parametrize(("liar", "said"), LIARS.values(), ids=LIARS)
def test_what_a_service_of_ones_own_does_wrong_fails_that_crop_only(liar: Answering, said: str) -> None:
    async def mixed(request: web.Request) -> web.StreamResponse:
        if request.headers["X-Edge-Class"] == "bus":
            return await liar(request)
        return web.json_response({"label": "tram", "confidence": 0.5})

    async def scenario() -> None:
        async with service_of_ones_own(mixed) as url:
            # who never answers costs the test this; the others may take their time
            timeout_s = 2 if liar is hangs else 60
            refiner = make_refiner(settings(kind="endpoint", endpoint={"url": url, "timeout_s": timeout_s}))
            await refiner.start()
            fine, failed = await opinions(refiner, [plain(RED, "train"), plain(RED, "bus")])
            await refiner.close()
            assert label(fine) == "tram"
            assert isinstance(failed, ItemError)
            assert failed.retry
            assert said in str(failed)
            assert url not in str(failed)

    asyncio.run(scenario())


def test_a_service_that_is_not_there_is_said_without_its_address() -> None:
    async def scenario() -> None:
        url = "http://127.0.0.1:9/secret-path"
        refiner = make_refiner(settings(kind="endpoint", endpoint={"url": url, "timeout_s": 60}))
        await refiner.start()
        (failed,) = await opinions(refiner, [plain(RED)])
        await refiner.close()
        assert isinstance(failed, ItemError)
        assert "secret" not in str(failed)

    asyncio.run(scenario())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "host:80", "http:///path"])
def test_only_web_addresses_are_taken_and_never_repeated(url: str) -> None:
    values = {"refiner": {"kind": "endpoint", "endpoint": {"url": url}}}
    with pytest.raises(UsageError, match="begin with http://") as refused:
        build(CloudSettings, values, origin="the test")
    assert url not in str(refused.value)


def test_labels_that_are_not_there_are_not_called_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nope\.txt cannot be read: No such file or directory"):
        read_labels(tmp_path / "nope.txt")
    (tmp_path / "latin.txt").write_bytes("Käse".encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin\.txt are no UTF-8 text"):
        read_labels(tmp_path / "latin.txt")
