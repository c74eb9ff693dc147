"""What the cloud answers: round trips, and what a reply may get wrong without harm to its neighbours."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.wire import (
    Answer,
    Failed,
    Guess,
    Problem,
    Refined,
    RefinerModel,
    TooLargeError,
    WireError,
    decode_reply,
    encode_reply,
)
from tests.wire_words import KEY, keys, mangled, names, refined, shares

answers: st.SearchStrategy[Answer] = st.one_of(
    st.builds(
        Refined,
        key=keys,
        label=names,
        confidence=shares,
        top_k=st.lists(st.builds(Guess, label=names, confidence=shares), max_size=20).map(tuple),
        agreement=st.none() | shares,
        model=st.builds(RefinerModel, name=names, version=st.just("1"), sha256=st.sampled_from(["", "0f" * 32])),
    ),
    st.builds(
        Failed,
        key=keys,
        error=st.builds(Problem, code=st.just("bad_image"), message=st.text(max_size=500), retry=st.booleans()),
    ),
)


@given(st.lists(answers, max_size=4, unique_by=lambda answer: answer.key))
@settings(max_examples=60)
def test_a_reply_comes_back_as_it_was(given_answers: list[Answer]) -> None:
    reply = decode_reply(encode_reply(given_answers), {answer.key for answer in given_answers})
    assert list(reply.answers.values()) == given_answers
    assert (reply.strangers, reply.senseless) == (0, 0)


def test_ten_megabytes_are_no_reply() -> None:
    with pytest.raises(TooLargeError, match="the reply has 10485760 bytes"):
        decode_reply(b" " * (10 << 20), [KEY])


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"5", b"{}", b"[]", b'{"results": 5}', b"<html>", b"\xff", b"[" * 100_000, b'{"results": [NaN]}'],
)
def test_what_is_no_reply(body: bytes) -> None:
    with pytest.raises(WireError, match=r"^the reply"):
        decode_reply(body, [KEY])


def test_a_reply_of_another_version() -> None:
    with pytest.raises(WireError, match="another version"):
        decode_reply(b'{"version": 2, "results": []}', [KEY])


def reply_of(*results: Any) -> bytes:
    return json.dumps({"results": results}).encode()


def said(**changes: Any) -> dict[str, Any]:
    first: dict[str, Any] = json.loads(encode_reply([refined()]))["results"][0]
    return first | changes


def test_a_newer_refiner_may_say_more() -> None:
    body = json.dumps({"version": 1, "results": [said(mood="good")], "took_ms": 5}).encode()
    assert decode_reply(body, [KEY]).answers == {KEY: refined()}


def test_an_item_without_an_answer_is_simply_not_there() -> None:
    reply = decode_reply(encode_reply([refined()]), [KEY, "another-key"])
    assert set(reply.answers) == {KEY}


def test_answers_to_what_was_not_asked_are_strangers() -> None:
    reply = decode_reply(reply_of(said(), said(key="another-key"), said(key=5), "text", {}), [KEY])
    assert reply.answers == {KEY: refined()}
    assert (reply.strangers, reply.senseless) == (4, 0)


def test_two_answers_to_one_item_are_none() -> None:
    reply = decode_reply(reply_of(said(), said(label="cat")), [KEY])
    assert (reply.answers, reply.strangers) == ({}, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"label": ""},
        {"label": None},
        {"label": "x" * 201},
        {"label": "two\nlines"},
        {"confidence": 2},
        {"confidence": "0.5"},
        {"agreement": -1},
        {"top_k": [{"label": "a", "confidence": 0.1}] * 21},
        {"top_k": 5},
        {"model": None},
        {"error": "no"},
        {"error": {"code": "Not A Code"}},
        {"error": {"code": "failed", "retry": "yes"}},
    ],
)
def test_an_answer_without_sense_leaves_its_neighbours_alone(changes: dict[str, Any]) -> None:
    reply = decode_reply(reply_of(said(**changes), said(key="another-key")), [KEY, "another-key"])
    assert set(reply.answers) == {"another-key"}
    assert (reply.strangers, reply.senseless) == (0, 1)


def test_an_error_goes_before_an_answer() -> None:
    reply = decode_reply(reply_of(said(error={"code": "deadline", "retry": True})), [KEY])
    assert reply.answers == {KEY: Failed(key=KEY, error=Problem(code="deadline", retry=True))}


def test_whatever_is_mangled_is_refused_or_read() -> None:
    rng = np.random.default_rng(6)
    reply = encode_reply([refined(), Failed(key="another-key", error=Problem(code="failed"))])
    refused = 0
    for _ in range(1500):
        try:
            decode_reply(mangled(reply, rng), [KEY, "another-key"])
        except WireError:
            refused += 1
    assert 300 < refused < 1500
