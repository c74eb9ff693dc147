"""The closing pictures: drawn from what went through the spool, whatever was or was not measured."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from stream.frame import Timings
from stream.telemetry import records
from stream.windows import RollingWindow, RunTotals

pytestmark = [
    pytest.mark.slow,  # importing matplotlib takes a second
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def totals(windows: int, frames: int = 20) -> RunTotals:
    run = RunTotals(start_s=5.0)
    window = RollingWindow(5.0, run)
    for index in range(windows):
        for frame in range(frames):
            window.frame_out(5.0, Timings(inference_s=0.01 + frame / 1e3, total_s=0.02 + frame / 1e3), 0)
        window.close_window(15.0 + 10 * index)
    return run


def through_the_spool(cameras: dict[str, RunTotals]) -> records.Record:
    return records.decode(records.encode(records.pictures(cameras)))


@pytest.mark.parametrize(
    "cameras",
    [
        {"": totals(1)},
        {"door $1$": totals(30), "_yard": totals(3)},
        {f"camera {n}": totals(2) for n in range(11)},
        {"stalled": totals(3, frames=0), "well": totals(3)},
    ],
    ids=["one window", "odd names", "many cameras", "one stalled"],
)
def test_both_pictures_are_drawn(cameras: dict[str, RunTotals], tmp_path: Path) -> None:
    from stream.telemetry import plots

    made = plots.draw(through_the_spool(cameras), tmp_path)
    assert [path.name for path in made] == ["latency_histogram.png", "timeline.png"]
    for path in made:
        picture = cv2.imread(str(path))
        assert picture is not None
        assert picture.shape[1] > 900
        assert picture.std() > 10  # not an empty page


def test_a_run_without_a_window_has_no_pictures(tmp_path: Path) -> None:
    from stream.telemetry import plots

    assert plots.draw(through_the_spool({"cam": RunTotals(0.0)}), tmp_path) == []


def test_a_run_without_a_frame_has_a_timeline_only(tmp_path: Path) -> None:
    from stream.telemetry import plots

    made = plots.draw(through_the_spool({"cam": totals(2, frames=0)}), tmp_path)
    assert [path.name for path in made] == ["timeline.png"]


def test_the_record_holds_the_filled_buckets_and_the_windows() -> None:
    record = through_the_spool({"cam": totals(2)})
    inference = record["latencies"]["inference"]
    assert sum(inference["counts"]) == 40
    assert len(inference["edges_ms"]) == len(inference["counts"]) + 1
    assert inference["edges_ms"][0] <= 10.0 < inference["edges_ms"][1]
    assert inference["edges_ms"][-2] <= 29.0 < inference["edges_ms"][-1]
    assert [(point["from_s"], point["to_s"]) for point in record["timelines"]["cam"]] == [(0.0, 10.0), (10.0, 20.0)]


def test_a_month_long_run_is_told_in_some_hundred_kilobytes() -> None:
    run = totals(windows=5000, frames=1)
    assert len(json.dumps(records.pictures({"cam": run}))) < 200_000
