"""Coming in for real: tokens, sessions, other sites' pages and other names, over sockets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from tests.http_demo import ADMIN, OPERATE, TOKENS, VIEW, WAIT_S, Demo, cookie_of, on_loop, running

WRONG = "wrong-token-00000000"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


@pytest.mark.parametrize(
    ("token", "view", "change", "admin"),
    [
        ("", 401, 401, 401),
        (WRONG, 401, 401, 401),
        (VIEW, 404, 403, 403),
        (OPERATE, 404, 404, 403),
        (ADMIN, 404, 404, 204),
    ],
)
@on_loop
async def test_each_role_does_what_it_may(token: str, view: int, change: int, admin: int) -> None:
    demo = Demo()
    demo.release.set()
    async with running(demo, tokens=TOKENS) as at:
        assert (await at.ask("GET", "/things/a", token=token)).status == view
        assert (await at.ask("DELETE", "/things/a", token=token)).status == change
        assert (await at.ask("POST", "/admin", token=token)).status == admin


@on_loop
async def test_some_things_are_for_everybody() -> None:
    async with running(tokens=TOKENS) as at:
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs/", "/session"):
            assert (await at.ask("GET", path)).status == 200
            assert (await at.ask("GET", path, token=WRONG)).status == 200
        assert (await at.ask("GET", "/metrics")).status == 401
        assert (await at.ask("GET", "/metrics", token=VIEW)).status == 200
    async with running(tokens=TOKENS, open_metrics=True) as at:
        assert (await at.ask("GET", "/metrics")).status == 200


@on_loop
async def test_nobody_unknown_makes_us_read_a_body() -> None:
    async with running(tokens=TOKENS) as at:
        head = b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nContent-Type: image/jpeg\r\n"
        async with at.socket(head + b"Expect: 100-continue\r\n\r\n") as peer:
            reply = await peer.reply()
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, 'Bearer realm="videodisco"')


@on_loop
async def test_a_session_from_login_to_logout(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    async with running(tokens=TOKENS, audit_log=audit) as at:
        own = {"Origin": at.url, "Sec-Fetch-Site": "same-origin"}
        assert (await at.ask("GET", "/session")).json == {"login_needed": True, "name": None, "role": None}
        assert (await at.ask("POST", "/login", json={"token": WRONG}, headers=own)).status == 401
        login = await at.ask("POST", "/login", json={"token": OPERATE}, headers=own)
        assert login.json == {"login_needed": True, "name": "guard", "role": "operate"}
        said = login.headers["Set-Cookie"]
        assert said.startswith("videodisco_demo=")
        assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(said.split("; "))
        assert "Secure" not in said
        assert OPERATE not in said

        cookie = {"Cookie": cookie_of(login)}
        assert (await at.ask("GET", "/session", headers=cookie)).json["name"] == "guard"
        assert (await at.ask("GET", "/things/a", headers=cookie)).status == 404
        assert (await at.ask("PUT", "/things/a", json={"weight_kg": 1}, headers=cookie | own)).status == 201
        assert (await at.ask("POST", "/admin", headers=cookie | own)).status == 403

        out = await at.ask("POST", "/logout", headers=cookie | own)
        assert (out.status, "Max-Age=0" in out.headers["Set-Cookie"]) == (204, True)
        assert (await at.ask("GET", "/things/a", headers=cookie)).status == 401
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(line["change"], line["who"], line["how"], line["status"]) for line in lines] == [
        ("login", "nobody", "unknown", 401),
        ("login", "guard", "token", 200),
        ("thing.put", "guard", "token", 201),
    ]
    assert not any(token in audit.read_text() for token in (WRONG, OPERATE))


@on_loop
async def test_a_cookie_changes_nothing_without_an_origin_of_ours() -> None:
    async with running(tokens=TOKENS) as at:
        cookie = {"Cookie": cookie_of(await at.ask("POST", "/login", json={"token": ADMIN}))}
        body = {"weight_kg": 1}
        for foreign in (
            {},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
            {"Sec-Fetch-Site": "same-site"},
            CROSS_SITE,
        ):
            reply = await at.ask("PUT", "/things/a", json=body, headers=cookie | foreign)
            assert reply.status == 403, foreign
            assert "another site" in reply.error
        assert at.metrics.rejections("origin") == 5
        assert (await at.ask("GET", "/things/a", headers=cookie)).status == 404
        assert (await at.ask("GET", "/things/a", headers=cookie | CROSS_SITE)).status == 403
        explicit = await at.ask("PUT", "/things/a", json=body, token=ADMIN, headers=CROSS_SITE)
        assert explicit.status == 201, "no page can send this header without asking first"


@on_loop
async def test_other_sites_get_no_leave_to_ask() -> None:
    async with running(tokens=TOKENS) as at:
        preflight = {
            **CROSS_SITE,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization",
        }
        reply = await at.ask("OPTIONS", "/things/a", headers=preflight)
        assert reply.status >= 400
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]


@on_loop
async def test_without_tokens_this_machine_is_open_but_not_to_pages_of_others() -> None:
    async with running() as at:
        assert (await at.ask("PUT", "/things/a", json={"weight_kg": 1})).status == 201
        assert (await at.ask("GET", "/session")).json == {"login_needed": False, "name": "local", "role": "admin"}
        assert (await at.ask("PUT", "/things/a", json={"weight_kg": 1}, headers=CROSS_SITE)).status == 403
        assert (await at.ask("GET", "/live", headers={"Sec-Fetch-Site": "cross-site"})).status == 403
        rebound = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
        assert (await at.ask("GET", "/things/a", headers=rebound)).status == 421
        assert (await at.ask("GET", "/things/a", headers={"Host": f"localhost:{at.port}"})).status == 200
    async with running(allowed_hosts=("evil.example",)) as at:
        assert (await at.ask("GET", "/things/a", headers=rebound)).status == 404


@on_loop
async def test_with_tokens_any_name_is_ours_unless_they_are_listed() -> None:
    async with running(tokens=TOKENS) as at:
        assert (await at.ask("GET", "/healthz", headers={"Host": "cam.example"})).status == 200
    async with running(tokens=TOKENS, allowed_hosts=("cam.example",)) as at:
        assert (await at.ask("GET", "/healthz", headers={"Host": "cam.example"})).status == 200
        assert (await at.ask("GET", "/healthz", headers={"Host": "other.example"})).status == 421


@on_loop
async def test_a_websocket_belongs_to_our_own_page() -> None:
    async with running(tokens=TOKENS) as at:
        cookie = {"Cookie": cookie_of(await at.ask("POST", "/login", json={"token": VIEW}))}
        for headers in (cookie, cookie | {"Origin": "http://evil.example"}, {}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await at.client.ws_connect(f"{at.url}/talk", headers=headers)
            assert caught.value.status == (403 if headers else 401)
        for headers in (cookie | {"Origin": at.url}, {"Authorization": f"Bearer {VIEW}"}):
            async with at.client.ws_connect(f"{at.url}/talk", headers=headers) as websocket:
                await websocket.send_str("hello")
                assert (await websocket.receive_str(timeout=WAIT_S)) == "screen: hello"
        assert (await at.ask("GET", "/talk", token=VIEW)).status == 426


@on_loop
async def test_guessing_is_slowed_down_for_the_one_who_guesses() -> None:
    limits = {"failed_logins_per_minute": 3}
    async with running(tokens=TOKENS, limits=limits, trusted_proxies=["127.0.0.0/8"]) as at:
        guesser, other = {"X-Forwarded-For": "6.6.6.6"}, {"X-Forwarded-For": "7.7.7.7"}
        cookie = {"Cookie": cookie_of(await at.ask("POST", "/login", json={"token": VIEW}, headers=guesser))}
        said = [(await at.ask("GET", "/things/a", token=WRONG, headers=guesser)).status for _ in range(4)]
        assert said == [401, 401, 401, 429]
        blocked = await at.ask("POST", "/login", json={"token": ADMIN}, headers=guesser)
        assert blocked.status == 429
        assert 1 <= int(blocked.headers["Retry-After"]) <= 20
        assert (await at.ask("GET", "/things/a", token=ADMIN, headers=other)).status == 404
        assert (await at.ask("GET", "/things/a", headers=guesser | cookie)).status == 404, "who is in stays in"


@on_loop
async def test_behind_a_proxy_with_https_the_cookie_is_for_https_only() -> None:
    async with running(tokens=TOKENS, trusted_proxies=["127.0.0.1/32"]) as at:
        secure = {"X-Forwarded-Proto": "https", "Host": "cam.example"}
        login = await at.ask("POST", "/login", json={"token": VIEW}, headers=secure)
        assert login.headers["Set-Cookie"].startswith("__Host-videodisco_demo=")
        assert "; Secure" in login.headers["Set-Cookie"]
        cookie = {"Cookie": cookie_of(login)}
        assert (await at.ask("GET", "/things/a", headers=secure | cookie)).status == 404
        posted = secure | cookie | {"Origin": "https://cam.example"}
        assert (await at.ask("DELETE", "/things/a", headers=posted)).status == 403, "the role is view"
        assert at.metrics.rejections("role") == 1
        await at.ask("DELETE", "/things/a", headers=secure | cookie | {"Origin": "http://cam.example"})
        assert at.metrics.rejections("origin") == 1


@on_loop
async def test_a_session_that_is_over_is_nobody() -> None:
    async with running(tokens=TOKENS, session_hours=0.05 / 3600) as at:
        cookie = {"Cookie": cookie_of(await at.ask("POST", "/login", json={"token": VIEW}))}
        async with asyncio.timeout(WAIT_S):
            while (await at.ask("GET", "/things/a", headers=cookie)).status != 401:
                pass
