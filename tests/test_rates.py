"""Rates over the last moments."""

from __future__ import annotations

import pytest

from edge.cameras.rates import RecentRate


def test_a_steady_rate_is_told_from_the_first_second_on() -> None:
    rate = RecentRate(100.0)
    for number in range(250):
        rate.add(100 + (number + 1) / 25)
    assert rate.rate(101.0) > 20
    assert rate.rate(110.0) == pytest.approx(25, abs=0.5)


def test_a_rate_falls_to_nothing_when_nothing_happens() -> None:
    rate = RecentRate(0.0)
    rate.add(0.5)
    assert rate.rate(1.0) == 1.0
    assert rate.rate(60.0) == 0.0


def test_before_any_time_has_passed_there_is_no_rate() -> None:
    assert RecentRate(5.0).rate(5.0) == 0.0
