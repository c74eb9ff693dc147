"""The endpoints that every service has: is it alive, is it ready, its figures, and who somebody is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web
from pydantic import Field

from stream.http.auth import NOBODY
from stream.http.client import SEEN
from stream.http.context import Check, Context
from stream.http.endpoints import Answer, AnswerType, Call, Endpoint, JsonBody, Media, Result, Role, Wire
from stream.http.errors import HttpError

_CHECK_S = 2.0
"""A check that takes longer is not ready."""

_FRESH_S = 1.0
"""Everybody may ask whether it is ready, so what was found stands for so long."""


class HealthAnswer(Wire):
    """The process answers."""

    status: str = Field("alive", description="Always alive.")
    service: str = Field(description="What this is.")
    version: str = Field(description="Its version.")


class CheckAnswer(Wire):
    """One thing that has to be ready."""

    ready: bool = Field(description="Whether it is.")
    reason: str | None = Field(None, description="Why it is not; null also for who has to log in.")


class ReadyAnswer(Wire):
    """Everything is ready."""

    ready: bool = Field(description="Whether everything is.")
    checks: dict[str, CheckAnswer] = Field(description="Each thing by its name.")


class NotReadyAnswer(ReadyAnswer):
    """Something is not ready."""

    error: str = Field(description="What is not ready, in one sentence.")


class LoginBody(Wire):
    """A token, to be kept by the browser as a session."""

    token: str = Field(min_length=1, max_length=1000, description="The token.")


class SessionAnswer(Wire):
    """Who asks."""

    login_needed: bool = Field(description="Whether this service asks for tokens.")
    name: str | None = Field(None, description="Who it is; null: not known.")
    role: Role | None = Field(None, description="What he may do.")


def common_endpoints(context: Context) -> list[Endpoint]:
    common = _Common(context)
    metrics = Media("text/plain", "Prometheus' text format.")
    readiness: dict[int, AnswerType] = {200: ReadyAnswer, 503: NotReadyAnswer}
    role = None if context.settings.open_metrics else Role.VIEW
    session = {200: SessionAnswer}
    return [
        Endpoint("GET", "/healthz", common.healthz, "Alive?", role=None, answers={200: HealthAnswer}, tag="service"),
        Endpoint("GET", "/readyz", common.readyz, "Ready to work?", role=None, answers=readiness, tag="service"),
        Endpoint("GET", "/metrics", common.metrics, "Figures", role=role, answers={200: metrics}, tag="service"),
        Endpoint("GET", "/session", common.session, "Who am I?", role=None, answers=session, tag="session"),
        Endpoint(
            "POST",
            "/login",
            common.login,
            "Begin a session in this browser",
            role=None,
            body=JsonBody(LoginBody),
            answers=session,
            errors=(401,),
            tag="session",
        ),
        Endpoint("POST", "/logout", common.logout, "End it", role=None, answers={204: None}, tag="session"),
    ]


class _Common:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._readiness = _Readiness(context.ready)

    async def healthz(self, _: Call) -> Result:
        return HealthAnswer(service=self._context.about.title, version=self._context.about.version)

    async def readyz(self, call: Call) -> Result:
        if self._context.ending:
            return Answer(NotReadyAnswer(ready=False, checks={}, error="the service is about to stop"), 503)
        checks = await self._readiness.ask(asyncio.get_running_loop().time())
        lacking = {name: check.reason for name, check in checks.items() if not check.ready}
        error = "; ".join(f"{name}: {reason}" for name, reason in lacking.items())
        if call.identity is NOBODY:
            # reasons name cameras and what they do
            checks = {name: CheckAnswer(ready=check.ready) for name, check in checks.items()}
            error = f"{len(lacking)} of {len(checks)} not ready: {', '.join(lacking)}; who logs in hears why"
        if lacking:
            return Answer(NotReadyAnswer(ready=False, checks=checks, error=error), 503)
        return ReadyAnswer(ready=True, checks=checks)

    async def metrics(self, call: Call) -> Result:
        body, content_type = self._context.metrics.render(call.request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def session(self, call: Call) -> Result:
        return self._who(None if call.identity is NOBODY else call)

    async def login(self, call: Call) -> Result:
        keeper = self._context.doorkeeper
        if not self._context.settings.tokens:
            return self._who(None if call.identity is NOBODY else call)
        now_s = asyncio.get_running_loop().time()
        client, request_id = call.client, call.request_id
        try:
            call.identity = keeper.by_token(call.body.token, client=client, now_s=now_s)
        except HttpError as exc:
            await self._context.audit.record("login", NOBODY, client=client, request_id=request_id, status=exc.status)
            raise
        await self._context.audit.record("login", call.identity, client=client, request_id=request_id, status=200)
        response = web.json_response(text=self._who(call).model_dump_json())
        self._set_cookie(response, call, keeper.sessions.open(call.identity, now_s), keeper.sessions.lifetime_s)
        return response

    async def logout(self, call: Call) -> Result:
        secure = call.request[SEEN].secure
        self._context.doorkeeper.sessions.close(call.request.cookies.get(self._context.cookie_name(secure=secure), ""))
        response = web.Response(status=204)
        self._set_cookie(response, call, "", 0)
        return response

    def _who(self, call: Call | None) -> SessionAnswer:
        needed = self._context.doorkeeper.login_needed
        if call is None:
            return SessionAnswer(login_needed=needed)
        return SessionAnswer(login_needed=needed, name=call.identity.name, role=call.identity.role)

    def _set_cookie(self, response: web.Response, call: Call, value: str, max_age_s: float) -> None:
        secure = call.request[SEEN].secure
        response.set_cookie(
            self._context.cookie_name(secure=secure),
            value,
            max_age=int(max_age_s),
            path="/",
            secure=secure,
            httponly=True,
            samesite="Strict",
        )


class _Readiness:
    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._found: dict[str, CheckAnswer] = {}
        self._found_s: float | None = None
        self._lock = asyncio.Lock()

    async def ask(self, now_s: float) -> dict[str, CheckAnswer]:
        async with self._lock:
            if self._found_s is None or now_s - self._found_s >= _FRESH_S:
                answers = await asyncio.gather(*(_asked(check) for check in self._checks.values()))
                self._found = dict(zip(self._checks, answers, strict=True))
                self._found_s = now_s
            return self._found


async def _asked(check: Check) -> CheckAnswer:
    try:
        async with asyncio.timeout(_CHECK_S):
            reason = await check()
    except TimeoutError:
        reason = "it does not answer"
    return CheckAnswer(ready=reason is None, reason=reason)
