"""Whether the slot plan still suits: cores come and go with a container's limits, cameras with the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge.cameras.assembly import Assembly
from edge.slots import SlotPlan
from stream.errors import ModelError

LOOK_EVERY_S = 5.0
"""Asking the system costs microseconds, another plan a second of work: what changes more often is not followed."""


class Sharing:
    """Sees now and then whether another plan would be better, and shares the cores by that one; for the loop's thread.

    What inferences take is not looked at: with the same cores and cameras another plan was never better by more than
    the few percent that such a measurement errs by while cameras run.
    """

    def __init__(self, assembly: Assembly, on_note: Callable[[str], None], now_s: float) -> None:
        self._assembly = assembly
        self._on_note = on_note
        self._next_s = now_s + LOOK_EVERY_S
        self._refused: SlotPlan | None = None

    async def look(self, cameras: int, now_s: float) -> None:
        """Look, if it is time to; ``cameras`` are those of the settings."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + LOOK_EVERY_S
        plan, former = self._assembly.planned(cameras), self._assembly.slots
        if plan in (former, self._refused):
            return
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._assembly.replan, plan)
        except ModelError as exc:
            self._refused = plan
            self._on_note(f"slots: {former} as before, {plan} cannot be had: {exc}")
        else:
            self._on_note(f"slots: {plan} instead of {former}, {plan.reason}")
