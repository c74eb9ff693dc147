"""Measuring which device is best for a model, on pictures of the user's own."""

from __future__ import annotations

from pathlib import Path

from edge.clip_pictures import spread
from edge.config import DetectorSettings
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan, plan_slots
from models.catalogue import find
from models.choice import Choice, keep
from models.trust.policy import ANY_MODEL
from models.trying import choose
from stream.errors import SourceError
from stream.machine import usable_cores

PICTURES = 40
"""Enough for a hundred boxes of most scenes."""


def measure_devices(clip: Path, name: str, *, confidence: float) -> list[Choice]:
    """Try every device that is here on a model and a clip, for files and for a single camera, and remember the best.

    Raises:
        SourceError, DecodeError: the clip cannot be read.
        ModelError: the model is refused, or not even the CPU can run it.
        OutputError: the home cannot be written.
    """
    model = find(name, ANY_MODEL)
    settings = DetectorSettings(device="cpu")
    loaded = LoadedModel(model, settings, SlotPlan(1, 1))
    pictures = [frame.network for frame in spread(clip, PICTURES, loaded.wanted) if frame.network is not None]
    if not pictures:
        raise SourceError(f"{clip} holds no picture to measure with")
    cores = usable_cores()
    choices = []
    for slots in dict.fromkeys((plan_slots(cores), plan_slots(cores, cameras=1))):
        choice = choose(
            model,
            pictures,
            workers=slots.workers,
            threads=slots.threads,
            confidence=confidence,
            cache=loaded.cache("coreml"),
        )
        keep(choice)
        choices.append(choice)
    return choices
