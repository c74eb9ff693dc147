"""A model that is ready to look: its sessions, shared by all detectors that look through it."""

from __future__ import annotations

import threading
from pathlib import Path

from edge.config import DetectorSettings
from edge.slots import SlotPlan
from models.catalogue import ModelFile
from models.families import recognise
from models.providers import PROVIDERS
from models.session import Session, inspect, open_session, provider_for
from stream.errors import UsageError
from stream.frame import ModelIdentity, NetworkView
from stream.geometry import snug_canvas
from stream.home import home

MAX_SHAPES = 4
"""Input shapes kept ready at a time, each a session's memory; pictures of yet other shapes go into the first."""


class LoadedModel:
    """One ONNX model with a session for each shape of input, for several cameras and threads at once.

    A network that leaves height and width open gets a session for the shape of each source: the padding of a
    square input would be computed on for nothing. One with a fixed input sees every picture letterboxed into it.

    Raises:
        ModelError: no family decodes this model, or the device is not here.
        UsageError: the settings name a size it cannot take.
    """

    def __init__(self, model: ModelFile, settings: DetectorSettings, slots: SlotPlan) -> None:
        provider_for(settings.device)  # a device that is not here is said before anything is begun
        self.identity = ModelIdentity(model.name, model.version, model.sha256, model.signer)
        self._model = model
        self._device = settings.device
        self._slots = slots
        self._spec = inspect(model)
        self.family = recognise(self._spec)
        self.names = tuple(self.family.names)
        self._longest_px = self._longest_side(settings.image_size)
        self._opening = threading.Lock()
        self._sessions: dict[tuple[int, int], Session] = {}

    @property
    def provider(self) -> str:
        """The onnxruntime provider in use, empty before the first frame was seen."""
        return next((session.provider for session in self._sessions.values()), "")

    def view(self, width: int, height: int) -> NetworkView:
        """What the network wants to see of a ``width x height`` picture; opens a session for it when needed."""
        shape = self._shape_for(width, height)
        with self._opening:
            if shape not in self._sessions and len(self._sessions) >= MAX_SHAPES:
                shape = next(iter(self._sessions))
            if shape not in self._sessions:
                self._sessions[shape] = self._open(shape)
        picture = self._spec.input
        return NetworkView(width=shape[1], height=shape[0], rgb=picture.rgb, placement=picture.placement)

    def session(self, height: int, width: int) -> Session:
        """The session for pictures of a shape that :meth:`view` has named."""
        return self._sessions[height, width]

    def _open(self, shape: tuple[int, int]) -> Session:
        session = open_session(
            self._model,
            device=self._device,
            threads=self._slots.threads,
            shape=shape,
            cache=self._cache(),
        )
        session.warm_up()
        return session

    def _cache(self) -> Path | None:
        """Where CoreML keeps what it compiles; no other provider needs a home."""
        compiles = provider_for(self._device) == PROVIDERS["coreml"]
        return home() / "compiled" / self._model.sha256 if compiles else None

    def _shape_for(self, width: int, height: int) -> tuple[int, int]:
        """The (height, width) of the network's input for such a picture."""
        fixed = self._spec.input
        sides = (1, 1) if fixed.square else (width, height)
        snug = snug_canvas(*sides, longest_px=self._longest_px, stride_px=self._spec.stride_px)
        return fixed.height or snug[0], fixed.width or snug[1]

    def _longest_side(self, asked: int | None) -> int:
        fixed = (self._spec.input.height, self._spec.input.width)
        if asked is None:
            return max(self._spec.imgsz or (fixed[0] or 640, fixed[1] or 640))
        if None not in fixed:
            if asked in fixed:
                return asked
            raise UsageError(f"{self._model.name} takes pictures of {fixed[1]}x{fixed[0]} only; leave --imgsz out")
        if asked % self._spec.stride_px:
            raise UsageError(
                f"--imgsz must be a multiple of {self._spec.stride_px} for {self._model.name}, got {asked}"
            )
        return asked
