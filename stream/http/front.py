"""What happens to every request, whatever its path: its id, limits, figures, and one shape for what goes wrong."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from stream.errors import VideoDiscoError
from stream.http.answers import error_answer, error_response, foreign_answer
from stream.http.client import REQUEST_ID, SEEN, seen
from stream.http.context import CONTEXT, Context
from stream.http.errors import HttpError, sentence_for, status_of
from stream.http.origin import check_host

log = logging.getLogger(__name__)

LASTING_ROUTES = web.AppKey("lasting_routes", frozenset[str])

_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_CLIENT_LEFT = 499
"""There was nobody to answer any more; nginx made this status usual."""


@web.middleware
async def front(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost layer of every application that :func:`stream.http.app.build_app` makes."""
    context = request.app[CONTEXT]
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    status = _CLIENT_LEFT
    context.metrics.request_began()
    try:
        response = await _answered(request, handler, context, began_s)
        status = response.status
        if context.ending:
            response.force_close()
        return response
    finally:
        route = _route(request)
        lasted = route in request.app[LASTING_ROUTES]
        context.metrics.request_ended(request.method, route, status, None if lasted else loop.time() - began_s)


async def _answered(request: web.Request, handler: Handler, context: Context, now_s: float) -> web.StreamResponse:
    try:
        _look_at(request, context)
        _let_in(request, context, now_s)
        return await handler(request)
    except VideoDiscoError as exc:
        _make_known(request, exc, context)
        _still_unanswered(request)
        return error_answer(exc)
    except web.HTTPException as exc:
        _still_unanswered(request)
        return foreign_answer(exc)
    except ConnectionError:
        raise  # nobody listens any more; aiohttp closes
    except Exception:  # a bug in one handler must not take the others with it
        log.exception("request %s failed: %s %s", request[REQUEST_ID], request.method, _route(request))
        _still_unanswered(request)
        return error_response(500, sentence_for(500))


def _look_at(request: web.Request, context: Context) -> None:
    """Give the request its id and find out who sent it."""
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    peer = request.get_extra_info("peername")
    request[SEEN] = seen(
        str(peer[0]) if peer else "unknown",
        tls=request.get_extra_info("sslcontext") is not None,
        headers=request.headers,
        proxies=context.settings.trusted_proxies,
    )


def _let_in(request: web.Request, context: Context, now_s: float) -> None:
    wait_s = context.rates.take(request[SEEN].client, now_s)
    if wait_s > 0:
        raise HttpError(429, "too many requests; wait", retry_after_s=wait_s, cause="rate")
    settings = context.settings
    host = request.headers.get(hdrs.HOST)
    if host is None and request.version < HttpVersion11:
        return  # no browser is that old, but some health checks are
    # Where somebody has to say who he is, a name of somebody else's brings no credentials with it.
    any_name = settings.login_needed and not settings.allowed_hosts
    check_host(host, own=(settings.host, *settings.allowed_hosts), any_name=any_name)


def _make_known(request: web.Request, error: VideoDiscoError, context: Context) -> None:
    if isinstance(error, HttpError):
        if error.cause is not None:
            context.metrics.rejected(error.cause)
        return
    level = logging.ERROR if status_of(error) >= 500 else logging.DEBUG
    log.log(level, "request %s: %s", request[REQUEST_ID], error)


def _still_unanswered(request: web.Request) -> None:
    """An answer that has begun cannot become another one: then the connection ends."""
    if request.writer.output_size > 0:
        raise ConnectionResetError("the answer had begun already")


def _route(request: web.Request) -> str:
    """The path as in the table of endpoints."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"
