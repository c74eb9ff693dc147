"""What differs between the settings of a station, and how the models they name go back to what they were."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from edge.cameras.settings import CameraDefaults, CameraSettings
from edge.config import DetectorSettings, RunSettings

Effective = tuple[CameraSettings, DetectorSettings]
"""All that a camera's pictures meet: its settings, and the detector's with its own laid over them."""

Place = tuple[str, ...]
"""The keys that lead to a model's name, in settings as in a configuration: ``("cameras", "gate", "model")``."""

S = TypeVar("S", DetectorSettings, CameraDefaults, CameraSettings)


def only_model(before: Effective, after: Effective) -> bool:
    """Whether two cameras differ in nothing but their model."""
    cameras = [_named(camera, None) for camera, _ in (before, after)]
    detectors = [_named(detector, "") for _, detector in (before, after)]
    return cameras[0] == cameras[1] and detectors[0] == detectors[1]


def others_that_changed(before: RunSettings, after: RunSettings) -> list[str]:
    """Sentences about what changed besides the cameras: that takes effect with the next start."""
    cameras = {"sources", "cameras", "defaults", "detector"}
    names = [
        name
        for name in RunSettings.model_fields
        if name not in cameras and getattr(before, name) != getattr(after, name)
    ]
    return [f"{name}: takes effect at the next start" for name in names]


def places_changed(now: RunSettings, before: RunSettings, after: RunSettings) -> list[Place]:
    """Where ``after`` names another model than ``before``, and nobody has changed it again since."""
    was, became, stands = (_models(each) for each in (before, after, now))
    shared = [place for place in became if place in was and place in stands]
    return [place for place in shared if was[place] != became[place] == stands[place]]


def with_models_of(before: RunSettings, settings: RunSettings, places: Collection[Place]) -> RunSettings:
    """``settings``, but in those places the models of ``before``."""
    former = _models(before)
    wanted = _models(settings) | {place: former[place] for place in places}
    cameras = {name: _named(camera, wanted["cameras", name, "model"]) for name, camera in settings.cameras.items()}
    return settings.model_copy(
        update={
            "detector": _named(settings.detector, wanted["detector", "model"]),
            "defaults": _named(settings.defaults, wanted["defaults", "model"]),
            "cameras": cameras,
        }
    )


def _models(settings: RunSettings) -> dict[Place, str | None]:
    """All models by the places that name them; None where a camera has none of its own."""
    models: dict[Place, str | None] = {
        ("detector", "model"): settings.detector.model,
        ("defaults", "model"): settings.defaults.model,
    }
    return models | {("cameras", name, "model"): camera.model for name, camera in settings.cameras.items()}


def _named(section: S, model: str | None) -> S:
    return section if section.model == model else section.model_copy(update={"model": model})
