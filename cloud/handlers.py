"""``POST /v1/refine``: from what came over the wire to questions, and from answers back."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from cloud.errors import ItemError
from cloud.questions import Outcome, Question
from cloud.refinery import BusyError, Refinery, StorageError
from stream import wire
from stream.http.endpoints import JSON, Call, Endpoint, Form, FormBody, HttpError, Result, Wire
from stream.wire import JPEG, LIMITS, REFINE_PATH, RefineItems, RefineReply, TooLargeError, WireError

_DESCRIPTION = """
Beside `items` the form has one part of type image/jpeg for each item, named by the item's key. The same key gets the
same answer for days, and is worked on once. An item that cannot be answered has an `error` of its own; its `retry` says
whether to send it again.
"""


class RefineForm(Wire):
    """What the form holds beside pictures."""

    items: RefineItems = Field(description="The crops, as a part of type application/json.")


class Handlers:
    """The refiner's own endpoint; a request is answered within ``budget_s``."""

    def __init__(self, refinery: Refinery, budget_s: float) -> None:
        self._refinery = refinery
        self._budget_s = budget_s

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST",
                REFINE_PATH,
                self.refine,
                "Look again at crops",
                body=FormBody(("<key>",), (JPEG,), RefineForm, max_bytes=LIMITS.max_body_bytes),
                answers={200: RefineReply},
                errors=(503,),
                description=_DESCRIPTION.strip(),
                tag="refine",
            )
        ]

    async def refine(self, call: Call) -> Result:
        questions = _questions(call.body)
        try:
            outcomes = await self._refinery.answer(call.identity.name, questions, self._budget_s)
        except BusyError as exc:
            sentence = "the refiner has no room for these crops; come again"
            raise HttpError(429, sentence, retry_after_s=exc.wait_s, cause="refine_queue") from exc
        except StorageError as exc:
            sentence = "the refiner cannot keep answers, its disk may be full, and gives none that it cannot keep"
            raise HttpError(503, sentence, retry_after_s=exc.wait_s, cause="storage") from exc
        pairs = zip(questions, outcomes, strict=True)
        body = wire.encode_reply([_answer(question.key, outcome) for question, outcome in pairs])
        return web.Response(body=body, content_type=JSON)


def _questions(form: Form) -> list[Question]:
    try:
        crops = wire.pair(form.fields.items.items, form.files)
    except TooLargeError as exc:
        raise HttpError(413, str(exc), cause="body_size") from exc
    except WireError as exc:
        raise HttpError(400, str(exc), cause="malformed") from exc
    return [Question(crop.item.key, crop.jpeg, crop.item.class_name, crop.item) for crop in crops]


def _answer(key: str, outcome: Outcome) -> wire.Answer:
    if isinstance(outcome, ItemError):
        problem = wire.Problem(code=outcome.code, message=str(outcome)[:500], retry=outcome.retry)
        return wire.Failed(key=key, error=problem)
    opinion, model = outcome.opinion, outcome.model
    return wire.Refined(
        key=key,
        label=opinion.label,
        confidence=opinion.confidence,
        top_k=tuple(wire.Guess(label=each.label, confidence=each.probability) for each in opinion.top),
        agreement=opinion.agreement,
        model=wire.RefinerModel(name=model.name, version=model.version, sha256=model.sha256),
    )
