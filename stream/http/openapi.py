"""The OpenAPI 3.1 document, made from the same table and models that requests are served by."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from stream.http.context import About
from stream.http.endpoints import JSON, AnswerType, Body, Call, Endpoint, FormBody, JsonBody, Media, RawBody, Result
from stream.http.errors import ErrorAnswer, sentence_for

_REF = "#/components/schemas/"
Mode = Literal["validation", "serialization"]
Json = dict[str, Any]

_NAMES = {
    400: "a parameter, the body or the request itself is not valid",
    421: "this service is not called by that name",
    429: "too much at once; the header Retry-After says when to try again",
    401: "nobody said who he is, or the token is wrong",
    403: "this role may not, or a page of another site asked",
    426: "this address speaks WebSocket only",
}


@dataclass(frozen=True, slots=True)
class Document:
    """The document as served."""

    content: Json
    text: str

    def endpoints(self) -> list[Endpoint]:
        """Where it is served; everybody may read it."""
        return [
            Endpoint("GET", "/openapi.json", self._serve, "This document", role=None, documented=False, any_query=True)
        ]

    async def _serve(self, _: Call) -> Result:
        return web.json_response(text=self.text)


def document(about: About, endpoints: Sequence[Endpoint], *, login_needed: bool) -> Document:
    """Describe ``endpoints``; who may do what is described if anybody has to log in."""
    shown = [each for each in endpoints if each.documented]
    schemas = _Schemas(shown)
    paths: Json = {}
    for endpoint in shown:
        address = re.sub(r"{(\w+):[^}]*}", r"{\1}", endpoint.path)
        paths.setdefault(address, {})[endpoint.method.lower()] = _operation(endpoint, schemas, login_needed)
    components: Json = {"schemas": schemas.used_by(paths)}
    if login_needed:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    content = {
        "openapi": "3.1.0",
        "info": {"title": about.title, "version": about.version, "description": about.description},
        "paths": paths,
        "components": components,
    }
    return Document(content, json.dumps(content))


class _Schemas:
    """JSON schemas of all models in the table; those of parameters are taken apart."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        parameters = [model for each in endpoints for model in (each.path_model, each.query) if model]
        wanted = {(model, "validation"): None for model in parameters}
        wanted |= {(model, "validation"): None for each in endpoints for model in _body_models(each)}
        wanted |= {(model, "serialization"): None for each in endpoints for model in _answer_models(each)}
        found, definitions = models_json_schema(_sorted(wanted), ref_template=_REF + "{model}")
        self._found: Any = found
        self._definitions: Json = definitions.get("$defs", {})

    def reference(self, model: type[BaseModel], mode: Mode) -> Json:
        return dict(self._found[(model, mode)])

    def whole(self, model: type[BaseModel]) -> Json:
        """The schema itself rather than a reference to it."""
        schema = self.reference(model, "validation")
        name = schema.get("$ref", "").removeprefix(_REF)
        return dict(self._definitions.get(name, schema))

    def used_by(self, paths: Json) -> Json:
        """What the document refers to, in it or in each other."""
        used: Json = {}
        waiting = _references(paths)
        while waiting:
            name = waiting.pop()
            if name not in used:
                used[name] = self._definitions[name]
                waiting |= _references(used[name])
        return dict(sorted(used.items()))


def _references(schema: Any) -> set[str]:
    """The names of all components that ``schema`` refers to."""
    if isinstance(schema, list):
        return {name for each in schema for name in _references(each)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"].removeprefix(_REF)} if isinstance(schema.get("$ref"), str) else set()
    return own | {name for each in schema.values() for name in _references(each)}


def _sorted(wanted: Any) -> list[Any]:
    return sorted(wanted, key=lambda each: (each[0].__name__, each[0].__module__, each[1]))


def _body_models(endpoint: Endpoint) -> list[type[BaseModel]]:
    models = [body.model for body in endpoint.bodies if isinstance(body, JsonBody)]
    return models + [body.fields for body in endpoint.bodies if isinstance(body, FormBody) and body.fields]


def _answer_models(endpoint: Endpoint) -> list[type[BaseModel]]:
    kinds = [kind for status in endpoint.answers for kind in endpoint.kinds(status)]
    return [ErrorAnswer, *(kind for kind in kinds if isinstance(kind, type))]


def _operation(endpoint: Endpoint, schemas: _Schemas, login_needed: bool) -> Json:  # noqa: FBT001 - passed through
    words = re.findall(r"\w+", endpoint.path)
    operation: Json = {
        "operationId": "_".join([endpoint.method.lower(), *words]),
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint, schemas),
        "responses": _responses(endpoint, schemas),
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.tag:
        operation["tags"] = [endpoint.tag]
    if endpoint.bodies:
        content = {kind: value for body in endpoint.bodies for kind, value in _body(body, schemas).items()}
        operation["requestBody"] = {"required": not endpoint.body_optional, "content": content}
    if login_needed:
        operation["security"] = [] if endpoint.role is None else [{"token": []}]
    if endpoint.role is not None:
        operation["x-role"] = endpoint.role.value
    return operation


def _parameters(endpoint: Endpoint, schemas: _Schemas) -> list[Json]:
    free: Json = {"type": "string", "minLength": 1, "maxLength": 200}
    known = schemas.whole(endpoint.path_model)["properties"] if endpoint.path_model else {}
    found = [_parameter(name, "path", known.get(name, free), required=True) for name in endpoint.places]
    if endpoint.query is None:
        return found
    schema = schemas.whole(endpoint.query)
    required = schema.get("required", ())
    properties = schema.get("properties", {}).items()
    return found + [_parameter(name, "query", each, required=name in required) for name, each in properties]


def _parameter(name: str, place: str, schema: Json, *, required: bool) -> Json:
    rest = {key: value for key, value in schema.items() if key not in {"description", "title"}}
    parameter = {"name": name, "in": place, "required": required, "schema": rest}
    return parameter | ({"description": schema["description"]} if "description" in schema else {})


def _body(body: Body, schemas: _Schemas) -> Json:
    if isinstance(body, JsonBody):
        return {JSON: {"schema": schemas.reference(body.model, "validation")}}
    if isinstance(body, RawBody):
        return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in body.content_types}
    return {"multipart/form-data": _form(body, schemas)}


def _form(body: FormBody, schemas: _Schemas) -> Json:
    fields: Json = schemas.whole(body.fields) if body.fields else {"type": "object", "properties": {}}
    file = {"type": "string", "format": "binary"}
    files: Json = {name: {"type": "array", "items": file} for name in body.files}
    required = list(fields.get("required", ()))
    if body.min_files:
        required.append(body.files[0])
        files[body.files[0]]["minItems"] = body.min_files
    schema = {**fields, "properties": {**fields.get("properties", {}), **files}, "required": required}
    encoding = {name: {"contentType": ", ".join(body.file_types)} for name in body.files}
    return {"schema": schema, "encoding": encoding}


def _responses(endpoint: Endpoint, schemas: _Schemas) -> Json:
    error = {JSON: {"schema": schemas.reference(ErrorAnswer, "serialization")}}
    found: Json = {}
    for status in sorted({*endpoint.answers, *_errors(endpoint)}):
        if status not in endpoint.answers:
            found[str(status)] = {"description": _NAMES.get(status) or sentence_for(status), "content": error}
            continue
        content = _contents(endpoint.kinds(status), schemas)
        words = [_words(kind) for kind in endpoint.kinds(status) if _words(kind)]
        found[str(status)] = {"description": " Or: ".join(words) or sentence_for(status)}
        if content:
            found[str(status)]["content"] = content
    return found


def _errors(endpoint: Endpoint) -> set[int]:
    """What reading, validating and letting in may answer."""
    found = {400, 403, 417, 421, 429, 431, 503, *endpoint.errors}
    if endpoint.role is not None:
        found.add(401)
    if endpoint.places:
        found.add(404)
    if endpoint.bodies:
        found |= {408, 413, 415}
    if endpoint.websocket:
        found.add(426)
    return found


def _contents(kinds: Sequence[AnswerType], schemas: _Schemas) -> Json:
    """By content type: one schema, or any of several."""
    found: dict[str, list[Json]] = {}
    for kind in kinds:
        if isinstance(kind, Media):
            found.setdefault(kind.content_type, [{"type": "string", "format": "binary"}])
        elif kind is not None:
            found.setdefault(JSON, []).append(schemas.reference(kind, "serialization"))
    return {name: {"schema": each[0] if len(each) == 1 else {"anyOf": each}} for name, each in found.items()}


def _words(kind: AnswerType) -> str:
    if isinstance(kind, Media):
        return kind.description or kind.content_type
    return (kind.__doc__ or kind.__name__).strip().split("\n")[0] if kind else ""
