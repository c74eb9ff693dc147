"""A service from start to drain: where it listens, HTTPS with renewed certificates, an end within its budget."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stream.errors import UsageError
from stream.http.app import build_app
from stream.http.service import Service
from stream.http.settings import HttpSettings, TlsSettings
from stream.http.tls import Certificates
from stream.http.visits import Visits
from tests.http_demo import ABOUT, LOOPS, TOKENS, VIEW, WAIT_S, Demo, on_loop, running, until

GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG_S = 60.0
"""A budget that nobody needs."""

LOOKS = 5

on_both = pytest.mark.parametrize("loop", LOOPS)


def service(**values: Any) -> Service:
    settings = HttpSettings.model_validate({"port": 0, **values})
    return Service(build_app(settings, Demo().endpoints(), about=ABOUT), settings)


# --- start ---


@on_loop
async def test_it_says_where_it_listens() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        each = service(host=host)
        assert not each.addresses
        await each.start()
        names = {address.rpartition(":")[0] for address in each.addresses}
        ports = {address.rpartition(":")[2] for address in each.addresses}
        assert names <= {"http://127.0.0.1", "http://[::1]"}
        assert (len(each.addresses) >= 1, len(ports)) == (True, 1)
        await each.drain(1)


@on_loop
async def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127.0.0.1 port {port}: another program listens there"):
            await service(port=port).start()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"host": "0.0.0.0"}, "lets in whoever reaches it"),  # noqa: S104 - what is tested
        ({"host": "no-such-name.invalid"}, "lets in whoever reaches it"),
        ({"host": "no-such-name.invalid", "insecure": True}, "this name has no address"),
        ({"host": "203.0.113.7", "insecure": True}, "this machine has no such address"),
    ],
)
@on_loop
async def test_where_it_cannot_listen_it_says_so(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        await service(**values).start()


@on_loop
async def test_tokens_without_https_beyond_this_machine_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    each = service(host="0.0.0.0", tokens=TOKENS)  # noqa: S104 - what is tested
    await each.start()
    await each.drain(1)
    assert "tokens travel unencrypted" in caplog.text


# --- drain ---


@on_both
@on_loop
async def test_requests_finish_and_nobody_new_comes_in(loop: str) -> None:
    demo = Demo()
    async with running(demo) as at, at.socket(GET % b"wait") as waiting, at.socket(GET % b"healthz") as idle:
        await idle.reply()
        await demo.started.wait()
        draining = asyncio.create_task(at.service.drain(LONG_S))
        await idle.closed()
        with pytest.raises(ConnectionRefusedError):
            async with at.socket():
                pass
        assert not draining.done()
        demo.release.set()
        reply = await waiting.reply()
        assert (reply.status, reply.headers["Connection"]) == (204, "close")
        await draining
        assert at.metrics.rejections("drain") == 0


UPLOAD = b"POST /detect HTTP/1.1\r\nHost: x.localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 6\r\n\r\n123"


@on_both
@on_loop
async def test_a_body_that_has_not_come_is_not_waited_for_and_its_sender_told(loop: str) -> None:
    demo = Demo()
    async with running(demo) as at, at.socket(UPLOAD) as uploading, at.socket(GET % b"wait") as waiting:
        await demo.started.wait()
        await until(lambda: at.service._context.uploads._running)
        draining = asyncio.create_task(at.service.drain(LONG_S))
        reply = await uploading.reply()
        assert (reply.status, reply.headers["Connection"]) == (503, "close")
        assert reply.error == "the service is about to stop"
        assert not draining.done(), "who is being answered has the whole budget"
        demo.release.set()
        assert (await waiting.reply()).status == 204
        await draining
        assert at.metrics.rejections("drain") == 1


@on_loop
async def test_half_sent_bodies_alone_hold_nothing_up() -> None:
    async with running() as at, at.socket(UPLOAD), at.socket(UPLOAD):
        await until(lambda: len(at.service._context.uploads._running) == 2)
        async with asyncio.timeout(LONG_S / 2):
            await at.service.drain(LONG_S)


async def least_s(look: Callable[[], Awaitable[float]], *, enough_s: float) -> float:
    """The least seconds of a few looks, or the first that are few enough: what else the machine does adds to them."""
    found_s = [await look()]
    while min(found_s) >= enough_s and len(found_s) < LOOKS:
        found_s.append(await look())
    return min(found_s)


async def drained_s(each: Service, budget_s: float) -> float:
    began_s = asyncio.get_running_loop().time()
    await each.drain(budget_s)
    return asyncio.get_running_loop().time() - began_s


@on_both
@on_loop
async def test_what_does_not_finish_is_cut_off_within_the_budget(loop: str) -> None:
    async def look() -> float:
        demo = Demo()
        async with running(demo) as at, at.socket(GET % b"wait") as waiting, at.socket(GET % b"big") as stuck:
            await until(lambda: len(at.service._visits._busy) == 2)
            took_s = await drained_s(at.service, 1.0)
            assert took_s > 0.5
            await until(demo.cancelled.is_set)
            await waiting.closed()
            await stuck.closed()
            assert at.metrics.rejections("drain") == 1
            return took_s

    assert await least_s(look, enough_s=1.4) < 1.4


@on_both
@on_loop
async def test_websockets_are_told_and_live_answers_end_at_once(loop: str) -> None:
    demo = Demo()
    async with running(demo) as at, at.client.ws_connect(f"{at.url}/talk") as websocket:
        await demo.started.wait()
        async with at.socket(GET % b"live") as live:
            await live.reader.readuntil(b"tick")
            draining = asyncio.create_task(drained_s(at.service, LONG_S))
            message = await websocket.receive(timeout=WAIT_S)
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 1001, "the service stops")
            await live.closed()
            assert await draining < LONG_S / 6
        assert demo.cancelled.is_set()
        assert demo.closed_with is not None


@on_loop
async def test_a_peer_that_does_not_say_goodbye_holds_nothing_up() -> None:
    upgrade = GET % b"talk"
    more = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    more += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

    async def look() -> float:
        demo = Demo()
        async with running(demo) as at, at.socket(upgrade[:-2] + more):
            await demo.started.wait()
            return await drained_s(at.service, 1.0)

    assert await least_s(look, enough_s=1.4) < 1.4


@on_loop
async def test_it_is_not_ready_while_it_stops() -> None:
    demo = Demo()
    async with running(demo) as at, at.socket(GET % b"wait"), at.socket(b"GET /readyz HTTP/1.1\r\n") as asking:
        await demo.started.wait()
        at.service._context.ending = True
        asking.writer.write(b"Host: localhost\r\n\r\n")
        assert (await asking.reply()).json["error"] == "the service is about to stop"


@on_loop
async def test_a_service_that_never_started_can_be_drained() -> None:
    await service().drain(0.5)


@on_loop
async def test_a_machine_that_stood_still_has_its_time_to_clean_up_left(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[web.Application] = []

    async def clean(app: web.Application) -> None:
        cleaned.append(app)

    settings = HttpSettings(port=0)
    app = build_app(settings, Demo().endpoints(), about=ABOUT)
    app.on_cleanup.append(clean)
    each = Service(app, settings)
    await each.start()
    monkeypatch.setattr(Visits, "drop_all", lambda _: time.sleep(0.3))
    await each.drain(0.2)
    assert cleaned == [app]


@on_loop
async def test_draining_leaves_no_task_and_no_descriptor() -> None:
    async with running() as at:
        await at.ask("GET", "/healthz")
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    before = descriptors()
    for _ in range(3):
        async with running() as at, at.socket(GET % b"healthz") as peer:
            await peer.reply()
    await until(lambda: descriptors() <= before and asyncio.all_tasks() == {asyncio.current_task()})


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - not files


# --- HTTPS ---


class Authority:
    """Signs certificates for tests."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._certificate(self.key, name, authority=True))

    def issue(self, name: str, file: str) -> tuple[Path, Path]:
        """A certificate and key for ``name``, in files called ``file``."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        certificate, path = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        certificate.write_bytes(self._certificate(key, name, authority=False))
        path.write_bytes(private)
        return certificate, path

    def _certificate(self, key: ec.EllipticCurvePrivateKey, name: str, *, authority: bool) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def trusting(authority: Authority, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if client is not None:
        context.load_cert_chain(*client)
    return context


@asynccontextmanager
async def handshake(port: int, context: ssl.SSLContext) -> AsyncIterator[asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    yield writer
    writer.write(GET % b"healthz")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.transport.abort()


async def served_as(port: int, context: ssl.SSLContext) -> str:
    async with handshake(port, context) as writer:
        subject = writer.get_extra_info("peercert")["subject"]
        return str(dict(part for parts in subject for part in parts)["commonName"])


@on_both
@on_loop
async def test_a_renewed_certificate_is_used_without_a_restart(
    loop: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stream.http.tls._LOOK_EVERY_S", 0.0)
    certificate, key = authority.issue("first", "server")
    async with running(tls={"certificate": certificate, "key": key}) as at:
        assert at.url.startswith("https://127.0.0.1:")
        context = trusting(authority)
        async with handshake(at.port, context):
            assert await served_as(at.port, context) == "first"
            authority.issue("second", "server")
            assert await served_as(at.port, context) == "second"
            key.write_text("half written")
            assert await served_as(at.port, context) == "second"
            assert caplog.text.count("the new certificate is not used") == 1
            authority.issue("third", "server")
            assert await served_as(at.port, context) == "third"
            # and the connection made with the first certificate still works: checked on the way out


@on_loop
async def test_old_protocols_and_plain_http_are_refused(authority: Authority) -> None:
    certificate, key = authority.issue("server", "server")
    async with running(tls={"certificate": certificate, "key": key}) as at:
        old = trusting(authority)
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await served_as(at.port, old)
        async with at.socket(GET % b"healthz") as plain:
            await plain.closed()
        await until(lambda: at.metrics.rejections("tls") == 2)


@on_both
@on_loop
async def test_a_handshake_that_never_comes_ends(loop: str, authority: Authority) -> None:
    certificate, key = authority.issue("server", "server")
    tls = {"certificate": certificate, "key": key}
    async with running(tls=tls, limits={"head_timeout_s": 0.3}) as at, at.socket() as silent:
        await silent.closed()
    async with running(tls=tls, limits={"sockets_per_client": 5}) as at:
        peers = [await asyncio.open_connection("127.0.0.1", at.port) for _ in range(50)]
        assert await served_as(at.port, trusting(authority)) == "server", "they gave way"
        for _, writer in peers:
            writer.close()


@on_loop
async def test_clients_may_have_to_show_a_certificate(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("server", "server")
    stranger = Authority(tmp_path, "stranger")
    tls = {"certificate": certificate, "key": key, "client_ca": authority.path, "client_role": "view"}
    async with running(tls=tls) as at:
        address = f"https://localhost:{at.port}"
        known = aiohttp.TCPConnector(ssl=trusting(authority, authority.issue("edge-7", "edge")))
        async with aiohttp.ClientSession(connector=known) as session, session.get(f"{address}/session") as reply:
            assert await reply.json() == {"login_needed": True, "name": "edge-7", "role": "view"}
        for client in (None, stranger.issue("edge-7", "other")):
            connector = aiohttp.TCPConnector(ssl=trusting(authority, client))
            async with aiohttp.ClientSession(connector=connector) as session:
                with pytest.raises(aiohttp.ClientError):
                    await session.get(f"{address}/healthz")


@on_loop
async def test_over_https_the_cookie_is_for_https_only(authority: Authority) -> None:
    certificate, key = authority.issue("server", "server")
    async with running(tls={"certificate": certificate, "key": key}, tokens=TOKENS) as at:
        reply = await at.ask(
            "POST", "/login", json={"token": VIEW}, ssl=trusting(authority), server_hostname="localhost"
        )
        assert reply.headers["Set-Cookie"].startswith("__Host-videodisco_demo=")
        assert "; Secure" in reply.headers["Set-Cookie"]


@pytest.mark.parametrize("broken", ["certificate", "key", "client_ca"])
@pytest.mark.parametrize("how", ["missing", "garbage"])
def test_files_that_cannot_be_used_are_one_sentence(broken: str, how: str, authority: Authority) -> None:
    certificate, key = authority.issue("server", "server")
    files = {"certificate": certificate, "key": key, "client_ca": authority.path}
    files[broken].unlink()
    if how == "garbage":
        files[broken].write_text("garbage")
    with pytest.raises(UsageError, match=r"cannot be used: \w+") as caught:
        Certificates(TlsSettings.model_validate(files))
    assert str(files[broken]) in str(caught.value)


def test_an_encrypted_key_without_its_password_asks_nobody(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("server", "server")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
        )
    )
    with pytest.raises(UsageError):
        Certificates(TlsSettings(certificate=certificate, key=key))
    Certificates(TlsSettings.model_validate({"certificate": certificate, "key": key, "key_password": "pw"}))
