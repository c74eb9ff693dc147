"""Pictures that show nothing new."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.dataset.collector import encode
from stream.dataset.duplicates import CLEARLY_BRIGHTER, distance, fingerprint_of, same_scene
from stream.frame import Pixels
from tests.datasets import STRICT, decoded, label, scene

BITS = st.integers(0, 2**64 - 1)


def slowly(picture: Pixels) -> int:
    """The definition, bit by bit."""
    grey = cv2.cvtColor(cv2.resize(picture, (9, 8), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    bits = ""
    for row in range(8):
        for column in range(8):
            bits += "1" if int(grey[row, column + 1]) - int(grey[row, column]) > CLEARLY_BRIGHTER else "0"
    return int(bits, 2)


@given(seed=st.integers(0, 10_000), width=st.integers(1, 300), height=st.integers(1, 300))
def test_the_fingerprint_is_what_it_says(seed: int, width: int, height: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert fingerprint_of(picture) == slowly(picture)
    assert 0 <= fingerprint_of(picture) < 2**64


@given(one=BITS, other=BITS, third=BITS)
def test_distance_is_a_metric(one: int, other: int, third: int) -> None:
    assert distance(one, one) == 0
    assert distance(one, other) == distance(other, one) == bin(one ^ other).count("1")
    assert distance(one, third) <= distance(one, other) + distance(other, third)


@given(seed=st.integers(0, 10_000), darker=st.integers(0, 30), quality=st.integers(40, 100), size=st.integers(40, 200))
def test_light_compression_and_size_change_little(seed: int, darker: int, quality: int, size: int) -> None:
    picture = np.asarray(cv2.GaussianBlur(scene(seed, 180, 160), (0, 0), 3), np.uint8).clip(30, 225)
    other = decoded(encode(picture - np.uint8(darker), quality))
    smaller = np.asarray(cv2.resize(other, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    assert distance(fingerprint_of(picture), fingerprint_of(smaller)) <= STRICT.distance


def test_the_noise_of_a_dark_or_empty_scene_is_not_news() -> None:
    noise = np.random.default_rng(3)
    nights = [np.asarray(noise.normal(20, 5, (240, 320, 3)).clip(0, 255), np.uint8) for _ in range(20)]
    assert {fingerprint_of(night) for night in nights} == {0}


@given(one=st.integers(0, 10_000), other=st.integers(0, 10_000))
def test_different_scenes_are_far_apart(one: int, other: int) -> None:
    if one != other:
        assert distance(fingerprint_of(scene(one)), fingerprint_of(scene(other))) > STRICT.distance


@pytest.mark.slow
def test_a_scene_of_a_real_camera_stays_and_changes(vtest_clip: Path, bikes_clip: Path) -> None:
    def prints(clip: Path) -> list[int]:
        with av.open(str(clip)) as container:
            pictures = [frame.to_ndarray(format="bgr24") for frame in islice(container.decode(video=0), 0, 200, 5)]
        return [fingerprint_of(np.asarray(picture, np.uint8)) for picture in pictures]

    fixed, moving = prints(vtest_clip), prints(bikes_clip)
    beside = [distance(one, other) for one, other in pairwise(fixed)]
    apart = [distance(one, other) for one, other in zip(moving, moving[20:], strict=False)]
    assert np.median(beside) <= STRICT.distance < min(apart)


def test_the_same_people_at_their_places_are_the_same_scene() -> None:
    here, beside, there = (label(bbox=(left, 0, left + 20, 40)) for left in (0, 10, 100))
    assert same_scene([], [])
    assert same_scene([here], [beside])
    assert not same_scene([here], [there])
    assert not same_scene([], [here]), "somebody came"
    assert not same_scene([here], []), "and left"
    assert same_scene([here, there], [beside]), "half of it stayed"
    assert not same_scene([here], [beside, there, label(bbox=(200, 0, 220, 40))])
    assert not same_scene([here], [label("dog", bbox=(0, 0, 20, 40))])
    assert not same_scene([here] * 3, [here]), "each is the place of one"
