"""Real people, found by the real detector, kept, exported and read again."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import supervision as sv

from edge.config import DetectorSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from edge.tracker import tracker_maker
from models.catalogue import find
from models.trust.policy import TrustSettings
from stream.dataset.checking import verify
from stream.dataset.duplicates import distance, fingerprint_of, same_scene
from stream.dataset.export import export
from stream.dataset.export.plan import ExportSettings
from stream.dataset.sample import Sample
from stream.dataset.sink import DatasetSink
from stream.dataset.store import Store
from stream.frame import FrameResult, Timings
from stream.sources.file import FileSource
from tests.datasets import NOON, STRICT, Clock, collector, decoded

pytestmark = pytest.mark.slow

LOOKED_AT = range(0, 160, 8)


@pytest.fixture(scope="module")
def results(vtest_clip: Path) -> list[FrameResult]:
    """Twenty frames over 16 seconds, with all that the detector found in them."""
    settings = DetectorSettings(confidence=0.3, workers=1)
    detector = OnnxDetector(LoadedModel(find("auto", TrustSettings()), settings, SlotPlan(1, 1)), settings)
    tracker = tracker_maker("bytetrack", confidence=0.3, stride=8)
    source = FileSource(vtest_clip, name="vtest", wants_pictures=lambda index: index in LOOKED_AT)
    info, made = source.open(), []
    try:
        track = tracker(info)
        for frame in source.frames(detector.view):
            if frame.index > LOOKED_AT[-1]:
                break
            if frame.index in LOOKED_AT:
                found = track.update(detector.detect(frame).detections, frame.pts_s)
                made.append(FrameResult(frame, found, detector.identity, Timings()))
    finally:
        source.close()
    return made


def kept(folder: Path, results: list[FrameResult], clip: Path, what: str) -> Store:
    taker = collector(folder, what=what)
    source = FileSource(clip, name="vtest", wants_pictures=lambda _index: False)
    sink = DatasetSink(taker, wall_clock=Clock(NOON))
    sink.open(source.open())
    source.close()
    for result in results:
        sink.write(result)
    sink.close()
    return taker.store


def samples_of(store: Store) -> list[Sample]:
    return list(store.manifest.samples())


@pytest.mark.parametrize("what", ["frames", "crops"])
def test_what_was_found_comes_back_from_coco_and_yolo(
    tmp_path: Path, results: list[FrameResult], vtest_clip: Path, what: str
) -> None:
    store = kept(tmp_path / "dataset", results, vtest_clip, what)
    samples = samples_of(store)
    wanted = {f"{each.sha256[:24]}.jpg": each for each in samples}
    settings = ExportSettings(val_share=0.0)
    coco, yolo = (export(store, layout, tmp_path / layout, settings).folder for layout in ("coco", "yolo"))
    loaded = [
        sv.DetectionDataset.from_coco(f"{coco}/images/train", f"{coco}/annotations/instances_train.json"),
        sv.DetectionDataset.from_yolo(f"{yolo}/images/train", f"{yolo}/labels/train", f"{yolo}/data.yaml"),
    ]
    assert len(samples) >= 5
    assert sum(len(each.labels) for each in samples) >= 30
    for dataset in loaded:
        assert len(dataset) == len(samples)
        for path, picture, detections in dataset:
            sample = wanted[Path(path).name]
            assert picture.shape == (sample.height, sample.width, 3)
            assert detections.class_id is not None or not sample.labels
            names = Counter(
                dataset.classes[number] for number in ([] if detections.class_id is None else detections.class_id)
            )
            assert names == Counter(label.class_name for label in sample.labels)
            for box, label in zip(detections.xyxy.tolist(), sample.labels, strict=True):
                assert box == pytest.approx(label.bbox, abs=0.5)


def test_boxes_are_those_of_the_frame_they_were_found_in(
    tmp_path: Path, results: list[FrameResult], vtest_clip: Path
) -> None:
    by_index = {result.frame.index: result for result in results}
    for sample in samples_of(kept(tmp_path, results, vtest_clip, "frames")):
        result = by_index[sample.origin.frame or 0]
        assert len(sample.labels) == len(result.detections)
        for label, box in zip(sample.labels, result.detections.xyxy.tolist(), strict=True):
            assert label.bbox == pytest.approx(box, abs=0.01)
        assert sample.origin.taken_at == pytest.approx(NOON + result.frame.pts_s, abs=0.001)
        assert sample.origin.model.name == result.model.name


@pytest.mark.parametrize("what", ["frames", "crops"])
def test_no_two_pictures_show_the_same(tmp_path: Path, results: list[FrameResult], vtest_clip: Path, what: str) -> None:
    """Judged by the files themselves."""
    twice = kept(tmp_path, [result for result in results for _ in range(2)], vtest_clip, what)
    assert verify(twice, NOON).is_sound
    samples = samples_of(twice)
    prints = {each.sha256: fingerprint_of(decoded(twice.picture_path(each.sha256).read_bytes())) for each in samples}
    for one, other in combinations(samples, 2):
        near = distance(prints[one.sha256], prints[other.sha256]) <= STRICT.distance
        is_crop = one.kind == "crop"
        assert not near or (not is_crop and not same_scene(one.labels, other.labels)), (one.origin, other.origin)
    assert len(samples) < 2 * len(results) or what == "crops"
