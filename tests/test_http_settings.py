"""The door's settings: what is refused before anything listens, and what is never shown."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from stream.config import build, to_yaml
from stream.errors import UsageError
from stream.http.settings import HttpSettings, Role, is_loopback, require_closed_door

TOKEN = "a-good-long-token-42"  # noqa: S105 - made for this test
OTHERS = "0.0.0.0"  # noqa: S104 - what is tested


def settings(**values: Any) -> HttpSettings:
    return HttpSettings.model_validate(values)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST", "cam.localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    require_closed_door(settings(host=host))


@pytest.mark.parametrize("host", [OTHERS, "::", "192.168.1.7", "cam.example", "localhost.example", "fe80::1%eth0"])
def test_other_addresses_need_one(host: str) -> None:
    with pytest.raises(UsageError, match=r"lets in whoever reaches it: set tokens.*or say insecure") as caught:
        require_closed_door(settings(host=host))
    assert host in str(caught.value)
    require_closed_door(settings(host=host, insecure=True))
    require_closed_door(settings(host=host, tokens=[{"name": "a", "token": TOKEN}]))


def test_a_certificate_alone_is_no_door_but_those_of_clients_are() -> None:
    tls = {"certificate": "c.pem", "key": "k.pem"}
    with pytest.raises(UsageError):
        require_closed_door(settings(host=OTHERS, tls=tls))
    require_closed_door(settings(host=OTHERS, tls={**tls, "client_ca": "ca.pem"}))


def test_tokens_are_never_shown() -> None:
    chosen = settings(tokens=[{"name": "a", "token": TOKEN}])
    assert TOKEN not in repr(chosen) + to_yaml(chosen) + chosen.model_dump_json()


def test_a_short_token_is_refused_without_repeating_it() -> None:
    with pytest.raises(UsageError, match="at least 16 characters") as caught:
        build(HttpSettings, {"tokens": [{"name": "a", "token": "1234567"}]}, origin="x.yaml")
    assert "1234567" not in str(caught.value)


def test_a_token_of_digits_is_text() -> None:
    digits = "12345678901234567890"
    assert settings(tokens=[{"name": "a", "token": int(digits)}]).tokens[0].digest == digest(digits)


def test_a_token_may_be_given_by_its_hash() -> None:
    chosen = settings(tokens=[{"name": "a", "token_sha256": digest(TOKEN).hex().upper(), "role": "admin"}])
    assert chosen.tokens[0].digest == digest(TOKEN)


@pytest.mark.parametrize("token", [{}, {"token": TOKEN, "token_sha256": "0" * 64}])
def test_a_token_is_given_in_one_way(token: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either token or token_sha256"):
        settings(tokens=[{"name": "a", **token}])


def test_two_people_do_not_share_a_token() -> None:
    with pytest.raises(ValueError, match="two tokens are the same"):
        settings(tokens=[{"name": "a", "token": TOKEN}, {"name": "b", "token_sha256": digest(TOKEN).hex()}])


def test_each_role_includes_those_before_it() -> None:
    allowed = [(mine, needed) for mine in Role for needed in Role if mine.allows(needed)]
    assert allowed == [
        (Role.VIEW, Role.VIEW),
        (Role.OPERATE, Role.VIEW),
        (Role.OPERATE, Role.OPERATE),
        (Role.ADMIN, Role.VIEW),
        (Role.ADMIN, Role.OPERATE),
        (Role.ADMIN, Role.ADMIN),
    ]


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
