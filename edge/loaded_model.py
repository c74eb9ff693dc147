"""A model that is ready to look: its sessions, shared by all detectors that look through it."""

from __future__ import annotations

import threading
from pathlib import Path

from edge.config import DetectorSettings
from edge.slots import SlotPlan
from models.catalogue import ModelFile
from models.choice import kept
from models.families import recognise
from models.providers import AUTO, device_of
from models.session import Session, inspect, open_session, provider_for
from stream.errors import ModelError, UsageError
from stream.frame import ModelIdentity, NetworkView
from stream.geometry import snug_canvas
from stream.home import home

MAX_SHAPES = 4
"""Input shapes kept ready at a time, each a session's memory; pictures of yet other shapes go into the first."""


class LoadedModel:
    """One ONNX model with a session for each shape of input, for several cameras and threads at once.

    A network that leaves height and width open gets a session for the shape of each source: the padding of a
    square input would be computed on for nothing. One with a fixed input sees every picture letterboxed into it.

    The device ``auto`` is the one that was found best for this model when it was measured here, else the default.

    Raises:
        ModelError: no family decodes this model, the device is not here, or is another than the settings require.
        UsageError: the settings name a size it cannot take.
    """

    def __init__(self, model: ModelFile, settings: DetectorSettings, slots: SlotPlan) -> None:
        provider_for(settings.device)  # a device that is not here is said before anything is begun
        self.identity = ModelIdentity(model.name, model.version, model.sha256, model.signer)
        self._model = model
        self._settings = settings
        self._slots = slots
        self._device = self._chosen(settings.device)
        self._required = settings.require_provider
        self._spec = inspect(model)
        self.family = recognise(self._spec)
        self.names = tuple(self.family.names)
        self._longest_px = self._longest_side(settings.image_size)
        self._opening = threading.Lock()
        self._sessions: dict[tuple[int, int], Session] = {}
        if self._required:
            # Only a session tells what is really in use; this is said before anything is begun as well.
            self._open(self._shape_for(self._longest_px, self._longest_px))

    @property
    def provider(self) -> str:
        """What computes, as :attr:`models.session.Session.provider` names it; empty before the first frame was seen."""
        return next((session.provider for session in self._sessions.values()), "")

    def wanted(self, width: int, height: int) -> NetworkView:
        """What the network would best see of a ``width x height`` picture."""
        return self._view(self._shape_for(width, height))

    def view(self, width: int, height: int) -> NetworkView:
        """What the network will see of a ``width x height`` picture; opens a session for it when needed."""
        shape = self._shape_for(width, height)
        with self._opening:
            if shape not in self._sessions and len(self._sessions) >= MAX_SHAPES:
                shape = next(iter(self._sessions))
            if shape not in self._sessions:
                self._sessions[shape] = self._open(shape)
        return self._view(shape)

    def replan(self, slots: SlotPlan) -> None:
        """Share the cores as ``slots`` says from the next picture on. Sessions are opened first: nothing waits for it.

        Raises:
            ModelError: the model cannot be opened in this way; then all stays as it was.
        """
        other = LoadedModel(self._model, self._settings, slots)
        other._sessions = {shape: other._open(shape) for shape in tuple(self._sessions)}
        with self._opening:
            for shape in self._sessions.keys() - other._sessions.keys():  # one that came meanwhile
                other._sessions[shape] = other._open(shape)
            self._slots, self._device, self._sessions = other._slots, other._device, other._sessions

    def session(self, height: int, width: int) -> Session:
        """The session for pictures of a shape that :meth:`view` has named."""
        return self._sessions[height, width]

    def _view(self, shape: tuple[int, int]) -> NetworkView:
        picture = self._spec.input
        return NetworkView(width=shape[1], height=shape[0], rgb=picture.rgb, placement=picture.placement)

    def _open(self, shape: tuple[int, int]) -> Session:
        session = open_session(
            self._model,
            device=self._device,
            threads=self._slots.threads,
            shape=shape,
            cache=self.cache(self._device),
            workers=self._slots.workers,
        )
        if self._required and device_of(session.provider) != self._required:
            raise ModelError(
                f"{self._model.name} runs with {session.provider}, but {self._required} is required: say --device"
                f" {self._required}, or see videodisco checks"
            )
        session.warm_up()
        return session

    def _chosen(self, device: str) -> str:
        if device != AUTO:
            return device
        choice = kept(self._model.sha256, self._slots.workers, self._slots.threads)
        return choice.device if choice else AUTO

    def cache(self, device: str) -> Path | None:
        """Where CoreML keeps what it compiles; no other provider needs a home."""
        return home() / "compiled" / self._model.sha256 if device == "coreml" else None

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
