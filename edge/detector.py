"""The detector: a model's sessions and family put together, answering in pixels of the source picture."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.config import DetectorSettings
from edge.slots import SlotPlan
from models.catalogue import ModelFile
from models.families import Boxes, recognise
from models.providers import PROVIDERS
from models.session import Session, inspect, open_session, provider_for
from stream.errors import UsageError
from stream.frame import Frame, ModelIdentity, NetworkView
from stream.geometry import snug_canvas
from stream.home import home
from stream.pipeline import Detected

if TYPE_CHECKING:
    import supervision as sv
    from numpy.typing import NDArray

MAX_SHAPES = 4
"""Input shapes kept ready at a time, each a session's memory; pictures of yet other shapes go into the first."""


class OnnxDetector:
    """Detects with one ONNX model, as :class:`stream.pipeline.Detector`.

    A network that leaves height and width open gets a session for the shape of each source: the padding of a
    square input would be computed on for nothing. One with a fixed input sees every picture letterboxed into it.

    Raises:
        ModelError: no family decodes this model, or the device is not here.
        UsageError: the settings name a class it does not know, or a size it cannot take.
    """

    def __init__(self, model: ModelFile, settings: DetectorSettings, slots: SlotPlan) -> None:
        provider_for(settings.device)  # a device that is not here is said before anything is begun
        self.identity = ModelIdentity(model.name, model.version, model.sha256)
        self._model = model
        self._settings = settings
        self._slots = slots
        self._spec = inspect(model)
        self._family = recognise(self._spec)
        self._names = np.array(self._spec.names or [], dtype=object)
        self._wanted = _class_ids(settings.classes, self._spec.names)
        self._longest_px = self._longest_side()
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
        return NetworkView(width=shape[1], height=shape[0], rgb=self._spec.input.rgb)

    def detect(self, frame: Frame) -> Detected:
        """Find objects in ``frame.network``. Raises ModelError when the model fails on it."""
        if frame.network is None or frame.letterbox is None:
            raise ValueError(f"frame {frame.index} of {frame.source} was not prepared for the network")
        session = self._sessions[frame.network.shape[0], frame.network.shape[1]]
        begun_s = time.monotonic()
        outputs = session.run(frame.network)
        inferred_s = time.monotonic()
        boxes = self._family.decode(
            outputs,
            confidence=self._settings.confidence,
            iou=self._settings.iou,
            max_detections=self._settings.max_detections,
            classes=self._wanted,
        )
        detections = self._detections(boxes, frame.letterbox.to_source(boxes.xyxy))
        return Detected(detections, inference_s=inferred_s - begun_s, postprocess_s=time.monotonic() - inferred_s)

    def _detections(self, boxes: Boxes, xyxy: NDArray[np.float32]) -> sv.Detections:
        import supervision as sv

        names = self._names[boxes.class_id] if len(self._names) else boxes.class_id.astype(str)
        return sv.Detections(
            xyxy=xyxy, confidence=boxes.confidence, class_id=boxes.class_id, data={"class_name": names}
        )

    def _open(self, shape: tuple[int, int]) -> Session:
        session = open_session(
            self._model,
            device=self._settings.device,
            threads=self._slots.threads,
            shape=shape,
            cache=self._cache(),
        )
        session.warm_up()
        # Imports what results are made of (most of a second), so that no frame waits for it.
        self._detections(Boxes.none(), Boxes.none().xyxy)
        return session

    def _cache(self) -> Path | None:
        """Where CoreML keeps what it compiles; no other provider needs a home."""
        compiles = provider_for(self._settings.device) == PROVIDERS["coreml"]
        return home() / "compiled" / self._model.sha256 if compiles else None

    def _shape_for(self, width: int, height: int) -> tuple[int, int]:
        """The (height, width) of the network's input for such a picture."""
        snug = snug_canvas(width, height, longest_px=self._longest_px, stride_px=self._spec.stride_px)
        fixed = self._spec.input
        return fixed.height or snug[0], fixed.width or snug[1]

    def _longest_side(self) -> int:
        asked, fixed = self._settings.image_size, (self._spec.input.height, self._spec.input.width)
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


def _class_ids(wanted: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Class numbers for names or numbers; None for all."""
    return [_class_id(word, names) for word in wanted] or None


def _class_id(word: str, names: Sequence[str]) -> int:
    folded = {name.casefold(): number for number, name in reversed(list(enumerate(names)))}
    if word.casefold() in folded:
        return folded[word.casefold()]
    if word.isdecimal():
        if not names or int(word) < len(names):
            return int(word)
        raise UsageError(f"there is no class {word}: the model has {len(names)}, numbered from 0 to {len(names) - 1}")
    close = difflib.get_close_matches(word.casefold(), folded, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"the model knows {', '.join(names)}"
    raise UsageError(f"there is no class '{word}'; {hint}")
