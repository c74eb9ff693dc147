"""Single pictures over HTTP: our own answer, and the one that DeepStack's clients read."""

from __future__ import annotations

import time
from typing import Annotated

from aiohttp import web
from pydantic import ConfigDict, Field

from edge.service.hub import Hub
from edge.service.looking import Seen
from edge.service.models import Wish
from edge.service.wire import DetectAnswer, DetectResult, ImageAnswer, detections_of, model_answer
from stream.http.auth import NOBODY, require
from stream.http.context import CONTEXT
from stream.http.endpoints import (
    Call,
    Endpoint,
    Form,
    FormBody,
    HttpError,
    Media,
    RawBody,
    Result,
    Role,
    Wire,
)

PICTURES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")

DEEPSTACK_MOST = 20
"""Frigate's client has room for so many; one more ends it."""

DEEPSTACK_LEAST = 0.4
"""And it reads no further than the first that is less sure than this."""

Share = Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)]
ModelName = Annotated[str | None, Field(pattern=r"^\w[\w.\-]{0,99}$")]


class DetectQuery(Wire):
    """How pictures are to be looked at; what is left out is as configured."""

    conf: Share = Field(None, description="Least confidence of a detection.")
    iou: Share = Field(None, description="Of two boxes of a class that overlap more, the weaker goes.")
    classes: tuple[Annotated[str, Field(max_length=1000)], ...] = Field(
        (), max_length=100, description="Names or numbers of the classes to keep, several with commas; none keeps all."
    )
    model: ModelName = Field(None, description="A model's name, of those that GET /models lists.")
    annotate: bool = Field(default=False, description="Answer the picture itself with the boxes drawn, as JPEG.")


class DeepStackForm(Wire):
    """What DeepStack's clients send beside the picture; whatever else they send is not looked at."""

    model_config = ConfigDict(extra="ignore")

    api_key: str | None = Field(None, max_length=1000, description="A token, where this service asks for one.")
    min_confidence: Share = Field(None, description="Least confidence of a detection; without one 0.4.")


class DeepStackPrediction(Wire):
    """One object; pixels of the upright picture."""

    label: str
    confidence: float
    x_min: int
    y_min: int
    x_max: int
    y_max: int


class DeepStackAnswer(Wire):
    """What was found, the surest first."""

    success: bool = True
    predictions: tuple[DeepStackPrediction, ...] = Field(max_length=DEEPSTACK_MOST)
    duration: int = Field(description="Milliseconds.")


class Detection:
    """The endpoints that look at pictures."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST",
                "/detect",
                self.detect,
                "Find objects in pictures",
                query=DetectQuery,
                body=(
                    RawBody(PICTURES, description="One picture: JPEG, PNG or WebP."),
                    FormBody(("file",), PICTURES, DetectQuery),
                ),
                answers={200: (DetectResult, Media("image/jpeg", "The picture with its boxes."))},
                errors=(404, 422),
                tag="pictures",
                description="One picture as the body, or several as parts of a form: then the answer is a list. "
                "Parameters of a form win over those of the query. EXIF orientation is applied: boxes are of the "
                "upright picture.",
            ),
            Endpoint(
                "POST",
                "/v1/vision/detection",
                self.deepstack,
                "The same for DeepStack's clients",
                role=None,
                body=FormBody(("image",), PICTURES, DeepStackForm),
                answers={200: DeepStackAnswer},
                errors=(401, 422),
                tag="pictures",
                description="For Frigate and others that speak to DeepStack or CodeProject.AI. Where this service asks "
                "for tokens, one goes into api_key.",
            ),
        ]

    async def detect(self, call: Call) -> Result:
        begun_s = time.monotonic()
        asked: DetectQuery = call.query
        pictures = [call.body]
        if isinstance(call.body, Form):
            asked = asked.model_copy(update=call.body.fields.model_dump(exclude_unset=True))
            pictures = [part.data for part in call.body.files]
        if asked.annotate and len(pictures) > 1:
            raise HttpError(400, "annotate answers one picture; send them one by one")
        seen = await self._hub.images.look(pictures, _wish(asked))
        if asked.annotate:
            drawn = await self._hub.images.annotate(seen[0])
            return web.Response(body=drawn, content_type="image/jpeg")
        latency_ms = round((time.monotonic() - begun_s) * 1e3, 2)
        answers = tuple(_answer(each, latency_ms) for each in seen)
        return DetectResult(answers[0] if len(answers) == 1 else answers)

    async def deepstack(self, call: Call) -> Result:
        begun_s = time.monotonic()
        form: DeepStackForm = call.body.fields
        if call.identity is NOBODY:
            _let_in_by_key(call, form.api_key, begun_s)
        if len(call.body.files) > 1:
            raise HttpError(400, "DeepStack takes one picture at a time")
        least = DEEPSTACK_LEAST if form.min_confidence is None else form.min_confidence
        seen = await self._hub.deepstack.look([call.body.files[0].data], Wish(confidence=least))
        duration_ms = round((time.monotonic() - begun_s) * 1e3)
        return DeepStackAnswer(predictions=_predictions(seen[0]), duration=duration_ms)


def _wish(asked: DetectQuery) -> Wish:
    words = [word.strip() for entry in asked.classes for word in entry.split(",")]
    classes = tuple(word for word in words if word)
    return Wish(asked.conf, asked.iou, classes or None, asked.model)


def _answer(seen: Seen, latency_ms: float) -> DetectAnswer:
    frame = seen.result.frame
    return DetectAnswer(
        detections=detections_of(seen.result),
        latency_ms=latency_ms,
        model=model_answer(seen.result.model),
        image=ImageAnswer(width=frame.width, height=frame.height),
    )


def _predictions(seen: Seen) -> tuple[DeepStackPrediction, ...]:
    return tuple(
        DeepStackPrediction(
            label=found.class_name,
            confidence=found.confidence,
            **dict(zip(("x_min", "y_min", "x_max", "y_max"), map(round, found.bbox), strict=True)),
        )
        for found in detections_of(seen.result)[:DEEPSTACK_MOST]
    )


def _let_in_by_key(call: Call, key: str | None, now_s: float) -> None:
    """Clients of DeepStack can send a token in the form only. Raises HttpError 401 or 429."""
    identity = None
    if key:
        keeper = call.request.app[CONTEXT].doorkeeper
        identity = call.identity = keeper.by_token(key, client=call.client, now_s=now_s)
    require(identity, Role.VIEW)
