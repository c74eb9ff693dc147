"""What the edge asks: round trips, and everything a peer may get wrong."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.http.multipart import Part
from stream.wire import (
    LIMITS,
    MAX_SIDE_PX,
    MAX_TRACK_ID,
    Crop,
    RefineItems,
    TooLargeError,
    WireError,
    WireLimits,
    decode_request,
    encode_request,
    pair,
)
from tests.wire_words import KEY, item, keys, mangled, names, shares


def body_of(listed: Any, pictures: list[tuple[str, bytes]], kind: str = "image/jpeg") -> tuple[bytes, str]:
    """A request as a stranger would write it."""
    text = listed if isinstance(listed, bytes) else json.dumps(listed).encode()
    parts = [("items", "application/json", text), *((name, kind, content) for name, content in pictures)]
    body = b"".join(
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {type_}\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, type_, content in parts
    )
    return body + b"--xyz--\r\n", "multipart/form-data; boundary=xyz"


def listed(**changes: Any) -> dict[str, Any]:
    one = json.loads(RefineItems(items=(item(),)).model_dump_json())["items"][0]
    return {"items": [one | changes]}


sides = st.integers(1, MAX_SIDE_PX)


@st.composite
def boxes(draw: st.DrawFn) -> dict[str, Any]:
    width, height = draw(sides), draw(sides)
    left, top = draw(st.floats(0, width - 0.5)), draw(st.floats(0, height - 0.5))
    right, bottom = draw(st.floats(left + 0.25, width)), draw(st.floats(top + 0.25, height))
    return {"width": width, "height": height, "bbox": (left, top, right, bottom)}


@st.composite
def crops(draw: st.DrawFn) -> Crop:
    changes = draw(boxes()) | {
        "source": draw(names),
        "track_id": draw(st.none() | st.integers(0, MAX_TRACK_ID)),
        "class_name": draw(names),
        "confidence": draw(shares),
        "time": draw(st.datetimes(timezones=st.just(UTC))),
    }
    return Crop(item(draw(keys), **changes), draw(st.binary(max_size=400)))


@given(st.lists(crops(), min_size=1, max_size=4, unique_by=lambda crop: crop.item.key))
@settings(max_examples=60)
def test_a_request_comes_back_as_it_was(sent: list[Crop]) -> None:
    assert decode_request(*encode_request(sent)) == tuple(sent)


def test_a_picture_may_hold_anything_even_what_looks_like_a_boundary() -> None:
    content = b"\r\n--\r\n\r\n--xyz--\r\n--" + bytes(range(256))
    (crop,) = decode_request(*encode_request([Crop(item(), content)]))
    assert crop.jpeg == content


def test_the_words_on_the_wire_are_those_of_the_predictions() -> None:
    body, content_type = encode_request([Crop(item(), b"\xff\xd8\xff")])
    assert content_type.startswith("multipart/form-data; boundary=")
    assert b'"class":"dog"' in body
    assert b'"time":"2026-11-23T12:00:00.250000Z"' in body
    assert b'"version":1' in body
    assert f'name="{KEY}"\r\nContent-Type: image/jpeg\r\n\r\n'.encode() in body


def test_pictures_are_found_by_their_key_and_not_by_their_place() -> None:
    first, second = item("first-key"), item("second-key")
    parts = [Part("second-key", b"2", "image/jpeg"), Part("first-key", b"1", "image/jpeg")]
    assert [crop.jpeg for crop in pair([first, second], parts)] == [b"1", b"2"]


def test_a_form_whose_json_was_read_already_is_validated_the_same() -> None:
    seen = RefineItems.model_validate(listed())
    assert seen.items == (item(),)


@pytest.mark.parametrize(
    "changes",
    [
        {"confidence": 1.01},
        {"confidence": -0.01},
        {"confidence": "0.5"},
        {"confidence": True},
        {"confidence": None},
        {"bbox": [10, 20, 5, 90]},
        {"bbox": [10, 20, 110, 20]},
        {"bbox": [10, 20, 1300, 90]},
        {"bbox": [10, 20, 110, 900]},
        {"bbox": [10, 20, 110]},
        {"bbox": [10, 20, 110, 90, 5]},
        {"bbox": [-50, 20, 110, 90]},
        {"bbox": [1e300, 0, 2e300, 9]},
        {"track_id": -1},
        {"track_id": 2**60},
        {"track_id": 10**400},
        {"track_id": "7"},
        {"track_id": 7.5},
        {"key": "short"},
        {"key": "k" * 65},
        {"key": "../../../etc/passwd"},
        {"key": "with\r\nnewline"},
        {"source": ""},
        {"source": "x" * 201},
        {"source": "two\nlines"},
        {"class": "\u0000"},
        {"class": 5},
        {"time": 1_700_000_000},
        {"time": "yesterday"},
        {"time": "2026-11-23T12:00:00"},
        {"width": 0},
        {"height": 70_000},
        {"model": {"name": "n", "version": "1", "sha256": "AB" * 32}},
        {"model": {"name": "n", "version": "1", "sha256": "ab" * 32, "path": "/home"}},
        {"model": None},
        {"colour": "red"},
    ],
)
@pytest.mark.parametrize("read_already", [False, True])
def test_an_item_out_of_bounds_condemns_the_request(changes: dict[str, Any], read_already: bool) -> None:
    if read_already:
        with pytest.raises(ValueError, match="items"):
            RefineItems.model_validate(listed(**changes))
        return
    with pytest.raises(WireError, match=r"the list of items is refused: items\.0"):
        decode_request(*body_of(listed(**changes), [(KEY, b"j")]))


@pytest.mark.parametrize("key", list(listed()["items"][0]))
def test_every_field_must_be_there(key: str) -> None:
    one = listed()
    del one["items"][0][key]
    with pytest.raises(WireError, match=f"items.0.{key}: field required"):
        decode_request(*body_of(one, [(KEY, b"j")]))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_without_end(number: str) -> None:
    text = json.dumps(listed()).replace("0.41", number).encode()
    with pytest.raises(WireError, match=r"items\.0\.confidence|invalid JSON"):
        decode_request(*body_of(text, [(KEY, b"j")]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "invalid JSON"),
        (b"{", "invalid JSON"),
        (b"\xff\xfe", "invalid JSON"),
        (b"[" * 100_000, "invalid JSON"),
        (b"[]", "input should be an object"),
        (b'{"items": []}', "at least 1 item"),
        (b'{"items": 5}', "valid array"),
        (b'{"version": 2, "items": []}', "version: input should be 1"),
        (b'{"items": [], "more": 1}', "more: this field is not known"),
    ],
)
def test_a_list_that_is_none(text: bytes, reason: str) -> None:
    with pytest.raises(WireError, match="the list of items is refused") as refusal:
        decode_request(*body_of(text, [(KEY, b"j")]))
    assert reason in str(refusal.value)


def test_nothing_that_was_sent_is_repeated() -> None:
    with pytest.raises(WireError) as refusal:
        decode_request(*body_of(listed(source="rtsp://u:secret@cam\n", model="secret"), [(KEY, b"j")]))
    assert "secret" not in str(refusal.value)
    with pytest.raises(WireError) as refusal:
        decode_request(*body_of(listed(**{"x\x1b[31m" + "y" * 500: 1}), [(KEY, b"j")]))
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("pictures", "reason"),
    [
        ([], "one picture of its own"),
        ([("another-key", b"j")], "one picture of its own"),
        ([(KEY, b"j"), ("another-key", b"j")], "one picture of its own"),
        ([(KEY, b"j"), (KEY, b"j")], "same name"),
        ([(KEY, b"j"), ("items", b"{}")], "same name"),
    ],
)
def test_there_is_one_picture_for_each_item(pictures: list[tuple[str, bytes]], reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode_request(*body_of(listed(), pictures))


def test_two_items_of_one_key() -> None:
    twice = listed()
    twice["items"] *= 2
    with pytest.raises(WireError, match="same key"):
        decode_request(*body_of(twice, [(KEY, b"j")]))
    with pytest.raises(WireError, match="same key"):
        encode_request([Crop(item(), b"1"), Crop(item(), b"2")])


def test_pictures_are_jpegs_by_their_own_word() -> None:
    with pytest.raises(WireError, match="not of type image/jpeg"):
        decode_request(*body_of(listed(), [(KEY, b"j")], kind="image/png"))


def test_without_a_list_of_items() -> None:
    body, content_type = body_of(listed(), [])
    with pytest.raises(WireError, match="no part 'items'"):
        decode_request(body.replace(b'name="items"', b'name="thing"'), content_type)
    with pytest.raises(WireError, match="no part 'items'"):
        decode_request(body.replace(b"application/json", b"text/plain"), content_type)


SMALL = WireLimits(max_items=2, max_items_bytes=2000, max_jpeg_bytes=1000, max_body_bytes=4000, max_reply_bytes=500)


@pytest.mark.parametrize(
    ("count", "jpeg_bytes"), [(3, 1), (1, 1001), (2, 1000)], ids=["items", "picture", "all together"]
)
def test_what_is_too_large_is_refused_on_both_sides(count: int, jpeg_bytes: int) -> None:
    limits = SMALL if count != 2 else WireLimits(max_body_bytes=2000)
    sent = [Crop(item(f"key-{number:04}"), b"j" * jpeg_bytes) for number in range(count)]
    with pytest.raises(TooLargeError):
        encode_request(sent, limits)
    with pytest.raises(TooLargeError):
        decode_request(*encode_request(sent), limits)


def test_a_long_list_of_items_is_refused() -> None:
    limits = WireLimits(max_items_bytes=100)
    with pytest.raises(TooLargeError, match="the list of items has"):
        decode_request(*body_of(listed(), [(KEY, b"j")]), limits)


def test_as_many_items_as_are_allowed() -> None:
    sent = [Crop(item(f"key-{number:04}"), b"j") for number in range(LIMITS.max_items)]
    assert decode_request(*encode_request(sent)) == tuple(sent)
    with pytest.raises(TooLargeError, match="65 items"):
        encode_request([*sent, Crop(item("one-too-many"), b"j")])


def test_whatever_is_mangled_is_refused_or_read() -> None:
    rng = np.random.default_rng(6)
    request, content_type = encode_request([Crop(item(), b"\xff\xd8\xff" * 9), Crop(item("another-key"), b"j")])
    refused = 0
    for _ in range(1500):
        try:
            decode_request(mangled(request, rng), content_type)
        except WireError:
            refused += 1
    assert 300 < refused < 1500


@given(st.binary(max_size=300), st.text(max_size=80))
@settings(max_examples=100)
def test_noise_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(WireError):
        decode_request(body, content_type)
