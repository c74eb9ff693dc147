"""How many inferences run side by side, and on how many threads each: planned from the machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """``workers`` inferences at a time, ``threads`` cores each."""

    workers: int
    threads: int

    def __str__(self) -> str:
        return f"{self.workers} x {self.threads} thread{'s' if self.threads > 1 else ''}"


def plan_slots(cores: int, *, workers: int | None = None, cameras: int | None = None) -> SlotPlan:
    """Slots for throughput: one-thread sessions side by side, which waste no time on meeting at barriers.

    For a single live camera, latency counts: all cores work on its newest frame. ``workers`` forces the number of
    slots; cores that are left over then go into threads.
    """
    if workers is None and cameras == 1:
        return SlotPlan(workers=1, threads=cores)
    if workers is None:
        return SlotPlan(workers=cores, threads=1)
    return SlotPlan(workers=workers, threads=max(1, cores // workers))


def every_plan(cores: int) -> list[SlotPlan]:
    """All plans that use every core evenly, from the one for throughput to the one for latency."""
    return [SlotPlan(workers, cores // workers) for workers in range(cores, 0, -1) if cores % workers == 0]
