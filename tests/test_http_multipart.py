"""Multipart bodies: what well-formed ones hold, and that no others get through or do harm."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.http.errors import HttpError
from stream.http.multipart import MAX_PART_HEADERS, Part, boundary_of, parameters, parse

TYPE = "multipart/form-data; boundary=XX"
FIELD = b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n'


def encoded(*parts: tuple[str, bytes], end: bytes = b"--XX--\r\n") -> bytes:
    """Parts of a head (without its line ends) and data."""
    return b"".join(b"--XX\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + end


def disposition(rest: str) -> str:
    return f"Content-Disposition: form-data; {rest}"


def one(head: str, data: bytes = b"x") -> Part:
    (part,) = parse(encoded((head, data)), TYPE, max_parts=1)
    return part


def refused(body: bytes, content_type: str = TYPE, max_parts: int = 9) -> HttpError:
    with pytest.raises(HttpError) as caught:
        parse(body, content_type, max_parts=max_parts)
    return caught.value


def test_fields_and_files() -> None:
    picture = bytes(range(256)) * 3 + b"\r\n--X\r\n\r\n"
    body = encoded(
        (disposition('name="conf"'), b"0.5"),
        (disposition('name="file"; filename="a b.jpg"') + "\r\nContent-Type: image/JPEG; q=1", picture),
        (disposition("name=meta") + "\r\ncontent-type: application/json", b"{}"),
        (disposition('name="empty"; filename=""'), b""),
    )
    conf, file, meta, empty = parse(body, TYPE, max_parts=4)
    assert conf == Part("conf", b"0.5")
    assert file == Part("file", picture, "image/jpeg", "a b.jpg")
    assert meta == Part("meta", b"{}", "application/json")
    assert [each.is_file for each in (conf, file, meta, empty)] == [False, True, False, True]


def test_what_surrounds_the_parts_is_ignored() -> None:
    body = encoded((disposition('name="a"'), b"1"), end=b"--XX--  anything\r\n--XX\r\n")
    assert parse(b"before\r\n" + body, TYPE, max_parts=1) == (Part("a", b"1"),)
    assert parse(b"--XX--", TYPE, max_parts=1) == ()
    assert parse(body.replace(b"--XX\r\n", b"--XX \t\r\n", 1), TYPE, max_parts=1) == (Part("a", b"1"),)


@pytest.mark.parametrize(
    ("rest", "shown"),
    [
        ('filename="../../etc/passwd"', "passwd"),
        (r'filename="C:\Users\me\x.jpg"', "x.jpg"),
        ('filename="/"', ""),
        ('filename=".."', ".."),
        ('filename="a\x00b\x1b.jpg"', "ab.jpg"),
        (r'filename="say \"hi\".jpg"', 'say "hi".jpg'),
        ("filename=\"x\"; filename*=UTF-8''na%C3%AFve%2F..%2Fz.jpg", "z.jpg"),
        ("filename*=UTF-8''%ff%fe", "\ufffd\ufffd"),
        (f'filename="{"x" * 500}"', "x" * 200),
    ],
)
def test_a_file_name_has_no_folders_and_no_control_characters(rest: str, shown: str) -> None:
    assert one(disposition(f'name="f"; {rest}')).filename == shown


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="ends with space "',
        "multipart/form-data; boundary=\u00e4",
        "multipart/form-data; charset=utf-8",
    ],
)
def test_no_valid_boundary_is_a_400(content_type: str) -> None:
    error = refused(encoded((disposition('name="a"'), b"1")), content_type)
    assert (error.status, str(error)) == (
        400,
        "the multipart body is malformed: its Content-Type names no valid boundary",
    )


def test_a_boundary_may_be_quoted_and_odd() -> None:
    assert boundary_of('multipart/form-data; boundary="a b\'()+_,-./:=?"; x=1') == b"a b'()+_,-./:=?"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b"--XX",
        b"--XX\r\n",
        b"--XXZ\r\n",
        FIELD,
        FIELD + b"1",
        FIELD + b"1\r\n--X",
        FIELD + b"1\r\n--XX",
        FIELD + b"1\r\n--XXYY",
        FIELD + b"1\r\n--XX\r\n",
        FIELD.replace(b"\r\n\r\n", b"\r\n") + b"1\r\n--XX--",
        FIELD.replace(b"\r\n", b"\n") + b"1\n--XX--",
        encoded((disposition('name=""'), b"1")),
        encoded((disposition('name="a\x07"'), b"1")),
        encoded((disposition(f'name="{"a" * 201}"'), b"1")),
        encoded(("Content-Disposition: attachment; name=a", b"1")),
        encoded(("Content-Type: text/plain", b"1")),
        encoded(("", b"1")),
        encoded((disposition("name=a") + "\r\n folded", b"1")),
        encoded((disposition("name=a") + "\r\nno colon", b"1")),
        encoded((disposition("name=a") + "\r\nContent-Transfer-Encoding: base64", b"1")),
        encoded((disposition("name=a") + "\r\nContent-Type: multipart/mixed; boundary=Y", b"1")),
        encoded((disposition("name=a") + "\r\nX: y" * MAX_PART_HEADERS, b"1")),
        encoded((disposition("name=a") + "\r\nX: " + "y" * 9000, b"1")),
    ],
)
def test_malformed_bodies_are_a_400(body: bytes) -> None:
    assert refused(body).status == 400


def test_parts_are_bounded() -> None:
    body = encoded(*[(disposition('name="a"'), b"")] * 4)
    assert len(parse(body, TYPE, max_parts=4)) == 4
    assert (refused(body, max_parts=3).status, refused(body, max_parts=3).cause) == (413, "parts")


@pytest.mark.parametrize(
    "body",
    [
        b"--XX\r\n" * 300_000,
        b"\r\n--X" * 400_000,
        FIELD + b"\r\n\r\n" * 500_000,
        encoded((disposition("name=a") + "\r\nX: " + ';a="' * 2000, b"1")),
        encoded(("Content-Disposition: form-data" + ';a="\\"' * 1300, b"1")),
    ],
    ids=["delimiters", "almost delimiters", "empty lines", "open quotes", "escaped quotes"],
)
def test_hostile_bodies_take_no_time(body: bytes) -> None:
    began_s = time.thread_time()
    refused_or_read(body, TYPE)
    # a second is more than a hundred times what they take; a quadratic search takes minutes
    assert time.thread_time() - began_s < 1


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=200)), max_size=5))
def test_what_is_sent_comes_back(parts: list[tuple[str, bytes]]) -> None:
    heads = [name.replace("\\", "\\\\").replace('"', '\\"') for name, _ in parts]
    body = encoded(*[(disposition(f'name="{head}"'), data) for head, (_, data) in zip(heads, parts, strict=True)])
    if any(b"\r\n--XX" in b"\r\n" + data for _, data in parts):
        return
    assert [(each.name, each.data) for each in parse(body, TYPE, max_parts=5)] == parts


PIECES = st.sampled_from(
    [b"--XX", b"--", b"\r\n", b"\r\n\r\n", b"\n", b"Content-Disposition: form-data; name=a", b";", b'"', b"XX", b"\x00"]
)


@settings(max_examples=400)
@given(st.lists(PIECES | st.binary(max_size=4), max_size=30).map(b"".join))
@example(b"--XX--")
@example(b"\r\n--XX\r\n--XX--")
def test_anything_is_read_or_refused(body: bytes) -> None:
    refused_or_read(body, TYPE)


@given(st.text(max_size=100))
def test_any_content_type_is_read_or_refused(text: str) -> None:
    refused_or_read(b"--XX--", f"multipart/form-data; {text}")


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 200))
def test_a_damaged_body_is_read_or_refused(noise: bytes, start: int, length: int) -> None:
    body = encoded((disposition('name="a"; filename="b"'), b"data"), (disposition('name="c"'), b""))
    refused_or_read(body[:start] + noise + body[start + length :], TYPE)


@given(st.text(max_size=60))
def test_parameters_of_anything(text: str) -> None:
    parameters(text)


def refused_or_read(body: bytes, content_type: str) -> None:
    try:
        parts = parse(body, content_type, max_parts=4)
    except HttpError as exc:
        assert exc.status in {400, 413}
        return
    assert sum(len(part.data) for part in parts) <= len(body)
    assert all("/" not in (part.filename or "") for part in parts)
