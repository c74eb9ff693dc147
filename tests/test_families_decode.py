"""Decoding of whole tables and of what networks chose themselves, against loops that take one row at a time.

The same decodes were compared with the post-processing of the packages that publish these networks: docs/models.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.coco import CATEGORIES, COCO_CLASSES
from models.families import Boxes, Family, recognise
from models.spec import InputSpec, ModelSpec, OutputSpec, Shape, SizeInput
from stream.errors import ModelError

Row = tuple[int, float, list[float]]
CONFIDENCE = 0.3
SIZE = (128, 192)
SIZES = [(128, 192), (192, 128), (160, 160)]
PICTURE = InputSpec("images", "float32", "NCHW", *SIZE, rgb=True, mean=(0, 0, 0), scale=(1, 1, 1))


def spec(
    *outputs: tuple[str, Shape], names: Sequence[str] = (), size: tuple[int, int] | None = SIZE, head: str = ""
) -> ModelSpec:
    height, width = size or (None, None)
    picture = replace(PICTURE, height=height, width=width)
    described = [OutputSpec(name, shape) for name, shape in outputs]
    return ModelSpec("mine", picture, described, "detect", None, names, None, 32, head)


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


def decoded(family: Family, outputs: Sequence[NDArray[Any]], size: tuple[int, int] = SIZE) -> Boxes:
    return family.decode(outputs, size, confidence=CONFIDENCE, iou=1.0, max_detections=9999, classes=None)


def assert_same(boxes: Boxes, rows: Iterator[Row], *, atol: float = 1e-3) -> None:
    expected = sorted(rows, key=lambda row: -row[1])
    assert len(boxes) == len(expected) > 5
    np.testing.assert_allclose(boxes.confidence, [row[1] for row in expected], atol=1e-6)
    np.testing.assert_array_equal(boxes.class_id, [row[0] for row in expected])
    np.testing.assert_allclose(boxes.xyxy, [row[2] for row in expected], atol=atol)


def corners(x: float, y: float, width: float, height: float) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def grid(size: tuple[int, int], strides: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(stride, row, column) of every cell in the order networks list them."""
    for stride in strides:
        for row in range(math.ceil(size[0] / stride)):
            for column in range(math.ceil(size[1] / stride)):
                yield stride, row, column


def random_rows(count: int, columns: int, seed: int = 0) -> NDArray[np.float32]:
    """Probabilities of which a few are high, with boxes to be put before them."""
    return (np.random.default_rng(seed).random((1, count, columns)) ** 2).astype(np.float32)


def by_objectness(table: NDArray[np.float32]) -> Iterator[tuple[int, int, float]]:
    """(row, class, score) of rows that are likely enough."""
    for place, row in enumerate(table[0]):
        best = max(range(len(row) - 5), key=lambda number: row[5 + number])
        score = float(row[4] * row[5 + best])
        if score > CONFIDENCE:
            yield place, best, score


@pytest.mark.parametrize("size", SIZES)
def test_yolov5_decodes_as_the_loop_does(size: tuple[int, int]) -> None:
    cells = 3 * len(list(grid(size, (8, 16, 32))))
    table = random_rows(cells, 9)
    table[..., :4] *= 100
    family = recognise(spec(("output0", (1, cells, 9)), size=size))
    assert family.name == "yolov5"
    rows = ((best, score, corners(*map(float, table[0, place, :4]))) for place, best, score in by_objectness(table))
    assert_same(decoded(family, [table], size), rows)


@pytest.mark.parametrize("strides", [(8, 16, 32), (8, 16, 32, 64)])
@pytest.mark.parametrize("size", SIZES)
def test_yolox_decodes_as_the_loop_does(size: tuple[int, int], strides: tuple[int, ...]) -> None:
    cells = list(grid(size, strides))
    table = random_rows(len(cells), 9)
    table[..., :4] = np.random.default_rng(1).normal(0, 1, table[..., :4].shape)
    family = recognise(spec(("output", (1, len(cells), 9)), size=size))
    assert family.name == "yolox"

    def rows() -> Iterator[Row]:
        for place, best, score in by_objectness(table):
            stride, row, column = cells[place]
            x, y, width, height = (float(value) for value in table[0, place, :4])
            centre = (x + column) * stride, (y + row) * stride
            yield best, score, corners(*centre, math.exp(width) * stride, math.exp(height) * stride)

    assert_same(decoded(family, [table], size), rows())


def test_yolox_that_was_decoded_inside_is_refused_with_the_way_out() -> None:
    table = random_rows(504, 9)
    table[..., :4] *= 100
    with pytest.raises(ModelError, match=r"in pixels already.*--decode_in_inference"):
        decoded(recognise(spec(("output", (1, 504, 9)))), [table])


@pytest.mark.parametrize(
    ("strides", "offset", "bins"), [((8, 16, 32, 64), 0.0, 8), ((8, 16, 32), 0.5, 8), ((8, 16, 32), 0.5, 11)]
)
@pytest.mark.parametrize("size", [*SIZES, (160, 224)])
def test_nanodet_in_one_table_decodes_as_the_loop_does(
    size: tuple[int, int], strides: tuple[int, ...], offset: float, bins: int
) -> None:
    cells = list(grid(size, strides))
    table = random_rows(len(cells), 3 + 4 * bins)
    table[..., :3] **= 3
    table[..., 3:] = np.random.default_rng(1).normal(0, 3, table[..., 3:].shape)
    family = recognise(spec(("output", (1, len(cells), 3 + 4 * bins)), names=names(3), size=size))
    assert family.name == "nanodet-plus"

    def rows() -> Iterator[Row]:
        for (stride, row, column), values in zip(cells, table[0], strict=True):
            best = max(range(3), key=lambda number: values[number])
            if values[best] <= CONFIDENCE:
                continue
            reach = []
            for side in range(4):
                powers = [math.exp(value) for value in values[3 + side * bins : 3 + (side + 1) * bins]]
                reach.append(sum(place * power for place, power in enumerate(powers)) / sum(powers) * stride)
            x, y = (column + offset) * stride, (row + offset) * stride
            yield best, float(values[best]), [x - reach[0], y - reach[1], x + reach[2], y + reach[3]]

    assert_same(decoded(family, [table], size), rows())


def test_end_to_end_boxes_are_taken_as_they_are() -> None:
    table = random_rows(300, 6)
    table[..., :4] *= 100
    table[..., 5] = np.random.default_rng(1).integers(0, 7, 300)
    family = recognise(spec(("output0", (1, 300, 6)), names=names(7)))
    rows = ((int(row[5]), float(row[4]), [float(side) for side in row[:4]]) for row in table[0] if row[4] > CONFIDENCE)
    assert_same(decoded(family, [table]), rows)


def queries(classes: int, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0.2, 0.8, (1, 300, 2)), rng.uniform(0, 0.4, (1, 300, 2))], axis=2)
    return rng.normal(-4, 1.5, (1, 300, classes)).astype(np.float32), boxes.astype(np.float32)


def by_query(
    logits: NDArray[np.float32], boxes: NDArray[np.float32], ids: Sequence[int], size: tuple[int, int]
) -> Iterator[Row]:
    for query, values in enumerate(logits[0]):
        x, y, width, height = (float(value) for value in boxes[0, query])
        for slot, logit in enumerate(values):
            score = 1 / (1 + math.exp(-logit))
            if score > CONFIDENCE and ids[slot] >= 0:
                box = corners(x * size[1], y * size[0], width * size[1], height * size[0])
                yield ids[slot], score, box


CATEGORY_IDS = [CATEGORIES.get(number, -1) for number in range(91)]


@pytest.mark.parametrize(
    ("outputs", "slots", "count", "ids"),
    [
        (("logits", "pred_boxes"), 80, 0, range(80)),
        (("pred_logits", "pred_boxes"), 5, 5, range(5)),
        (("labels", "dets"), 91, 0, CATEGORY_IDS),
        (("labels", "dets"), 6, 5, [0, 1, 2, 3, 4, -1]),
        (("labels", "dets"), 91, 91, range(91)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_detrs_decode_as_the_loop_does(
    outputs: tuple[str, str], slots: int, count: int, ids: Sequence[int], turned: bool
) -> None:
    logits, boxes = queries(slots)
    described: list[tuple[str, Shape]] = [(outputs[0], logits.shape), (outputs[1], boxes.shape)]
    given = [boxes, logits] if turned else [logits, boxes]
    family = recognise(spec(*(reversed(described) if turned else described), names=names(count)))
    assert_same(decoded(family, given), by_query(logits, boxes, ids, SIZE))


def test_cocos_own_numbers_get_its_names() -> None:
    family = recognise(spec(("dets", (1, 300, 4)), ("labels", (1, 300, 91))))
    logits = np.full((1, 300, 91), -9, np.float32)
    for query, number in enumerate([1, 3, 13, 44, 90, 0, 12]):
        logits[0, query, number] = 9 - query
    found = decoded(family, [np.full((1, 300, 4), 0.5, np.float32), logits])
    assert [family.names[number] for number in found.class_id] == ["person", "car", "stop sign", "bottle", "toothbrush"]


def test_ultralytics_detr_with_a_probability_for_each_class() -> None:
    table = random_rows(300, 7)
    table[..., 4:] **= 3
    family = recognise(spec(("output0", (1, 300, 7)), names=names(3), head="Ultralytics RTDETR-l model"))
    logits = np.log(table[..., 4:] / (1 - table[..., 4:]))
    assert_same(decoded(family, [table]), by_query(logits, table[..., :4], range(3), SIZE))


def test_ultralytics_detr_with_boxes_chosen_inside() -> None:
    table = random_rows(300, 6)
    table[..., 5] = np.random.default_rng(1).integers(0, 2, 300)
    family = recognise(spec(("output0", (1, 300, 6)), names=names(2), head="RTDETRDecoder"))

    def rows() -> Iterator[Row]:
        for x, y, width, height, score, number in table[0].astype(float):
            if score > CONFIDENCE:
                yield int(number), score, corners(x * SIZE[1], y * SIZE[0], width * SIZE[1], height * SIZE[0])

    assert_same(decoded(family, [table]), rows())


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(
    ("called", "count", "ids"), [(names(0), 0, range(91)), (names(91), 91, range(91)), (COCO_CLASSES, 80, CATEGORY_IDS)]
)
def test_boxes_labels_and_scores(called: Sequence[str], count: int, ids: Sequence[int], batched: bool) -> None:
    rng = np.random.default_rng(0)
    boxes, scores = (rng.random((200, 4)) * 100).astype(np.float32), rng.random(200).astype(np.float32)
    labels = rng.integers(1, 91, 200)
    lead: Shape = (1,) if batched else ()
    described = spec(
        ("boxes", (*lead, None, 4)), ("labels", (*lead, None)), ("scores", (*lead, None)), names=called[:count]
    )
    outputs: list[NDArray[Any]] = [boxes, labels, scores]
    given = [output[None] for output in outputs] if batched else outputs
    rows = (
        (ids[label], float(score), [float(side) for side in box])
        for box, label, score in zip(*outputs, strict=True)
        if score > CONFIDENCE and ids[label] >= 0
    )
    assert_same(decoded(recognise(described), given), rows)


def test_detrs_with_their_own_post_processing_number_from_zero() -> None:
    described = spec(("labels", (1, 3)), ("boxes", (1, 3, 4)), ("scores", (1, 3)), names=COCO_CLASSES)
    family = recognise(replace(described, size_input=SizeInput("orig_target_sizes", "int64")))
    outputs = [np.array([[0, 2, 79]]), np.ones((1, 3, 4), np.float32), np.array([[0.9, 0.8, 0.7]], np.float32)]
    found = decoded(family, outputs)
    assert [family.names[number] for number in found.class_id] == ["person", "car", "toothbrush"]


def test_tensorflows_boxes_begin_with_y_and_are_normalised() -> None:
    described = spec(
        *(("num_detections:0", (1,)), ("detection_boxes:0", (1, 2, 4))),
        *(("detection_scores:0", (1, 2)), ("detection_classes:0", (1, 2))),
    )
    outputs = [
        *(np.array([2.0]), np.array([[[0.25, 0.5, 0.75, 1.0], [0, 0, 1, 1]]], np.float32)),
        *(np.array([[0.9, 0.1]], np.float32), np.array([[18.0, 1.0]], np.float32)),
    ]
    found = decoded(recognise(described), outputs)
    np.testing.assert_allclose(found.xyxy, [[96, 32, 192, 96]])
    assert list(found.class_id) == [18]


@pytest.mark.parametrize("number", [7.0, -1.0])
def test_a_class_beyond_the_names_is_an_error_with_both_numbers(number: float) -> None:
    family = recognise(spec(("output0", (1, 300, 6)), names=names(7)))
    table = np.zeros((1, 300, 6), np.float32)
    table[0, 0] = [1, 2, 3, 4, 0.9, number]
    with pytest.raises(ModelError, match="metadata names 7"):
        decoded(family, [table])


@pytest.mark.parametrize(
    "described",
    [
        spec(("output0", (2, 1512, 9))),
        spec(("output", (2, 504, 9))),
        spec(("output", (2, 510, 35)), names=names(3)),
        spec(("output0", (2, 300, 6))),
        spec(("logits", (2, 300, 80)), ("pred_boxes", (2, 300, 4))),
        spec(("output0", (2, 7, 504))),
    ],
    ids=lambda described: recognise(described).name,
)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_of_a_batch_the_first_is_decoded_and_half_precision_becomes_single(described: ModelSpec, dtype: str) -> None:
    rng = np.random.default_rng(0)
    outputs = [rng.random([size or 1 for size in output.shape]).astype(dtype) for output in described.outputs]
    family = recognise(described)
    found = decoded(family, outputs)
    alone = decoded(family, [output[:1] for output in outputs])
    np.testing.assert_array_equal(found.xyxy, alone.xyxy)
    assert len(found) > 5
    assert [array.dtype.name for array in (found.xyxy, found.confidence)] == ["float32"] * 2


def test_only_families_without_suppression_inside_look_at_the_overlap() -> None:
    twins = np.zeros((1, 300, 6), np.float32)
    twins[0, :2] = [10, 10, 50, 50, 0.9, 0]
    chosen = recognise(spec(("output0", (1, 300, 6))))
    kept = chosen.decode([twins], SIZE, confidence=0.5, iou=0.5, max_detections=9, classes=None)
    assert len(kept) == 2
    channels = np.zeros((1, 5, 504), np.float32)
    channels[0, :, :2] = np.array([[30], [30], [40], [40], [0.9]])
    suppressing = recognise(spec(("output0", (1, 5, 504))))
    assert len(suppressing.decode([channels], SIZE, confidence=0.5, iou=0.5, max_detections=9, classes=None)) == 1
