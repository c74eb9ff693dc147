"""Rolling windows and run totals against numbers worked out by hand and by numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.frame import Timings
from stream.windows import STAGES, TIMELINE_POINTS, LogHistogram, RollingWindow, RunTotals, merged_histograms


def timings(total_s: float = 0.01, inference_s: float = 0.004) -> Timings:
    return Timings(decode_s=0.001, queue_s=0.0, preprocess_s=0.002, inference_s=inference_s, total_s=total_s)


def test_rates_are_counts_over_the_time_that_really_passed() -> None:
    window = RollingWindow(start_s=100.0)
    for index in range(25):
        window.frame_in(100.0 + index * 0.1)
    for index in range(10):
        window.frame_out(100.0 + index * 0.25, timings(), detections=3)
    snapshot = window.close_window(102.5)
    assert (snapshot.start_s, snapshot.end_s) == (100.0, 102.5)
    assert snapshot.fps_in == 10.0
    assert snapshot.fps_out == 4.0
    assert snapshot.detections == 30
    assert snapshot.longest_gap_in_s == pytest.approx(0.1)
    assert snapshot.longest_gap_out_s == pytest.approx(0.25)


def test_percentiles_are_nearest_rank() -> None:
    window = RollingWindow(0.0)
    for milliseconds in (15, 20, 35, 40, 50):
        window.frame_out(1.0, timings(total_s=milliseconds / 1e3), 0)
    total = window.close_window(10.0).latencies["total"]
    # of five values: the third, and for 95 % and 99 % the fifth
    assert (total.p50, total.p95, total.p99) == (0.035, 0.050, 0.050)
    assert total.count == 5
    assert total.mean == pytest.approx(0.032)


def test_rank_is_exact_where_binary_fractions_are_not() -> None:
    window = RollingWindow(0.0)
    for value in range(1, 101):
        window.stage("encode", value / 1e3)
    encode = window.close_window(1.0).latencies["encode"]
    assert (encode.p50, encode.p95, encode.p99) == (0.050, 0.095, 0.099)


def test_a_skipped_stage_is_not_counted_but_not_waiting_is() -> None:
    window = RollingWindow(0.0)
    window.frame_out(0.1, timings(inference_s=0.004), 1)
    window.frame_out(0.2, timings(inference_s=0.0), 1)
    latencies = window.close_window(1.0).latencies
    assert latencies["inference"].count == 1
    assert latencies["inference"].p50 == 0.004
    assert latencies["queue"].count == 2
    assert "track" not in latencies


def test_drops_and_depths() -> None:
    window = RollingWindow(0.0)
    window.dropped("stale", 2)
    window.dropped("queue full", 1)
    window.dropped("stale", 3)
    for depth in (0, 4, 2):
        window.queue_depth(depth)
    snapshot = window.close_window(1.0)
    assert snapshot.drops == {"stale": 5, "queue full": 1}
    assert snapshot.dropped == 6
    assert snapshot.queue_depth_max == 4
    assert snapshot.queue_depth_mean == 2.0


def test_a_closed_window_begins_anew_and_gaps_reach_across() -> None:
    window = RollingWindow(0.0)
    window.frame_in(0.5)
    window.dropped("stale")
    window.close_window(1.0)
    window.frame_in(3.0)
    snapshot = window.close_window(4.0)
    assert (snapshot.start_s, snapshot.frames_in, snapshot.dropped, snapshot.latencies) == (1.0, 1, 0, {})
    assert snapshot.longest_gap_in_s == 2.5


def test_an_empty_window_of_no_length_has_rate_zero() -> None:
    snapshot = RollingWindow(5.0).close_window(5.0)
    assert (snapshot.fps_in, snapshot.fps_out, snapshot.queue_depth_mean) == (0.0, 0.0, 0.0)


def test_metric_names() -> None:
    window = RollingWindow(0.0)
    window.frame_out(0.0, timings(total_s=0.05), 2)
    window.dropped("too late/stale")
    metrics = window.close_window(2.0).metrics()
    assert metrics["fps/out"] == 0.5
    assert metrics["latency_ms/total/p95"] == pytest.approx(50.0)
    assert metrics["latency_ms/decode/p50"] == pytest.approx(1.0)
    assert metrics["frames/dropped"] == 1.0
    assert metrics["frames/dropped_by/too late_stale"] == 1.0
    assert metrics["detections/count"] == 2.0
    assert {"fps/in", "queue/depth", "queue/depth_max", "frames/longest_gap_ms"} <= metrics.keys()


@pytest.mark.parametrize(
    ("camera", "prefix"), [("front door", "front door/"), ("a/../b", "a_.._b/"), ("..", "unnamed/"), ("тor", "_or/")]
)
def test_a_camera_is_the_first_part_of_its_metric_names(camera: str, prefix: str) -> None:
    metrics = RollingWindow(0.0).close_window(1.0).metrics(camera)
    assert all(name.startswith(prefix) for name in metrics)


positive_s = st.floats(min_value=2e-6, max_value=900.0, allow_nan=False)


@given(st.lists(positive_s, min_size=1, max_size=200), st.sampled_from([50, 95, 99]))
def test_window_percentile_is_numpys_inverted_cdf(values: list[float], percent: int) -> None:
    window = RollingWindow(0.0)
    for value in values:
        window.stage("draw", value)
    draw = window.close_window(1.0).latencies["draw"]
    expected = np.percentile(values, percent, method="inverted_cdf")
    assert getattr(draw, f"p{percent}") == expected


@given(st.lists(st.lists(positive_s, min_size=1, max_size=60), min_size=1, max_size=5))
def test_run_percentiles_are_within_the_stated_error(windows: list[list[float]]) -> None:
    totals = RunTotals(start_s=0.0)
    window = RollingWindow(0.0, totals)
    for index, values in enumerate(windows):
        for value in values:
            window.stage("draw", value)
        window.close_window(float(index + 1))
    draw = totals.snapshot().latencies["draw"]
    everything = [value for values in windows for value in values]
    assert draw.count == len(everything)
    assert draw.mean == pytest.approx(np.mean(everything))
    for percent in (50, 95, 99):
        exact = np.percentile(everything, percent, method="inverted_cdf")
        assert getattr(draw, f"p{percent}") == pytest.approx(exact, rel=0.0251)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=20))
def test_totals_are_the_sum_of_the_windows(windows: list[tuple[int, int, int]]) -> None:
    totals = RunTotals(start_s=0.0)
    window = RollingWindow(0.0, totals)
    for index, (frames_in, frames_out, dropped) in enumerate(windows):
        for _ in range(frames_in):
            window.frame_in(index + 0.5)
        for _ in range(frames_out):
            window.frame_out(index + 0.5, timings(), 2)
        window.dropped("stale", dropped)
        window.close_window(index + 1.0)
    run = totals.snapshot()
    assert run.frames_in == sum(each[0] for each in windows)
    assert run.frames_out == sum(each[1] for each in windows)
    assert run.detections == 2 * run.frames_out
    assert run.dropped == sum(each[2] for each in windows)
    assert run.fps_in == pytest.approx(run.frames_in / len(windows))
    assert run.metrics().keys() >= {"fps/in", "fps/out", "frames/dropped"}


def test_run_queue_depth_is_weighted_by_the_windows_lengths() -> None:
    totals = RunTotals(start_s=0.0)
    window = RollingWindow(0.0, totals)
    window.queue_depth(4)
    window.close_window(1.0)
    window.queue_depth(0)
    window.close_window(4.0)
    assert totals.snapshot().queue_depth_mean == 1.0


def test_the_timeline_stays_bounded_and_keeps_rates_and_worst_cases() -> None:
    totals = RunTotals(start_s=0.0)
    window = RollingWindow(0.0, totals)
    windows = 5 * TIMELINE_POINTS
    for index in range(windows):
        for _ in range(index % 3):
            window.frame_in(float(index))
        window.frame_out(float(index), timings(total_s=9.0 if index == 77 else 0.01), 0)
        window.dropped("stale", 1)
        window.close_window(index + 1.0)
    timeline = totals.timeline
    assert len(timeline) < TIMELINE_POINTS
    assert (timeline[0].start_s, timeline[-1].end_s) == (0.0, float(windows))
    assert sum(point.dropped for point in timeline) == windows
    assert max(point.total_p95_s for point in timeline) == 9.0
    frames = sum(point.fps_in * (point.end_s - point.start_s) for point in timeline)
    assert frames == pytest.approx(totals.frames_in)


def test_values_beyond_the_histogram_are_kept_in_its_end_buckets() -> None:
    histogram = LogHistogram()
    histogram.add(np.array([0.0, 1e-9, 5e4]))
    assert histogram.count == 3
    assert (histogram.counts[0], histogram.counts[-1]) == (2, 1)
    assert (histogram.min_s, histogram.max_s) == (0.0, 5e4)


def test_an_empty_histogram_has_percentiles_of_zero() -> None:
    assert LogHistogram().percentiles().count == 0
    assert LogHistogram().percentiles().p99 == 0.0


def test_bucket_edges_enclose_their_values() -> None:
    histogram = LogHistogram()
    histogram.add(np.array([0.0123]))
    bucket = int(np.flatnonzero(histogram.counts)[0])
    edges = histogram.edges_s()
    assert len(edges) == LogHistogram.BUCKETS + 1
    assert edges[bucket] <= 0.0123 < edges[bucket + 1]
    assert edges[bucket + 1] / edges[bucket] == pytest.approx(LogHistogram.GROWTH)
    assert edges[-1] >= LogHistogram.HIGH_S * (1 - 1e-9)


def test_cameras_histograms_merge() -> None:
    cameras = []
    for seconds in (0.010, 0.030):
        totals = RunTotals(start_s=0.0)
        window = RollingWindow(0.0, totals)
        window.frame_out(0.5, timings(total_s=seconds), 0)
        window.close_window(1.0)
        cameras.append(totals)
    total = merged_histograms(cameras)["total"]
    assert total.count == 2
    assert (total.min_s, total.max_s) == (0.010, 0.030)
    assert total.percentiles().mean == pytest.approx(0.020)


def test_every_stage_is_a_timing() -> None:
    assert {f"{stage}_s" for stage in STAGES} == set(Timings.__dataclass_fields__)
    assert math.isclose(sum(Timings().__getattribute__(f"{stage}_s") for stage in STAGES), 0.0)
