"""The detector: a loaded model that answers in pixels of the source picture, with the classes that are wanted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge.class_words import class_number
from edge.config import DetectorSettings
from edge.loaded_model import LoadedModel
from models.families import Boxes
from stream.frame import Frame, NetworkView
from stream.pipeline import Detected

if TYPE_CHECKING:
    import supervision as sv
    from numpy.typing import NDArray


class OnnxDetector:
    """Detects with a loaded model as one camera wants it, as :class:`stream.pipeline.Detector`.

    Raises:
        UsageError: the settings name a class the model does not know.
    """

    def __init__(self, loaded: LoadedModel, settings: DetectorSettings) -> None:
        self.identity = loaded.identity
        self._loaded = loaded
        self._settings = settings
        self._names = np.array(loaded.names, dtype=object)
        self._wanted = _class_ids(settings.classes, loaded.names)
        self._ready = False

    @property
    def provider(self) -> str:
        """What computes, empty before the first frame was seen."""
        return self._loaded.provider

    def view(self, width: int, height: int) -> NetworkView:
        """What the network wants to see of a ``width x height`` picture; opens a session for it when needed."""
        view = self._loaded.view(width, height)  # first: it leaves the interpreter to whoever else imports something
        if not self._ready:
            # Imports what results are made of (a quarter of a second), so that no frame waits for it.
            self._detections(Boxes.none(), Boxes.none().xyxy)
            self._ready = True
        return view

    def detect(self, frame: Frame) -> Detected:
        """Find objects in ``frame.network``. Raises ModelError when the model fails on it."""
        if frame.network is None or frame.letterbox is None:
            raise ValueError(f"frame {frame.index} of {frame.source} was not prepared for the network")
        session = self._loaded.session(*frame.network.shape[:2])
        begun_s = time.monotonic()
        outputs = session.run(frame.network)
        inferred_s = time.monotonic()
        boxes = self._loaded.family.decode(
            outputs,
            frame.network.shape[:2],
            confidence=self._settings.confidence,
            iou=self._settings.iou,
            max_detections=self._settings.max_detections,
            classes=self._wanted,
        )
        detections = self._detections(boxes, frame.letterbox.to_source(boxes.xyxy))
        return Detected(detections, inference_s=inferred_s - begun_s, postprocess_s=time.monotonic() - inferred_s)

    def _detections(self, boxes: Boxes, xyxy: NDArray[np.float32]) -> sv.Detections:
        from stream.vision import sv

        names = self._names[boxes.class_id] if len(self._names) else boxes.class_id.astype(str)
        return sv.Detections(
            xyxy=xyxy, confidence=boxes.confidence, class_id=boxes.class_id, data={"class_name": names}
        )


def _class_ids(wanted: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Class numbers for names or numbers; None for all."""
    return [class_number(word, names) for word in wanted] or None
