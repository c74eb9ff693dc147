"""Webhooks against a real server: signatures, order, retries, hostile answers, restarts."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import formatdate
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge.events.publish.webhook as webhook
from edge.events.event import change_json
from edge.events.publish.all import Publishers
from edge.events.publish.base import backoff_s
from edge.events.publish.post import NotDeliveredError, Target, post, retry_after_s
from edge.events.publish.webhook import WebhookPublisher, WebhookStatistics, open_spool
from edge.events.settings import WebhookSettings
from stream.errors import SinkError, UsageError
from stream.spool import Item, Spool
from tests.events import change
from tests.hook_server import WAIT_S, Hook, HookServer, answer

SECRET = "s3cret"  # noqa: S105 - it is to be looked for in what is shown


@pytest.fixture
def server() -> Iterator[HookServer]:
    made = HookServer().start()
    yield made
    made.stop()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[WebhookPublisher]]:
    publishers: list[WebhookPublisher] = []
    yield publishers
    for each in publishers:
        each.close(WAIT_S)
    assert not [each for each in publishers if each._thread.is_alive()]


def publisher(folder: Path, url: str, *, luck: float = 0.02, **known: Any) -> WebhookPublisher:
    settings = WebhookSettings(**{"url": url, "secret": SECRET, "timeout_s": WAIT_S, **known})
    return WebhookPublisher(settings, open_spool(folder), luck=lambda: luck)


def started(made: list[WebhookPublisher], folder: Path, url: str, **known: Any) -> WebhookPublisher:
    one = publisher(folder, url, **known)
    made.append(one)
    one.start()
    return one


def told(hooks: list[Hook]) -> list[int]:
    """The numbers of the changes that came, each once, in the order of their first coming."""
    return list(dict.fromkeys(json.loads(hook.body)["track_id"] for hook in hooks))


def wait_until(true: Any) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_change_is_posted_and_signed(tmp_path: Path, server: HookServer, made: list[WebhookPublisher]) -> None:
    one, begun_s = started(made, tmp_path, server.url + "?key=1"), int(time.time())
    one.publish(change("update", 3, sequence=2))
    (hook,) = server.wait_for(lambda hooks: len(hooks) == 1)
    assert hook.path == "/hook?key=1"
    assert hook.body == change_json(change("update", 3, sequence=2)).encode()
    assert hook.headers["Content-Type"] == "application/json"
    assert hook.headers["X-VideoDisco-Delivery"] == "1700000000003-abc-2"
    timestamp = hook.headers["X-VideoDisco-Timestamp"]
    assert begun_s <= int(timestamp) <= time.time()
    expected = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + hook.body, hashlib.sha256).hexdigest()
    assert hook.headers["X-VideoDisco-Signature"] == f"sha256={expected}"
    wait_until(lambda: one.statistics() == WebhookStatistics(delivered=1, refused=0, dropped=0, waiting=0))


def test_without_a_secret_nothing_is_signed_and_a_user_logs_in(
    tmp_path: Path, server: HookServer, made: list[WebhookPublisher]
) -> None:
    one = started(made, tmp_path, server.url.replace("//", "//us%40er:pa:ss@"), secret=None)
    one.publish(change())
    (hook,) = server.wait_for(lambda hooks: len(hooks) == 1)
    assert hook.headers["Authorization"] == "Basic dXNAZXI6cGE6c3M="
    assert "X-VideoDisco-Signature" not in hook.headers


def test_only_the_wanted_changes(tmp_path: Path, server: HookServer, made: list[WebhookPublisher]) -> None:
    one = started(made, tmp_path, server.url, events=["new", "end"])
    for number, kind in enumerate(("new", "update", "end", "new")):
        one.publish(change(kind, number))
    assert told(server.wait_for(lambda hooks: len(hooks) == 3)) == [0, 2, 3]


def test_each_change_once_and_in_order_through_every_misbehaviour(
    tmp_path: Path, server: HookServer, made: list[WebhookPublisher]
) -> None:
    misbehaviour = cycle(
        [
            answer(500),
            b"\x00garbage\r\n\r\n",
            b"",
            answer(429, Retry_After="0"),
            b"HTTP/1.1 2",
            answer(503, body=b"x" * 300_000),
            answer(408),
        ]
    )
    tries: dict[bytes, int] = {}

    def behave(hook: Hook) -> bytes:
        tries[hook.body] = tries.get(hook.body, 0) + 1
        return answer(204) if tries[hook.body] == 3 else next(misbehaviour)

    server.behave = behave
    one = started(made, tmp_path, server.url, luck=0.001)
    for number in range(20):
        one.publish(change("new", number))
    hooks = server.wait_for(lambda hooks: len(hooks) == 60)
    assert [json.loads(hook.body)["track_id"] for hook in hooks] == [n for n in range(20) for _ in range(3)]
    ids = [hook.headers["X-VideoDisco-Delivery"] for hook in hooks]
    assert (len(set(ids)), len(ids)) == (20, 60)
    wait_until(lambda: one.statistics().delivered == 20)
    assert one.statistics() == WebhookStatistics(delivered=20, refused=0, dropped=0, waiting=0)


def test_a_server_that_is_away_and_comes_back(
    tmp_path: Path, server: HookServer, made: list[WebhookPublisher], caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    one = started(made, tmp_path, server.url)
    with caplog.at_level(logging.INFO):
        for number in range(5):
            one.publish(change("new", number))
        wait_until(lambda: one._failures >= 3)
        assert one.statistics().waiting == 5
        server.start()
        assert told(server.wait_for(lambda hooks: len(hooks) == 5)) == [0, 1, 2, 3, 4]
        wait_until(lambda: one.statistics().waiting == 0)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "webhook 127.0.0.1: connection refused; changes wait until it takes them",
        "webhook 127.0.0.1 takes changes again",
    ]


def test_a_redirect_is_not_followed_and_told_once(
    tmp_path: Path, server: HookServer, made: list[WebhookPublisher], caplog: pytest.LogCaptureFixture
) -> None:
    other = HookServer().start()
    server.behave = lambda hook: answer(307, Location=other.url + "?key=K3y")
    one = started(made, tmp_path, server.url)
    for number in range(3):
        one.publish(change("new", number))
    wait_until(lambda: one.statistics().refused == 3)
    other.stop()
    assert other.hooks == []
    assert [record.getMessage() for record in caplog.records] == [
        "webhook 127.0.0.1 answered 307: changes are dropped; it redirects; give the final address as url"
    ]


def test_what_the_server_refuses_is_dropped_and_the_next_is_told(
    tmp_path: Path, server: HookServer, made: list[WebhookPublisher], caplog: pytest.LogCaptureFixture
) -> None:
    server.behave = lambda hook: answer(400 if json.loads(hook.body)["track_id"] < 3 else 200)
    one = started(made, tmp_path, server.url)
    for number in range(5):
        one.publish(change("new", number))
    wait_until(lambda: one.statistics() == WebhookStatistics(delivered=2, refused=3, dropped=0, waiting=0))
    assert told(server.hooks) == [0, 1, 2, 3, 4]
    assert len(caplog.records) == 1


def test_retry_after_is_honoured_within_reason(
    tmp_path: Path, server: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = publisher(tmp_path, server.url, luck=0.0)
    server.behave = lambda hook: answer(429, Retry_After="7")
    one.publish(change())
    (item,) = one._spool.peek(1)
    assert one._deliver(item) == 7.0
    server.behave = lambda hook: answer(503, Retry_After="86400")
    assert one._deliver(item) == webhook.LONGEST_RETRY_AFTER_S
    server.behave = lambda hook: answer(503)
    assert one._deliver(item) == 0.0
    assert one.statistics().waiting == 1


@pytest.mark.parametrize("how", ["silent", "drips", "never ends", "stays at 100"])
def test_a_server_that_takes_its_time_is_left(server: HookServer, how: str) -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(50))
    server.drip_s = 0.05 if how in {"drips", "stays at 100"} else 0.0
    server.behave = lambda hook: {
        "silent": None,
        "drips": endless,
        "never ends": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000_000,
        "stays at 100": b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    }[how]
    begun_s = time.monotonic()
    with pytest.raises(NotDeliveredError):
        post(Target.of(server.url), b"{}", {}, timeout_s=0.4, now_s=0.0)
    assert time.monotonic() - begun_s < 10, "the server goes on for twice as long at least"


def test_whose_time_is_up_is_said_to_be_late_whatever_it_broke_off(
    server: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits hears of the cut connection at once, perhaps before the thread that cut it comes any further."""
    hang_up = socket.socket.shutdown

    def hang_up_and_stay(connection: socket.socket, how: int) -> None:
        hang_up(connection, how)
        time.sleep(0.1)

    server.drip_s = 0.05
    server.behave = lambda hook: b"HTTP/1.1 200 OK\r\n"
    monkeypatch.setattr("edge.events.publish.post.socket.socket.shutdown", hang_up_and_stay)
    with pytest.raises(NotDeliveredError, match="no answer in time"):
        post(Target.of(server.url), b"{}", {}, timeout_s=0.2, now_s=0.0)


def test_a_huge_answer_is_not_read(server: HookServer) -> None:
    server.behave = lambda hook: answer(200, body=b"x" * 50_000_000)
    assert post(Target.of(server.url), b"{}", {}, timeout_s=WAIT_S, now_s=0.0).status == 200
    server.wait_for(lambda _: server.cut_short == 1)


def test_a_queue_survives_its_process(tmp_path: Path, server: HookServer, made: list[WebhookPublisher]) -> None:
    """Told while the server was away, by a process that was then killed."""
    server.stop()
    program = """
import os, signal, sys
from pathlib import Path
from edge.events.publish.webhook import WebhookPublisher, open_spool
from edge.events.settings import WebhookSettings
from tests.events import change
one = WebhookPublisher(WebhookSettings(url=sys.argv[2]), open_spool(Path(sys.argv[1])))
one.start()
for number in range(10):
    one.publish(change("new", number))
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path), server.url], check=False)
    assert killed.returncode == -9
    server.start()
    one = started(made, tmp_path, server.url)
    assert told(server.wait_for(lambda hooks: len(hooks) == 10)) == list(range(10))
    wait_until(lambda: one.statistics().waiting == 0)


def test_what_is_not_told_in_time_stays(tmp_path: Path, server: HookServer, made: list[WebhookPublisher]) -> None:
    server.behave = lambda hook: None
    one = publisher(tmp_path, server.url)
    one.start()
    for number in range(3):
        one.publish(change("new", number))
    server.wait_for(lambda hooks: len(hooks) == 1)
    begun_s = time.monotonic()
    one.close(0.2)
    assert time.monotonic() - begun_s < WAIT_S / 2, "the answer is not waited for"
    one.publish(change("new", 9))  # after the end nothing is taken
    server.stop()
    one._thread.join(WAIT_S)
    server.behave = lambda hook: answer()
    server.start()
    other = started(made, tmp_path, server.url)
    assert told(server.wait_for(lambda hooks: len(hooks) == 4)) == [0, 1, 2]
    wait_until(lambda: other.statistics() == WebhookStatistics(delivered=3, refused=0, dropped=0, waiting=0))


def test_closing_tells_what_waits(tmp_path: Path, server: HookServer) -> None:
    one = publisher(tmp_path, server.url)
    one.start()
    for number in range(30):
        one.publish(change("new", number))
    one.close(WAIT_S)
    assert told(server.hooks) == list(range(30))
    assert one.statistics().waiting == 0


def test_what_comes_between_a_look_and_the_close_is_told(
    tmp_path: Path, server: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = publisher(tmp_path, server.url)
    peek = Spool.peek
    looked, may_go_on = threading.Event(), threading.Event()

    def peek_and_wait(spool: Spool, most: int, topic: str) -> list[Item]:
        items = peek(spool, most, topic)
        if not looked.is_set():
            looked.set()
            may_go_on.wait(WAIT_S)
        return items

    monkeypatch.setattr(Spool, "peek", peek_and_wait)
    one.start()
    assert looked.wait(WAIT_S)
    one.publish(change("new", 7))
    threading.Timer(0.2, may_go_on.set).start()
    one.close(WAIT_S)
    assert told(server.hooks) == [7]


def test_two_processes_take_turns(tmp_path: Path, server: HookServer, made: list[WebhookPublisher]) -> None:
    first = started(made, tmp_path, server.url)
    second = started(made, tmp_path, server.url)
    for number in range(20):
        (first if number % 2 else second).publish(change("new", number))
    hooks = server.wait_for(lambda hooks: len(hooks) == 20)
    assert [json.loads(hook.body)["track_id"] for hook in hooks] == list(range(20))
    made.remove(first)
    made.remove(second)
    first.close(WAIT_S)
    second.publish(change("new", 99))
    assert 99 in told(server.wait_for(lambda hooks: len(hooks) == 21))
    second.close(WAIT_S)


def test_publishing_takes_no_time(tmp_path: Path, server: HookServer, made: list[WebhookPublisher]) -> None:
    server.behave = lambda hook: None
    one = started(made, tmp_path, server.url)
    took_s = []
    for number in range(200):
        begun_s = time.monotonic()
        one.publish(change("new", number))
        took_s.append(time.monotonic() - begun_s)
    assert one.statistics().waiting == 200, "the server has not even answered the first"
    assert median(took_s) < 1.0
    server.stop()


def test_a_queue_that_fails_is_said_once_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = publisher(tmp_path, "http://127.0.0.1:9/hook")

    def fail(*_: object) -> int:
        raise SinkError("The spool cannot be used (disk full)")

    one._spool.append = fail  # type: ignore[method-assign,assignment] # as a full disk would
    for _ in range(3):
        one.publish(change())
    assert one.statistics().dropped == 3
    assert [record.getMessage() for record in caplog.records] == [
        "webhook 127.0.0.1: changes cannot be kept: The spool cannot be used (disk full)"
    ]


def test_what_grows_too_old_is_dropped_and_counted(tmp_path: Path, made: list[WebhookPublisher]) -> None:
    old = WebhookPublisher(
        WebhookSettings(url="http://127.0.0.1:9/hook"), open_spool(tmp_path), wall_clock=lambda: time.time() - 90_000
    )
    old.publish(change())
    one = started(made, tmp_path, "http://127.0.0.1:9/hook")
    wait_until(lambda: one.statistics().dropped == 1)
    assert one.statistics().waiting == 0


def test_nothing_secret_is_logged(
    tmp_path: Path, server: HookServer, made: list[WebhookPublisher], caplog: pytest.LogCaptureFixture
) -> None:
    statuses = cycle([500, 404, 301, 200])
    server.behave = lambda hook: answer(next(statuses))
    url = server.url.replace("//", "//user:Passw0rd@") + "/T0ken?key=K3y"
    with caplog.at_level(logging.DEBUG):
        one = started(made, tmp_path, url)
        for number in range(4):
            one.publish(change("new", number))
        server.wait_for(lambda hooks: len(hooks) >= 5)
        server.stop()
        one.publish(change())
        wait_until(lambda: one._failures)
    shown = caplog.text + repr(one._target) + repr(one._settings) + str([path.name for path in tmp_path.iterdir()])
    shown += str([thread.name for thread in threading.enumerate()])
    assert not [secret for secret in ("Passw0rd", "T0ken", "K3y", SECRET, "user:") if secret in shown]


def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = TlsServer(context).start()
    url = server.url.replace("http:", "https:")
    with pytest.raises(NotDeliveredError, match="its certificate is not trusted"):
        post(Target.of(url), b"{}", {}, timeout_s=WAIT_S, now_s=0.0)
    assert post(Target.of(url, certificate), b"{}", {}, timeout_s=WAIT_S, now_s=0.0).status == 200
    server.stop()
    settings = WebhookSettings(url=url, ca_file=tmp_path / "none.pem")
    with pytest.raises(UsageError, match=r"cannot use the certificates .*none\.pem: no such file"):
        WebhookPublisher(settings, open_spool(tmp_path))


class TlsServer(HookServer):
    """The same behind TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.context = context

    def _serve(self, client: Any) -> None:
        with suppress(OSError), client, self.context.wrap_socket(client, server_side=True) as encrypted:
            super()._serve(encrypted)


def test_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotDeliveredError, match="connection refused"):
        post(Target.of("http://127.0.0.1:9/"), b"", {}, timeout_s=WAIT_S, now_s=0.0)

    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NotDeliveredError, match="its name is not known"):
        post(Target.of("http://nowhere.invalid/"), b"", {}, timeout_s=WAIT_S, now_s=0.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("9" * 5000, 9_999_999_999.0),
        (formatdate(1060.0, usegmt=True), 60.0),
        (formatdate(10.0, usegmt=True), 0.0),
        ("soon", None),
        ("-3", None),
        ("Mon, 99 Foo 9999", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now_s=1000.0) == seconds


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_back_off_grows_is_bounded_and_is_by_luck(failures: int, luck: float) -> None:
    assert 0 <= backoff_s(failures, 60.0, luck) <= min(60.0, 2.0 ** min(failures - 1, 10))
    assert backoff_s(failures, 60.0, 0.0) == 0.0
    assert backoff_s(failures + 1, 60.0, luck) >= backoff_s(failures, 60.0, luck)


def test_all_who_are_told(tmp_path: Path, server: HookServer) -> None:
    other = HookServer(behave=lambda hook: None).start()
    hooks = [WebhookSettings(url=each.url, timeout_s=WAIT_S) for each in (server, other)]
    publishers = Publishers(hooks, None, tmp_path)
    publishers.start()
    publishers.publish(change())
    other.wait_for(lambda hooks: len(hooks) == 1)
    wait_until(lambda: publishers.statistics().webhooks["1:127.0.0.1"].waiting == 0)
    begun_s = time.monotonic()
    publishers.close(0.2)
    assert time.monotonic() - begun_s < WAIT_S / 2, "an answer that does not come is not waited for"
    statistics = publishers.statistics()
    assert statistics.mqtt is None
    assert {name: each.waiting for name, each in statistics.webhooks.items()} == {"1:127.0.0.1": 0, "2:127.0.0.1": 1}
    other.stop()
    for each in publishers._webhooks:
        each._thread.join(WAIT_S)
    with pytest.raises(UsageError, match=r"^two webhooks have the same url, that of 127\.0\.0\.1; leave one out$"):
        Publishers([hooks[0], hooks[0]], None, tmp_path)
    assert oct((tmp_path / "events" / "webhooks.db").stat().st_mode)[-3:] == "600"


def test_the_example_in_the_documentation_checks_signatures() -> None:
    text = (Path(__file__).parent.parent / "docs" / "events.md").read_text(encoding="utf-8")
    known: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], known)  # noqa: S102 - our own documentation
    body, now = change_json(change()).encode(), str(int(time.time()))
    headers = {"X-VideoDisco-Timestamp": now, "X-VideoDisco-Signature": webhook.signature(SECRET, now, body)}
    assert known["is_genuine"](SECRET, headers, body)
    assert not known["is_genuine"](SECRET, headers, body + b" ")
    assert not known["is_genuine"]("other", headers, body)
    assert not known["is_genuine"](SECRET, headers | {"X-VideoDisco-Timestamp": str(int(now) - 1)}, body)
    assert not known["is_genuine"](SECRET, headers | {"X-VideoDisco-Timestamp": "1000"}, body)
