"""The timeline of a live source under every trick of a camera's clock, with invented times."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.live_clock import TIME_BASE, Freshness, LiveClock, Stamp, Standing

RATE = Fraction(25)
STEP = 3600
START_S = 1000.0


@dataclass
class Arrival:
    """A packet as it comes: its own times in ticks, and when."""

    pts: int | None
    dts: int | None
    now_s: float
    waited_s: float = 0.03


def steady(count: int, first: int = 0, at_s: float = START_S) -> list[Arrival]:
    """A camera that sends on time, with times of its own that begin at ``first``."""
    return [Arrival(first + i * STEP, first + i * STEP, at_s + i / 25) for i in range(count)]


def clock(*, paced: bool = False, time_base: Fraction = TIME_BASE) -> LiveClock:
    made = LiveClock()
    made.begin(time_base, RATE, paced=paced)
    return made


def run(made: LiveClock, arrivals: Iterable[Arrival]) -> list[Stamp]:
    stamps = []
    for arrival in arrivals:
        stamp = made.stamp(arrival.pts, arrival.dts, arrival.now_s, arrival.waited_s)
        made.lag_s(stamp, arrival.now_s, arrival.waited_s)
        stamps.append(stamp)
    return stamps


def assert_forward(stamps: Sequence[Stamp]) -> None:
    assert all(a.dts < b.dts for a, b in itertools.pairwise(stamps))
    assert all(stamp.pts >= stamp.dts for stamp in stamps)


def off_s(stamp: Stamp, now_s: float) -> float:
    return stamp.dts / 90_000 - (now_s - START_S)


def test_sensible_times_are_kept_and_begin_at_zero() -> None:
    stamps = run(clock(), steady(100, first=123_456_789))
    assert [stamp.dts for stamp in stamps] == list(range(0, 100 * STEP, STEP))
    assert [stamp.pts for stamp in stamps] == [stamp.dts for stamp in stamps]


def test_other_time_bases_are_converted() -> None:
    made = clock(time_base=Fraction(1, 1000))
    stamps = run(made, [Arrival(i * 40, i * 40, START_S + i / 25) for i in range(5)])
    assert [stamp.pts for stamp in stamps] == [0, 3600, 7200, 10_800, 14_400]


def test_reordered_pictures_keep_their_own_times() -> None:
    order = [0, 3, 1, 2, 6, 4, 5]
    arrivals = [Arrival((order[i] + 2) * STEP, i * STEP, START_S + i / 25) for i in range(7)]
    stamps = run(clock(), arrivals)
    assert [stamp.pts // STEP for stamp in stamps] == [2, 5, 3, 4, 8, 6, 7]
    assert_forward(stamps)


def test_the_first_packets_of_a_camera_with_b_frames_state_no_decoding_time() -> None:
    """As libav gives them over RTSP: nothing, then shown times, and only then both."""
    told = [(None, None), (3600, None), (14_400, None), (7200, 3600), (10_800, 7200), (21_600, 10_800)]
    stamps = run(clock(), [Arrival(pts, dts, START_S + i / 25) for i, (pts, dts) in enumerate(told)])
    assert [stamp.pts for stamp in stamps] == [0, 3600, 14_400, 7200, 10_800, 21_600]
    assert_forward(stamps)


def test_packets_without_times_take_those_of_their_arrival() -> None:
    made = clock()
    stamps = run(made, [Arrival(None, None, START_S + i * 0.1) for i in range(20)])
    assert [round(stamp.pts / 9000, 3) for stamp in stamps] == list(range(20))
    assert made.missing == 20


def test_one_missing_time_leaves_the_others_alone() -> None:
    arrivals = steady(10)
    arrivals[4] = Arrival(None, None, arrivals[4].now_s)
    assert [stamp.pts for stamp in run(clock(), arrivals)] == list(range(0, 10 * STEP, STEP))


def test_one_stray_time_is_mended_and_counted() -> None:
    arrivals = steady(10)
    arrivals[5] = Arrival(2 * STEP, 2 * STEP, arrivals[5].now_s)
    made = clock()
    stamps = run(made, arrivals)
    assert_forward(stamps)
    assert [stamp.pts for stamp in stamps[6:]] == [i * STEP for i in range(6, 10)]
    assert made.not_forward == 1


@pytest.mark.parametrize("jump_s", [11, 3600, 10_000, 2**33 / 90_000, -0.7, -5, -11, -10_000, -(2**33) / 90_000])
def test_a_jump_of_the_cameras_clock_is_no_jump_of_the_timeline(jump_s: float) -> None:
    first = 2**34
    moved = steady(50, first + 50 * STEP + round(jump_s * 90_000), START_S + 2)
    arrivals = steady(50, first) + moved
    stamps = run(clock(), arrivals)
    assert_forward(stamps)
    assert max(abs(off_s(stamp, arrival.now_s)) for stamp, arrival in zip(stamps, arrivals, strict=True)) < 0.1


def test_a_small_jump_ahead_is_taken_back_before_it_is_a_second_off() -> None:
    arrivals = steady(50) + steady(2500, 50 * STEP + 4 * 90_000, START_S + 2)
    stamps = run(clock(), arrivals)
    assert_forward(stamps)
    assert max(abs(off_s(stamp, arrival.now_s)) for stamp, arrival in zip(stamps, arrivals, strict=True)) <= 1.0


def test_a_real_pause_stays_in_the_timeline() -> None:
    stamps = run(clock(), steady(10) + steady(10, 9 * STEP + 8 * 90_000, START_S + 0.36 + 8))
    assert stamps[10].pts == 9 * STEP + 8 * 90_000


def test_a_burst_after_a_stall_keeps_the_times_at_which_it_was_filmed() -> None:
    arrivals = steady(250)
    for arrival in arrivals[100:175]:
        arrival.now_s, arrival.waited_s = arrivals[175].now_s, 0.0
    assert [stamp.pts for stamp in run(clock(), arrivals)] == [i * STEP for i in range(250)]


@pytest.mark.parametrize("drift", [0.0001, 0.001, 0.01, -0.0001, -0.001, -0.01])
def test_an_hour_of_drift_leaves_the_timeline_within_a_second_of_our_clock(drift: float) -> None:
    jitter = random.Random(1)  # noqa: S311 # the same network at every run
    made, last, worst_s, shortest, longest = clock(), -1, 0.0, 10**9, 0
    for i in range(3600 * 10):
        now_s = START_S + i * 0.1 + jitter.uniform(0, 0.08)
        ticks = round(i * 9000 * (1 + drift))
        stamp = made.stamp(ticks, ticks, now_s, 0.03)
        made.lag_s(stamp, now_s, 0.03)
        worst_s = max(worst_s, abs(off_s(stamp, now_s)))
        if i:
            shortest, longest = min(shortest, stamp.dts - last), max(longest, stamp.dts - last)
        last = stamp.dts
    assert worst_s < 0.4
    # Smooth: no frame's length is off by more than what nobody sees.
    assert 9000 * 0.97 <= shortest <= longest <= 9000 * 1.03 + 90


def test_a_reconnection_goes_on_where_our_clock_is() -> None:
    made = clock()
    stamps = run(made, steady(50, first=77_777))
    made.begin(Fraction(1, 1000), RATE, paced=False)
    stamps += run(made, [Arrival(5 + i * 40, 5 + i * 40, START_S + 30 + i / 25) for i in range(50)])
    assert_forward(stamps)
    assert stamps[50].dts == 30 * 90_000
    assert stamps[99].dts == 30 * 90_000 + 49 * STEP


def test_a_looped_file_goes_on_one_frame_after_its_last() -> None:
    made = clock(paced=True)
    first = run(made, steady(50))
    made.begin(TIME_BASE, RATE, paced=True)
    again = run(made, steady(50, at_s=START_S + 1.99))
    assert [stamp.dts for stamp in first + again] == [i * STEP for i in range(100)]


def test_a_file_read_in_advance_is_due_at_its_own_pace() -> None:
    made = clock(paced=True)
    arrivals = [Arrival(i * STEP, i * STEP, START_S + i * 0.001) for i in range(250)]
    stamps = run(made, arrivals)
    assert made.due_s(stamps[-1]) == pytest.approx(START_S + 249 / 25)


def test_a_file_without_times_plays_at_its_nominal_rate() -> None:
    stamps = run(clock(paced=True), [Arrival(None, None, START_S) for _ in range(10)])
    assert [stamp.pts for stamp in stamps] == [i * STEP for i in range(10)]


def test_a_gap_of_hours_in_a_file_is_not_waited_for() -> None:
    made = clock(paced=True)
    stamps = run(made, steady(10) + steady(10, 90_000 * 7200, START_S + 0.4))
    assert stamps[10].dts == 10 * STEP


def test_a_playlist_that_ran_dry_goes_on_now_instead_of_hurrying_after_what_is_lost() -> None:
    made = clock(paced=True)
    stamps = run(made, steady(10) + steady(10, 10 * STEP, START_S + 0.4 + 5))
    assert stamps[10].dts == pytest.approx(5.4 * 90_000)


def test_pictures_are_shown_one_after_the_other_and_mended_ones_are_counted() -> None:
    made = clock()
    assert [made.shown(pts) for pts in (0, 3600, 3600, None, 7200, 100)] == [0, 3600, 3601, 3602, 7200, 7201]
    assert made.not_forward == 3


def lags(made: LiveClock, arrivals: Iterable[Arrival]) -> list[float]:
    found = []
    for arrival in arrivals:
        stamp = made.stamp(arrival.pts, arrival.dts, arrival.now_s, arrival.waited_s)
        found.append(made.lag_s(stamp, arrival.now_s, arrival.waited_s))
    return found


def test_a_reader_who_is_behind_sees_by_how_much_until_he_has_caught_up() -> None:
    arrivals = steady(100)
    for i, arrival in enumerate(arrivals[20:60]):
        # Held up for two seconds, then 80 pictures a second.
        arrival.now_s, arrival.waited_s = START_S + 0.8 + 2 + i / 80, 0.0
    found = lags(clock(), arrivals)
    assert found[19] == pytest.approx(0, abs=0.01)
    assert found[20] == pytest.approx(2, abs=0.01)
    assert found[40] == pytest.approx(2 - 20 / 25 + 20 / 80, abs=0.01)
    assert found[99] == pytest.approx(0, abs=0.01)


def test_being_behind_for_minutes_is_never_taken_for_the_way() -> None:
    arrivals = steady(5000)
    for i, arrival in enumerate(arrivals[100:]):
        arrival.now_s, arrival.waited_s = arrival.now_s + min(3.0, i * 0.01), 0.0
    assert lags(clock(), arrivals)[-1] == pytest.approx(3, abs=0.1)


def test_a_longer_way_is_accepted_after_some_seconds() -> None:
    arrivals = steady(1000)
    for arrival in arrivals[500:]:
        arrival.now_s += 0.8
    found = lags(clock(), arrivals)
    assert found[500] == pytest.approx(0.8, abs=0.01)
    assert found[-1] < 0.1


def test_what_a_camera_held_ready_at_the_start_is_not_late() -> None:
    burst = [Arrival(i * STEP, i * STEP, START_S, waited_s=0.0) for i in range(20)]
    assert max(lags(clock(), burst + steady(50, 20 * STEP, START_S + 0.04))) < 0.05


def test_lateness_begins_at_the_limit_and_ends_well_within_it() -> None:
    freshness = Freshness(0.5)
    lags_s = (0.1, 0.49, 0.51, 0.4, 0.26, 0.24, 0.4, 1.9, 2.1, 1.0, 0.3, 0.2)
    seen = [freshness.judge(lag_s, START_S).name[:2] for lag_s in lags_s]
    assert seen == ["FR", "FR", "LA", "LA", "LA", "FR", "FR", "LA", "FA", "FA", "FA", "FR"]


def test_who_cannot_catch_up_by_leaving_out_some_work_leaves_out_more() -> None:
    freshness = Freshness(0.5)
    freshness.judge(0.0, START_S)
    seen = [freshness.judge(0.6, START_S + after_s) for after_s in (0.1, 2.9, 3.1, 9.0)]
    assert seen == [Standing.LATE, Standing.LATE, Standing.FAR, Standing.FAR]
    assert freshness.judge(0.1, START_S + 9.1) is Standing.FRESH


times = st.none() | st.integers(-(2**40), 2**40)


@given(st.lists(st.tuples(times, times, st.floats(0, 30), st.sampled_from([0.0, 0.03])), max_size=60), st.booleans())
def test_nothing_a_camera_says_moves_the_timeline_backwards(
    told: list[tuple[int | None, int | None, float, float]], paced: bool
) -> None:
    made, now_s, arrivals = clock(paced=paced), START_S, []
    for pts, dts, after_s, waited_s in told:
        now_s += after_s
        arrivals.append(Arrival(pts, dts, now_s, waited_s))
    stamps = run(made, arrivals)
    assert_forward(stamps)
    if not paced:
        assert all(off_s(stamp, arrival.now_s) <= 1.1 for stamp, arrival in zip(stamps, arrivals, strict=True))
