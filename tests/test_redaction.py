"""Credentials never get through, whatever they are made of; everything else does."""

from __future__ import annotations

import io
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.redaction import RedactingFilter, redact_url


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("rtsp://admin:hunter2@10.0.0.5:554/stream1", "rtsp://***@10.0.0.5:554/stream1"),
        ("rtsp://user.name:p@ss%2Fw:rd@host/live", "rtsp://***@host/live"),
        ("rtsps://first.last%40corp:pw@cam.local", "rtsps://***@cam.local"),
        ("http://u:pa/ss@host/x", "http://***@host/x"),
        ("rtsp://u:pa?ss#w@host/x", "rtsp://***@host/x"),
        ("rtsp://u:p@s/w@rd@host/x", "rtsp://***@host/x"),
        ("rtsp://admin:12345/6@host/x", "rtsp://***@host/x"),
        ("https://token@host/x", "https://***@host/x"),
        ("rtsp://:pw@host", "rtsp://***@host"),
        ("rtsp://[fe80::1]:554/x", "rtsp://[fe80::1]:554/x"),
        ("rtsp://u:p@[fe80::1]:554/x", "rtsp://***@[fe80::1]:554/x"),
        ("http://h/x?user=admin&password=pw&channel=1", "http://h/x?user=***&password=***&channel=1"),
        ("http://h/x?X-Amz-Signature=ab12&size=3", "http://h/x?X-Amz-Signature=***&size=3"),
        ("http://h/cgi?usr=a&pwd=b#c&n=1", "http://h/cgi?usr=***&pwd=***&n=1"),
        ("rtsp://h/user=admin&password=x&channel=1", "rtsp://h/user=***&password=***&channel=1"),
        ("rtsp://h/user=admin_password=tlJw_channel=1.sdp", "rtsp://h/user=***"),
        ("http://h/x#access_token=abc", "http://h/x#access_token=***"),
        ("http://h/x?email=a@b.c", "http://h/x?email=a@b.c"),
        ("http://h:80/x?email=a@b.c", "http://h:80/x?email=a@b.c"),
        ("rtsp://[::1]/x?email=a@b.c", "rtsp://[::1]/x?email=a@b.c"),
        ("rtsp://u:pa?x=1@host/x", "rtsp://***@host/x"),
        ("rtsp://u:p@s?x=1@host/x", "rtsp://***@host/x"),
        ("http://h/proxy?url=rtsp://u:p@cam/1", "http://h/proxy?url=rtsp://***@cam/1"),
        ("http://h/proxy?src=rtsp%3A%2F%2Fu%3Ap%40cam", "http://h/proxy?src=rtsp%3A%2F%2F***%40cam"),
        ("rtsp://a:b@h1/x,rtsp://c:d@h2/y", "rtsp://***@h1/x,rtsp://***@h2/y"),
        ('{"url":"rtsp://h/x","mail":"a@b"}', '{"url":"rtsp://h/x","mail":"a@b"}'),
        ("cannot open 'rtsp://a:b@h/x': timed out", "cannot open 'rtsp://***@h/x': timed out"),
        ("RTSP://A:B@H/x", "RTSP://***@H/x"),
    ],
)
def test_credentials_are_hidden_and_the_rest_is_kept(text: str, redacted: str) -> None:
    assert redact_url(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "/home/me@work/videos/a b.mp4",
        "C:\\videos\\me@work.mp4",
        "file:///home/me:you@work/a.mp4",
        "clips/*.mp4",
        "0",
        "https://example.org/@scope/package",
        "http://localhost:5000/#/experiments/1/runs/ab12",
        "rtsp://cam.local:8554/front",
        "12:30 mail me@example.org",
        "",
    ],
)
def test_what_holds_no_credentials_is_untouched(text: str) -> None:
    assert redact_url(text) == text


# Letters that occur nowhere else in the URLs below, so that a leak is a certain sign.
secret = st.text(alphabet="QXZ", min_size=4, max_size=12)
tricky = st.text(alphabet=st.sampled_from("QXZ:/@?#%&=.,;!$*()'+-_~"), min_size=1, max_size=20)
host = st.sampled_from(["cam.local", "10.0.0.5:554", "[fe80::1]:554", "localhost"])


@given(user=secret, password=st.tuples(secret, tricky, secret).map("".join), host=host)
def test_no_piece_of_a_raw_password_gets_through(user: str, password: str, host: str) -> None:
    redacted = redact_url(f"opening rtsp://{user}:{password}@{host}/live now")
    assert not set("QXZ") & set(redacted)
    assert redacted.startswith("opening rtsp://***")
    assert redacted.endswith(" now")


@given(user=st.text(min_size=1, max_size=10), password=st.text(min_size=1, max_size=20), host=host)
def test_an_encoded_password_is_replaced_exactly(user: str, password: str, host: str) -> None:
    url = f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@{host}/live"
    assert redact_url(url) == f"rtsp://***@{host}/live"


@given(name=st.sampled_from(["auth", "password", "passwd", "api_key", "token", "user", "client-secret"]), value=secret)
def test_no_secret_value_of_a_query_gets_through(name: str, value: str) -> None:
    assert redact_url(f"http://h/x?a=1&{name}={value}&b=2") == f"http://h/x?a=1&{name}=***&b=2"


@given(st.text() | st.tuples(st.text(), tricky, tricky).map(lambda part: f"{part[0]} rtsp://{part[1]}@{part[2]}"))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact_url(text)
    assert redact_url(once) == once


def logged(message: object, *args: object, exc: BaseException | None = None) -> str:
    """What a filtered handler writes for one record."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(RedactingFilter())
    exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
    handler.handle(logging.LogRecord("test", logging.WARNING, __file__, 1, message, args, exc_info))
    return out.getvalue()


def test_arguments_of_log_calls_are_redacted() -> None:
    assert logged("open %s: %d", "rtsp://u:p@h/x", 5) == "open rtsp://***@h/x: 5\n"


def test_tracebacks_are_redacted() -> None:
    try:
        raise OSError("cannot reach rtsp://u:p@h/x")
    except OSError as error:
        text = logged("failed", exc=error)
    assert "OSError: cannot reach rtsp://***@h/x" in text
    assert "u:p@" not in text


def test_a_bad_format_string_does_not_leak_its_arguments() -> None:
    assert logged("open %d", "rtsp://u:p@h/x") == "open %d ('rtsp://***@h/x',)\n"


def test_a_message_that_is_no_string_is_logged() -> None:
    assert logged(ValueError("rtsp://u:p@h")) == "rtsp://***@h\n"
