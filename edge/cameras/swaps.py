"""Models that change while cameras run: tried on their pictures, taken over, watched, and taken back where they lag."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

import numpy as np

from edge.cameras.assembly import Assembly
from edge.cameras.camera import Camera
from edge.cameras.settings import CameraSettings
from edge.run_log import RunLog
from edge.swap import SwappableDetector, Trial, is_too_slow, try_out
from stream.frame import Pixels
from stream.pipeline import Detector

log = logging.getLogger(__name__)

TRIAL_PICTURES = 5
TRIAL_WITHIN_S = 3.0
"""How long pictures for a trial are waited for; a still scene or a dead camera may give none."""

JUDGED_WITHIN_S = 60.0
POLL_S = 0.1

_GREY: Pixels = np.full((720, 1280, 3), 114, np.uint8)
"""What is looked at where a camera gives nothing: it shows at least that the model works, and how fast."""


class Swaps:
    """Takes models over for the cameras of one station; for the loop's thread."""

    def __init__(self, assembly: Assembly, run_log: RunLog, on_note: Callable[[str], None]) -> None:
        self._assembly = assembly
        self._log = run_log
        self._on_note = on_note
        self._watching: set[asyncio.Task[None]] = set()

    async def take_over(self, cameras: Mapping[str, Camera], settings: Mapping[str, CameraSettings]) -> list[str]:
        """Try the new models of ``cameras`` and look with them from then on; a sentence for each that compares them.

        Raises:
            ModelError: one of them does not work, or is too slow; then all cameras look as before.
        """
        tried = {name: await self._tried(camera, settings[name]) for name, camera in cameras.items()}
        return [self._swap(cameras[name], settings[name], *found) for name, found in tried.items()]

    async def _tried(self, camera: Camera, settings: CameraSettings) -> tuple[Detector, Trial | None]:
        new, detector = self._assembly.wrapped_detector_for(settings), camera.detector
        if detector is None:
            return new, None
        pictures = await self._pictures(camera) or [_GREY]
        trial = await asyncio.get_running_loop().run_in_executor(None, try_out, new, detector.current, pictures)
        return new, trial

    def _swap(self, camera: Camera, settings: CameraSettings, new: Detector, trial: Trial | None) -> str:
        camera.settings = settings
        detector = camera.detector
        if detector is None or trial is None:
            return f"{camera.name}: looks with {new.identity.name} once it is there"
        old, old_s = detector.current, detector.median_s() or trial.old_s
        detector.swap(new)
        camera.look_anew()
        self._log.swapped(camera.name, old.identity, new.identity, str(trial))
        task = asyncio.create_task(self._judge(camera, detector, old, new, old_s))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return f"{camera.name}: {old.identity.name} gave way to {new.identity.name} ({trial})"

    def close(self) -> None:
        for task in self._watching:
            task.cancel()

    async def _pictures(self, camera: Camera) -> list[Pixels]:
        """A few of the camera's pictures, as they come."""
        pictures: dict[int, Pixels] = {}
        camera.wants_trial_pictures = True
        deadline_s = time.monotonic() + TRIAL_WITHIN_S
        try:
            while len(pictures) < TRIAL_PICTURES and time.monotonic() < deadline_s:
                newest = camera.newest()
                if newest is not None and newest.frame.picture is not None:
                    pictures[newest.frame.index] = newest.frame.picture
                await asyncio.sleep(POLL_S)
        finally:
            camera.wants_trial_pictures = False
        return list(pictures.values())

    async def _judge(
        self, camera: Camera, detector: SwappableDetector, old: Detector, new: Detector, old_s: float
    ) -> None:
        """Take the old model back if the new one turns out too slow at work, beside the old one at the same work."""
        deadline_s = time.monotonic() + JUDGED_WITHIN_S
        while detector.current is new and time.monotonic() < deadline_s:
            took_s = detector.median_s()
            if took_s is not None:
                if is_too_slow(took_s, old_s):
                    detector.revert()
                    camera.look_anew()
                    self._tell_reverted(camera.name, old, new, took_s)
                return
            await asyncio.sleep(POLL_S)

    def _tell_reverted(self, camera: str, old: Detector, new: Detector, took_s: float) -> None:
        reason = f"it took {took_s * 1e3:.0f} ms at work"
        self._log.swapped(camera, new.identity, old.identity, reason)
        self._on_note(f"{camera}: model {old.identity.name} is back in the place of {new.identity.name}: {reason}")
