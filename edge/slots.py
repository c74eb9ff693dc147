"""How many inferences run side by side, and on how many threads each: planned from the machine."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """``workers`` inferences at a time, ``threads`` cores each, and why."""

    workers: int
    threads: int
    reason: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.workers} x {self.threads} thread{'s' if self.threads > 1 else ''}"


def plan_slots(cores: int, *, workers: int | None = None, cameras: int | None = None) -> SlotPlan:
    """Slots for throughput: one-thread sessions side by side, which waste no time on meeting at barriers.

    For a single live camera, latency counts: all cores work on its newest frame. ``workers`` forces the number of
    slots; cores that are left over then go into threads.
    """
    here = f"{cores} usable core{'s' if cores > 1 else ''}"
    if workers is not None:
        return SlotPlan(workers, max(1, cores // workers), f"workers is set to {workers}; {here}")
    if cameras == 1:
        return SlotPlan(1, cores, f"for latency: one camera, {here}")
    what = "files" if cameras is None else "several cameras or requests"
    return SlotPlan(cores, 1, f"for throughput: {what}, {here}")


def every_plan(cores: int) -> list[SlotPlan]:
    """All plans that use every core evenly, from the one for throughput to the one for latency."""
    return [SlotPlan(workers, cores // workers) for workers in range(cores, 0, -1) if cores % workers == 0]
