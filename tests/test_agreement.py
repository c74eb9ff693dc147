"""Which fine labels agree with which class of the detector, and what is made of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.agreement import WITHOUT_COUNTERPART, FinerNames
from models.catalogue import find
from models.classifier import REFINER_FLOAT, REFINER_INT8
from models.coco import COCO_CLASSES
from models.finer_names import COCO_TO_IMAGENET, SHARED

LABELS = ("beagle", "collie", "tabby cat", "car wheel", "minivan")
TABLE = {"dog": ("beagle", "collie"), "cat": ("tabby cat", "no such label"), "car": ("minivan",), "fork": ("trident",)}


def row(*probabilities: float) -> NDArray[np.float32]:
    return np.array(probabilities, np.float32)


@pytest.fixture(scope="module")
def imagenet() -> tuple[str, ...]:
    card = find(REFINER_INT8).card
    assert card is not None
    return tuple(card["classes"])


def test_the_thousand_names_are_short_and_unique(imagenet: tuple[str, ...]) -> None:
    assert len(imagenet) == 1000
    assert len({name.casefold() for name in imagenet}) == 1000
    assert all(name == name.strip() and name.isprintable() and len(name) <= 32 for name in imagenet)
    assert [imagenet[number] for number in (0, 207, 281, 654, 999)] == [
        "tench",
        "golden retriever",
        "tabby cat",
        "minibus",
        "toilet paper",
    ]


def test_both_builds_know_the_same_names(imagenet: tuple[str, ...]) -> None:
    card = find(REFINER_FLOAT).card
    assert card is not None
    assert tuple(card["classes"]) == imagenet


def test_every_fine_name_is_one_of_imagenet(imagenet: tuple[str, ...]) -> None:
    fine = {name for names in COCO_TO_IMAGENET.values() for name in names}
    assert fine - set(imagenet) == set()


def test_every_coarse_name_is_one_of_coco() -> None:
    assert COCO_TO_IMAGENET.keys() <= set(COCO_CLASSES)


def test_a_fine_name_belongs_to_one_class_unless_it_is_shared_on_purpose() -> None:
    times = Counter(name for names in COCO_TO_IMAGENET.values() for name in names)
    assert {name for name, count in times.items() if count > 1} == SHARED
    assert max(times.values()) == 2


def test_the_large_families_are_whole(imagenet: tuple[str, ...]) -> None:
    assert set(COCO_TO_IMAGENET["dog"]) == set(imagenet[151:269])
    assert set(COCO_TO_IMAGENET["bird"]) == {*imagenet[7:25], *imagenet[80:101], *imagenet[127:147]}
    assert set(COCO_TO_IMAGENET["cat"]) == set(imagenet[281:286])


def test_how_much_is_covered() -> None:
    assert len(COCO_TO_IMAGENET) == 62
    assert len({name for names in COCO_TO_IMAGENET.values() for name in names}) == 325


def test_classes_without_a_counterpart() -> None:
    assert len(WITHOUT_COUNTERPART) == 18
    assert {"person", "giraffe", "kite", "fork", "skateboard"} <= WITHOUT_COUNTERPART


@pytest.mark.parametrize("edge_class", sorted(WITHOUT_COUNTERPART))
def test_they_get_no_agreement_whatever_is_seen(imagenet: tuple[str, ...], edge_class: str) -> None:
    finer = FinerNames(imagenet)
    probabilities = np.full(1000, 0.001, np.float32)
    assert not finer.known(edge_class)
    assert finer.agreement(edge_class, probabilities) is None


def test_agreement_is_the_share_of_the_finer_names() -> None:
    finer = FinerNames(LABELS, TABLE)
    probabilities = row(0.2, 0.3, 0.25, 0.15, 0.1)
    assert finer.agreement("dog", probabilities) == pytest.approx(0.5)
    assert finer.agreement("cat", probabilities) == pytest.approx(0.25)
    assert finer.agreement("car", probabilities) == pytest.approx(0.1)


def test_the_best_finer_name_is_offered_where_the_two_agree() -> None:
    verdict = FinerNames(LABELS, TABLE).judge("dog", row(0.25, 0.2, 0.4, 0.1, 0.05))
    assert (verdict.label, verdict.agrees) == ("beagle", True)
    assert verdict.probability == pytest.approx(0.25)
    assert verdict.agreement == pytest.approx(0.45)


def test_the_best_label_of_all_is_offered_where_they_do_not() -> None:
    verdict = FinerNames(LABELS, TABLE).judge("dog", row(0.2, 0.1, 0.4, 0.2, 0.1))
    assert (verdict.label, verdict.agrees) == ("tabby cat", False)
    assert verdict.probability == pytest.approx(0.4)
    assert verdict.agreement == pytest.approx(0.3)


def test_a_tie_is_agreement() -> None:
    assert FinerNames(LABELS, TABLE).judge("dog", row(0.2, 0.2, 0.4, 0.1, 0.1)).label == "beagle"


@pytest.mark.parametrize("edge_class", ["person", "fork", ""])
def test_without_a_counterpart_the_best_label_stands_without_agreement(edge_class: str) -> None:
    verdict = FinerNames(LABELS, TABLE).judge(edge_class, row(0.1, 0.2, 0.1, 0.5, 0.1))
    assert (verdict.label, verdict.agreement, verdict.agrees) == ("car wheel", None, False)


def test_a_class_that_is_itself_a_label_is_its_own_counterpart() -> None:
    finer = FinerNames(("person", "dog"), TABLE)
    verdict = finer.judge("person", row(0.7, 0.3))
    assert (verdict.label, verdict.agrees) == ("person", True)
    assert verdict.agreement == pytest.approx(0.7)


def test_where_every_label_agrees() -> None:
    verdict = FinerNames(("beagle", "collie"), TABLE).judge("dog", row(0.4, 0.6))
    assert verdict.label == "collie"
    assert verdict.agreement == pytest.approx(1)


@given(st.integers(0, 1 << 32), st.floats(0.001, 10), st.sampled_from(COCO_CLASSES))
def test_agreement_stays_between_zero_and_one(
    imagenet: tuple[str, ...], seed: int, evenness: float, edge_class: str
) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.full(1000, evenness)).astype(np.float32)
    verdict = FinerNames(imagenet).judge(edge_class, probabilities)
    assert verdict.agreement is None or 0 <= verdict.agreement <= 1
    assert verdict.agrees <= (verdict.label in COCO_TO_IMAGENET.get(edge_class, ()))
