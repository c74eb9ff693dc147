"""The document says what the service does: every reference holds, and a fuzzer finds no answer it does not know."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream.http.app import build_app, endpoints_of
from stream.http.endpoints import Endpoint, Media
from stream.http.openapi import document
from stream.http.settings import HttpSettings
from tests.conftest import missing
from tests.http_demo import ABOUT, ADMIN, TOKENS, Demo, Found, Running, Thing, on_loop, running


@pytest.fixture
def api() -> dict[str, Any]:
    return document(ABOUT, Demo().endpoints(), login_needed=True).content


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for each in value.values() for found in references(each)]
    return [found for each in value for found in references(each)] if isinstance(value, list) else []


def test_every_reference_holds_and_nothing_is_left_over(api: dict[str, Any]) -> None:
    named = {f"#/components/schemas/{name}" for name in api["components"]["schemas"]}
    assert set(references(api)) == named
    assert {name.rpartition("/")[2] for name in named} == {"ErrorAnswer", "Found", "Thing"}


def test_parameters_carry_their_bounds(api: dict[str, Any]) -> None:
    operation = api["paths"]["/detect"]["post"]
    conf, classes = operation["parameters"]
    assert conf == {
        "name": "conf",
        "in": "query",
        "required": False,
        "schema": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.4},
        "description": "Lowest confidence.",
    }
    assert classes["schema"] == {"type": "array", "items": {"type": "string"}, "maxItems": 5, "default": []}
    (name,) = api["paths"]["/things/{name}"]["get"]["parameters"]
    assert (name["in"], name["required"], name["schema"]["pattern"]) == ("path", True, "^[a-z0-9_-]{1,20}$")


def test_bodies_of_several_kinds(api: dict[str, Any]) -> None:
    body = api["paths"]["/detect"]["post"]["requestBody"]
    assert (body["required"], set(body["content"])) == (True, {"image/*", "multipart/form-data"})
    form = body["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"file", "note", "numbers"}
    assert form["required"] == ["file"]


def test_answers_and_refusals(api: dict[str, Any]) -> None:
    put = api["paths"]["/things/{name}"]["put"]
    assert put["responses"]["201"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Thing"}
    assert {"400", "401", "403", "404", "408", "413", "415", "429", "503"} < set(put["responses"])
    assert put["security"] == [{"token": []}]
    assert put["x-role"] == "operate"
    assert "content" not in api["paths"]["/things/{name}"]["delete"]["responses"]["204"]


def test_two_models_of_one_status_are_any_of_both() -> None:
    async def nothing(_: object) -> None:
        """Never called."""

    kinds = (Found, Thing, Media("image/jpeg", "A picture."))
    endpoint = Endpoint("GET", "/either", nothing, "Either", answers={200: kinds})
    api = document(ABOUT, [endpoint], login_needed=False).content
    answer = api["paths"]["/either"]["get"]["responses"]["200"]
    assert answer["content"] == {
        "application/json": {
            "schema": {"anyOf": [{"$ref": "#/components/schemas/Found"}, {"$ref": "#/components/schemas/Thing"}]}
        },
        "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
    }
    assert answer["description"] == "What was found. Or: A thing. Or: A picture."
    assert {"Found", "Thing"} < set(api["components"]["schemas"])


@pytest.mark.parametrize("login_needed", [False, True])
def test_the_document_is_valid(login_needed: bool) -> None:
    try:
        import schemathesis
    except ImportError:
        missing("schemathesis", "install the dev extra")
    schemathesis.openapi.from_dict(document(ABOUT, Demo().endpoints(), login_needed=login_needed).content).validate()


def test_where_nobody_logs_in_nothing_is_said_of_it() -> None:
    open_api = document(ABOUT, Demo().endpoints(), login_needed=False).content
    assert "security" not in json.dumps(open_api)


def test_the_table_is_what_is_routed() -> None:
    app = build_app(HttpSettings(), Demo().endpoints(), about=ABOUT)
    table = endpoints_of(app)
    routed = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}
    assert {(each.method, each.path) for each in table} <= routed
    ids = [each for each in table if each.documented]
    assert len({(each.method, each.path) for each in ids}) == len(ids)


def test_an_address_twice_is_refused() -> None:
    async def nothing(_: object) -> None:
        """Never called."""

    twice = [Endpoint("GET", "/a", nothing, "A"), Endpoint("GET", "/a", nothing, "B")]
    with pytest.raises(RuntimeError, match="already"):
        build_app(HttpSettings(), twice, about=ABOUT)


@on_loop
async def test_the_document_is_served_as_it_is_made() -> None:
    async with running() as at:
        api = (await at.ask("GET", "/openapi.json")).json
        assert api["openapi"] == "3.1.0"
        assert api["info"] == {"title": "Demo", "version": "1.2.3", "description": "One endpoint of each kind."}
        assert {"/healthz", "/readyz", "/metrics", "/login", "/detect"} <= set(api["paths"])
        assert "/trouble" not in api["paths"]


# The parts of a form are bytes: a picture of two bytes and the JSON "{}" are the same, so one check fits all but forms.
_CONFIGURATION = """
[[operations]]
include-name = "POST /detect"
checks.negative_data_rejection.enabled = false
"""


async def fuzz(at: Running, folder: Path, *options: str) -> tuple[int, str]:
    (folder / "schemathesis.toml").write_text(_CONFIGURATION)
    command = [
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{at.url}/openapi.json",
        ),
        *(
            "--phases",
            "coverage,fuzzing",
            "--max-examples",
            "5",
            "--seed",
            "7",
            "--request-timeout",
            "60",
            "--no-color",
            "--generation-database",
            "none",
        ),
        *options,
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [False, True], ids=["open", "tokens"])
@on_loop
async def test_a_fuzzer_meets_documented_answers_only(tokens: bool, tmp_path: Path) -> None:
    try:
        import schemathesis  # noqa: F401 - only whether it is there
    except ImportError:
        missing("schemathesis", "install the dev extra")
    demo = Demo()
    demo.release.set()
    limits = {"requests_per_minute": 0, "failed_logins_per_minute": 10_000}
    async with running(demo, tokens=TOKENS if tokens else (), limits=limits) as at:
        options = ("-H", f"Authorization: Bearer {ADMIN}") if tokens else ()
        code, said = await fuzz(at, tmp_path, *options)
        assert code == 0, said
        value = at.metrics.registry.get_sample_value
        labels = {"method": "POST", "route": "/detect", "status": "200"}
        assert value("videodisco_http_requests_total", labels), "it got through as well"
