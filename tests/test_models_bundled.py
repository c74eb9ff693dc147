"""The bundled detector on real pictures: what it finds, and that its builds agree."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.build.clips import Pixels, calibration_indices, canvas_of, held_out_indices, letterboxed_frames
from models.catalogue import FLOAT, INT8, find
from models.families import Boxes, recognise
from models.matching import agreement
from models.session import Session, open_session


def load(name: str, threads: int = 2) -> Session:
    return open_session(find(name), device="cpu", threads=threads, shape=None)


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
def test_pedestrians_are_found_where_they_walk(vtest_clip: Path, name: str, square: bool) -> None:
    session = load(name)
    for picture in letterboxed_frames(vtest_clip, {57, 403, 601}, square=square):
        boxes = detect(session, picture)
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


def test_int8_agrees_with_float_on_pictures_it_was_not_calibrated_on(vtest_clip: Path) -> None:
    exact, quick = load(FLOAT), load(INT8)
    pictures = letterboxed_frames(vtest_clip, held_out_indices(795)[::5])
    result = agreement((detect(exact, picture), detect(quick, picture)) for picture in pictures)
    assert result.matched > 80
    assert result.f1 >= 0.95
    assert result.score_drift < 0.02


def test_snug_and_square_canvases_find_the_same(vtest_clip: Path) -> None:
    session = load(FLOAT)
    answers = []
    for square in (True, False):
        box = canvas_of(768, 576, square=square)
        pictures = letterboxed_frames(vtest_clip, {57, 203, 403, 601}, square=square)
        boxes = [detect(session, picture) for picture in pictures]
        answers.append([Boxes(box.to_source(b.xyxy), b.confidence, b.class_id) for b in boxes])
    result = agreement(zip(*answers, strict=True))
    assert result.f1 > 0.85
    assert result.box_iou > 0.9


def test_no_frame_is_both_calibrated_on_and_held_out() -> None:
    for count in (10, 250, 795):
        assert not set(calibration_indices(count)) & set(held_out_indices(count))


def test_two_threads_on_one_session_answer_as_one_does(vtest_clip: Path) -> None:
    session = load(INT8, threads=1)
    pictures = list(letterboxed_frames(vtest_clip, range(0, 795, 60)))
    alone = [session.run(picture) for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(session.run, pictures))
    for first, second in zip(alone, together, strict=True):
        for expected, seen in zip(first, second, strict=True):
            np.testing.assert_array_equal(seen, expected)


def test_a_blank_picture_holds_nothing() -> None:
    session = load(INT8)
    assert len(detect(session, np.full((256, 416, 3), 114, np.uint8))) == 0
