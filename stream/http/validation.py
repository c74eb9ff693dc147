"""From what came over the wire to validated models; what does not fit becomes one sentence."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from stream.http import multipart
from stream.http.endpoints import JSON, Body, Endpoint, Form, FormBody, JsonBody, Part, RawBody
from stream.http.errors import HttpError
from stream.http.settings import LimitSettings
from stream.http.uploads import Uploads

_SHOWN_PROBLEMS = 3
_MAX_PLACE_LENGTH = 200

M = TypeVar("M", bound=BaseModel)


def path_of(endpoint: Endpoint, found: Mapping[str, str]) -> Any:
    """The names of the path: of the endpoint's model, or as a plain mapping.

    Raises:
        HttpError: 404, for nothing can be there.
    """
    if endpoint.path_model is None:
        if any(not text or len(text) > _MAX_PLACE_LENGTH for text in found.values()):
            raise HttpError(404, "there is nothing at this address")
        return dict(found) or None
    try:
        return endpoint.path_model.model_validate(dict(found))
    except ValidationError as exc:
        raise HttpError(404, f"there is nothing at this address: {_sentence(exc)}") from exc


def query_of(endpoint: Endpoint, pairs: Iterable[tuple[str, str]]) -> BaseModel | None:
    """The parameters of the query.

    Raises:
        HttpError: 400.
    """
    found = list(pairs)
    if endpoint.query is not None:
        return from_pairs(endpoint.query, found, "query")
    if found and not endpoint.any_query:
        raise HttpError(400, f"query: unknown key '{_shortened(found[0][0])}'")
    return None


async def body_of(endpoint: Endpoint, request: web.Request, uploads: Uploads, limits: LimitSettings) -> Any:
    """Read the body and validate it as the kind that its Content-Type says.

    Raises:
        HttpError: 400, 408, 413, 415, 429.
    """
    if not endpoint.bodies:
        return None
    if not request.can_read_body:
        if endpoint.body_optional:
            return None
        raise HttpError(400, f"this needs a body of type {_types(endpoint)}")
    kind = _kind(endpoint, request)
    data = await uploads.read(request, kind.max_bytes)
    if isinstance(kind, JsonBody):
        return _json(kind.model, data)
    if isinstance(kind, RawBody):
        return data
    header = request.headers.get(hdrs.CONTENT_TYPE, "")
    return form_of(kind, multipart.parse(data, header, max_parts=limits.parts))


def from_pairs(model: type[M], pairs: Iterable[tuple[str, Any]], origin: str) -> M:
    """A model from keys and texts: a key may come several times, or hold a list, if its field takes several.

    Raises:
        HttpError: 400; ``origin`` is named in its sentence.
    """
    several = _several(model)
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in several:
            values.setdefault(key, []).extend(value if isinstance(value, list) else [value])
        elif key in values:
            raise HttpError(400, f"{origin}: '{_shortened(key)}' is given twice")
        else:
            values[key] = value
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        raise HttpError(400, f"{origin}: {_sentence(exc)}") from exc


def form_of(kind: FormBody, parts: Iterable[Part]) -> Form:
    """Fields and files of a multipart body.

    Raises:
        HttpError: 400.
    """
    files: list[Part] = []
    fields: list[tuple[str, Any]] = []
    for part in parts:
        if part.is_file:
            files.append(part)
        else:
            fields.append((part.name, _field(part)))
    if kind.strict and (strange := [part.name for part in files if part.name not in kind.files]):
        raise HttpError(400, f"form: '{_shortened(strange[0])}' is no file that is taken here")
    if len(files) < kind.min_files:
        raise HttpError(400, f"form: {kind.min_files} or more files are needed, in parts with a file name")
    if kind.fields is not None:
        return Form(from_pairs(kind.fields, fields, "form"), tuple(files))
    if fields:
        raise HttpError(400, f"form: unknown key '{_shortened(fields[0][0])}'")
    return Form(None, tuple(files))


def _kind(endpoint: Endpoint, request: web.Request) -> Body:
    # aiohttp's own reading of this header costs half a millisecond where the boundary is a new one
    sent, _ = multipart.parameters(request.headers.get(hdrs.CONTENT_TYPE, "application/octet-stream"))
    for kind in endpoint.bodies:
        if any(_is_of(sent, pattern) for pattern in types_of(kind)):
            return kind
    raise HttpError(415, f"this takes bodies of type {_types(endpoint)}", cause="body_type")


def types_of(kind: Body) -> tuple[str, ...]:
    """The content types of a kind of body; ``image/*`` stands for every subtype."""
    if isinstance(kind, JsonBody):
        return (JSON,)
    return kind.content_types if isinstance(kind, RawBody) else ("multipart/form-data",)


def _is_of(content_type: str, pattern: str) -> bool:
    if pattern.endswith("/*"):
        return content_type.startswith(pattern[:-1])
    return content_type == pattern


def _types(endpoint: Endpoint) -> str:
    return " or ".join(name for kind in endpoint.bodies for name in types_of(kind))


def _json(model: type[BaseModel], data: bytes) -> BaseModel:
    try:
        return model.model_validate_json(data)
    except ValidationError as exc:
        raise HttpError(400, f"body: {_sentence(exc)}") from exc


def _field(part: Part) -> Any:
    try:
        return from_json(part.data, allow_inf_nan=False) if part.content_type == JSON else part.data.decode()
    except ValueError as exc:
        kind = "JSON" if part.content_type == JSON else "UTF-8 text"
        raise HttpError(400, f"form: '{_shortened(part.name)}' is not valid {kind}") from exc


@functools.cache
def _several(model: type[BaseModel]) -> frozenset[str]:
    """The keys whose fields take several values."""
    fields = model.model_fields.items()
    return frozenset(info.alias or name for name, info in fields if _is_sequence(info.annotation))


def _is_sequence(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in {Union, types.UnionType}:
        return any(_is_sequence(each) for each in get_args(annotation))
    if origin is Annotated:
        return _is_sequence(get_args(annotation)[0])
    return (origin or annotation) in {list, tuple, set, frozenset}


def _sentence(error: ValidationError) -> str:
    """Its first problems. What was given is not repeated: it may be a secret."""
    problems = [_problem(each) for each in error.errors(include_url=False, include_input=False, include_context=False)]
    more = len(problems) - _SHOWN_PROBLEMS
    return "; ".join(problems[:_SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _problem(error: Any) -> str:
    place = _shortened(".".join(str(part) for part in error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown key '{place}'"
    message = error["msg"].removeprefix("Value error, ")
    return f"'{place}': {message[:1].lower()}{message[1:]}" if place else f"{message[:1].lower()}{message[1:]}"


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
