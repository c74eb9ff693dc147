"""Requests to the demo service: what is validated, what comes back, and one shape for everything that goes wrong."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from stream.errors import SourceError, UsageError
from stream.http.app import About, Instruments, Pages, build_app
from stream.http.audit import AuditLog
from stream.http.auth import OPEN
from stream.http.endpoints import Answer, Call, Endpoint, Result
from stream.http.pages import page_endpoints
from stream.http.settings import HttpSettings
from tests.http_demo import WAIT_S, Demo, Reply, on_loop, running, until

JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}


# --- validation ---


@on_loop
async def test_a_picture_as_it_is_or_several_in_a_form() -> None:
    async with running() as at:
        raw = await at.ask("POST", "/detect?conf=0.25&classes=a&classes=b", data=b"12345", headers=JPEG)
        assert (raw.status, raw.json) == (200, {"sizes": [5], "conf": 0.25})
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("file", b"123", filename="../a.jpg", content_type="image/jpeg")
        form.add_field("more", b"4567", filename="b.png", content_type="image/png")
        form.add_field("note", "hello")
        form.add_field("numbers", "[1, 2]", content_type="application/json")
        several = await at.ask("POST", "/detect", data=form)
        assert (several.status, several.json) == (200, {"sizes": [3, 4], "conf": 0.4})


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("conf=2", "query: 'conf': input should be less than or equal to 1"),
        ("conf=nan", "query: 'conf': input should be a finite number"),
        ("conf=0.1&conf=0.2", "query: 'conf' is given twice"),
        ("confidence=1", "query: unknown key 'confidence'"),
        ("&".join(["classes=x"] * 6), "query: 'classes': tuple should have at most 5 items after validation, not 6"),
        ("conf=a&classes=x&a=1&b=2&c=3", "and 1 more"),
    ],
)
@on_loop
async def test_a_wrong_query_is_a_sentence(query: str, sentence: str) -> None:
    async with running() as at:
        reply = await at.ask("POST", f"/detect?{query}", data=b"1", headers=JPEG)
        assert reply.status == 400
        assert sentence in reply.error


@pytest.mark.parametrize(
    ("headers", "data", "status"),
    [
        (JPEG, b"", 400),
        ({"Content-Type": "text/plain"}, b"1", 415),
        ({"Content-Type": "imagejpeg"}, b"1", 415),
        ({"Content-Type": "multipart/form-data"}, b"--x--", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"garbage", 400),
        ({"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}, b"no gzip", 400),
        ({"Content-Type": "image/jpeg", "Content-Encoding": "deflate"}, b"no deflate", 400),
    ],
)
@on_loop
async def test_wrong_bodies(headers: dict[str, str], data: bytes, status: int) -> None:
    async with running() as at:
        reply = await at.ask("POST", "/detect", data=data, headers=headers)
        assert reply.status == status, reply.body
        assert reply.error


def form_part(head: str, data: str = "1") -> str:
    return f"--x\r\nContent-Disposition: form-data; {head}\r\n\r\n{data}\r\n"


FILE = form_part('name="file"; filename="f"')


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (FILE + form_part('name="colour"'), "form: unknown key 'colour'"),
        (FILE + form_part('name="note"') * 2, "form: 'note' is given twice"),
        (FILE + form_part('name="note"', "x" * 21), "form: 'note': string should have at most 20 characters"),
        (FILE + form_part('name="note"', "\udcff"), "form: 'note' is not valid UTF-8 text"),
        (
            FILE + form_part('name="numbers"\r\nContent-Type: application/json', "[1,"),
            "form: 'numbers' is not valid JSON",
        ),
        (
            FILE + form_part('name="numbers"\r\nContent-Type: application/json', "[" * 5000),
            "form: 'numbers' is not valid JSON",
        ),
        (form_part('name="note"'), "form: 1 or more files are needed"),
    ],
)
@on_loop
async def test_wrong_forms(body: str, sentence: str) -> None:
    async with running() as at:
        data = (body + "--x--").encode("utf-8", "surrogateescape")
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        reply = await at.ask("POST", "/detect", data=data, headers=headers)
        assert reply.status == 400
        assert sentence in reply.error


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "body: invalid JSON"),
        (b"[]", "body: input should be"),
        (b'{"weight_kg": NaN}', "'weight_kg': input should be a finite number"),
        (b'{"weight_kg": 1, "secret": "hunter2"}', "body: unknown key 'secret'"),
        (b'{"weight_kg": "hunter2"}', "'weight_kg': input should be a valid number"),
        (b"[" * 100_000, "body: invalid JSON"),
        (b"\xff\xfe", "body: invalid JSON"),
    ],
)
@on_loop
async def test_wrong_json_is_a_sentence_that_repeats_nothing(body: bytes, sentence: str) -> None:
    async with running() as at:
        reply = await at.ask("PUT", "/things/a", data=body, headers=JSON)
        assert reply.status == 400
        assert sentence in reply.error
        assert "hunter2" not in reply.error


@on_loop
async def test_answers_have_the_status_that_fits() -> None:
    async with running() as at:
        body = {"weight_kg": 1.5}
        assert (await at.ask("GET", "/things/a")).error == "there is no thing 'a'"
        assert [(await at.ask("PUT", "/things/a", json=body)).status for _ in range(2)] == [201, 200]
        assert (await at.ask("GET", "/things/a")).json == {"weight_kg": 1.5, "colour": "grey"}
        gone = await at.ask("DELETE", "/things/a")
        assert (gone.status, gone.body) == (204, b"")
        assert (await at.ask("DELETE", "/things/a")).status == 404


@pytest.mark.parametrize(
    "path", ["/things/A", "/things/%2e%2e%2fx", "/things/a%00", "/things/", "/things/" + "x" * 500]
)
@on_loop
async def test_a_name_that_cannot_be_is_not_there(path: str) -> None:
    async with running() as at:
        reply = await at.ask("GET", path)
        assert reply.status == 404
        assert reply.error


# --- errors ---


@pytest.mark.parametrize(
    ("kind", "status", "sentence"),
    [
        ("usage", 400, "this cannot be"),
        ("source", 422, "cannot open rtsp://***@camera/x"),
        ("model", 422, "nano.onnx is refused"),
        ("decode", 422, "the picture is broken"),
        ("output", 507, "the service could not write; its log says what"),
        ("bug", 500, "something went wrong on our side; the log says what, under this answer's X-Request-Id"),
        ("value", 500, "something went wrong on our side; the log says what, under this answer's X-Request-Id"),
        ("undeclared", 500, "something went wrong on our side; the log says what, under this answer's X-Request-Id"),
        ("conflict", 409, "there is one already"),
        ("busy", 429, "the queue is full"),
    ],
)
@on_loop
async def test_errors_by_their_kind(kind: str, status: int, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running() as at:
        reply = await at.ask("GET", f"/trouble?kind={kind}", headers={"X-Request-Id": "abc-1"})
        assert (reply.status, reply.error) == (status, sentence)
        assert reply.headers["X-Request-Id"] == "abc-1"
        said = [record for record in caplog.records if "abc-1" in record.getMessage()]
        assert bool(said) == (status in {500, 507}), "only what is our trouble is worth a line"


@on_loop
async def test_retry_after_is_in_whole_seconds() -> None:
    async with running() as at:
        reply = await at.ask("GET", "/trouble?kind=busy")
        assert reply.headers["Retry-After"] == "3"
        assert at.metrics.rejections("queue") == 1


@on_loop
async def test_what_aiohttp_refuses_has_our_shape() -> None:
    async with running() as at:
        missing = await at.ask("GET", "/nowhere")
        assert (missing.status, missing.error) == (404, "there is nothing at this address")
        wrong = await at.ask("PATCH", "/things/a")
        assert (wrong.status, wrong.error) == (405, "this address does not take that method")
        assert set(wrong.headers["Allow"].split(",")) == {"DELETE", "GET", "HEAD", "PUT"}
        for path in ("/detect", "/nowhere"):
            expecting = await at.ask("POST", path, data=b"1", headers={**JPEG, "Expect": "a miracle"})
            assert (expecting.status, bool(expecting.error)) == (417, True)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX y: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET //evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /docs/..%2f..%2fsettings.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /docs/../../settings.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"LINK /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ],
)
@on_loop
async def test_odd_heads(sent: bytes, status: int) -> None:
    async with running() as at, at.socket(sent) as peer:
        reply = await peer.reply()
        assert reply.status == status, reply.body
        if status >= 400:
            assert reply.error


@on_loop
async def test_an_answer_that_breaks_off_is_cut_not_mended(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as at, at.socket(b"GET /half HTTP/1.1\r\nHost: localhost\r\n\r\n") as peer:
        async with asyncio.timeout(WAIT_S):
            sent = await peer.reader.read()
        assert sent.startswith(b"HTTP/1.1 200")
        assert sent.endswith(b"\r\n\r\nso far")
        assert [record.exc_info is not None for record in caplog.records] == [True]


@on_loop
async def test_a_request_id_is_kept_only_if_it_is_harmless() -> None:
    async with running() as at:
        for given in ("", "a b", "x" * 65, "<script>"):
            reply = await at.ask("GET", "/healthz", headers={"X-Request-Id": given})
            assert len(reply.headers["X-Request-Id"]) == 16


# --- pages and headers ---


@on_loop
async def test_pages_run_only_our_own_scripts() -> None:
    async with running() as at:
        for path in ("/docs/", "/docs/index.html"):
            page = await at.ask("GET", path)
            policy = page.headers["Content-Security-Policy"]
            assert page.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
            assert "unsafe" not in policy
            assert b'<script type="module" src="docs.js"></script>' in page.body
            assert b"style=" not in page.body
            assert b"//" not in page.body.replace(b"<!doctype", b""), "nothing from another host"
        bare = await at.ask("GET", "/docs", allow_redirects=False)
        assert (bare.status, bare.headers["Location"]) == (308, "/docs/")


@on_loop
async def test_every_answer_tells_browsers_to_be_careful() -> None:
    async with running() as at:
        for path in ("/healthz", "/docs/", "/docs/docs.js", "/nowhere", "/metrics", "/openapi.json"):
            headers = (await at.ask("GET", path)).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Referrer-Policy"] == "same-origin"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["Server"] == "videodisco"
            assert "Access-Control-Allow-Origin" not in headers
        assert (await at.ask("GET", "/healthz")).headers["Cache-Control"] == "no-store"


@on_loop
async def test_a_file_that_is_known_is_not_sent_again() -> None:
    async with running() as at:
        first = await at.ask("GET", "/docs/docs.js")
        etag = first.headers["ETag"]
        assert first.headers["Content-Type"] == "text/javascript; charset=utf-8"
        for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            again = await at.ask("GET", "/docs/docs.js", headers={"If-None-Match": known})
            assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
        other = await at.ask("GET", "/docs/docs.js?v=2", headers={"If-None-Match": '"other"'})
        assert (other.status, other.body) == (200, first.body)


@on_loop
async def test_head_is_get_without_the_body() -> None:
    async with running() as at:
        for path in ("/healthz", "/docs/", "/metrics"):
            reply = await at.ask("HEAD", path)
            assert (reply.status, reply.body) == (200, b"")
            assert int(reply.headers["Content-Length"]) > 0


def test_pages_of_a_package_that_lacks_them_are_refused() -> None:
    with pytest.raises(UsageError, match="lacks its folder"):
        page_endpoints(Pages("stream.http", "nothing"))
    with pytest.raises(UsageError, match="type that pages cannot have"):
        page_endpoints(Pages("stream", "http"))


# --- figures, health, audit ---


@on_loop
async def test_figures_are_by_route_never_by_path() -> None:
    async with running() as at:
        for path in ("/things/a", "/things/b", "/x1", "/x2", "/things/%00"):
            await at.ask("GET", path)
        await at.ask("LINK", "/x3")
        await at.ask("PUT", "/things/a", json={"weight_kg": 1})
        value = at.metrics.registry.get_sample_value
        name = "videodisco_http_requests_total"
        assert value(name, {"method": "GET", "route": "/things/{name}", "status": "404"}) == 3
        assert value(name, {"method": "GET", "route": "unmatched", "status": "404"}) == 2
        assert value(name, {"method": "other", "route": "unmatched", "status": "404"}) == 1
        assert value(name, {"method": "PUT", "route": "/things/{name}", "status": "201"}) == 1
        seconds = {"method": "GET", "route": "/things/{name}"}
        assert value("videodisco_http_request_seconds_count", seconds) == 3
        assert value("videodisco_http_requests_in_flight") == 0
        assert value("videodisco_http_sockets") == 1


@on_loop
async def test_the_figures_are_served_in_both_formats() -> None:
    async with running() as at:
        plain = await at.ask("GET", "/metrics")
        assert plain.headers["Content-Type"].startswith("text/plain")
        assert b"process_resident_memory_bytes " in plain.body
        assert b"videodisco_http_requests_in_flight 1.0" in plain.body
        newer = await at.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert newer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert newer.body.endswith(b"# EOF\n")


@on_loop
async def test_ready_once_every_check_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.http.common._FRESH_S", 3600.0)
    reason: list[str | None] = ["loading"]
    asked: list[int] = []

    async def model() -> str | None:
        asked.append(1)
        return reason[0]

    async def cameras() -> str | None:
        return None

    async with running(instruments=Instruments(ready={"model": model, "cameras": cameras})) as at:
        reply = await at.ask("GET", "/readyz")
        assert reply.status == 503
        assert reply.json == {
            "ready": False,
            "checks": {"model": {"ready": False, "reason": "loading"}, "cameras": {"ready": True, "reason": None}},
            "error": "model: loading",
        }
        await asyncio.gather(*(at.ask("GET", "/readyz") for _ in range(20)))
        assert len(asked) == 1, "asking often is not checking often"
        assert (await at.ask("GET", "/healthz")).json["status"] == "alive"
        reason[0] = None
        assert (await at.ask("GET", "/readyz")).json["error"] == "model: loading"
        monkeypatch.setattr("stream.http.common._FRESH_S", 0.0)
        reply = await at.ask("GET", "/readyz")
        assert (reply.status, reply.json["ready"]) == (200, True)


@on_loop
async def test_strangers_hear_whether_it_is_ready_but_not_why() -> None:
    async def cameras() -> str | None:
        return "bedroom is backing off"

    async def model() -> str | None:
        return None

    token = "a-token-for-the-tests"  # noqa: S105 - made up
    tokens = [{"name": "looker", "token": token, "role": "view"}]
    ready = Instruments(ready={"cameras": cameras, "model": model})
    async with running(instruments=ready, tokens=tokens) as at:
        reply = await at.ask("GET", "/readyz")
        assert reply.status == 503
        assert reply.json == {
            "ready": False,
            "checks": {"cameras": {"ready": False, "reason": None}, "model": {"ready": True, "reason": None}},
            "error": "1 of 2 not ready: cameras; who logs in hears why",
        }
        known = await at.ask("GET", "/readyz", headers={"Authorization": f"Bearer {token}"})
        assert known.json["error"] == "cameras: bedroom is backing off"
        assert known.json["checks"]["cameras"]["reason"] == "bedroom is backing off"
        wrong = await at.ask("GET", "/readyz", headers={"Authorization": "Bearer not-the-token-at-all"})
        assert b"bedroom" not in wrong.body


@on_loop
async def test_a_check_that_hangs_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.http.common._CHECK_S", 0.05)

    async def stuck() -> str | None:
        await asyncio.Event().wait()
        return None

    async with running(instruments=Instruments(ready={"disk": stuck})) as at:
        assert (await at.ask("GET", "/readyz")).json["error"] == "disk: it does not answer"


@on_loop
async def test_changes_are_recorded_with_their_end_and_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.jsonl"
    async with running(audit_log=path) as at:
        made = await at.ask("PUT", "/things/a", json={"weight_kg": 2})
        await at.ask("PUT", "/things/a", json={"weight_kg": -2})
        await at.ask("GET", "/things/a")
        await at.ask("DELETE", "/things/b")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["change"], line["status"], line["done"]) for line in lines] == [
        ("thing.put", 201, True),
        ("thing.put", 400, False),
        ("thing.delete", 404, False),
    ]
    first = lines[0]
    assert (first["who"], first["role"], first["how"], first["client"]) == ("local", "admin", "open", "127.0.0.1")
    assert first["request_id"] == made.headers["X-Request-Id"]
    assert first["details"] == {"name": "a", "weight_kg": 2.0, "source": "rtsp://***@camera/"}
    assert first["time"].endswith("Z")


@on_loop
async def test_a_change_is_done_whole_though_nobody_waits_for_it(tmp_path: Path) -> None:
    demo, path = Demo(), tmp_path / "audit.jsonl"
    async with running(demo, audit_log=path) as at:
        async with at.socket(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"):
            await demo.started.wait()
        draining = asyncio.create_task(at.service.drain(WAIT_S))
        await asyncio.sleep(0.05)
        assert not draining.done()
        demo.release.set()
        await draining
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert (line["change"], line["status"], line["details"]) == ("thing.slow", 204, {"done": True})
    assert "slow" in demo.things


@on_loop
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (SourceError("cannot open rtsp://user:hunter2@camera/x"), "failed: cannot open rtsp://***@camera/x"),
        (ValueError("a bug"), "failed: something went wrong on our side"),
    ],
)
async def test_a_change_that_fails_when_nobody_waits_for_it_is_one_line_of_the_log(
    failure: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    demo = Demo(failure=failure)
    async with running(demo) as at:
        async with at.socket(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"):
            await demo.started.wait()
            waiting = {each for each in asyncio.all_tasks() if "RequestHandler" in str(each.get_coro())}
        assert waiting
        await until(lambda: all(each.done() for each in waiting))
        demo.release.set()
        await until(lambda: not any("_recorded" in str(each.get_coro()) for each in asyncio.all_tasks()))
        gc.collect()
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "thing.slow" in record.getMessage()
    assert said in record.getMessage()
    assert (record.exc_info is not None) == isinstance(failure, ValueError), "of a bug the place is told"


@on_loop
async def test_an_audit_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audit = AuditLog(tmp_path / "file" / "audit.jsonl")
    (tmp_path / "file").write_text("in the way")
    async with running(instruments=Instruments(audit=audit)) as at:
        assert (await at.ask("PUT", "/things/a", json={"weight_kg": 2})).status == 201
    assert audit.lost == 1
    assert "cannot be written" in caplog.text


@on_loop
@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("rtsp://10.0.0.9/x", "rtsp://10.0.0.9/x"),
        ("rtsp://admin:geheim@10.0.0.9/x", "rtsp://***@10.0.0.9/x"),
        ("rtsp://admin:ge heim@10.0.0.9/x", "rtsp://***@10.0.0.9/x"),
        ('rtsp://admin:ge"he@im@10.0.0.9/x', "rtsp://***@10.0.0.9/x"),
        ("rtsp://a:geheim@1/x rtsp://b:geheim@2/y", "rtsp://***@2/y"),
        ("admin:geheim@10.0.0.9", "***@10.0.0.9"),
        ("rtsp:/admin:geheim@10.0.0.9", "***@10.0.0.9"),
        ("rtsp//admin:ge heim@", "***@"),
        ("yard", "yard"),
    ],
)
async def test_the_audit_log_keeps_nothing_before_an_at(tmp_path: Path, given: str, written: str) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path)
    await audit.record("x", OPEN, client="c", request_id="1", status=422, details={"source": given})
    audit.close()
    assert json.loads(path.read_text())["details"]["source"] == written


@on_loop
async def test_a_large_audit_log_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path, max_bytes=300)
    for number in range(10):
        await audit.record("x", OPEN, client="c", request_id=str(number), status=200)
    audit.close()
    kept = (tmp_path / "audit.jsonl.1").read_text() + path.read_text()
    assert path.stat().st_size < 600
    assert '"request_id": "9"' in kept


# --- composing ---


@on_loop
async def test_a_redirect_or_file_of_a_handler_passes_as_it_is() -> None:
    async def wrong(_: Call) -> Result:
        return Answer(None, 418)

    table = [Endpoint("GET", "/teapot", wrong, "Wrong")]
    app = build_app(HttpSettings(port=0), table, about=About("x", "X", "1"))
    assert app is not None


def test_the_log_of_a_service_holds_no_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def ask() -> Reply:
        async with running(Demo()) as at:
            return await at.ask("GET", "/trouble?kind=value&x=hunter2")

    reply: Any = asyncio.run(ask())
    assert reply.status == 400
    assert "hunter2" not in caplog.text
