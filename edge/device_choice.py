"""Measuring which device is best for a model, and how fast it is in each slot plan, on pictures of the user's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edge.clip_pictures import spread
from edge.config import DetectorSettings
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan, plan_slots
from models.catalogue import find
from models.choice import Choice, judged_as, keep, kept
from models.session import Pixels
from models.trust.policy import ANY_MODEL
from models.trying import MEASURED_S, choose
from stream.errors import SourceError

PICTURES = 40
"""Enough for a hundred boxes of most scenes."""

USUAL_PX = (1920, 1080)
"""The shape of most cameras' pictures, for what is measured without a clip."""


def plans_used(cores: int) -> list[SlotPlan]:
    """What runs use by themselves: the plan for files and several cameras, then that for one camera."""
    return list(dict.fromkeys((plan_slots(cores), plan_slots(cores, cameras=1))))


def measure_devices(
    name: str, plans: Iterable[SlotPlan], *, clip: Path | None, confidence: float, seconds: float = MEASURED_S
) -> list[Choice]:
    """Try every device that is here on a model in each plan, for ``seconds``, and remember what came of it.

    Without a clip noise is looked at: that tells speeds, but not whether boxes agree, for which a former measurement
    then counts.

    Raises:
        SourceError, DecodeError: the clip cannot be read.
        ModelError: the model is refused, or not even the CPU can run it.
        OutputError: the home cannot be written.
    """
    model = find(name, ANY_MODEL)
    loaded = LoadedModel(model, DetectorSettings(device="cpu"), SlotPlan(1, 1))
    pictures = _noise(loaded) if clip is None else _pictures(loaded, clip)
    choices = []
    for slots in plans:
        choice = choose(
            model,
            pictures,
            workers=slots.workers,
            threads=slots.threads,
            confidence=confidence,
            cache=loaded.cache("coreml"),
            seconds=seconds,
            judge=clip is not None,
        )
        if clip is None:
            choice = judged_as(choice, kept(model.sha256, slots.workers, slots.threads))
        keep(choice)
        choices.append(choice)
    return choices


def _pictures(loaded: LoadedModel, clip: Path) -> list[Pixels]:
    pictures = [frame.network for frame in spread(clip, PICTURES, loaded.wanted) if frame.network is not None]
    if not pictures:
        raise SourceError(f"{clip} holds no picture to measure with")
    return pictures


def _noise(loaded: LoadedModel) -> list[Pixels]:
    view = loaded.wanted(*USUAL_PX)
    return [np.random.default_rng(0).integers(0, 256, (view.height, view.width, 3), np.uint8)]
