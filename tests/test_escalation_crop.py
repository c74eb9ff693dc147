"""Crops: what is cut, what is hidden before anybody keeps it, how they are judged and encoded."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.escalation.best_crop import Crop, encode, others_of, take
from stream.frame import Pixels
from stream.sinks.rows import Row
from tests.escalation import BOX, noise


def row(box: tuple[float, float, float, float] = BOX, name: str = "dog", confidence: float = 0.8) -> Row:
    return Row(box, confidence, 16, name, 1)


def cut(picture: Pixels, subject: Row, *hidden: Row, margin: float = 0.0, hide: bool = False) -> Crop:
    crop = take(picture, subject, margin=margin, hidden=hidden, hide_margin=hide, longest_px=1000)
    assert crop is not None
    return crop


def test_the_crop_is_the_box_with_its_margin() -> None:
    picture = noise()
    assert np.array_equal(cut(picture, row()).pixels, picture[60:160, 100:180])
    assert np.array_equal(cut(picture, row(), margin=0.2).pixels, picture[40:180, 80:200])


def test_it_ends_with_the_picture_and_is_none_beyond_it() -> None:
    picture = noise()
    assert cut(picture, row((-50, -50, 40.5, 30)), margin=0.5).pixels.shape == (76, 86, 3)
    for box in ((400, 10, 500, 90), (-90, 10, -10, 90), (10, 240, 50, 300)):
        assert take(picture, row(box), margin=0.5, hidden=(), hide_margin=False, longest_px=320) is None


def test_it_is_a_copy() -> None:
    picture = noise()
    crop = cut(picture, row())
    before = crop.pixels.copy()
    picture[:] = 0
    assert np.array_equal(crop.pixels, before)


def test_large_ones_are_made_smaller() -> None:
    crop = take(noise(), row(), margin=0, hidden=(), hide_margin=False, longest_px=50)
    assert crop is not None
    assert crop.pixels.shape == (50, 40, 3)


@given(
    st.tuples(*(st.floats(-40, 360, allow_nan=False) for _ in range(4))),
    st.floats(0, 1),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_box_gives_a_crop_within_the_picture_or_none(
    corners: tuple[float, float, float, float], margin: float, hide: bool
) -> None:
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    crop = take(noise(), row((x1, y1, x2, y2)), margin=margin, hidden=[row()], hide_margin=hide, longest_px=320)
    if crop is not None:
        assert min(crop.pixels.shape[:2]) > 0
        assert max(crop.pixels.shape[:2]) <= 320
        assert 0 <= crop.quality <= 1
        assert 0 <= crop.visible <= 1


# Privacy.


def detail(pixels: Pixels) -> float:
    """How much of the finest structure is there; about 3,000 in noise."""
    return float(cv2.Laplacian(pixels.astype(np.float32), cv2.CV_32F).var())


def test_what_is_hidden_cannot_be_had_back() -> None:
    """Two pictures that differ in nothing but the other's face give nearly the same crop."""
    other = row((150, 80, 230, 150), "person")
    one, two = noise(), noise()
    two[80:150, 150:230] = noise(seed=9)[80:150, 150:230]
    crops = [cut(picture, row(), other, margin=0.2).pixels.astype(int) for picture in (one, two)]
    covered = (slice(80 - 40, 150 - 40), slice(150 - 80, 200 - 80))
    assert np.abs(one[80:150, 150:200].astype(int) - two[80:150, 150:200]).mean() > 80
    assert np.abs(crops[0][covered] - crops[1][covered]).mean() < 8
    assert detail(crops[0][covered].astype(np.uint8)) < 20
    uncovered = (slice(0, 30), slice(0, 120))
    assert np.array_equal(crops[0][uncovered], crops[1][uncovered])
    assert detail(crops[0][uncovered].astype(np.uint8)) > 10_000


def test_on_request_the_margin_is_hidden_too_and_the_subject_is_not() -> None:
    picture = noise()
    crop = cut(picture, row(), margin=0.2, hide=True)
    assert np.array_equal(crop.pixels[20:120, 20:100], picture[60:160, 100:180])
    for strip in (crop.pixels[:18], crop.pixels[122:], crop.pixels[:, :18], crop.pixels[:, 102:]):
        assert detail(strip) < 100
    assert crop.visible == 1.0


def test_what_is_hidden_of_the_subject_is_known() -> None:
    crop = cut(noise(), row(), row((100, 60, 140, 160), "person"))
    assert crop.visible == pytest.approx(0.5)
    assert cut(noise(), row(), row((0, 0, 320, 240), "person")).visible == 0.0
    assert cut(noise(), row(), row((0, 0, 320, 240), "person")).sharpness == 0.0


def test_the_edge_of_what_is_hidden_does_not_count_as_sharpness() -> None:
    picture = np.full((240, 320, 3), 30, np.uint8)
    picture[:, 140:] = 220
    assert cut(picture, row((100, 60, 139, 160))).sharpness < 1
    assert cut(picture, row(), row((135, 0, 320, 240), "person")).sharpness < 1


def test_denied_classes_are_hidden_always_others_on_request() -> None:
    subject, person, cat = row(), row((150, 90, 200, 200), "person"), row((90, 60, 120, 100), "cat")
    twin = row((101, 61, 181, 161), "sheep")
    everyone = [subject, person, cat, twin]
    denied = [False, True, False, False]
    assert others_of(subject, everyone, denied=denied, hide_all=False) == [person]
    assert others_of(subject, everyone, denied=denied, hide_all=True) == [person, cat], "a twin is the subject itself"
    assert others_of(subject, everyone, denied=[False, False, False, True], hide_all=False) == [twin]


# Judgement.


def test_sharp_large_whole_and_sure_is_better() -> None:
    picture = noise()
    soft = cv2.GaussianBlur(picture, (0, 0), 3)
    best = cut(picture, row()).quality
    assert best > cut(np.asarray(soft, np.uint8), row()).quality
    assert best > cut(picture, row((100, 60, 120, 160))).quality, "smaller"
    assert best > cut(picture, row(confidence=0.4)).quality
    assert best > cut(picture, row((0, 60, 80, 160))).quality, "truncated at the border"
    assert best > cut(picture, row(), row((100, 60, 130, 160), "person")).quality, "partly hidden"


def test_sharpness_falls_with_blur() -> None:
    values = [
        cut(np.asarray(cv2.GaussianBlur(noise(), (0, 0), sigma), np.uint8), row()).sharpness for sigma in (1, 2, 4, 8)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 20 > values[-1]


# Encoding.


def test_a_jpeg_says_nothing_but_its_pixels() -> None:
    jpeg = encode(cut(noise(), row()).pixels, 85)
    assert jpeg is not None
    assert jpeg[:2] == b"\xff\xd8"
    assert b"Exif" not in jpeg
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (100, 80, 3)


def test_it_is_made_coarser_and_smaller_to_fit() -> None:
    pixels = noise(width=320, height=320)
    assert len(encode(pixels, 95) or b"") > 50_000
    for most_bytes in (50_000, 20_000, 5_000, 3_000):
        jpeg = encode(pixels, 95, most_bytes)
        assert jpeg is not None
        assert len(jpeg) <= most_bytes
    assert encode(pixels, 95, 500) is None
