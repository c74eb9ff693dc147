"""From a table of endpoints to an aiohttp application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiohttp import hdrs, web

from stream.errors import VideoDiscoError
from stream.http.answers import answer_of
from stream.http.auth import NOBODY, is_explicit, require
from stream.http.client import REQUEST_ID, SEEN
from stream.http.common import common_endpoints
from stream.http.context import CONTEXT, About, Check, Context, Instruments
from stream.http.endpoints import Call, Endpoint, Identity
from stream.http.errors import HttpError, sentence_for, sentence_of, status_of
from stream.http.front import LASTING_ROUTES, front
from stream.http.headers import add_headers
from stream.http.lasting import LASTING
from stream.http.openapi import document
from stream.http.origin import check_origin
from stream.http.pages import Pages, page_endpoints
from stream.http.settings import HttpSettings
from stream.http.validation import body_of, path_of, query_of

__all__ = ["About", "Check", "Instruments", "Pages", "build_app", "endpoints_of"]

log = logging.getLogger(__name__)

_ENDPOINTS = web.AppKey("endpoints", tuple[Endpoint, ...])
_DOCS = Pages("stream.http", "static", "/docs/")


def build_app(
    settings: HttpSettings,
    endpoints: Sequence[Endpoint],
    *,
    about: About,
    instruments: Instruments | None = None,
    pages: Sequence[Pages] = (),
) -> web.Application:
    """The application: ``endpoints`` and the common ones (healthz, readyz, metrics, openapi.json, docs, login).

    Without ``instruments`` (or their audit log) those of the settings are made.
    """
    context = Context.of(settings, about, instruments or Instruments())
    table = [*endpoints, *common_endpoints(context)]
    described = document(about, table, login_needed=settings.login_needed)
    table += described.endpoints()
    table += [each for folder in (*pages, _DOCS) for each in page_endpoints(folder)]
    app = web.Application(middlewares=[front])
    app[CONTEXT] = context
    app[LASTING] = context.lasting
    app[LASTING_ROUTES] = frozenset(each.path for each in table if each.lasting)
    app[_ENDPOINTS] = tuple(table)
    app.on_response_prepare.append(add_headers)
    app.on_cleanup.append(_close_audit)
    for endpoint in table:
        _route(app, endpoint, context)
    return app


def endpoints_of(app: web.Application) -> tuple[Endpoint, ...]:
    """The whole table of an application."""
    return app[_ENDPOINTS]


def _route(app: web.Application, endpoint: Endpoint, context: Context) -> None:
    handler = _handler(endpoint, context)
    methods = ["GET", "HEAD"] if endpoint.method == "GET" and not endpoint.lasting else [endpoint.method]
    for method in methods:
        app.router.add_route(method, endpoint.path, handler, expect_handler=_expect_later)


def _handler(endpoint: Endpoint, context: Context) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = _let_in(endpoint, request, context)
        if endpoint.change is not None:
            return await _changed(endpoint, call, context)
        if endpoint.lasting:
            with context.lasting.going():
                return await _answered(endpoint, call, context)
        return await _answered(endpoint, call, context)

    return handle


def _let_in(endpoint: Endpoint, request: web.Request, context: Context) -> Call:
    """Who it is, and whether he may ask this from where he asks."""
    if request.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
        raise HttpError(417, "only 'Expect: 100-continue' is understood")
    seen = request[SEEN]
    authorization = request.headers.get(hdrs.AUTHORIZATION, "")
    cookie = request.cookies.get(context.cookie_name(secure=seen.secure), "")
    if not is_explicit(authorization):
        check_origin(
            request.method,
            request.headers,
            host=request.headers.get(hdrs.HOST, ""),
            secure=seen.secure,
            websocket=endpoint.websocket,
            ambient=bool(cookie),
        )
    identity = _identity(endpoint, request, cookie, authorization, context)
    return Call(request, identity or NOBODY, seen.client, request[REQUEST_ID])


def _identity(
    endpoint: Endpoint, request: web.Request, cookie: str, authorization: str, context: Context
) -> Identity | None:
    try:
        identity = context.doorkeeper.identify(
            authorization,
            cookie,
            request.get_extra_info("peercert"),
            client=request[SEEN].client,
            now_s=asyncio.get_running_loop().time(),
        )
    except HttpError:
        if endpoint.role is not None:
            raise
        return None  # everybody may; a wrong token was counted all the same
    if endpoint.role is not None:
        require(identity, endpoint.role)
    return identity


async def _answered(endpoint: Endpoint, call: Call, context: Context) -> web.StreamResponse:
    request = call.request
    call.path = path_of(endpoint, request.match_info)
    call.query = query_of(endpoint, request.query.items())
    call.body = await body_of(endpoint, request, context.uploads, context.settings.limits)
    return answer_of(endpoint, await endpoint.handler(call))


async def _changed(endpoint: Endpoint, call: Call, context: Context) -> web.StreamResponse:
    """The same for what changes something: it is done whole, even if nobody waits for the answer any more."""
    task = asyncio.create_task(_recorded(endpoint, call, context))
    context.changes.add(task)
    task.add_done_callback(context.changes.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(partial(_tell_failure, endpoint, call))
        raise


def _tell_failure(endpoint: Endpoint, call: Call, task: asyncio.Task[web.StreamResponse]) -> None:
    """Of a change whose client left; the place of it is told of a bug alone."""
    error = None if task.cancelled() else task.exception()
    if error is None:
        return
    sentence: str = sentence_for(500)
    bug: BaseException | None = error
    if isinstance(error, VideoDiscoError):
        sentence, bug = sentence_of(error), None
    told = (call.request_id, endpoint.change, sentence)
    log.warning("request %s, %s, whose client has left, failed: %s", *told, exc_info=bug)


async def _recorded(endpoint: Endpoint, call: Call, context: Context) -> web.StreamResponse:
    """Its end is recorded before anybody is told."""
    status = 500
    try:
        response = await _answered(endpoint, call, context)
        status = response.status
        return response
    except VideoDiscoError as exc:
        status = status_of(exc)
        raise
    finally:
        await context.audit.record(
            endpoint.change or "",
            call.identity,
            client=call.client,
            request_id=call.request_id,
            status=status,
            details={**call.request.match_info, **call.notes},
        )


async def _expect_later(_: web.Request) -> None:
    """Nothing yet: whether the body is wanted is known once the client was let in."""


async def _close_audit(app: web.Application) -> None:
    app[CONTEXT].audit.close()
