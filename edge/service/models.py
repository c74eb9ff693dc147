"""The models that requests may use: those of the cameras, and a few more by name."""

from __future__ import annotations

import functools
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge.config import DetectorSettings, RunSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from models.catalogue import AUTO, BUNDLED, bundled_names, find
from models.shelf import store
from stream.frame import NetworkView
from stream.http.errors import HttpError

_SHAPES = ((16, 9), (4, 3), (1, 1), (3, 4), (9, 16))
"""The shapes of picture that sessions are opened for; others are laid into the nearest."""

_SHAPES_OPENED = 2
"""Of each model for requests; the cameras have theirs besides. Each costs a session's memory."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How pictures are to be looked at; None is what the configuration says."""

    confidence: float | None = None
    iou: float | None = None
    classes: tuple[str, ...] | None = None
    model: str | None = None


def known_models() -> list[str]:
    """The names that requests may use; files elsewhere are for the configuration to name."""
    return sorted({AUTO, *_bundled_detectors(), *store.names()})


@functools.cache
def _bundled_detectors() -> tuple[str, ...]:
    """Not those that classify crops."""
    cards = {name: json.loads((BUNDLED / f"{name}.json").read_text(encoding="utf-8")) for name in bundled_names()}
    return tuple(name for name, card in cards.items() if card.get("task") == "detect")


class RequestModels:
    """Detectors for requests, from any thread; a model is loaded when it is first asked for.

    ``cameras`` gives the models that the cameras have loaded, by the names of the settings, and ``slots`` the plan that
    further ones are loaded for.
    """

    def __init__(
        self,
        settings: RunSettings,
        cameras: Callable[[], Mapping[str, LoadedModel]],
        slots: Callable[[], SlotPlan],
    ) -> None:
        self._settings = settings
        self._cameras = cameras
        self._slots = slots
        self._loading, self._opening = threading.Lock(), threading.Lock()
        self._own: OrderedDict[str, LoadedModel] = OrderedDict()
        self._shapes: dict[str, list[tuple[int, int]]] = {}
        self._last: tuple[LoadedModel, DetectorSettings, OnnxDetector] | None = None

    def detector(self, wish: Wish, *, at_hand: bool = False) -> OnnxDetector | None:
        """A detector as wished; loading a model takes a while. With ``at_hand`` this returns at once: None where the
        model has to be loaded first.

        Raises:
            HttpError: a model of this name is not known here.
            ModelError: it is refused.
            UsageError: it does not know one of the classes.
        """
        usual = self._settings.detector
        wished = {"confidence": wish.confidence, "iou": wish.iou, "classes": wish.classes, "model": wish.model}
        wanted = usual.model_copy(update={key: value for key, value in wished.items() if value is not None})
        loaded = self._cameras().get(wanted.model) or self._own.get(wanted.model)
        if loaded is None and at_hand:
            return None
        return self._made(loaded or self._load(wanted, usual), wanted)

    def adapt(self, settings: RunSettings) -> None:
        """Go by other settings from now on; what the cameras have loaded meanwhile is not kept twice."""
        self._settings = settings
        with self._loading:
            for name in self._cameras().keys() & self._own.keys():
                del self._own[name]

    def view(self, detector: OnnxDetector, width: int, height: int) -> NetworkView:
        """What the network wants to see of such a picture; opens a session for its shape when that is one of few."""
        with self._opening:
            opened = self._shapes.setdefault(detector.identity.sha256, [])
            shape = _nearest(width / height, _SHAPES if len(opened) < _SHAPES_OPENED else opened)
            if shape not in opened:
                opened.append(shape)
            return detector.view(shape[0] * 100, shape[1] * 100)

    def _made(self, loaded: LoadedModel, wanted: DetectorSettings) -> OnnxDetector:
        """The last one again if the same is wanted, as it mostly is."""
        last = self._last
        if last is None or last[0] is not loaded or last[1] != wanted:
            last = self._last = (loaded, wanted, OnnxDetector(loaded, wanted))
        return last[2]

    def _load(self, wanted: DetectorSettings, usual: DetectorSettings) -> LoadedModel:
        if wanted.model != usual.model and wanted.model not in known_models():
            raise HttpError(404, f"no model of this name is known here; known are {', '.join(known_models())}")
        with self._loading:
            if wanted.model not in self._own:
                while len(self._own) >= self._settings.serve.images.models:
                    self._own.popitem(last=False)
                self._own[wanted.model] = LoadedModel(find(wanted.model, self._settings.trust), wanted, self._slots())
            self._own.move_to_end(wanted.model)
            return self._own[wanted.model]


def _nearest(ratio: float, shapes: list[tuple[int, int]] | tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """The shape that leaves least of the canvas empty."""
    return min(shapes, key=lambda shape: abs(math.log(ratio * shape[1] / shape[0])))
