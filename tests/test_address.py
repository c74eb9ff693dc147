"""Addresses: what is taken, how it is opened, and that its secrets stay in it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import SourceError
from stream.sources.address import AddressKind, is_live, name_of, parse_address

SECRET_URL = "rtsp://user.name:p@ss%2Fw:rd@10.0.0.5:8554/front"  # noqa: S105 # made up


@pytest.mark.parametrize(
    ("argument", "kind", "name"),
    [
        ("rtsp://cam.local/stream1", AddressKind.RTSP, "cam.local-stream1"),
        ("RTSPS://cam.local:322/a/b/main", AddressKind.RTSP, "cam.local-main"),
        ("http://10.0.0.5/mjpg/video.mjpg", AddressKind.HTTP, "10.0.0.5-video.mjpg"),
        ("https://host/live/index.m3u8?token=abc", AddressKind.HTTP, "host-index.m3u8"),
        ("rtmp://host/app/key", AddressKind.RTMP, "host-key"),
        ("udp://@239.0.0.1:1234", AddressKind.UDP, "239.0.0.1"),
        ("udp://:1234", AddressKind.UDP, "udp"),
        ("rtp://127.0.0.1:5004", AddressKind.UDP, "127.0.0.1"),
        ("srt://host:9000?mode=caller", AddressKind.SRT, "host"),
        ("rtsp://[fe80::1]:554/x", AddressKind.RTSP, "fe80::1-x"),
        ("0", AddressKind.WEBCAM, "webcam0"),
        ("webcam:FaceTime HD", AddressKind.WEBCAM, "FaceTime HD"),
        ("/dev/video2", AddressKind.WEBCAM, "video2"),
        ("clips/a.mp4", AddressKind.FILE, "a.mp4"),
    ],
)
def test_each_kind_is_told_and_named(argument: str, kind: AddressKind, name: str) -> None:
    address = parse_address(argument)
    assert (address.kind, name_of(address)) == (kind, name)
    assert is_live(argument) == (kind is not AddressKind.FILE)


def test_a_file_called_like_a_webcam_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").touch()
    assert not is_live("0")
    assert parse_address("0").url == str(tmp_path / "0")


def test_credentials_show_nowhere_but_in_the_url() -> None:
    address = parse_address(SECRET_URL)
    assert address.url == "rtsp://user.name:p%40ss%2Fw:rd@10.0.0.5:8554/front"
    shown = f"{address!r} {address} {address.label} {name_of(address)} {address.endpoint}"
    assert "user.name" not in shown
    assert "ss" not in shown.replace("Address", "")
    assert address.label == "rtsp://***@10.0.0.5:8554/front"
    assert address.endpoint == ("10.0.0.5", 8554)


@pytest.mark.parametrize(
    ("argument", "opened"),
    [
        ("rtsp://u:pa/ss@host/x", "rtsp://u:pa%2Fss@host/x"),
        ("rtsp://u:a?b#c@host/x", "rtsp://u:a%3Fb%23c@host/x"),
        ("rtsp://u:100%@host/x", "rtsp://u:100%25@host/x"),
        ("rtsp://u:%41@host/x", "rtsp://u:%41@host/x"),
        ("rtsp://host:554/x?mail=a@b.c", "rtsp://host:554/x?mail=a@b.c"),
        ("rtsp://token@host/x", "rtsp://token@host/x"),
        ("udp://@239.0.0.1:1234?localaddr=10.0.0.2", "udp://@239.0.0.1:1234?localaddr=10.0.0.2"),
    ],
)
def test_passwords_are_taken_as_people_paste_them(argument: str, opened: str) -> None:
    assert parse_address(argument).url == opened


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("ftp://host/x.mp4", "use one of rtsp"),
        ("file:///etc/passwd", "by its path"),
        ("concat://a|b", "not known"),
        ("rtsp:///x", "no host"),
        ("rtsp://:554/x", "no host"),
        ("rtsp://host:70000/x", "host or port"),
        ("rtsp://u:Xsecret@ho:st:1/x", "host or port"),
        ("rtsp://host/x y", "control character"),
        ("http://host/x\r\nHost: other", "control character"),
        ("rtmp://host/app live=1", "control character"),
        ("udp://host:1?connect=1", "known are localaddr"),
        ("webcam:", "number"),
        ("a\0b", "zero byte"),
    ],
)
def test_what_cannot_be_an_address_is_refused_in_a_sentence(argument: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as refused:
        parse_address(argument)
    assert "Xsecret" not in str(refused.value)


secret = st.text(alphabet="QXZ", min_size=3, max_size=10)
tricky = st.text(alphabet=st.sampled_from("QXZ:/@?#%&=.,;!$*()'+-_~"), max_size=20)


@given(user=secret, password=st.tuples(secret, tricky, secret).map("".join))
def test_no_piece_of_a_password_is_shown(user: str, password: str) -> None:
    try:
        address = parse_address(f"rtsp://{user}:{password}@cam.local/live")
    except SourceError as refused:
        assert not set("QXZ") & set(str(refused).replace("%XX", ""))
        return
    shown = f"{address!r} {address} {address.label} {name_of(address)} {address.endpoint}"
    assert not set("QXZ") & set(shown)


host = st.sampled_from(["cam.local", "10.0.0.5", "127.0.0.1:9901", "[::1]", "[fe80::1]:554", "2130706433", "camera"])
piece = st.text(alphabet=st.sampled_from('aQ1.:/@?#\\%&=[]*;,~ "<'), max_size=8)


@given(
    scheme=st.sampled_from(["rtsp", "https", "http", "rtmp", "srt", "udp"]),
    parts=st.lists(host | piece | st.sampled_from(["@", "/", "?", "#", ":", "admin:12345", ":@", "/x@"]), max_size=7),
)
def test_the_host_that_is_checked_is_the_one_libav_asks(scheme: str, parts: list[str]) -> None:
    """By libav's rule the first of ``/?#`` ends the authority, and the last ``@`` in it the user."""
    try:
        address = parse_address(f"{scheme}://{''.join(parts)}")
    except SourceError:
        return
    authority = re.split("[/?#]", address.url.partition("://")[2], maxsplit=1)[0]
    asked = authority.rpartition("@")[2]
    if address.endpoint is None:
        assert asked.startswith(":"), "it listens"
        return
    assert asked in {each for name, port in [address.endpoint] for each in spellings(name, port)}
    assert urlsplit(address.url).hostname == address.endpoint[0].lower()
    shown = re.split("[/?#]", address.label.partition("://")[2], maxsplit=1)[0]
    assert shown.rpartition("@")[2] == asked, "people are shown the same host"


def spellings(name: str, port: int) -> list[str]:
    bracketed = f"[{name}]" if ":" in name else name
    return [bracketed, f"{bracketed}:{port}", *(f"{bracketed}:{'0' * n}{port}" for n in range(1, 5))]


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp", "rtmp"])
@pytest.mark.parametrize("separator", ["/latest/meta-data", "#", "?", "/?#", "?a=b&c:", "/x/:"])
def test_a_host_behind_the_path_is_not_taken_for_the_host(scheme: str, separator: str) -> None:
    for host in ("127.0.0.1:9901", "127.0.0.1", "[::1]:9901", "[::1]", "localhost"):
        argument = f"{scheme}://{host}{separator}@10.0.0.1/x"
        try:
            address = parse_address(argument)
        except SourceError as refused:
            assert "%2F" in str(refused)
            continue
        assert address.endpoint is not None
        assert address.endpoint[0] == host.strip("[]").removesuffix("]:9901").removesuffix(":9901")


@pytest.mark.parametrize(
    "argument",
    [
        "rtsp://admin:Xgeheim 1@10.0.0.9/x",
        'rtsp://admin:Xge"heim@10.0.0.9/x',
        "rtsp://admin:12345/Xgeheim@10.0.0.9/x",
        "rtsp://admin:1,rtsp://Xgeheim@10.0.0.9/x",
        "rtsp://admin:Xgeheim",
        "rtsp:///admin:Xgeheim@10.0.0.9/x",
        "rtps://admin:Xgeheim@10.0.0.9/x",
        "rtsp://admin:Xgeheim@cämera/x",
        f"rtsp://admin:Xgeheim@{'a' * 254}/x",
        "udp://admin:Xgeheim@239.0.0.1:1?connect=1",
    ],
)
def test_a_refused_address_is_not_repeated(argument: str) -> None:
    with pytest.raises(SourceError) as refused:
        parse_address(argument)
    assert "Xge" not in str(refused.value)
    assert "admin" not in str(refused.value)


SPELLINGS = (
    "rtsp://{}10.0.0.9/x",
    "rtsp//{}10.0.0.9/x",
    "rtsp:/{}10.0.0.9/x",
    "rtsp:{}10.0.0.9/x",
    "rtsp;//{}10.0.0.9/x",
    "rtsp\\\\{}10.0.0.9",
    "rtsp:///{}10.0.0.9/x",
    "rtps://{}10.0.0.9/x",
    " rtsp://{}10.0.0.9/x",
    "'rtsp://{}10.0.0.9/x'",
    "http//{}cam.local",
    "//{}10.0.0.9/x",
    "{}10.0.0.9",
    "{}10.0.0.9/x y",
    "{}camera/x",
    "webcam://{}10.0.0.9",
)


@given(
    spelling=st.sampled_from(SPELLINGS),
    password=st.tuples(secret, st.text(alphabet=" :/@?#%&\\\"'<>\t,;${}*", max_size=6), secret).map("".join),
)
def test_no_spelling_of_an_address_shows_the_password(spelling: str, password: str) -> None:
    argument = spelling.format(f"admin:{password}@")
    assert is_live(argument)
    try:
        shown = str(parse_address(argument))
    except SourceError as refused:
        shown = str(refused).replace("%XX", "")
    assert not set("QXZ") & set(shown)


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("192.168.1.20", "rtsp://192.168.1.20/..."),
        ("192.168.1.20:554/stream", "rtsp://192.168.1.20:554/..."),
        ("camera.local", "rtsp://camera.local/..."),
        ("cam-1.home/live?user=a&password=b", "rtsp://cam-1.home/..."),
        ("door.example:8554", "rtsp://door.example:8554/..."),
        ("[fe80::1]:554", "rtsp://[fe80::1]:554/..."),
        ("http:/cam.local/x", "begins with http://; "),
        ("admin:geheim@10.0.0.9", "begins with rtsp://; "),
    ],
)
def test_what_looks_like_a_host_is_told_how_addresses_begin(argument: str, written: str) -> None:
    assert is_live(argument)
    with pytest.raises(SourceError, match="an address begins with") as refused:
        parse_address(argument)
    assert written in str(refused.value)


@pytest.mark.parametrize(
    "argument",
    ["clip.mp4", "a/b.mov", "./192.168.1.20", "~/me@work/12:30.mp4", "C:\\me@work.mp4", "2026-01-01T12:30", "1.2.mp4"],
)
def test_what_looks_like_a_file_is_one(argument: str) -> None:
    assert not is_live(argument)
    assert parse_address(argument).kind is AddressKind.FILE


def test_a_file_called_like_a_host_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "192.168.1.20").touch()
    assert not is_live("192.168.1.20")
    assert parse_address("192.168.1.20").kind is AddressKind.FILE
    assert is_live("1" * 300), "nor does a name too long for a file do harm"
