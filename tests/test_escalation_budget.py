"""Limits that hold over every window, a breaker that opens and closes, rests that end: all on clocks of our own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.escalation.breaker import Breaker, BreakerState
from edge.escalation.budget import DAY_S, HOUR_S, NEVER_S, Allowance, Budget, Expense
from edge.escalation.rests import Rests
from edge.escalation.results import ResultStore
from edge.escalation.settings import BudgetSettings

ROUNDING = 1e-6


def assert_never_exceeded(spent: list[tuple[float, float]], limit: float, per_s: float) -> None:
    """Every window between two expenses, by brute force; longer ones that hold no more can only be easier."""
    for first, (begin_s, _) in enumerate(spent):
        total = 0.0
        for at_s, amount in spent[first:]:
            total += amount
            assert total <= limit * max(1.0, (at_s - begin_s) / per_s) + ROUNDING


@settings(deadline=None)
@given(
    st.floats(1, 50),
    st.floats(0.5, 20),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 60)), max_size=40),
)
def test_no_window_of_whatever_length_exceeds_the_limit(
    limit: float, per_s: float, wishes: list[tuple[float, float]]
) -> None:
    allowance, now_s = Allowance(limit, per_s), 1000.0
    spent: list[tuple[float, float]] = []
    for pause_s, amount in wishes:
        now_s += pause_s
        wait_s = allowance.wait_s(amount, now_s)
        if amount > limit:
            assert wait_s == NEVER_S
            continue
        while (wait_s := allowance.wait_s(amount, now_s)) > 0:
            now_s = max(now_s + wait_s, now_s + 1e-9)
        allowance.spend(amount, now_s)
        spent.append((now_s, amount))
    assert_never_exceeded(spent, limit, per_s)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.1, 10)), min_size=1, max_size=25))
def test_it_waits_no_longer_than_it_must(wishes: list[tuple[float, float]]) -> None:
    allowance, now_s = Allowance(10.0, 1.0), 0.0
    spent: list[tuple[float, float]] = []
    for pause_s, amount in wishes:
        now_s += pause_s
        wait_s = allowance.wait_s(amount, now_s)
        if wait_s > 1e-3:  # a moment earlier it would have been too much
            with pytest.raises(AssertionError):
                assert_never_exceeded([*spent, (now_s + wait_s * 0.999 - 1e-4, amount)], 10.0, 1.0 * (1 + 1e-9))
        now_s += wait_s + 1e-9
        allowance.spend(amount, now_s)
        spent.append((now_s, amount))


def test_after_a_quiet_time_all_may_be_spent_at_once_and_no_more() -> None:
    allowance = Allowance(10.0, 60.0)
    for _ in range(10):
        assert allowance.wait_s(1, 500.0) == 0
        allowance.spend(1, 500.0)
    assert allowance.wait_s(1, 500.0) == pytest.approx(66.0)  # eleven are right for 66 s


def test_memory_stays_small_and_errs_on_the_safe_side() -> None:
    allowance, spent, now_s = Allowance(1000.0, 100.0), [], 0.0
    for _ in range(12_000):
        now_s += 0.01
        if allowance.wait_s(1, now_s) == 0:
            allowance.spend(1, now_s)
            spent.append((now_s, 1.0))
    assert len(allowance._recent) <= 1100
    assert len(spent) > 1100  # of 1200 that the limit allows
    assert_never_exceeded(spent[::1], 1000.0, 100.0)


def test_the_tightest_limit_is_named() -> None:
    budget = Budget(BudgetSettings(requests_per_s=2, bytes_per_s=10_000, bytes_per_hour=None, items_per_day=3))
    assert budget.holdup(4000, 2, 0.0) is None
    budget.begin(4000, 2, 0.0)
    budget.finish(2, 2, 0.0)
    budget.begin(4000, 1, 0.0)
    held = budget.holdup(4000, 1, 0.0)
    assert held is not None
    assert held.cause == "items_per_day"  # the third is promised
    budget.finish(1, 0, 0.1)  # and was not answered
    held = budget.holdup(1000, 1, 0.1)
    assert held is not None
    assert (held.cause, budget.largest_bytes) == ("requests_per_s", 10_000)
    assert budget.holdup(1000, 1, 1.6) is None


def test_what_was_not_answered_costs_no_item() -> None:
    budget = Budget(BudgetSettings(requests_per_s=None, bytes_per_hour=None, items_per_day=5))
    for _ in range(100):
        budget.begin(1000, 5, 0.0)
        budget.finish(5, 0, 0.0)
    assert budget.holdup(1000, 5, 0.0) is None


def test_a_restart_renews_no_budget(tmp_path: Path) -> None:
    store, wall_s = ResultStore(tmp_path / "results.db"), 1_700_000_000.0
    store.spend("here", wall_s - 2 * DAY_S, 10**9, 500)
    for minutes in (50, 30, 10):
        store.spend("here", wall_s - 60 * minutes, 150_000, 0)
        store.spend("here", wall_s - 60 * minutes, 0, 3)
    store.spend("there", wall_s - 60, 10**9, 500)
    former = ResultStore(tmp_path / "results.db").expenses("here", wall_s)
    assert former == [Expense(60.0 * minutes, 150_000, 3) for minutes in (50, 30, 10)]
    settings = BudgetSettings(requests_per_s=None, bytes_per_hour=500_000, items_per_day=10)
    budget = Budget(settings, former=former, now_s=77.0)
    assert budget.holdup(50_000, 1, 77.0) is None
    held = budget.holdup(50_001, 1, 77.0)
    assert held is not None
    assert held.cause == "bytes_per_hour"
    assert 0 < held.wait_s < HOUR_S
    held = budget.holdup(1, 2, 77.0)
    assert held is not None
    assert held.cause == "items_per_day"


def test_what_a_wrong_clock_put_far_into_the_future_blocks_nothing(tmp_path: Path) -> None:
    store, wall_s = ResultStore(tmp_path / "results.db"), 1_700_000_000.0
    store.spend("here", wall_s + 300 * DAY_S, 10**9, 500)
    assert store.expenses("here", wall_s) == []
    store.spend("here", wall_s + 60, 1000, 1)  # set back a little: that still counts
    assert store.expenses("here", wall_s) == [Expense(0.0, 1000, 1)]
    assert store.expenses("here", wall_s + 300 * DAY_S) == [Expense(300 * DAY_S - 60, 1000, 1)], "the other one is gone"
    store.close()


# The breaker.


def breaker(**known: float) -> Breaker:
    return Breaker(failures=int(known.get("failures", 3)), longest_pause_s=known.get("longest_pause_s", 8.0), now_s=0.0)


def test_it_opens_after_failures_in_a_row_only() -> None:
    it = breaker()
    for _ in range(5):
        it.failed("away", 1.0, 0.5)
        it.failed("away", 1.0, 0.5)
        it.succeeded(1.0)
    assert (it.state, it.wait_s(1.0)) == (BreakerState.CLOSED, 0.0)
    for _ in range(3):
        it.failed("away", 2.0, 0.5)
    assert it.state is BreakerState.OPEN
    assert it.view().reason == "away"
    assert it.wait_s(2.0) == pytest.approx(0.75)


def test_one_try_at_a_time_decides_and_pauses_grow() -> None:
    it, now_s, pauses = breaker(), 0.0, []
    for _ in range(3):
        it.failed("away", now_s, 0.0)
    for _ in range(6):
        pauses.append(round(it.wait_s(now_s), 3))
        now_s += it.wait_s(now_s)
        assert it.wait_s(now_s) == 0
        it.begin(now_s)
        assert (it.state, it.wait_s(now_s)) == (BreakerState.HALF_OPEN, float("inf"))
        it.failed("away", now_s, 0.0)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]  # the lower end: luck is 0
    now_s += 10
    it.begin(now_s)
    it.succeeded(now_s)
    assert (it.state, it.view().reason) == (BreakerState.CLOSED, "")
    assert it.view().entered == {"closed": 2, "open": 7, "half_open": 7}


def test_who_is_refused_asks_seldom_and_says_why() -> None:
    it = breaker(longest_pause_s=600.0)
    it.refused("it does not let us in", 0.0, 1.0)
    assert (it.state, it.view().reason, it.wait_s(0.0)) == (BreakerState.REFUSED, "it does not let us in", 60.0)
    it.begin(60.0)
    it.refused("it does not let us in", 60.0, 1.0)
    assert it.wait_s(60.0) == 120.0
    it.begin(180.0)
    it.succeeded(180.0)
    assert it.state is BreakerState.CLOSED


def test_a_try_that_told_nothing_leaves_it_open() -> None:
    it = breaker()
    it.refused("no", 0.0, 0.0)
    it.begin(100.0)
    it.abandoned(100.0, 0.0)
    assert it.state is BreakerState.OPEN
    assert 0 < it.wait_s(100.0) < float("inf")
    it.succeeded(101.0)
    it.abandoned(101.0, 0.0)
    assert it.view().state is BreakerState.CLOSED


# Rests.


def test_nothing_is_given_up_while_the_cloud_answers_nobody() -> None:
    rests, now_s = Rests(tries=3, luck=lambda: 0.0), 0.0
    for _ in range(50):
        now_s += 1000
        assert not rests.put_off(1, now_s)


def test_what_alone_is_never_taken_is_given_up() -> None:
    rests, given_up = Rests(tries=3, luck=lambda: 0.0), []
    for number in range(3):
        given_up.append(rests.put_off(1, 100.0 * number))
        rests.note_success()
    assert given_up == [False, False, True]


def test_rests_grow_and_end() -> None:
    rests = Rests(tries=100, luck=lambda: 1.0)
    rests.put_off(1, 0.0)
    rests.put_off(2, 0.0)
    rests.put_off(2, 0.0)
    assert (rests.resting(0.9), rests.resting(1.5), rests.resting(2.0)) == ({1, 2}, {2}, set())
    assert rests.next_s(0.5) == pytest.approx(0.5)
    rests.forget([1, 2])
    assert rests.next_s(0.0) == float("inf")
    rests.suspect(7)
    assert (rests.is_suspect(7), rests.is_suspect(8), rests.resting(0.0)) == (True, False, set())
