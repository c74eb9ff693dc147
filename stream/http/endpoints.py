"""Endpoints as a table: routing, validation, documentation and tests all come from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from stream.http.errors import HttpError
from stream.http.multipart import Part
from stream.http.settings import Role

JSON = "application/json"
_JSON_BODY_BYTES = 1 << 20
_PLACES = re.compile(r"{([A-Za-z_]\w*)[^}]*}")


class Wire(BaseModel):
    """Base of what requests hold and answers say: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. ``how``: token, session, certificate or open (nobody has to say who he is)."""

    name: str
    role: Role
    how: str


@dataclass(frozen=True, slots=True)
class Media:
    """A body that is not JSON: ``Media("image/jpeg")``."""

    content_type: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A JSON body; ``call.body`` is the validated ``model``."""

    model: type[BaseModel]
    max_bytes: int | None = _JSON_BODY_BYTES


@dataclass(frozen=True, slots=True)
class RawBody:
    """A body as it is; ``call.body`` is ``bytes``. ``image/*`` takes every subtype. None: the limit of the settings."""

    content_types: tuple[str, ...]
    max_bytes: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class FormBody:
    """A ``multipart/form-data`` body; ``call.body`` is a :class:`Form`.

    A part with a file name, or of a type other than text or JSON, is a file; every other is a field of ``fields``
    (one whose type is JSON is parsed). ``files`` names the parts that hold files, for the documentation; parts of
    other names are taken as well unless ``strict``.
    """

    files: tuple[str, ...] = ("file",)
    file_types: tuple[str, ...] = ("application/octet-stream",)
    fields: type[BaseModel] | None = None
    min_files: int = 1
    strict: bool = False
    max_bytes: int | None = None


Body = JsonBody | RawBody | FormBody


@dataclass(frozen=True, slots=True)
class Form:
    """A validated multipart body."""

    fields: Any
    files: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with a status or headers of its own; ``body`` None: nothing."""

    body: BaseModel | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One request, let in and validated. ``path``, ``query`` and ``body`` are of the endpoint's types, else None."""

    request: web.Request
    identity: Identity
    client: str
    request_id: str
    path: Any = None
    query: Any = None
    body: Any = None
    notes: dict[str, str | int | float | bool] = field(default_factory=dict)

    def note(self, **details: str | float | bool) -> None:
        """Add details to the audit log's line of this change; credentials of URLs in them are hidden."""
        self.notes.update(details)


Result = BaseModel | Answer | web.StreamResponse | None
Handler = Callable[[Call], Awaitable[Result]]
AnswerType = type[BaseModel] | Media | None
"""None: a status without a body."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method at one path.

    ``path``: ``/cameras/{name}``; what stands in braces is validated by ``path_model``, a string of 1 to 200
    characters without one. ``role`` None lets everybody in. ``body`` may be several kinds, told apart by Content-Type;
    ``body_optional`` lets it be missing. ``answers``: by status, what the body is (several kinds: a tuple); errors of
    reading, validating and letting in are added to the documentation, ``errors`` adds the handler's own.
    ``change`` names what it changes ("camera.add") for the audit log; such a handler is not cancelled when its client
    leaves, as every other is. ``lasting`` answers go on until somebody
    leaves (live pictures, WebSockets): they end at once when the service stops. ``websocket``: it upgrades. Unknown
    parameters of the query are refused, unless ``any_query``.
    Handlers return a model, an :class:`Answer`, a response of aiohttp's (media, files) or None (204).
    """

    method: str
    path: str
    handler: Handler
    summary: str
    role: Role | None = Role.VIEW
    path_model: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    body: Body | tuple[Body, ...] = ()
    body_optional: bool = False
    answers: Mapping[int, AnswerType | tuple[AnswerType, ...]] = field(default_factory=lambda: {204: None})
    errors: tuple[int, ...] = ()
    description: str = ""
    tag: str = ""
    change: str | None = None
    lasting: bool = False
    websocket: bool = False
    documented: bool = True
    any_query: bool = False

    @property
    def places(self) -> tuple[str, ...]:
        """The names in the path's braces."""
        return tuple(_PLACES.findall(self.path))

    @property
    def bodies(self) -> tuple[Body, ...]:
        return self.body if isinstance(self.body, tuple) else (self.body,)

    def kinds(self, status: int) -> tuple[AnswerType, ...]:
        """What an answer of this status may hold."""
        kinds = self.answers.get(status, ())
        return kinds if isinstance(kinds, tuple) else (kinds,)


__all__ = [
    "JSON",
    "Answer",
    "AnswerType",
    "Body",
    "Call",
    "Endpoint",
    "Form",
    "FormBody",
    "Handler",
    "HttpError",
    "Identity",
    "JsonBody",
    "Media",
    "Part",
    "RawBody",
    "Result",
    "Role",
    "Wire",
]
