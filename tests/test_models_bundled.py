"""The bundled detector on real pictures: what it finds, and that its builds agree."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.build.clips import Pixels, calibration_indices, canvas_of, held_out_indices, letterboxed_frames
from models.catalogue import FLOAT, INT8, find
from models.families import Boxes, recognise
from models.matching import agreement
from models.session import Session, open_session

Pictures = Mapping[bool, Mapping[int, Pixels]]
"""By whether the canvas is square, and by the number of the frame."""

SOME = (57, 203, 403, 601)
HELD_OUT = held_out_indices(795)[::5]
SPREAD = range(0, 795, 60)


@functools.cache
def load(name: str) -> Session:
    return open_session(find(name), device="cpu", threads=1, shape=None)


@pytest.fixture(scope="module", autouse=True)
def _closed_again() -> Iterator[None]:
    """No other module's tests hold these sessions in their memory."""
    yield
    load.cache_clear()


@pytest.fixture(scope="module")
def walkers(vtest_clip: Path) -> Pictures:
    """Pedestrians, decoded once for all."""
    chosen = {True: set(SOME), False: {*SOME, *HELD_OUT, *SPREAD}}
    return {
        square: dict(zip(sorted(indices), letterboxed_frames(vtest_clip, indices, square=square), strict=True))
        for square, indices in chosen.items()
    }


def detect(session: Session, picture: Pixels, confidence: float = 0.35) -> Boxes:
    family = recognise(session.spec)
    outputs, size = session.run(picture), picture.shape[:2]
    return family.decode(outputs, size, confidence=confidence, iou=0.6, max_detections=300, classes=None)


def found(session: Session, boxes: Boxes) -> list[str]:
    return [session.spec.names[number] for number in boxes.class_id]


@pytest.mark.parametrize("name", [FLOAT, INT8])
def test_the_file_says_the_same_as_its_card(name: str) -> None:
    model = find(name)
    spec = load(name).spec
    assert model.card is not None
    assert list(spec.names) == model.card["classes"]
    assert [output.name for output in spec.outputs] == [output["name"] for output in model.card["outputs"]]
    assert (spec.task, spec.family, spec.imgsz, spec.stride_px) == ("detect", "nanodet", (416, 416), 32)
    assert not spec.input.rgb


@pytest.mark.parametrize("name", [FLOAT, INT8])
@pytest.mark.parametrize("square", [False, True])
def test_pedestrians_are_found_where_they_walk(walkers: Pictures, name: str, square: bool) -> None:
    session = load(name)
    for number in (57, 403, 601):
        boxes = detect(session, walkers[square][number])
        people = boxes.take(boxes.class_id == 0)
        assert len(people) >= 4
        heights = people.xyxy[:, 3] - people.xyxy[:, 1]
        # They are 75 to 110 px tall in a picture of 576, shown at 312.
        assert 25 < np.median(heights) < 80


@pytest.mark.parametrize("name", [FLOAT, INT8])
def test_the_street_has_its_cars_cyclists_and_people(bikes_clip: Path, name: str) -> None:
    session = load(name)
    seen = {
        label
        for picture in letterboxed_frames(bikes_clip, range(5, 250, 24))
        for label in found(session, detect(session, picture))
    }
    assert {"car", "bicycle", "person"} <= seen


def test_int8_agrees_with_float_on_pictures_it_was_not_calibrated_on(walkers: Pictures) -> None:
    exact, quick = load(FLOAT), load(INT8)
    pictures = [walkers[False][number] for number in HELD_OUT]
    result = agreement((detect(exact, picture), detect(quick, picture)) for picture in pictures)
    assert result.matched > 80
    assert result.f1 >= 0.95
    assert result.score_drift < 0.02


def test_snug_and_square_canvases_find_the_same(walkers: Pictures) -> None:
    session = load(FLOAT)
    answers = []
    for square in (True, False):
        box = canvas_of(768, 576, square=square)
        boxes = [detect(session, walkers[square][number]) for number in SOME]
        answers.append([Boxes(box.to_source(b.xyxy), b.confidence, b.class_id) for b in boxes])
    result = agreement(zip(*answers, strict=True))
    assert result.f1 > 0.85
    assert result.box_iou > 0.9


def test_no_frame_is_both_calibrated_on_and_held_out() -> None:
    for count in (10, 250, 795):
        assert not set(calibration_indices(count)) & set(held_out_indices(count))


def test_two_threads_on_one_session_answer_as_one_does(walkers: Pictures) -> None:
    session = load(INT8)
    pictures = [walkers[False][number] for number in SPREAD]
    alone = [session.run(picture) for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(session.run, pictures))
    for first, second in zip(alone, together, strict=True):
        for expected, seen in zip(first, second, strict=True):
            np.testing.assert_array_equal(seen, expected)


def test_a_blank_picture_holds_nothing() -> None:
    session = load(INT8)
    assert len(detect(session, np.full((256, 416, 3), 114, np.uint8))) == 0
