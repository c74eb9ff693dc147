"""From what handlers return, and from what goes wrong, to answers."""

from __future__ import annotations

import json
import math

from aiohttp import hdrs, web
from pydantic import BaseModel

from stream.errors import VideoDiscoError
from stream.http.endpoints import JSON, Answer, Endpoint, Result
from stream.http.errors import HttpError, sentence_for, sentence_of, status_of


def answer_of(endpoint: Endpoint, result: Result) -> web.StreamResponse:
    """The answer that a handler's result stands for.

    Raises:
        TypeError: it returned what its endpoint does not declare: a bug of ours.
    """
    if isinstance(result, web.StreamResponse):
        return result
    if isinstance(result, Answer):
        return _stated(endpoint, result)
    return _stated(endpoint, Answer(result, status=_success(endpoint, result)))


def error_answer(error: VideoDiscoError) -> web.Response:
    """``{"error": ...}`` with the status of its kind."""
    response = error_response(status_of(error), sentence_of(error))
    if isinstance(error, HttpError):
        response.headers.update(error.headers)
        if error.retry_after_s is not None:
            response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.retry_after_s)))
        if error.closes:
            response.force_close()
    return response


def foreign_answer(error: web.HTTPException) -> web.Response:
    """The same for what aiohttp raises: no such path, wrong method, and so on."""
    response = error_response(error.status, sentence_for(error.status))
    for name in (hdrs.ALLOW, hdrs.LOCATION):
        if name in error.headers:
            response.headers[name] = error.headers[name]
    return response


def error_response(status: int, sentence: str) -> web.Response:
    return web.Response(
        status=status, body=json.dumps({"error": sentence}, ensure_ascii=False).encode(), content_type=JSON
    )


def _stated(endpoint: Endpoint, answer: Answer) -> web.Response:
    kinds = endpoint.kinds(answer.status)
    declared = answer.body is None or any(isinstance(kind, type) and isinstance(answer.body, kind) for kind in kinds)
    if not declared or answer.status not in endpoint.answers:
        raise TypeError(f"{endpoint.method} {endpoint.path} answers {answer.status} {type(answer.body).__name__}")
    if answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    body = answer.body.model_dump_json(by_alias=True).encode()
    return web.Response(status=answer.status, body=body, content_type=JSON, headers=answer.headers)


def _success(endpoint: Endpoint, body: BaseModel | None) -> int:
    kind = None if body is None else type(body)
    fitting = [status for status in endpoint.answers if status < 300 and kind in endpoint.kinds(status)]
    return min(fitting, default=204 if body is None else 200)
