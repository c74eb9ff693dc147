"""The refiner over real sockets: its contract, its limits, and who leaves."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud.app import CloudService
from cloud.config import CloudSettings
from cloud.refiners.making import make_refiner
from stream import wire
from stream.frame import ModelIdentity
from tests.conftest import missing
from tests.refining import TRUCK, Client, ObedientRefiner, client_of, crop, item, jpeg, key_of, stored, until

DEADLINE_S = 60.0
"""No answer is late because the machine is busy."""

TOKENS = {"north": "a-token-of-the-north-gate", "south": "a-token-of-the-south-gate"}


def settings_of(folder: Path, **sections: Any) -> CloudSettings:
    values = {
        "project": folder / "runs",
        "results": {"path": folder / "results.db"},
        "mlflow": {"enabled": False},
        **sections,
        "batches": {"deadline_s": DEADLINE_S, **sections.get("batches", {})},
        "http": {"port": 0, **sections.get("http", {})},
    }
    return CloudSettings.model_validate(values)


class Running:
    """A service, a client of it, and its figures."""

    def __init__(self, service: CloudService, client: Client, folder: Path) -> None:
        self.service = service
        self.client = client
        self.folder = folder

    @property
    def rows(self) -> list[tuple[str, str, float]]:
        return stored(self.folder / "results.db")

    async def figure(self, line: str, **headers: str) -> float:
        text = (await self.client.get("/metrics", **headers)).body.decode()
        found = [each.rpartition(" ")[2] for each in text.splitlines() if each.startswith(line + " ")]
        return float(found[0]) if found else 0.0


@asynccontextmanager
async def running(folder: Path, refiner: ObedientRefiner | None = None, **sections: Any) -> AsyncIterator[Running]:
    """A service with the obedient refiner, or the bundled one where ``refiner`` is None."""
    settings = settings_of(folder, **sections)
    service = CloudService(settings, refiner or make_refiner(settings))
    await service.start()
    serving = asyncio.create_task(service.run())
    try:
        async with client_of(service.addresses[0]) as client:
            yield Running(service, client, folder)
    finally:
        if refiner is not None:
            refiner.gate.set()
        service.stop()
        await serving


def bearer(token: str) -> str:
    return f"Bearer {token}"


def test_the_reply_is_as_the_contract_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, ObedientRefiner()) as here:
            answers = await here.client.refine(crop(key_of(1)), crop(key_of(2), b"no jpeg"))
            assert answers[key_of(1)] == wire.Refined(
                key=key_of(1),
                label=TRUCK.label,
                confidence=TRUCK.confidence,
                top_k=tuple(wire.Guess(label=each.label, confidence=each.probability) for each in TRUCK.top),
                agreement=TRUCK.agreement,
                model=wire.RefinerModel(name="obedient", version="1", sha256="cd" * 32),
            )
            failed = answers[key_of(2)]
            assert isinstance(failed, wire.Failed)
            assert failed.error.code == "bad_image"
            assert not failed.error.retry

    asyncio.run(scenario())


def test_the_figures_say_which_model_refines_and_who_signed_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        signed = ModelIdentity("obedient", "1", "cd" * 32, "ops.pub sha256:0123456789abcdef")
        async with running(tmp_path, ObedientRefiner(model=signed)) as here:
            sample = (
                f'videodisco_model_info{{model="refiner",name="obedient",sha256="{signed.sha256}",'
                f'signer="{signed.signer}",version="1"}}'
            )
            assert await here.figure(sample) == 1

    asyncio.run(scenario())


def test_the_same_request_twice_has_the_same_answer_and_leaves_one_row(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner) as here:
            crops = [crop(key_of(number)) for number in range(3)]
            first = await here.client.send(*crops)
            again = await asyncio.gather(*(here.client.send(*crops) for _ in range(4)))
            assert {each.body for each in again} == {first.body}
            assert [key for key, _, _ in here.rows] == [key_of(number) for number in range(3)]
            assert refiner.worked_on == 3

    asyncio.run(scenario())


def test_it_says_how_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, ObedientRefiner()) as here:
            assert (await here.client.get("/healthz")).status == 200
            assert json.loads((await here.client.get("/readyz")).body)["ready"]
            document = json.loads((await here.client.get("/openapi.json")).body)
            posted = document["paths"]["/v1/refine"]["post"]
            assert set(posted["requestBody"]["content"]) == {"multipart/form-data"}
            assert "RefineReply" in json.dumps(posted["responses"]["200"])
            await here.client.refine(crop(key_of(1)), crop(key_of(2), b"bad"))
            assert await here.figure('videodisco_refine_items_total{outcome="refined"}') == 1
            assert await here.figure('videodisco_refine_items_total{outcome="bad_image"}') == 1
            assert await here.figure("videodisco_refine_inside") == 0

    asyncio.run(scenario())


def test_who_has_no_token_is_refused_and_each_has_keys_of_his_own(tmp_path: Path) -> None:
    tokens = [{"name": name, "token": token} for name, token in TOKENS.items()]

    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner, http={"tokens": tokens}) as here:
            assert (await here.client.send(crop(key_of(1)))).status == 401
            assert (await here.client.send(crop(key_of(1)), Authorization=bearer("a-wrong-token-0000"))).status == 401
            assert refiner.worked_on == 0
            for token in TOKENS.values():
                await here.client.refine(crop(key_of(1)), Authorization=bearer(token))
            assert refiner.worked_on == 2

    asyncio.run(scenario())


def test_a_full_house_answers_429_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner, batches={"queue": 3}) as here:
            refiner.gate.clear()
            inside = asyncio.create_task(here.client.refine(*(crop(key_of(number)) for number in range(3))))
            await refiner.begun.wait()
            begun_s = time.monotonic()
            refused = await asyncio.gather(*(here.client.send(crop(key_of(10 + each))) for each in range(20)))
            assert time.monotonic() - begun_s < DEADLINE_S / 2, "nobody waits for the gate"
            assert {each.status for each in refused} == {429}
            assert all(1 <= int(each.headers["Retry-After"]) <= 30 for each in refused)
            assert await here.figure('videodisco_http_rejected_total{cause="refine_queue"}') == 20
            refiner.gate.set()
            assert len(await inside) == 3
            assert len(await here.client.refine(crop(key_of(10)))) == 1

    asyncio.run(scenario())


def test_a_client_that_leaves_is_not_worked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner, batches={"max_size": 1}) as here:
            refiner.gate.clear()
            working = asyncio.create_task(here.client.refine(crop(key_of(1))))
            await refiner.begun.wait()
            leaving = asyncio.create_task(here.client.refine(crop(key_of(2)), crop(key_of(3))))
            await until(lambda: here.service._refinery.waiting == 2)
            leaving.cancel()
            await until(lambda: here.service._refinery.waiting == 0)
            assert await here.figure('videodisco_refine_items_total{outcome="abandoned"}') == 2
            refiner.gate.set()
            await working
            assert refiner.worked_on == 1
            assert len(here.rows) == 1

    asyncio.run(scenario())


def test_a_deadline_is_an_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner, batches={"deadline_s": 0.2}) as here:
            refiner.gate.clear()
            begun_s = time.monotonic()
            answers = await here.client.refine(crop(key_of(1)))
            assert time.monotonic() - begun_s < DEADLINE_S / 2
            late = answers[key_of(1)]
            assert isinstance(late, wire.Failed)
            assert (late.error.code, late.error.retry) == ("deadline", True)

    asyncio.run(scenario())


def test_32_clients_are_answered_each_once_by_the_bundled_model(tmp_path: Path) -> None:
    clients, requests = 32, 3

    async def scenario() -> None:
        # patient enough for company that comes slowly
        async with running(tmp_path, batches={"max_wait_ms": 500}) as here:
            crops = {key_of(number): crop(key_of(number), jpeg(number)) for number in range(clients * requests)}

            async def one(number: int) -> list[str]:
                keys = [key_of(number * requests + each) for each in range(requests)]
                async with client_of(here.service.addresses[0]) as client:
                    answers = [await client.refine(crops[key]) for key in keys]
                return [key for answer in answers for key, each in answer.items() if isinstance(each, wire.Refined)]

            answered = await asyncio.gather(*map(one, range(clients)))
            assert sorted(key for keys in answered for key in keys) == sorted(crops)
            assert [key for key, _, _ in here.rows] == sorted(crops)
            batches = await here.figure("videodisco_refine_batch_size_count")
            assert await here.figure("videodisco_refine_batch_size_sum") == len(crops)
            assert batches < len(crops) / 2, "they went together"

    asyncio.run(scenario())


def test_what_was_begun_is_answered_while_it_stops(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner) as here:
            refiner.gate.clear()
            asked = asyncio.create_task(here.client.refine(crop(key_of(1))))
            await refiner.begun.wait()
            here.service.stop()
            await asyncio.sleep(0.05)
            refiner.gate.set()
            assert isinstance((await asked)[key_of(1)], wire.Refined)

    asyncio.run(scenario())


def test_sampled_predictions_are_one_line_a_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, ObedientRefiner(), samples={"share": 1}) as here:
            for _ in range(3):
                await here.client.refine(crop(key_of(1)), crop(key_of(2)), crop(key_of(3), b"bad"))

    asyncio.run(scenario())
    files = sorted((tmp_path / "runs" / "cloud").glob("predictions-*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert sorted(line["key"] for line in lines) == [key_of(1), key_of(2)]
    assert lines[0]["opinion"]["label"] == TRUCK.label
    assert lines[0]["edge_class"] == "truck"
    assert lines[0]["model"]["name"] == "obedient"


def whole() -> tuple[bytes, str]:
    return wire.encode_request([crop(key_of(1)), crop(key_of(2))])


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {kind}\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, kind, data in parts
    )
    return body + b"--b--\r\n", "multipart/form-data; boundary=b"


def listed(*items: Any, **more: Any) -> tuple[str, str, bytes]:
    return ("items", "application/json", json.dumps({"items": items, **more}).encode())


def fields(**changes: Any) -> dict[str, Any]:
    return {**json.loads(item(key_of(1)).model_dump_json()), **changes}


PICTURE = (key_of(1), "image/jpeg", jpeg())
GARBAGE: dict[str, tuple[int, tuple[bytes, str]]] = {
    "nothing": (400, (b"", "multipart/form-data; boundary=b")),
    "noise": (400, (bytes(range(256)) * 40, "multipart/form-data; boundary=b")),
    "another type": (415, (b"{}", "application/json")),
    "no boundary": (400, (whole()[0], "multipart/form-data")),
    "half a body": (400, (whole()[0][:-400], whole()[1])),
    "no items": (400, form(PICTURE)),
    "an empty list": (400, form(listed())),
    "no json": (400, form(("items", "application/json", b"{"), PICTURE)),
    "items as text": (400, form(("items", "text/plain", b"[]"), PICTURE)),
    "another version": (400, form(listed(fields(), version=2), PICTURE)),
    "a strange field": (400, form(listed(fields(extra=1)), PICTURE)),
    "a picture too few": (400, form(listed(fields()))),
    "a picture too many": (400, form(listed(fields()), PICTURE, (key_of(2), "image/jpeg", jpeg()))),
    "a picture twice": (400, form(listed(fields()), PICTURE, PICTURE)),
    "a key twice": (400, form(listed(fields(), fields()), PICTURE)),
    "a key of paths": (400, form(listed(fields(key="../../etc/x")), ("../../etc/x", "image/jpeg", jpeg()))),
    "not a number": (400, form(listed(fields(confidence=float("nan"))), PICTURE)),
    "nonsense for a box": (400, form(listed(fields(bbox=[9, 9, 1, 1])), PICTURE)),
    "deep json": (400, form(("items", "application/json", b"[" * 100_000), PICTURE)),
    "a png": (400, form(listed(fields()), (key_of(1), "image/png", jpeg()))),
    "too many items": (
        400,
        form(
            listed(*(fields(key=key_of(n)) for n in range(70))),
            *((key_of(n), "image/jpeg", b"x") for n in range(60)),
        ),
    ),
    "too many parts": (413, form(*((key_of(n), "image/jpeg", b"x") for n in range(70)))),
    "a large picture": (413, form(listed(fields()), (key_of(1), "image/jpeg", bytes(3 << 20)))),
    "a large body": (413, (bytes(17 << 20), "multipart/form-data; boundary=b")),
}


def test_garbage_is_refused_with_a_sentence_and_does_no_harm(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner) as here:
            for name, (status, (body, content_type)) in GARBAGE.items():
                replied = await here.client.post(body, content_type)
                assert replied.status == status, (name, replied.body)
                assert json.loads(replied.body)["error"], name
            assert refiner.worked_on == 0
            assert isinstance((await here.client.refine(crop(key_of(1))))[key_of(1)], wire.Refined)

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(3))
def test_requests_that_were_damaged_on_their_way_are_no_trouble(tmp_path: Path, seed: int) -> None:
    async def scenario() -> None:
        chance = random.Random(seed)  # noqa: S311 - the same damage each time
        body, content_type = whole()
        async with running(tmp_path, ObedientRefiner()) as here:
            for _ in range(150):
                damaged = bytearray(body)
                for _ in range(chance.randint(1, 6)):
                    place = chance.randrange(len(damaged))
                    damaged[place : place + chance.choice((0, 1, 9))] = chance.randbytes(chance.choice((0, 1, 5)))
                replied = await here.client.post(bytes(damaged), content_type)
                assert replied.status in {200, 400, 413}, replied.body

    asyncio.run(scenario())


# Each picture is in a part that is named by a key of the list beside it, which a schema cannot say: no request that a
# fuzzer makes of it is valid.
_FUZZING = """
[[operations]]
include-name = "POST /v1/refine"
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false
"""


@pytest.mark.slow
def test_a_fuzzer_meets_documented_answers_only(tmp_path: Path) -> None:
    try:
        import schemathesis  # noqa: F401 - only whether it is there
    except ImportError:
        missing("schemathesis", "install the dev extra")

    async def scenario() -> None:
        (tmp_path / "schemathesis.toml").write_text(_FUZZING)
        limits = {"requests_per_minute": 0}
        async with running(tmp_path, ObedientRefiner(), http={"limits": limits}) as here:
            fuzzing = [sys.executable, "-m", "schemathesis.cli", "run", f"{here.service.addresses[0]}/openapi.json"]
            fuzzing += ["--max-examples", "10", "--seed", "7", "--request-timeout", "60", "--no-color"]
            fuzzing += ["--generation-database", "none", "--include-path", wire.REFINE_PATH]
            process = await asyncio.create_subprocess_exec(
                *fuzzing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path
            )
            said, _ = await process.communicate()
            assert process.returncode == 0, said.decode()
            assert isinstance((await here.client.refine(crop(key_of(1))))[key_of(1)], wire.Refined)

    asyncio.run(scenario())
