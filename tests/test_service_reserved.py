"""What a configuration that comes over HTTP may not say: places of this machine, the door, the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.config import RunSettings
from edge.service.configuration import ConfigDocument
from edge.service.reserved import MODELS, RESERVED, refuse_reserved, refuse_variables
from stream.errors import UsageError
from tests.service_runs import Serving

FORMER: dict[str, Any] = {
    "cameras": {
        "yard": {"source": "rtsp://u:${PASS}@${HOST}/x", "record": {"folder": "/kept"}, "model": "/my/own.onnx"},
        "gate": {"source": "rtsp://10.0.0.9/x", "zones": [{"name": "${PLACE}"}, {"name": "door"}]},
    },
    "webhooks": [{"url": "${HOOK}", "ca_file": "/ca/a.pem"}, {"url": "https://b/", "ca_file": None}],
    "serve": {"http": {"port": 8080, "tokens": [{"name": "boss", "token": "${BOSS_TOKEN}"}]}},
    "output": {"project": "/runs"},
}


def with_value(place: str, value: Any) -> dict[str, Any]:
    """The former configuration with another value in a place."""
    content: dict[str, Any] = yaml.safe_load(yaml.safe_dump(FORMER))
    *sections, last = place.split(".")
    at: Any = content
    for key in sections:
        at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
    at[last] = value
    return content


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("serve.http.host", "0.0.0.0"),  # noqa: S104 - it is refused
        ("serve.http.insecure", True),
        ("serve.http.audit_log", "/srv/evil"),
        ("serve.http.tls", {"certificate": "/etc/shadow", "key": "/etc/shadow"}),
        ("serve.http.tokens", []),
        ("serve.camera_sources.networks", ["127.0.0.0/8"]),
        ("output.project", "/srv/evil"),
        ("output", None),
        ("cameras.yard.record.folder", "/srv/evil"),
        ("cameras.yard.record", None),
        ("cameras.gate.record", {"folder": "/kept"}),
        ("cameras.new", {"source": "rtsp://10.0.0.1/x", "record": {"folder": "/srv/evil"}}),
        ("defaults.record.folder", "/srv/evil"),
        ("defaults.guard.folders", ["/"]),
        ("defaults.model", "/etc/x.onnx"),
        ("cameras.gate.model", "/my/own.onnx"),
        ("detector.model", "../x.onnx"),
        ("dataset.folder", "/srv/evil"),
        ("mlflow.uri", "sqlite:////srv/evil.db"),
        ("mqtt", {"host": "h", "ca_file": "/etc/shadow"}),
        ("webhooks.1.ca_file", "/etc/shadow"),
        ("escalation.client.key_file", "/etc/shadow"),
        ("sources", ["/etc/passwd"]),
        ("trust.require_signature", True),
    ],
)
def test_places_of_this_machine_and_the_door_are_for_the_file(place: str, value: Any) -> None:
    with pytest.raises(UsageError, match="configuration file itself") as refused:
        refuse_reserved(with_value(place, value), FORMER)
    assert str(refused.value).split(" ", 1)[0].startswith(place.split(".", maxsplit=1)[0]), "the key is named"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("cameras.yard.confidence", 0.7),
        ("cameras.yard.record", {"folder": "/kept", "mode": "events"}),
        ("cameras.new", {"source": "rtsp://10.0.0.1/x"}),
        ("cameras.yard.model", "auto"),
        ("detector.model", "nanodet-g-416"),
        ("cameras", {"gate": {"source": "rtsp://10.0.0.9/x"}}),
        ("webhooks", list(reversed(FORMER["webhooks"]))),
        ("webhooks", []),
        ("mqtt", {"host": "broker"}),
        ("serve.images.queue", 5),
        ("mlflow.enabled", False),
        ("trust", {}),
    ],
)
def test_the_rest_may_be_changed(place: str, value: Any) -> None:
    refuse_reserved(with_value(place, value), FORMER)


def test_every_path_of_the_settings_is_reserved() -> None:
    guarded = (*RESERVED, "cameras.*.guard")  # guards are put in by the service itself
    schema = RunSettings.model_json_schema()
    paths = set(paths_in(schema, schema["$defs"], ""))
    assert {"cameras.*.record.folder", "serve.http.tls.key", "output.project"} <= paths
    lacking = [path for path in paths if not any(path == each or path.startswith(f"{each}.") for each in guarded)]
    assert not lacking
    assert len(MODELS) == 3


def paths_in(node: Any, definitions: dict[str, Any], place: str) -> Iterator[str]:
    """The places of a JSON schema in which a path may stand."""
    if "$ref" in node:
        yield from paths_in(definitions[node["$ref"].rpartition("/")[2]], definitions, place)
    if node.get("format") in {"path", "file-path", "directory-path"}:
        yield place
    for key, inner in node.get("properties", {}).items():
        yield from paths_in(inner, definitions, f"{place}.{key}".strip("."))
    entries = [node.get("items"), node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    for inner in (each for each in entries if isinstance(each, dict)):
        yield from paths_in(inner, definitions, f"{place}.*")
    for kind in ("anyOf", "oneOf", "allOf"):
        for inner in node.get(kind, []):
            yield from paths_in(inner, definitions, place)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("cameras.gate.source", "rtsp://u:x@10.0.0.9/${BOSS_TOKEN}"),
        ("cameras.gate.source", "rtsp://u:${PASS}@${HOST}/x"),
        ("cameras.yard.source", "rtsp://u:${PASS}@${HOST}/y"),
        ("cameras.yard.source", "rtsp://***@${HOST}/y"),
        ("cameras.gate.zones", [{"name": "${HOME}"}]),
        ("cameras.gate.classes", ["${HOME}"]),
        ("output.name", "${HOME}"),
        ("webhooks.1.url", "https://evil/${BOSS_TOKEN}"),
        ("deep", [[{"x": "a${"}]]),
    ],
)
def test_variables_are_for_the_file(place: str, value: Any) -> None:
    with pytest.raises(UsageError, match="only the configuration file") as refused:
        refuse_variables(with_value(place, value), FORMER)
    assert "TOKEN" not in str(refused.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("cameras.yard.confidence", 0.5),
        ("cameras.yard.source", "rtsp://***@${HOST}/x"),
        ("cameras.yard.source", "rtsp://u:${PASS}@${HOST}/x"),
        ("cameras.gate.zones", [{"name": "door"}, {"name": "${PLACE}"}]),
        ("webhooks", list(reversed(FORMER["webhooks"]))),
        ("cameras.gate.zones", [{"name": "$HOME {x}"}]),
    ],
)
def test_variables_that_stand_there_may_stay(place: str, value: Any) -> None:
    refuse_variables(with_value(place, value), FORMER)


@pytest.mark.slow
def test_the_api_gives_away_nothing_and_writes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOSS_TOKEN", "Xboss-token-of-this-service")
    monkeypatch.setenv("CAMERA_HOST", "192.0.2.7")
    path = tmp_path / "cameras.yaml"
    far = {"source": "rtsp://u:Xpw@${CAMERA_HOST}/x", "paused": True, "zones": [], "guard": {}}
    path.write_text(yaml.safe_dump({"cameras": {"far": far}, "mlflow": {"enabled": False}}))
    evil = tmp_path / "evil"
    with Serving(tmp_path / "runs", config=path) as service:
        before = path.read_text()
        zone = {"name": "${BOSS_TOKEN}", "points": [[0, 0], [1, 0], [1, 1]]}
        for method, at, body in (
            ("POST", "/cameras", {"name": "new", "source": "rtsp://u:x@192.0.2.9/${BOSS_TOKEN}"}),
            ("PATCH", "/cameras/far", {"source": "rtsp://u:x@192.0.2.9/${BOSS_TOKEN}"}),
            ("PATCH", "/cameras/far", {"zones": [zone]}),
        ):
            refused = service.ask(method, at, json=body)
            assert (refused.status, b"configuration file" in refused.body) == (400, True), refused.body
        config = service.get("/config").json["config"]
        for change in (
            {"cameras": {"far": {**config["cameras"]["far"], "zones": [zone]}}},
            {"cameras": {"far": {**config["cameras"]["far"], "record": {"folder": str(evil)}}}},
            {"serve": {"http": {"host": "0.0.0.0", "insecure": True}}},  # noqa: S104 - it is refused
            {"output": {"project": str(evil)}},
        ):
            refused = service.ask("PUT", "/config", json={"config": {**config, **change}})
            assert (refused.status, b"configuration file" in refused.body) == (400, True), refused.body
            tried = service.ask("POST", "/config/validate", json={"config": {**config, **change}}).json
            assert (tried["valid"], "configuration file" in tried["problem"]) == (False, True)
        assert not evil.exists()
        assert path.read_text() == before
        same = service.ask("PATCH", "/cameras/far", json={"source": "rtsp://***@${CAMERA_HOST}/x", "confidence": 0.6})
        assert same.status == 200, same.body
        config = service.get("/config").json["config"]
        assert service.ask("PUT", "/config", json={"config": config}).status == 200
        assert "rtsp://u:Xpw@${CAMERA_HOST}/x" in path.read_text()
        for shown in ("/cameras", "/cameras/far", "/config"):
            assert b"Xpw" not in service.get(shown).body
            assert b"Xboss" not in service.get(shown).body


@pytest.mark.parametrize("password", ["ge#heim", "ge/heim", "geheim", "ge?heim"])
@pytest.mark.parametrize("tail", ["10.0.0.9/@192.0.2.66/x", "10.0.0.9?@192.0.2.66", "10.0.0.9#@192.0.2.66"])
def test_a_kept_password_goes_to_no_other_host_behind_an_at(password: str, tail: str) -> None:
    former = f"rtsp://admin:{password}@10.0.0.9/x"
    with pytest.raises(UsageError, match="write its user and password again"):
        ConfigDocument.kept_credentials(f"rtsp://***@{tail}", former)
    assert ConfigDocument.kept_credentials("rtsp://***@10.0.0.9/y", former) == f"rtsp://admin:{password}@10.0.0.9/y"
