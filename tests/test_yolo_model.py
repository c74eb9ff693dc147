"""A trained YOLOv8n, as Ultralytics exports it, against a decode written the slow and obvious way."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import supervision as sv

from edge.config import DetectorSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from models.catalogue import find
from stream.errors import UsageError
from stream.frame import Frame
from stream.sources.file import FileRange, FileSource
from tests.commands import predictions, videodisco

pytestmark = pytest.mark.slow

CONFIDENCE, IOU = 0.25, 0.6


def looking_through(model: Path, settings: DetectorSettings) -> OnnxDetector:
    return OnnxDetector(LoadedModel(find(str(model)), settings, SlotPlan(1, 1)), settings)


@pytest.fixture(scope="module")
def detector(yolov8n: Path) -> OnnxDetector:
    return looking_through(yolov8n, DetectorSettings(confidence=CONFIDENCE, iou=IOU))


@pytest.fixture(scope="module")
def frames(carphone_clip: Path, detector: OnnxDetector) -> list[Frame]:
    part = FileRange(stride=10)
    source = FileSource(carphone_clip, name="carphone", wants_pictures=lambda _index: False, part=part)
    with closing(source):
        source.open()
        return [frame for frame in source.frames(detector.view) if frame.network is not None]


def reference(session: ort.InferenceSession, frame: Frame) -> sv.Detections:
    """Boxes of one frame: raw onnxruntime, a loop over anchors, supervision's own suppression."""
    assert frame.network is not None
    assert frame.letterbox is not None
    picture = frame.network.astype(np.float32).transpose(2, 0, 1)[None] / 255
    output = session.run(None, {"images": picture})[0][0]
    boxes, scores, classes = [], [], []
    for anchor in output.T:
        best = int(anchor[4:].argmax())
        if anchor[4 + best] > CONFIDENCE:
            x, y, width, height = anchor[:4]
            boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
            scores.append(anchor[4 + best])
            classes.append(best)
    found = sv.Detections(
        np.array(boxes, np.float32).reshape(-1, 4), None, np.array(scores, np.float32), np.array(classes, int)
    ).with_nms(IOU)
    found.xyxy = frame.letterbox.to_source(found.xyxy.astype(np.float32))
    return found


def test_the_same_boxes_as_the_reference(yolov8n: Path, detector: OnnxDetector, frames: list[Frame]) -> None:
    session, total = ort.InferenceSession(yolov8n), 0
    for frame in frames:
        ours, theirs = detector.detect(frame).detections, reference(session, frame)
        assert ours.confidence is not None
        assert theirs.confidence is not None
        order = np.argsort(-theirs.confidence)
        np.testing.assert_allclose(ours.xyxy, theirs.xyxy[order], atol=0.05)
        np.testing.assert_allclose(ours.confidence, theirs.confidence[order], atol=1e-4)
        np.testing.assert_array_equal(ours.class_id, np.asarray(theirs.class_id)[order])
        total += len(ours)
    assert total >= len(frames) / 2, "the clip shows a face nearly all the time"


def test_a_run_by_path_takes_names_and_size_from_the_metadata(
    yolov8n: Path, carphone_clip: Path, tmp_path: Path
) -> None:
    done = videodisco(
        "run", carphone_clip, "--model", yolov8n, "--end", "1", "--no-mlflow", "--quiet", "--conf", "0.25", cwd=tmp_path
    )
    assert done.code == 0, done.err
    lines = predictions(tmp_path / "runs" / "run")
    found = [detection for line in lines for detection in line["detections"]]
    assert {detection["class"].split("_")[0] for detection in found} == {"FACE"}
    for detection in found:
        left, top, right, bottom = detection["bbox"]
        assert 0 <= left < right <= 176
        assert 0 <= top < bottom <= 144


def test_a_class_by_the_models_own_name(yolov8n: Path) -> None:
    looking_through(yolov8n, DetectorSettings(classes=("face_male",)))


def test_a_wrong_size_of_input_is_refused_with_the_step(yolov8n: Path) -> None:
    with pytest.raises(UsageError, match="multiple of 32"):
        looking_through(yolov8n, DetectorSettings(image_size=333))
