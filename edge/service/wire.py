"""What the service answers about pictures: the detections of one, in the words of predictions.jsonl."""

from __future__ import annotations

import functools
from dataclasses import asdict

from pydantic import Field, RootModel

from stream.frame import FrameResult, ModelIdentity
from stream.http.endpoints import Wire
from stream.sinks.rows import rounded_rows

Box = tuple[float, float, float, float]


class DetectionAnswer(Wire):
    """One object."""

    class_name: str = Field(alias="class", description="Its class by name.")
    class_id: int = Field(description="Its class by number.")
    confidence: float = Field(description="How sure the model is, 0 to 1.")
    bbox: Box = Field(description="x1, y1, x2, y2 in pixels of the upright picture.")


class ModelAnswer(Wire):
    """Which model looked."""

    name: str
    version: str
    sha256: str
    signer: str = Field(description="The trusted key that signed it; empty where none did.")


class ImageAnswer(Wire):
    """The size of the upright picture in pixels."""

    width: int
    height: int


class DetectAnswer(Wire):
    """What was found in one picture."""

    detections: tuple[DetectionAnswer, ...] = Field(description="The objects, the surest first.")
    latency_ms: float = Field(description="From the whole request to this answer.")
    model: ModelAnswer
    image: ImageAnswer


class DetectResult(RootModel[DetectAnswer | tuple[DetectAnswer, ...]]):
    """What was found in one picture; for several a list, in their order."""


def detections_of(result: FrameResult) -> tuple[DetectionAnswer, ...]:
    """The boxes of a result, the surest first."""
    rows = sorted(rounded_rows(result), key=lambda row: row.confidence, reverse=True)
    return tuple(
        DetectionAnswer(class_name=row.class_name, class_id=row.class_id, confidence=row.confidence, bbox=row.xyxy)
        for row in rows
    )


@functools.lru_cache(maxsize=16)
def model_answer(identity: ModelIdentity) -> ModelAnswer:
    return ModelAnswer(**asdict(identity))
