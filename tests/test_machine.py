"""What the process may use, and the slots planned from it; times made monotonic."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.slots import SlotPlan, every_plan, plan_slots
from stream import machine
from stream.timestamps import PtsRepair


@pytest.mark.parametrize(
    ("content", "cores"), [("max 100000", None), ("150000 100000", 1.5), ("50000 100000", 0.5), ("nonsense", None)]
)
def test_the_containers_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, cores: float | None
) -> None:
    (tmp_path / "cpu.max").write_text(content)
    monkeypatch.setattr(machine, "_CGROUP_V2_QUOTA", tmp_path / "cpu.max")
    assert machine.cgroup_quota_cores() == cores


def test_the_quota_limits_the_cores_and_there_is_always_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("10000 100000")
    monkeypatch.setattr(machine, "_CGROUP_V2_QUOTA", tmp_path / "cpu.max")
    assert machine.usable_cores() == 1


def test_slots_use_every_core_and_obey_the_user() -> None:
    assert plan_slots(4) == SlotPlan(workers=4, threads=1)
    assert plan_slots(4, workers=1) == SlotPlan(workers=1, threads=4)
    assert plan_slots(2, workers=8) == SlotPlan(workers=8, threads=1)


def test_a_plan_says_why() -> None:
    assert plan_slots(2).reason == "for throughput: files, 2 usable cores"
    assert plan_slots(1, cameras=1).reason == "for latency: one camera, 1 usable core"
    assert plan_slots(4, cameras=3).reason == "for throughput: several cameras or requests, 4 usable cores"
    assert plan_slots(4, workers=2, cameras=1).reason == "workers is set to 2; 4 usable cores"
    assert plan_slots(4) == plan_slots(4, cameras=3), "the same plan, whatever for"


def test_every_plan_uses_every_core() -> None:
    assert [str(plan) for plan in every_plan(6)] == ["6 x 1 thread", "3 x 2 threads", "2 x 3 threads", "1 x 6 threads"]
    assert every_plan(1) == [SlotPlan(1, 1)]


@given(st.lists(st.none() | st.integers(-1000, 1000), max_size=50))
def test_repaired_times_only_move_forward(times: list[int | None]) -> None:
    repair = PtsRepair(Fraction(1, 100), Fraction(25))
    mended = [repair.repair(pts) for pts in times]
    assert all(later > earlier for earlier, later in pairwise(mended))


@given(st.lists(st.integers(-1000, 1000), unique=True, min_size=1))
def test_good_times_are_left_alone(times: list[int]) -> None:
    repair = PtsRepair(Fraction(1, 100), Fraction(25))
    assert [repair.repair(pts) for pts in sorted(times)] == sorted(times)
    assert repair.missing == repair.not_forward == 0


def test_a_missing_time_is_one_frame_later_and_a_backward_one_a_tick() -> None:
    repair = PtsRepair(Fraction(1, 100), Fraction(25))
    assert [repair.repair(pts) for pts in (None, 10, None, 12, 3)] == [0, 10, 14, 15, 16]
    assert (repair.missing, repair.not_forward) == (2, 2)


def test_times_that_begin_anew_follow_the_last_one() -> None:
    repair = PtsRepair(Fraction(1, 100), Fraction(25))
    assert [repair.repair(pts) for pts in (0, 500, 504, 0, 4, 8)] == [0, 500, 504, 508, 512, 516]
    assert repair.not_forward == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_memory_of_pictures_goes_back_to_the_system() -> None:
    program = """
import threading
import numpy as np
import psutil
from stream.machine import give_back_large_blocks

give_back_large_blocks()
before = psutil.Process().memory_info().rss

def work():
    kept = [np.ones(3_000_000, np.uint8) for _ in range(20)]
    small = [np.ones(300_000, np.uint8) for _ in range(20)]
    del kept
    return small

held = []
threads = [threading.Thread(target=lambda: held.append(work())) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
held.clear()
print(psutil.Process().memory_info().rss - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert grown < 30_000_000
