"""The detector: a model's session and family put together, answering in pixels of the source picture."""

from __future__ import annotations

import threading
import time

from models.session import Session

from edge.config import DetectorSettings
from edge.slots import SlotPlan
from models.catalogue import ModelFile
from models.families import Family, recognise
from stream.frame import Frame, ModelIdentity, NetworkView
from stream.pipeline import Detected

MAX_SHAPES = 4
"""Input shapes kept ready at a time; each costs a session's memory. More shapes are letterboxed into the first."""


class OnnxDetector:
    """Detects with one ONNX model, as :class:`stream.pipeline.Detector`.

    A network with free height and width gets a session for the shape of each source (the padding of a square
    input would be computed on for nothing); one with a fixed input sees every picture letterboxed into it.
    """

    def __init__(self, model: ModelFile, settings: DetectorSettings, slots: SlotPlan) -> None:
        self._model = model
        self._settings = settings
        self._slots = slots
        self._opening = threading.Lock()
        self._sessions: dict[tuple[int, int], Session] = {}
        self._first = self._open(None)
        self._family: Family = recognise(self._first.spec)
        self._class_names = self._first.spec.names
        self._wanted = _class_ids(settings.classes, self._class_names)
        self.identity = ModelIdentity(model.name, model.version, model.sha256)

    @property
    def provider(self) -> str:
        """The onnxruntime provider in use."""
        return self._first.provider

    def view(self, width: int, height: int) -> NetworkView:
        """What the network wants to see of a ``width x height`` picture; opens the session for it when needed."""
        shape = self._shape_for(width, height)
        with self._opening:
            if shape not in self._sessions:
                if len(self._sessions) >= MAX_SHAPES:
                    shape = next(iter(self._sessions))
                else:
                    self._sessions[shape] = self._open(shape)
        return NetworkView(width=shape[1], height=shape[0], rgb=self._first.spec.input.rgb)

    def detect(self, frame: Frame) -> Detected:
        """Find objects in ``frame.network``; boxes come in pixels of the source picture."""
        assert frame.network is not None and frame.letterbox is not None, "only frames with a network view come here"  # noqa: S101
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
        detections = self._in_source_pixels(boxes, frame)
        return Detected(detections, inference_s=inferred_s - begun_s, postprocess_s=time.monotonic() - inferred_s)
