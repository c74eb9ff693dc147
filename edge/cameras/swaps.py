"""Models that change while cameras run: tried on their pictures, taken over, judged at work, taken back if need be."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

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
"""So long a new model's errors make it go back at most, and its speed is judged if there are enough detections."""

POLL_S = 0.1

_GREY: Pixels = np.full((720, 1280, 3), 114, np.uint8)
"""What is looked at where a camera gives nothing: it shows at least that the model works, and how fast."""

GoBack = Callable[[str], Awaitable[None]]
"""Makes all that changed with a model go back to the former one, for a reason."""

TakeModels = Callable[[Mapping[str, Camera], Mapping[str, CameraSettings]], Awaitable[list[str]]]
"""Makes cameras look with the models of these settings; sentences about it."""


@dataclass(slots=True, eq=False)
class _Judged:
    """A camera's new model at work, beside the old one at the same work."""

    camera: Camera
    detector: SwappableDetector
    old: Detector
    new: Detector
    old_s: float
    is_timed: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether its speed is known, or it does not look any more."""
        return self.is_timed or self.detector.current is not self.new

    def complaint(self) -> str:
        """What the new model was taken back for; empty while nothing speaks against it."""
        failure = self.detector.failure_of(self.new)
        if failure is not None:
            return f"it failed at work: {failure}"
        took_s = None if self.is_settled else self.detector.median_s()
        self.is_timed |= took_s is not None
        if took_s is None or not is_too_slow(took_s, self.old_s):
            return ""
        self.detector.revert()
        self.camera.look_anew()
        return f"it took {took_s * 1e3:.0f} ms at work"


class Swaps:
    """Takes models over for the cameras of one station; for the loop's thread. ``on_settled`` is told when a new model
    has been judged, whatever came of it."""

    def __init__(
        self, assembly: Assembly, run_log: RunLog, on_note: Callable[[str], None], on_settled: Callable[[], None]
    ) -> None:
        self._assembly = assembly
        self._log = run_log
        self._on_note = on_note
        self._on_settled = on_settled
        self._judging: set[asyncio.Task[None]] = set()

    @property
    def judging(self) -> bool:
        """Whether a former model may yet be wanted again."""
        return bool(self._judging)

    async def take_over(
        self, go_back: GoBack, cameras: Mapping[str, Camera], settings: Mapping[str, CameraSettings]
    ) -> list[str]:
        """Try the new models of ``cameras`` and look with them from then on; a sentence for each that compares them.

        They are judged at work: where one fails or lags, its camera looks as before, and ``go_back`` is to see to the
        rest.

        Raises:
            ModelError: one of them does not work, or is too slow; then all cameras look as before.
        """
        tried = {name: await self._tried(camera, settings[name]) for name, camera in cameras.items()}
        judged: list[_Judged] = []
        told = [self._swap(cameras[name], settings[name], *found, judged) for name, found in tried.items()]
        if judged:
            task = asyncio.create_task(self._judge(judged, go_back), name="judge a model")
            self._judging.add(task)
            task.add_done_callback(self._judged)
        return told

    async def take_back(
        self, reason: str, cameras: Mapping[str, Camera], settings: Mapping[str, CameraSettings]
    ) -> list[str]:
        """Look with models that did so until lately, and need no trial; it is noted of those that do not yet."""
        for name, camera in cameras.items():
            camera.settings = settings[name]
            former, detector = self._assembly.wrapped_detector_for(settings[name]), camera.detector
            if detector is not None and detector.identity != former.identity:
                doubted = detector.current
                detector.swap(former)
                camera.look_anew()
                self._tell_back(name, former, doubted, reason)
        return []

    def close(self) -> None:
        for task in self._judging:
            task.cancel()

    async def _tried(self, camera: Camera, settings: CameraSettings) -> tuple[Detector, Trial | None]:
        new, detector = self._assembly.wrapped_detector_for(settings), camera.detector
        if detector is None:
            return new, None
        pictures = await self._pictures(camera) or [_GREY]
        trial = await asyncio.get_running_loop().run_in_executor(None, try_out, new, detector.current, pictures)
        return new, trial

    def _swap(
        self, camera: Camera, settings: CameraSettings, new: Detector, trial: Trial | None, judged: list[_Judged]
    ) -> str:
        camera.settings = settings
        detector = camera.detector
        if detector is None or trial is None:
            return f"{camera.name}: looks with {new.identity.name} once it is there"
        old, old_s = detector.current, detector.median_s() or trial.old_s
        detector.swap(new, on_failure=camera.look_anew)
        camera.look_anew()
        self._log.swapped(camera.name, old.identity, new.identity, str(trial))
        judged.append(_Judged(camera, detector, old, new, old_s))
        return f"{camera.name}: {old.identity.name} gave way to {new.identity.name} ({trial})"

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

    async def _judge(self, judged: Sequence[_Judged], go_back: GoBack) -> None:
        """See all cameras go back to the old model if one of them finds that the new one fails or is too slow."""
        deadline_s = time.monotonic() + JUDGED_WITHIN_S
        while True:
            is_over = all(each.is_settled for each in judged) or time.monotonic() >= deadline_s
            complaints = [(each, reason) for each in judged if (reason := each.complaint())]
            if complaints:
                break
            doubtful = [each for each in judged if is_over and not each.detector.trust(each.new)]
            if is_over and not doubtful:
                return
            await asyncio.sleep(POLL_S)
        for each, reason in complaints:
            self._tell_back(each.camera.name, each.old, each.new, reason)
        first, reason = complaints[0]
        await go_back(f"at {first.camera.name} {reason}")

    def _judged(self, task: asyncio.Task[None]) -> None:
        self._judging.discard(task)
        self._on_settled()

    def _tell_back(self, camera: str, former: Detector, doubted: Detector, reason: str) -> None:
        self._log.swapped(camera, doubted.identity, former.identity, reason)
        self._on_note(
            f"{camera}: model {former.identity.name} is back in the place of {doubted.identity.name}: {reason}"
        )
