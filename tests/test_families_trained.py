"""The same street through every family, with trained weights: the names and boxes of the bundled detector."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
import supervision as sv
from numpy.typing import NDArray

from edge.config import DetectorSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from models.catalogue import FLOAT, find
from models.families import _KNOWN, recognise
from models.session import Session, inspect, open_session
from stream.frame import Frame, Pixels
from stream.sources.pictures import PictureConverter
from tests.service_runs import frame_of
from tests.trained_families import EVERY, SIDE_PX, Words, model_of

pytestmark = pytest.mark.slow

CONFIDENCE, IOU = 0.4, 0.6
Boxes = NDArray[np.float32]


@pytest.fixture(scope="module")
def street(vtest_clip: Path) -> Pixels:
    """Pedestrians, 768x576."""
    return frame_of(vtest_clip)


@pytest.fixture(scope="module")
def bundled() -> Session:
    return open_session(find(FLOAT), device="cpu", threads=1, shape=(SIDE_PX, SIDE_PX))


def detector_for(model: str) -> OnnxDetector:
    settings = DetectorSettings(model=model, device="cpu", confidence=CONFIDENCE, iou=IOU)
    return OnnxDetector(LoadedModel(find(model), settings, SlotPlan(1, 1)), settings)


def seen_by(detector: OnnxDetector, picture: Pixels) -> Frame:
    height, width = picture.shape[:2]
    decoded = av.VideoFrame.from_ndarray(picture, format="bgr24")
    network, letterbox = PictureConverter().network(decoded, detector.view(width, height))
    return Frame("street", 0, 0, Fraction(1, 25), 0.0, width, height, network=network, letterbox=letterbox)


@pytest.fixture(scope="module")
def people(street: Pixels) -> Boxes:
    """Where the bundled detector sees people as it is used every day, on a canvas that fits the picture."""
    detector = detector_for(FLOAT)
    found = detector.detect(seen_by(detector, street)).detections
    boxes: Boxes = found.xyxy[found.data["class_name"] == "person"]
    return boxes


def expected(bundled: Session, frame: Frame, *, rgb: bool) -> tuple[list[str], Boxes]:
    """What the bundled network finds in the very same pixels: names and boxes in the source picture, best first."""
    assert frame.network is not None
    assert frame.letterbox is not None
    pixels = np.ascontiguousarray(frame.network[..., ::-1] if rgb else frame.network)
    family = recognise(bundled.spec)
    boxes = family.decode(
        bundled.run(pixels), (SIDE_PX, SIDE_PX), confidence=CONFIDENCE, iou=IOU, max_detections=300, classes=None
    )
    return [family.names[number] for number in boxes.class_id], frame.letterbox.to_source(boxes.xyxy)


@pytest.mark.parametrize("words", EVERY, ids=[words.family for words in EVERY])
def test_every_family_finds_the_people_in_the_street(
    words: Words, street: Pixels, bundled: Session, people: Boxes, tmp_path: Path
) -> None:
    path = tmp_path / "mine.onnx"
    onnx.save(model_of(words), path)
    detector = detector_for(str(path))
    assert recognise(inspect(find(str(path)))).name == words.family
    frame = seen_by(detector, street)
    found = detector.detect(frame).detections
    names, boxes = expected(bundled, frame, rgb=words.rgb)
    assert list(found.data["class_name"]) == names
    np.testing.assert_allclose(found.xyxy, boxes, atol=0.05)
    # Squeezed into a square, as some families want it, the small ones among them are lost.
    persons = found.xyxy[found.data["class_name"] == "person"]
    assert len(persons) >= 5
    assert (sv.box_iou_batch(persons, people).max(axis=1) > 0.5).all()


def test_no_family_is_left_out() -> None:
    assert {words.family for words in EVERY} | {"nanodet"} == set(_KNOWN)
