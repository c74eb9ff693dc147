"""What goes wrong as an answer: ``{"error": "<one sentence>"}``, and one table from our errors to statuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field

from stream.errors import (
    DecodeError,
    ModelError,
    OutputError,
    SinkError,
    SourceError,
    UsageError,
    VideoDiscoError,
)
from stream.redaction import redact_url


class ErrorAnswer(BaseModel):
    """What went wrong, in one sentence."""

    model_config = ConfigDict(frozen=True)

    error: str = Field(description="What went wrong and what to do about it.")


class HttpError(VideoDiscoError):
    """An answer that is no success. Its sentence is shown as it is: no paths, no secrets.

    ``retry_after_s`` becomes the header of that name, rounded up; ``cause`` is what it is counted as in
    ``videodisco_http_rejected_total`` (None: not counted there).
    """

    def __init__(
        self,
        status: int,
        sentence: str,
        *,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        cause: str | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})
        self.cause = cause
        self.closes = closes


# The nearest kind counts. What is not here is a bug of ours: 500.
_STATUS: dict[type[VideoDiscoError], int] = {
    UsageError: 400,
    SourceError: 422,
    ModelError: 422,
    DecodeError: 422,
    OutputError: 507,
    SinkError: 507,
}

_SENTENCES = {
    400: "the request is not valid HTTP",
    404: "there is nothing at this address",
    405: "this address does not take that method",
    408: "the request took too long to arrive",
    413: "the request is too large",
    414: "the request's address is too long",
    415: "this kind of body is not taken here",
    416: "the range is outside of the file",
    417: "only 'Expect: 100-continue' is understood",
    431: "the request's headers are too large",
    500: "something went wrong on our side; the log says what, under this answer's X-Request-Id",
    503: "the service is busy or about to stop",
    507: "the service could not write; its log says what",
}

# The folders of an absolute path, on this system or another; the name at its end may stay.
_FOLDERS = re.compile(r"(?<![\w/:.*])(?:[A-Za-z]:)?[/\\](?:[^/\\\s'\"]+[/\\])+")


def status_of(error: VideoDiscoError) -> int:
    """The status that tells of ``error``; 500 for what no client can have caused."""
    if isinstance(error, HttpError):
        return error.status
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def sentence_of(error: VideoDiscoError) -> str:
    """What a client may read of ``error``: nothing of our folders, no credentials, nothing of our own troubles."""
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, HttpError):
        return sentence_for(status)
    text = redact_url(str(error))
    return text if isinstance(error, HttpError) else _FOLDERS.sub("", text)


def sentence_for(status: int) -> str:
    """A sentence for a status of which no more is known."""
    try:
        return _SENTENCES.get(status) or HTTPStatus(status).phrase.lower()
    except ValueError:
        return "the request was refused"
