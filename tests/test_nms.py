"""Suppression against a slow, obvious reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.families import Boxes
from models.families.nms import MAX_CANDIDATES, pairwise_iou, suppress


def boxes(rows: list[tuple[float, float, float, float, float, int]]) -> Boxes:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def slowly(rows: list[tuple[float, float, float, float, float, int]], iou: float) -> list[int]:
    kept: list[int] = []
    for row in sorted(range(len(rows)), key=lambda row: -rows[row][4]):
        if all(rows[row][5] != rows[other][5] or overlap(rows[row][:4], rows[other][:4]) <= iou for other in kept):
            kept.append(row)
    return kept


# Whole pixels and a threshold no such pair hits exactly, so that float32 and Python agree.
sides = st.integers(1, 30)
corners = st.integers(0, 40)
candidate = st.builds(
    lambda x, y, w, h, score, number: (x, y, x + w, y + h, score / 16, number),
    corners,
    corners,
    sides,
    sides,
    st.integers(1, 16),
    st.integers(0, 2),
)


@given(st.lists(candidate, max_size=40))
def test_the_same_boxes_stay_as_in_the_obvious_way(rows: list[tuple[float, float, float, float, float, int]]) -> None:
    kept = suppress(boxes(rows), iou=0.50001, max_detections=300)
    expected = boxes(rows).take(np.array(slowly(rows, 0.50001), np.intp))
    np.testing.assert_array_equal(kept.xyxy, expected.xyxy)
    np.testing.assert_array_equal(kept.confidence, expected.confidence)
    np.testing.assert_array_equal(kept.class_id, expected.class_id)


@given(st.lists(candidate, min_size=1, max_size=20))
def test_overlap_is_symmetric_and_whole_with_itself(rows: list[tuple[float, float, float, float, float, int]]) -> None:
    some = boxes(rows).xyxy
    matrix = pairwise_iou(some, some)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1)
    assert matrix.max() <= 1
    assert matrix.min() >= 0


def test_boxes_of_different_classes_do_not_suppress_each_other() -> None:
    assert len(suppress(boxes([(0, 0, 9, 9, 0.9, 0), (0, 0, 9, 9, 0.8, 1)]), iou=0.1, max_detections=9)) == 2


def test_no_more_than_asked_for_and_the_best_first() -> None:
    apart = [(20.0 * n, 0.0, 20.0 * n + 9, 9.0, n / 10, 0) for n in range(1, 8)]
    kept = suppress(boxes(apart), iou=0.5, max_detections=3)
    np.testing.assert_allclose(kept.confidence, [0.7, 0.6, 0.5])


def test_candidates_are_capped_by_confidence() -> None:
    many = MAX_CANDIDATES + 50
    apart = [(20.0 * n, 0.0, 20.0 * n + 9, 9.0, (n + 1) / (many + 1), 0) for n in range(many)]
    kept = suppress(boxes(apart), iou=0.5, max_detections=many)
    assert len(kept) == MAX_CANDIDATES
    assert kept.confidence.min() == pytest.approx(51 / (many + 1))


def test_nothing_from_nothing() -> None:
    assert len(suppress(Boxes.none(), iou=0.5, max_detections=300)) == 0


def test_empty_boxes_overlap_nothing() -> None:
    point = boxes([(5, 5, 5, 5, 0.9, 0), (5, 5, 5, 5, 0.8, 0)])
    assert not pairwise_iou(point.xyxy, point.xyxy).any()
