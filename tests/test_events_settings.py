"""Settings of events: what is refused, and that secrets show nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.events.settings import EventSettings, MqttSettings, WebhookSettings
from stream.config import Settings, build, fingerprint, to_yaml
from stream.errors import UsageError

HOOK = {"url": "https://user:Passw0rd@hooks.example/services/T0ken1?key=K3y", "secret": "s3cretS1gn"}
BROKER = {"host": "broker", "user": "cams", "password": "Passw0rd"}
SECRETS = ("Passw0rd", "T0ken1", "K3y", "s3cretS1gn")


@pytest.mark.parametrize(("kind", "values"), [(WebhookSettings, HOOK), (MqttSettings, BROKER)])
def test_secrets_show_nowhere(kind: type[Settings], values: dict[str, Any]) -> None:
    made = build(kind, values, origin="cameras.yaml")
    shown = repr(made) + str(made) + to_yaml(made) + made.model_dump_json() + fingerprint(made)
    assert not [secret for secret in SECRETS if secret in shown]
    assert "**********" in to_yaml(made)


def test_secrets_compare() -> None:
    one, same, other = (WebhookSettings(**(HOOK | {"secret": secret})) for secret in ("a", "a", "b"))
    assert one == same != other
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("kind", "values", "complaint"),
    [
        (WebhookSettings, {"url": "ftp://u:Passw0rd@host/T0ken1"}, "url does not begin with http:// or https://"),
        (WebhookSettings, {"url": "https:///T0ken1"}, "url names no host"),
        (WebhookSettings, {"url": "https://host:99999/T0ken1"}, "url is not a valid address"),
        (WebhookSettings, {"url": "https://host/T0ken1 x"}, "url holds characters that must be percent-encoded"),
        (WebhookSettings, {"url": "https://höst/T0ken1"}, "url holds characters that must be percent-encoded"),
        (WebhookSettings, {"url": "https://host/T0ken1\r\nX: y"}, "url holds characters"),
        (WebhookSettings, HOOK | {"timeout_s": 0}, "timeout_s: input should be greater than or equal to 0.1"),
        (WebhookSettings, HOOK | {"events": []}, "events: list should have at least 1 item"),
        (WebhookSettings, HOOK | {"events": ["begin"]}, "events.0: input should be 'new', 'update' or 'end'"),
        (WebhookSettings, HOOK | {"method": "PUT"}, "unknown key 'method'"),
        (MqttSettings, {"host": "mqtt://u:Passw0rd@broker"}, "host is a name or address alone"),
        (MqttSettings, {"host": "broker", "password": "Passw0rd"}, "a password needs a user"),
        (MqttSettings, {"host": "broker", "topic_prefix": "cams/#"}, "topic_prefix must not"),
        (MqttSettings, {"host": "broker", "topic_prefix": "$SYS"}, "topic_prefix must not"),
        (MqttSettings, {"host": "broker", "port": 0}, "port: input should be greater than or equal to 1"),
        (EventSettings, {"min_hits": 0}, "min_hits: input should be greater than or equal to 1"),
        (EventSettings, {"min_confidence": 1.5}, "min_confidence: input should be less than or equal to 1"),
    ],
)
def test_what_cannot_work_is_refused_without_a_secret(
    kind: type[Settings], values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=r"^cameras\.yaml: ") as caught:
        build(kind, values, origin="cameras.yaml")
    assert complaint in str(caught.value)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_a_password_of_digits_is_one() -> None:
    made = build(MqttSettings, yaml.safe_load("{host: broker, user: cams, password: 1234}"), origin="cameras.yaml")
    assert made.password is not None
    assert made.password.get_secret_value() == "1234"


def test_what_a_webhook_is_called() -> None:
    assert WebhookSettings(**HOOK).shown == "hooks.example"
    assert WebhookSettings(**HOOK, name="door bell").shown == "door bell"


def test_the_usual_ports() -> None:
    assert [MqttSettings(host="b", tls=tls).actual_port for tls in (False, True)] == [1883, 8883]
    assert MqttSettings(host="b", port=1884).actual_port == 1884


@pytest.mark.parametrize("kind", [EventSettings, WebhookSettings, MqttSettings])
def test_every_field_says_what_it_is(kind: type[Settings]) -> None:
    assert [name for name, field in kind.model_fields.items() if not field.description] == []


def test_settings_survive_yaml_but_for_their_secrets(tmp_path: Path) -> None:
    made = EventSettings(zones=("yard",), classes=("person", "2"))
    assert build(EventSettings, yaml.safe_load(to_yaml(made)), origin="config.yaml") == made
    with pytest.raises(UsageError, match="url does not begin with"):
        build(WebhookSettings, yaml.safe_load(to_yaml(WebhookSettings(**HOOK))), origin="config.yaml")
