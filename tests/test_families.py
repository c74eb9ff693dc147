"""Decoding network outputs, against loops that follow the papers' words one cell at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.families import Boxes, Family, recognise
from models.families.nanodet import NanoDet
from models.families.yolo import Yolo
from models.spec import InputSpec, ModelSpec, OutputSpec, Shape
from stream.errors import ModelError

BINS = 11
CLASSES = 5


def spec(
    *outputs: tuple[str, Shape], names: Sequence[str] = (), task: str = "detect", size: int | None = 64
) -> ModelSpec:
    picture = InputSpec("images", "float32", "NCHW", size, size, rgb=True, mean=(0, 0, 0), scale=(1, 1, 1))
    return ModelSpec("mine", picture, [OutputSpec(*output) for output in outputs], task, None, names, None, 32)


def nanodet_spec(height: int, width: int, *, flat: bool) -> ModelSpec:
    outputs: list[tuple[str, Shape]] = []
    for stride in (8, 16, 32):
        grid: Shape = (height // stride * (width // stride),) if flat else (height // stride, width // stride)
        outputs += [(f"scores_{stride}", (1, *grid, CLASSES)), (f"boxes_{stride}", (1, *grid, 4 * BINS))]
    picture = InputSpec("images", "uint8", "NHWC", height, width, rgb=False, mean=(0, 0, 0), scale=(1, 1, 1))
    return ModelSpec("mine", picture, [OutputSpec(*output) for output in outputs], "detect", None, (), None, 32)


def random_outputs(described: ModelSpec, seed: int = 0) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    made = []
    for output in described.outputs:
        shape = [size or 1 for size in output.shape]
        scores = output.name.startswith("scores")
        made.append((rng.random(shape) ** 8 if scores else rng.normal(0, 3, shape)).astype(np.float32))
    return made


def nanodet_by_loop(
    outputs: list[NDArray[np.float32]], height: int, width: int, confidence: float
) -> dict[tuple[int, float], list[float]]:
    found = {}
    for place, stride in enumerate((8, 16, 32)):
        scores = outputs[2 * place].reshape(-1, CLASSES)
        logits = outputs[2 * place + 1].reshape(-1, 4, BINS)
        for row in range(height // stride):
            for column in range(width // stride):
                cell = row * (width // stride) + column
                best = max(range(CLASSES), key=lambda number: scores[cell, number])
                if scores[cell, best] <= confidence:
                    continue
                reach = []
                for side in range(4):
                    powers = [math.exp(value) for value in logits[cell, side]]
                    reach.append(sum(bin_ * power for bin_, power in enumerate(powers)) / sum(powers) * stride)
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                box = [x - reach[0], y - reach[1], x + reach[2], y + reach[3]]
                found[best, float(scores[cell, best])] = box
    return found


def everything(family: Family, outputs: Sequence[NDArray[Any]], size: tuple[int, int], confidence: float) -> Boxes:
    """All boxes above a confidence: nothing overlaps by more than all."""
    return family.decode(outputs, size, confidence=confidence, iou=1.0, max_detections=9999, classes=None)


def as_table(boxes: Boxes) -> dict[tuple[int, float], list[float]]:
    rows = zip(boxes.class_id, boxes.confidence, boxes.xyxy, strict=True)
    return {(int(number), float(score)): [float(side) for side in box] for number, score, box in rows}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 64)])
def test_nanodet_decodes_as_the_loop_does(height: int, width: int, flat: bool) -> None:
    described = nanodet_spec(height, width, flat=flat)
    outputs = random_outputs(described)
    boxes = everything(recognise(described), outputs, (height, width), 0.4)
    expected = nanodet_by_loop(outputs, height, width, 0.4)
    seen = as_table(boxes)
    assert len(seen) > 20
    assert seen.keys() == expected.keys()
    for key, box in expected.items():
        assert seen[key] == pytest.approx(box, abs=1e-3)
    assert list(boxes.confidence) == sorted(boxes.confidence, reverse=True)


@pytest.mark.parametrize("flat", [False, True])
def test_nanodet_of_open_size_is_decoded_by_the_size_it_was_run_at(flat: bool) -> None:
    fixed = nanodet_spec(64, 96, flat=flat)
    open_shapes = [(output.name, (1, *[None] * (len(output.shape) - 2), output.shape[-1])) for output in fixed.outputs]
    family = recognise(spec(*open_shapes, size=None))
    outputs = random_outputs(fixed)
    kept = as_table(everything(family, outputs, (64, 96), 0.4))
    expected = nanodet_by_loop(outputs, 64, 96, 0.4)
    assert kept.keys() == expected.keys()
    assert all(kept[key] == pytest.approx(box, abs=1e-3) for key, box in expected.items())


def test_nanodet_with_odd_boxes_is_refused_with_what_was_seen() -> None:
    with pytest.raises(ModelError, match=r"boxes_8 \[1 x 4 x 4 x 43\]"):
        recognise(spec(("scores_8", (1, 4, 4, 5)), ("boxes_8", (1, 4, 4, 43))))


def test_upstream_output_names_are_known() -> None:
    family = recognise(spec(("cls_pred_stride_8", (1, 64, 80)), ("dis_pred_stride_8", (1, 64, 32))))
    assert isinstance(family, NanoDet)


@pytest.mark.parametrize("anchors", [1, 84])
def test_yolo_decodes_as_the_loop_does(anchors: int) -> None:
    rng = np.random.default_rng(anchors)
    output = (rng.random((1, 4 + CLASSES, anchors)) ** 2).astype(np.float32)
    output[:, :4] *= 64
    boxes = Yolo().decode([output], (64, 64), confidence=0.2, iou=1.0, max_detections=999, classes=None)
    expected = {}
    for anchor in range(anchors):
        x, y, width, height, *scores = (float(value) for value in output[0, :, anchor])
        best = max(range(CLASSES), key=lambda number: scores[number])
        if scores[best] > 0.2:
            expected[best, scores[best]] = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    seen = as_table(boxes)
    assert seen.keys() == expected.keys()
    for key, box in expected.items():
        assert seen[key] == pytest.approx(box, abs=1e-4)


def test_only_wanted_classes_are_kept() -> None:
    output = np.zeros((1, 4 + CLASSES, 3), np.float32)
    output[0, :4] = [[10, 30, 50], [10, 30, 50], [8, 8, 8], [8, 8, 8]]
    output[0, [4, 5, 6], [0, 1, 2]] = 0.9
    kept = Yolo().decode([output], (64, 64), confidence=0.5, iou=0.5, max_detections=9, classes=[0, 2])
    assert sorted(kept.class_id) == [0, 2]
    assert len(Yolo().decode([output], (64, 64), confidence=0.5, iou=0.5, max_detections=9, classes=[])) == 0


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_numbers_that_are_none_never_come_out(poison: float) -> None:
    output = np.zeros((1, 4 + CLASSES, 4), np.float32)
    output[0, 4] = 0.9
    output[0, :4] = [[8, 20, 32, 44]] * 4
    output[0, 0, 1], output[0, 4, 2] = poison, poison
    kept = Yolo().decode([output], (64, 64), confidence=0.5, iou=0.5, max_detections=9, classes=None)
    assert np.isfinite(kept.xyxy).all()
    assert np.isfinite(kept.confidence).all()
    assert len(kept) == 2


def test_nothing_likely_gives_no_boxes_of_the_right_shape() -> None:
    described = nanodet_spec(64, 64, flat=False)
    outputs = [np.zeros([size or 1 for size in output.shape], np.float32) for output in described.outputs]
    for family, raw in ((recognise(described), outputs), (Yolo(), [np.zeros((1, 9, 20), np.float32)])):
        boxes = family.decode(raw, (64, 64), confidence=0.5, iou=0.5, max_detections=9, classes=None)
        assert (len(boxes), boxes.xyxy.shape, boxes.xyxy.dtype.name) == (0, (0, 4), "float32")


NAMES = tuple(f"class {number}" for number in range(300))


@pytest.mark.parametrize(
    ("shape", "count", "size", "family"),
    [
        ((1, 84, 8400), 0, 640, "yolo"),
        ((1, 6, 8400), 2, 640, "yolo"),
        ((1, None, None), 1, None, "yolo"),
        ((None, 84, None), 0, None, "yolo"),
        ((1, 25200, 85), 0, 640, "yolov5"),
        ((1, 6300, 7), 2, 320, "yolov5"),
        ((1, None, 85), 80, None, "yolov5"),
        ((1, 300, 6), 0, 640, "yolo-end-to-end"),
        ((1, 300, 6), 1, 640, "yolo-end-to-end"),
        ((1, 300, 6), 2, None, "yolo-end-to-end"),
        ((1, 8400, 85), 0, 640, "yolox"),
        ((1, 3549, 85), 80, 416, "yolox"),
        ((1, 3549, 6), 0, 416, "yolox"),
        ((1, 3549, 6), 1, 416, "yolox"),
        ((1, 3598, 112), 0, 416, "nanodet-plus"),
        ((1, 3598, 35), 3, 416, "nanodet-plus"),
        ((1, 3549, 112), 80, 416, "nanodet-plus"),
        ((1, 3549, 124), 0, 416, "nanodet-plus"),
    ],
)
def test_one_table_is_recognised_by_its_shape_and_names(
    shape: Shape, count: int, size: int | None, family: str
) -> None:
    assert recognise(spec(("output0", shape), names=NAMES[:count], size=size)).name == family


@pytest.mark.parametrize(
    ("outputs", "family"),
    [
        ([("logits", (1, 300, 80)), ("pred_boxes", (1, 300, 4))], "detr"),
        ([("dets", (1, 300, 4)), ("labels", (1, 300, 91))], "detr"),
        ([("labels", (None, 300)), ("boxes", (None, 300, 4)), ("scores", (None, 300))], "boxes-labels-scores"),
        ([("boxes", (None, 4)), ("scores", (None,)), ("labels", (None,))], "boxes-labels-scores"),
        (
            [
                ("detection_anchor_indices", (1, 100)),
                ("detection_boxes:0", (1, 100, 4)),
                ("detection_classes:0", (1, 100)),
                ("detection_scores:0", (1, 100)),
                ("raw_detection_boxes", (1, 1917, 4)),
            ],
            "boxes-labels-scores",
        ),
    ],
)
def test_several_outputs_are_recognised_by_their_names(outputs: list[tuple[str, Shape]], family: str) -> None:
    assert recognise(spec(*outputs)).name == family


def test_outputs_with_numbers_for_names_are_recognised_by_their_kind() -> None:
    outputs = [OutputSpec("812", (None, 4)), OutputSpec("797", (None,)), OutputSpec("798", (None,), "int64")]
    assert recognise(replace(spec(), outputs=outputs)).name == "boxes-labels-scores"


@pytest.mark.parametrize(
    ("shape", "head", "end_to_end", "family"),
    [
        ((1, None, None), "Detect", True, "yolo-end-to-end"),
        ((None, None, 6), "Detect", True, "yolo-end-to-end"),
        ((1, 300, 6), "RTDETRDecoder", False, "detr-table"),
        ((1, 300, 84), "Ultralytics RT-DETR-l model", False, "detr-table"),
    ],
)
def test_what_ultralytics_says_of_its_head_counts(shape: Shape, head: str, end_to_end: bool, family: str) -> None:
    described = replace(spec(("output0", shape), names=NAMES[:80], size=None), head=head, end_to_end=end_to_end)
    assert recognise(described).name == family


def test_two_families_for_one_shape_are_both_named_with_the_way_out() -> None:
    described = spec(("output", (1, 3549, 90)), size=416)
    with pytest.raises(ModelError, match=r"yolox or nanodet-plus .*\[1 x 3549 x 90\].*'names'.*'family'"):
        recognise(described)
    assert recognise(replace(described, family="yolox")).name == "yolox"
    assert recognise(replace(described, names=NAMES[:58])).name == "nanodet-plus"
    assert recognise(replace(described, names=NAMES[:85])).name == "yolox"


@pytest.mark.parametrize(
    ("shape", "count"),
    [((1, 84, 8400), 1), ((1, 1000), 0), ((1, 25200, 85), 7), ((1, 3549, 85), 3), ((1, 3, 64, 64), 0)],
)
def test_an_unknown_layout_is_named_with_the_known_ones(shape: Shape, count: int) -> None:
    with pytest.raises(ModelError, match=r"output0 \[1 x .*yolo: 1 x .*nanodet: for every stride.*boxes-labels"):
        recognise(spec(("output0", shape), names=NAMES[:count], size=416))


@pytest.mark.parametrize(
    ("outputs", "count"),
    [
        ([("logits", (1, 100, 92)), ("pred_boxes", (1, 100, 4))], 0),
        ([("logits", (1, 100, 8)), ("pred_boxes", (1, 100, 4))], 7),
        ([("dets", (1, 100, 4)), ("labels", (1, 100, 9))], 7),
    ],
)
def test_a_detr_whose_classes_do_not_fit_is_refused(outputs: list[tuple[str, Shape]], count: int) -> None:
    with pytest.raises(ModelError, match=rf"for {count} class names: expected as many"):
        recognise(spec(*outputs, names=NAMES[:count]))


@pytest.mark.parametrize("task", ["pose", "segment", "classify", "obb"])
def test_another_task_is_refused_by_its_name(task: str) -> None:
    with pytest.raises(ModelError, match=f"made for the task '{task}'"):
        recognise(spec(("output0", (1, 84, 8400)), task=task))
