"""What fits, by chance, within limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stream.config import build
from stream.dataset.sample import Label
from stream.dataset.samplers import RateLimit, Sampler, fitting
from stream.dataset.settings import DatasetSettings, Limit, Strategy
from stream.dataset.tracks import ENOUGH_DETECTIONS, MOST_TRACKS, Agreements, TrackOpinions
from stream.errors import UsageError
from tests.datasets import label


def strategy(**values: object) -> Strategy:
    made: Strategy = TypeAdapter(Strategy).validate_python({"name": "it", **values})
    return made


PERSON, CAR = label("person", 0.45), label("car", 0.9)


@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        ({"type": "random"}, [], []),
        ({"type": "random"}, [PERSON], [PERSON]),
        ({"type": "close_to_threshold"}, [PERSON, CAR], [PERSON]),
        ({"type": "close_to_threshold"}, [CAR], None),
        ({"type": "close_to_threshold", "threshold": 0.8, "epsilon": 0.1}, [CAR], [CAR]),
        ({"type": "close_to_threshold", "selected_class_names": ["car"]}, [PERSON], None),
        ({"type": "close_to_threshold", "minimum_objects_close_to_threshold": 2}, [PERSON], None),
        ({"type": "close_to_threshold", "minimum_objects_close_to_threshold": 2}, [PERSON] * 2, [PERSON] * 2),
        ({"type": "classes_based", "selected_class_names": ["car"]}, [PERSON, CAR], [CAR]),
        ({"type": "classes_based", "selected_class_names": ["bus"]}, [PERSON, CAR], None),
        ({"type": "detections_number_based", "more_than": 1}, [PERSON, CAR], [PERSON, CAR]),
        ({"type": "detections_number_based", "more_than": 1}, [PERSON], None),
        ({"type": "detections_number_based", "less_than": 1}, [], []),
        ({"type": "detections_number_based", "less_than": 1}, [CAR], None),
        ({"type": "detections_number_based", "less_than": 1, "selected_class_names": ["person"]}, [CAR], []),
        ({"type": "disagreement"}, [PERSON], None),
        ({"type": "disagreement"}, [label(agreement=0.5)], None),
        ({"type": "disagreement"}, [PERSON, label(agreement=0.1)], [label(agreement=0.1)]),
        ({"type": "low_agreement_track"}, [PERSON], None),
        ({"type": "low_agreement_track"}, [label(track_agreement=0.6)], [label(track_agreement=0.6)]),
        ({"type": "low_agreement_track"}, [label(track_agreement=0.7)], None),
    ],
)
def test_what_fits(values: dict[str, object], labels: list[Label], expected: list[Label] | None) -> None:
    assert fitting(strategy(**values), labels) == expected


@pytest.mark.parametrize(
    "values",
    [
        {"type": "detections_number_based"},
        {"type": "detections_number_based", "more_than": 3, "less_than": 4},
        {"type": "classes_based", "selected_class_names": []},
        {"type": "random", "traffic_percentage": 0},
        {"type": "random", "traffic_percentage": 10},
        {"type": "random", "limits": [{"type": "weekly", "value": 1}]},
        {"type": "sometimes"},
    ],
)
def test_a_strategy_that_can_take_nothing_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="sampling_strategies"):
        build(DatasetSettings, {"sampling_strategies": [{"name": "it", **values}]}, origin="a file")


def test_two_strategies_of_one_name_are_refused() -> None:
    twice = [{"name": "it", "type": "random"}] * 2
    with pytest.raises(UsageError, match="several strategies are called it"):
        build(DatasetSettings, {"sampling_strategies": twice}, origin="a file")


@given(
    value=st.integers(1, 5),
    steps_s=st.lists(st.one_of(st.floats(0, 100), st.sampled_from([0.0, 12.0, 30.0, 60.0])), max_size=60),
)
def test_a_limit_holds_in_any_window_and_wastes_nothing(value: int, steps_s: list[float]) -> None:
    limit = RateLimit(Limit(type="minutely", value=value))
    now_s, spent = 0.0, list[float]()
    for step_s in steps_s:
        now_s += step_s
        recent = [at_s for at_s in spent if now_s - at_s < 60]
        assert limit.allows(now_s) == (len(recent) < value), "exactly while the last minute holds fewer"
        if limit.allows(now_s):
            limit.spend(now_s)
            spent.append(now_s)
    for first_s in spent:
        assert sum(0 <= at_s - first_s < 60 for at_s in spent) <= value


def test_all_limits_of_a_strategy_hold() -> None:
    limits = [{"type": "minutely", "value": 2}, {"type": "hourly", "value": 5}]
    sampler = Sampler(strategy(type="random", limits=limits), np.random.default_rng(1).random)
    taken = [second for second in range(7200) if sampler.take([], float(second)) is not None]
    assert taken == [0, 1, 60, 61, 120, 3600, 3601, 3660, 3661, 3720]
    assert sampler.refused == 7200 - len(taken)


def test_what_was_not_kept_does_not_count() -> None:
    sampler = Sampler(strategy(type="random", limits=[{"type": "daily", "value": 1}]), lambda: 0.0)
    assert sampler.take([PERSON], 5.0) == [PERSON]
    assert not sampler.is_ready(6.0)
    sampler.refund(5.0)
    assert sampler.is_ready(6.0)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_share_is_taken_evenly_and_at_random(share: float) -> None:
    sampler = Sampler(strategy(type="random", traffic_percentage=share), np.random.default_rng(7).random)
    count = 20_000
    taken = [number for number in range(count) if sampler.take([], float(number)) is not None]
    deviation = (count * share * (1 - share)) ** 0.5
    assert abs(len(taken) - count * share) < 4 * deviation
    # of independent draws, one follows at once upon another as often as upon anything else
    at_once = sum(later - former == 1 for former, later in pairwise(taken))
    assert abs(at_once - len(taken) * share) < 5 * (len(taken) * share) ** 0.5 + 1


@given(seed=st.integers(0, 1000), share=st.floats(0.05, 1))
def test_a_sampler_that_is_not_ready_takes_nothing(seed: int, share: float) -> None:
    """Nobody needs to make a picture then."""
    values = {"type": "random", "traffic_percentage": share, "limits": [{"type": "minutely", "value": 3}]}
    sampler = Sampler(strategy(**values), np.random.default_rng(seed).random)
    for second in range(200):
        ready = sampler.is_ready(float(second))
        assert (sampler.take([], float(second)) is not None) == ready


def test_pictures_that_pass_by_bring_the_next_one_nearer() -> None:
    draws = iter([0.5, 0.0])
    sampler = Sampler(
        strategy(type="classes_based", selected_class_names=["car"], traffic_percentage=0.2), draws.__next__
    )
    passed = 0
    while not sampler.is_ready(0.0):
        sampler.let_pass([PERSON])  # does not fit and does not count
        sampler.let_pass([CAR])
        passed += 1
    assert passed == 3, "ln 0.5 / ln 0.8"
    sampler.let_pass([CAR])
    assert sampler.take([CAR], 0.0) == [CAR], "what is due stays due until there is a picture"


def test_a_track_whose_class_changes_is_of_low_agreement() -> None:
    opinions = TrackOpinions()
    said = [opinions.see((0, 1), name) for name in ["car", "bus", "car", "bus", "car"]]
    assert said == [None] * (ENOUGH_DETECTIONS - 1) + [0.6]
    assert [opinions.see((0, 2), "car") for _ in range(5)][-1] == 1.0


def test_each_answer_about_a_track_counts_once() -> None:
    opinions = TrackOpinions()
    assert opinions.see((0, 1), "bus", 0.9) == 0.9
    assert opinions.see((0, 1), "bus", 0.9) == 0.9
    assert opinions.see((0, 1), "bus", 0.1) == pytest.approx(0.5)
    assert opinions.see((1, 1), "bus") is None, "an id is used anew after the source began anew"


def test_answers_belong_to_their_camera_track_and_class() -> None:
    said = Agreements()
    said.tell("gate", (0, 1), "bus", 0.2)
    said.tell("gate", (0, 2), "person", None)
    gate, yard = said.of("gate"), said.of("yard")
    known = [gate((0, 1), "bus"), gate((0, 1), "car"), gate((1, 1), "bus"), gate((0, 2), "person"), yard((0, 1), "bus")]
    assert known == [0.2, None, None, None, None]
    said.tell("gate", (0, 1), "bus", 0.9)
    assert gate((0, 1), "bus") == 0.9
    said.tell("yard", (0, 1), "bus", 0.4)
    said.forget("gate")
    assert (gate((0, 1), "bus"), yard((0, 1), "bus")) == (None, 0.4)
    for number in range(MOST_TRACKS):
        said.tell("gate", (0, number), "bus", 0.5)
    assert yard((0, 1), "bus") is None, "the oldest are forgotten"


def test_tracks_not_seen_for_long_are_forgotten() -> None:
    opinions = TrackOpinions()
    for _ in range(ENOUGH_DETECTIONS):
        opinions.see((0, 0), "car")
    for number in range(1, MOST_TRACKS + 1):
        opinions.see((0, number), "car")
    assert opinions.see((0, 0), "car") is None
