"""Delays before a camera is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.sources.backoff import HEALTHY_S, POLICIES, Backoff, Failure


def most() -> float:
    return 0.999_999


def delays(backoff: Backoff, kind: Failure, count: int, held_s: float = 0.0) -> list[float]:
    return [round(backoff.delay_s(kind, held_s), 2) for _ in range(count)]


def test_the_unreachable_are_tried_again_within_three_seconds() -> None:
    assert delays(Backoff(most), Failure.UNREACHABLE, 6) == [0.5, 1, 2, 3, 3, 3]


def test_those_who_refuse_are_asked_ever_more_seldom_up_to_a_minute() -> None:
    assert delays(Backoff(most), Failure.REFUSED, 7) == [5, 10, 20, 40, 60, 60, 60]


def test_a_healthy_minute_begins_the_count_anew() -> None:
    backoff = Backoff(most)
    delays(backoff, Failure.UNREACHABLE, 5)
    assert delays(backoff, Failure.UNREACHABLE, 1, HEALTHY_S - 1) == [3]
    assert delays(backoff, Failure.UNREACHABLE, 1, HEALTHY_S) == [0.5]
    assert delays(backoff, Failure.UNREACHABLE, 1) == [1]


def test_another_kind_of_failure_begins_the_count_anew() -> None:
    backoff = Backoff(most)
    delays(backoff, Failure.UNREACHABLE, 20)
    assert delays(backoff, Failure.REFUSED, 2) == [5, 10]
    assert delays(backoff, Failure.UNREACHABLE, 1) == [0.5]


def test_luck_never_makes_it_hammer_the_camera() -> None:
    backoff = Backoff(lambda: 0.0)
    assert delays(backoff, Failure.UNREACHABLE, 2) == [0.1, 0.1]
    assert delays(backoff, Failure.REFUSED, 2) == [2, 2]


@given(st.sampled_from(Failure), st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_every_delay_is_within_its_bounds(kind: Failure, attempt: int, chance: float) -> None:
    policy = POLICIES[kind]
    assert policy.least_s <= policy.delay_s(attempt, chance) <= policy.ceiling_s
