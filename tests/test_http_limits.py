"""Each limit on real sockets: who is slow, silent, greedy or many is refused, and a good client does not wait."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import AsyncExitStack

import pytest

from stream.http.visits import Visit
from tests.http_demo import LOOPS, Demo, Running, on_loop, running, until

JPEG = {"Content-Type": "image/jpeg"}
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
MIB = 1 << 20
LONG_S = 3000.0
"""So long nothing here lasts."""

OFTEN_LOOKED_AT = {"send_timeout_s": 0.1}
"""The shortest of the limits says how often connections are looked at; nobody here is a slow reader."""

on_both = pytest.mark.parametrize("loop", LOOPS)


# --- bodies ---


@on_loop
async def test_a_body_is_refused_by_what_it_says_and_by_what_comes() -> None:
    async with running(limits={"body_mb": 1}) as at:
        assert (await at.ask("POST", "/detect", data=bytes(MIB), headers=JPEG)).json["sizes"] == [MIB]
        said = await at.ask("POST", "/detect", data=bytes(MIB + 1), headers=JPEG)
        assert (said.status, said.error) == (413, "the body is larger than 1 MiB")
        assert said.headers["Connection"] == "close", "what still comes of it is thrown away"
        head = POST.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked")
        async with at.socket(head + b"100001\r\n" + bytes(MIB + 1) + b"\r\n") as peer:
            assert (await peer.reply()).status == 413
        assert at.metrics.rejections("body_size") == 2


@on_loop
async def test_a_compressed_body_counts_as_what_it_becomes() -> None:
    async with running(limits={"body_mb": 1}) as at:
        packed = {**JPEG, "Content-Encoding": "gzip"}
        fitting = await at.ask("POST", "/detect", data=gzip.compress(bytes(MIB)), headers=packed)
        assert fitting.json["sizes"] == [MIB]
        bomb = gzip.compress(bytes(50 * MIB))
        assert len(bomb) < MIB
        assert (await at.ask("POST", "/detect", data=bomb, headers=packed)).status == 413


@on_both
@on_loop
async def test_a_body_that_is_not_what_it_says_is_no_failure_of_ours(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = POST.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    broken = gzip.compress(bytes(MIB), 0)[: MIB // 2] + b"\xff" * (MIB // 2)
    async with running() as at:
        for body in (b"no gzip", b"no gzip" * 100_000, broken):
            async with at.socket(head % len(body) + body[:7]) as peer:
                peer.writer.write(body[7:])
                assert (await peer.reply()).status == 400
                peer.writer.write(b"more of it")
                await peer.closed()
        async with at.socket(GET) as peer:
            assert (await peer.reply()).status == 200
    assert not caplog.records


@on_both
@on_loop
async def test_a_client_that_is_left_before_its_body_is_read_is_no_failure_of_ours(
    loop: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as at:

        async def left(_: object) -> None:
            at.service._visits.drop_all()

        monkeypatch.setattr("stream.http.uploads._say_continue", left)
        async with at.socket(POST % 1000 + b"x") as peer:
            await peer.closed()
        await in_flight(at, 0)
    assert not caplog.records


@on_loop
async def test_json_has_a_limit_of_its_own() -> None:
    async with running() as at:
        body = b'{"weight_kg": 1, "colour": "' + b"x" * MIB + b'"}'
        reply = await at.ask("PUT", "/things/a", data=body, headers={"Content-Type": "application/json"})
        assert reply.status == 413


@on_loop
async def test_parts_have_a_limit() -> None:
    async with running(limits={"parts": 2}) as at:
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n1\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert (await at.ask("POST", "/detect", data=part * 2 + b"--x--", headers=headers)).status == 200
        assert (await at.ask("POST", "/detect", data=part * 3 + b"--x--", headers=headers)).status == 413
        assert at.metrics.rejections("parts") == 1


@on_both
@on_loop
async def test_a_body_that_drips_ends_in_time(loop: str) -> None:
    async with running(limits={"body_timeout_s": 0.3}) as at, at.socket(POST % 1000) as peer:
        drip = asyncio.create_task(dripping(peer.writer, b"x", 0.02))
        reply = await peer.reply()
        drip.cancel()
        assert (reply.status, reply.error) == (408, "the request took too long to arrive")
        assert reply.headers["Connection"] == "close"
        assert at.metrics.rejections("body_timeout") == 1


@on_loop
async def test_a_client_is_asked_for_its_body_only_if_it_is_wanted() -> None:
    async with running(limits={"body_mb": 1}) as at:
        expecting = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
        async with at.socket(expecting % (2 * MIB)) as peer:
            assert (await peer.reply()).status == 413
        async with at.socket(expecting % 3) as peer:
            assert (await peer.reply()).status == 100
            peer.writer.write(b"123")
            assert (await peer.reply()).json["sizes"] == [3]


@on_loop
async def test_uploads_that_hang_give_way_to_a_quick_one() -> None:
    async with running(limits={"uploads": 2}) as at, AsyncExitStack() as stack:
        uploads, slow = at.service._context.uploads, []
        for count in (1, 2):
            slow.append(await stack.enter_async_context(at.socket(POST % 1000 + b"x")))
            await until(lambda: uploads._held_bytes == count)  # noqa: B023 - it is called in here alone
        uploads._patience_s = LONG_S
        refused = await at.ask("POST", "/detect", data=b"1", headers=JPEG)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        uploads._patience_s = 0
        assert (await at.ask("POST", "/detect", data=b"1", headers=JPEG)).status == 200
        assert (await slow[0].reply()).status == 408
        slow[1].writer.write(b"x" * 999)
        assert (await slow[1].reply()).json["sizes"] == [1000]


@on_loop
async def test_bodies_have_a_limit_together() -> None:
    async with running(limits={"body_mb": 1, "uploads_mb": 2}) as at, AsyncExitStack() as stack:
        uploads, hanging, lacking = at.service._context.uploads, [], MIB - 1
        uploads._patience_s = LONG_S
        for count in (1, 2):
            hanging.append(await stack.enter_async_context(at.socket(POST % MIB + bytes(lacking))))
            await until(lambda: uploads._held_bytes == count * lacking)  # noqa: B023 - it is called in here alone
        refused = await at.ask("POST", "/detect", data=bytes(1000), headers=JPEG)
        assert (refused.status, refused.headers["Connection"]) == (429, "close")
        uploads._patience_s = 0
        assert (await at.ask("POST", "/detect", data=bytes(1000), headers=JPEG)).json["sizes"] == [1000]
        assert (await hanging[0].reply()).status == 408
        hanging[1].writer.write(b"x")
        assert (await hanging[1].reply()).json["sizes"] == [MIB]
        assert uploads._held_bytes == 0


@on_loop
async def test_of_too_many_uploads_the_silent_one_gives_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.http.uploads._SILENT_SHARE", 1e9)
    async with running(limits={"uploads": 2}) as at, AsyncExitStack() as stack:
        uploads = at.service._context.uploads
        uploads._patience_s = LONG_S
        peers = [await stack.enter_async_context(at.socket(POST % 1000 + b"x")) for _ in range(2)]
        await until(lambda: uploads._held_bytes == 2)
        await asyncio.sleep(0.01)  # the loop's clock counts milliseconds
        peers[0].writer.write(b"x")
        await until(lambda: uploads._held_bytes == 3)
        assert (await at.ask("POST", "/detect", data=b"1", headers=JPEG)).status == 200
        assert (await peers[1].reply()).status == 408
        peers[0].writer.write(b"x" * 998)
        assert (await peers[0].reply()).json["sizes"] == [1000]


# --- heads and silence ---


@on_both
@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
@on_loop
async def test_a_socket_that_never_says_what_it_wants_is_closed(sent: bytes, loop: str) -> None:
    async with running(limits={"head_timeout_s": 0.3, "idle_s": LONG_S}) as at:
        began_s = now_s()
        async with at.socket(sent) as peer:
            await peer.closed()
        assert now_s() - began_s > 0.2
        assert at.metrics.rejections("head_timeout") == 1


@on_loop
async def test_a_head_that_drips_is_cut_off() -> None:
    async with running(limits={"head_timeout_s": 0.3, "idle_s": LONG_S}) as at:
        began_s = now_s()
        async with at.socket(GET[:-2]) as peer:
            drip = asyncio.create_task(dripping(peer.writer, b"X: y\r\n", 0.02))
            await peer.closed()
            drip.cancel()
        assert now_s() - began_s > 0.2
    async with running(limits=OFTEN_LOOKED_AT) as at, at.socket(GET) as peer:
        await peer.reply()
        began_s = now_s()
        limited(at, head_timeout_s=0.3)
        peer.writer.write(GET[:-2])
        drip = asyncio.create_task(dripping(peer.writer, b"X: y\r\n", 0.02))
        await peer.closed()
        assert now_s() - began_s > 0.2
        assert at.metrics.rejections("head_timeout") == 1, "also the second request's"
        drip.cancel()


@on_both
@on_loop
async def test_a_connection_may_idle_but_not_for_ever(loop: str) -> None:
    async with running(limits=OFTEN_LOOKED_AT) as at:
        began_s = now_s()
        async with at.socket(GET) as peer:
            await peer.reply()
            limited(at, head_timeout_s=0.1, idle_s=0.5)
            await peer.closed()
        assert now_s() - began_s > 0.4
        assert at.metrics.rejections("idle") == 1


@on_loop
async def test_a_request_that_takes_long_is_not_idle() -> None:
    demo = Demo()
    async with running(demo, limits=OFTEN_LOOKED_AT) as at:
        async with at.socket(GET.replace(b"/healthz", b"/wait")) as peer:
            await demo.started.wait()
            limited(at, head_timeout_s=0.1, idle_s=0.1, send_timeout_s=0.1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await peer.reader.read(1)
            assert not demo.cancelled.is_set()
        await until(demo.cancelled.is_set)  # the client left


# --- readers ---


@on_both
@on_loop
async def test_a_reader_that_does_not_read_is_left(loop: str) -> None:
    demo = Demo()
    async with running(demo, limits={"send_timeout_s": 0.3}) as at:
        async with at.socket(GET.replace(b"/healthz", b"/big"), receive_buffer_bytes=4096):
            await until(demo.cancelled.is_set)
        assert at.metrics.rejections("slow_reader") == 1


@on_both
@on_loop
async def test_a_reader_that_is_only_slow_is_not(loop: str) -> None:
    demo = Demo()
    big, limits = GET.replace(b"/healthz", b"/big"), {"send_timeout_s": LONG_S}
    async with running(demo, limits=limits) as at, at.socket(big, receive_buffer_bytes=65536) as peer:
        await demo.started.wait()
        visits = at.service._visits
        (visit,) = visits._open
        looks = 0
        while looks < 5:
            stuck_s = await stuck_since_s(visit)
            await taken(visit, 64 << 10, by=peer.reader)
            if visit.patience.stuck_s == stuck_s:  # else it kept up meanwhile
                visits.sweep(stuck_s + LONG_S)
                looks += 1
        assert at.metrics.rejections("slow_reader") == 0
        while not at.metrics.rejections("slow_reader"):  # once what is on its way has come
            visits.sweep(await stuck_since_s(visit) + LONG_S)
        await until(demo.cancelled.is_set)


# --- how many ---


@on_loop
async def test_too_many_requests_are_told_when_to_come_again() -> None:
    async with running(limits={"requests_per_minute": 5}, trusted_proxies=["127.0.0.2/32"]) as at:
        assert [(await at.ask("GET", "/healthz")).status for _ in range(5)] == [200] * 5
        refused = await at.ask("GET", "/healthz")
        assert refused.status == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 12
        assert (await at.ask("GET", "/nowhere")).status == 429
        behind = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
        async with at.socket(behind, source="127.0.0.2") as peer:
            assert (await peer.reply()).status == 200, "somebody else's bucket is full"
        assert at.metrics.rejections("rate") == 2


@on_both
@on_loop
async def test_two_hundred_silent_clients_do_not_keep_a_good_one_waiting(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.http.connection._LINGER_S", LONG_S)
    patient = {"head_timeout_s": LONG_S, "body_timeout_s": LONG_S}
    limits = {"sockets": 40, "sockets_per_client": 30, **patient}
    async with running(limits=limits) as at, AsyncExitStack() as stack:
        # nobody is left for another reason than that others come
        at.service._context.uploads._patience_s = LONG_S
        for number in range(200):
            sent = (b"", b"GET", POST % 1000)[number % 3]
            await stack.enter_async_context(at.socket(sent, source=f"127.0.1.{1 + number % 20}"))
        for _ in range(10):
            async with at.socket(GET, source="127.0.0.9") as peer:
                assert (await peer.reply()).status == 200, "long before any of the others has to go"
        assert at.metrics.registry.get_sample_value("videodisco_http_sockets") <= 40  # type: ignore[operator] # it is there
        assert at.metrics.rejections("gave_way") >= 160


@on_loop
async def test_two_hundred_bodies_that_never_end_do_not_keep_a_good_one_out() -> None:
    async with running() as at, AsyncExitStack() as stack:
        for number in range(200):
            await stack.enter_async_context(at.socket(POST % 1000 + b"x", source=f"127.0.1.{1 + number % 20}"))
        await uploads_running(at, 200)
        assert (await at.ask("POST", "/detect", data=b"1", headers=JPEG)).status == 200


@on_loop
async def test_one_client_takes_only_its_share() -> None:
    demo = Demo()
    async with running(demo, limits={"sockets": 40, "sockets_per_client": 3}) as at, AsyncExitStack() as stack:
        waiting = GET.replace(b"/healthz", b"/wait")
        for _ in range(3):
            await stack.enter_async_context(at.socket(waiting, source="127.0.1.1"))
        await in_flight(at, 3)
        async with at.socket(source="127.0.1.1") as peer:
            refused = await peer.reply()
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json == {"error": "too many connections; try again"}
        async with at.socket(GET, source="127.0.1.2") as peer:
            assert (await peer.reply()).status == 200
        assert at.metrics.rejections("sockets") == 1


@on_loop
async def test_the_client_that_leaves_is_not_worked_for() -> None:
    demo = Demo()
    async with running(demo) as at:
        async with at.socket(GET.replace(b"/healthz", b"/wait")):
            await demo.started.wait()
        await until(demo.cancelled.is_set)
        labels = {"method": "GET", "route": "/wait", "status": "499"}
        assert at.metrics.registry.get_sample_value("videodisco_http_requests_total", labels) == 1


async def dripping(writer: asyncio.StreamWriter, drop: bytes, every_s: float) -> None:
    while True:
        writer.write(drop)
        await asyncio.sleep(every_s)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def limited(at: Running, **limits: float) -> None:
    """From now on; what came before could be late on a busy machine."""
    at.service._visits.limits = at.settings.limits.model_copy(update=limits)


async def uploads_running(at: Running, count: int) -> None:
    await until(lambda: len(at.service._context.uploads._running) >= count)


async def in_flight(at: Running, count: int) -> None:
    value = at.metrics.registry.get_sample_value
    await until(lambda: value("videodisco_http_requests_in_flight") == count)


async def stuck_since_s(visit: Visit) -> float:
    """Since when its reader has not kept up, once that is so."""
    await until(lambda: visit.patience.stuck_s is not None)
    assert visit.patience.stuck_s is not None
    return visit.patience.stuck_s


async def taken(visit: Visit, least_bytes: int, *, by: asyncio.StreamReader) -> None:
    """Read until so much has left the server since its reader was found stuck, or it waits for something newer."""
    stuck_s, patience = visit.patience.stuck_s, visit.patience
    while patience.stuck_s == stuck_s and patience.stuck_bytes - visit.waiting_bytes() < least_bytes:
        await by.readexactly(1 << 10)
