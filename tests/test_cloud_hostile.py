"""What strangers may send the refiner: each has its status and its sentence, and the next client is none the worse."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cloud.results import ResultStore
from stream import wire
from stream.errors import SinkError
from tests.refining import WAIT_S, ObedientRefiner, crop, jpeg, key_of, until
from tests.test_cloud_service import PICTURE, Running, bearer, fields, form, listed, running, whole

MIB = 1 << 20
TOKEN = "a-token-of-the-north-gate"  # noqa: S105 - a test's own


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, as it came over the wire."""

    status: int
    head: str
    body: bytes

    @property
    def sentence(self) -> str:
        return str(json.loads(self.body)["error"])


async def connected(here: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(here.service.addresses[0])
    return await asyncio.open_connection(address.hostname, address.port, limit=MIB)


async def answer_on(reader: asyncio.StreamReader) -> Answered:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length:"))
    return Answered(int(head.split()[1]), head, await reader.readexactly(length))


def request(
    body: bytes, content_type: str = "multipart/form-data; boundary=b", *, method: str = "POST", **headers: str
) -> bytes:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    said = {"Host": "localhost", "Content-Type": content_type, "Content-Length": str(len(body)), **given}
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)
    return f"{method} {wire.REFINE_PATH} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def ask(here: Running, sent: bytes) -> Answered:
    reader, writer = await connected(here)
    try:
        writer.write(sent)
        return await asyncio.wait_for(answer_on(reader), WAIT_S)
    finally:
        writer.close()


def parts_of(count: int) -> bytes:
    pictures = ((key_of(number), "image/jpeg", b"x") for number in range(count))
    return form(listed(fields()), *pictures)[0]


def png_that_claims(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))


HALF = whole()
REFUSED: dict[str, tuple[bytes, int, str]] = {
    "200 MB that are announced": (request(b"", Content_Length=str(200 * MIB)), 413, "larger than 16 MiB"),
    "200 MB in a few bytes": (
        request(gzip.compress(bytes(200 * MIB), 1), Content_Encoding="gzip"),
        413,
        "larger than 16 MiB",
    ),
    "10,000 items": (request(form(listed(*[fields()] * 10_000), PICTURE)[0]), 400, "at most 64 items"),
    "10,000 parts": (request(parts_of(10_000)), 413, "more than 65 parts"),
    "a picture of 3 MB": (
        request(form(listed(fields()), (key_of(1), "image/jpeg", bytes(3 * MIB)))[0]),
        413,
        "a picture has 3145728 bytes, at most 2097152 are taken",
    ),
    "no JSON": (request(form(("items", "application/json", b"{'a'"), PICTURE)[0]), 400, "'items' is not valid JSON"),
    "no list": (request(form(PICTURE)[0]), 400, "'items'"),
    "a short key": (request(form(listed(fields(key="k")), ("k", "image/jpeg", jpeg()))[0]), 400, "key"),
    "another's key": (
        request(form(listed(fields()), (key_of(2), "image/jpeg", jpeg()))[0]),
        400,
        "one picture of its own, in a part named by its key",
    ),
    "a key twice": (request(form(listed(fields(), fields()), PICTURE)[0]), 400, "two items of the request"),
    "a deadline of its own": (request(form(listed(fields(deadline_ms=5)), PICTURE)[0]), 400, "deadline_ms"),
    "a time without a zone": (request(form(listed(fields(time="2026-11-23T09:30:00")), PICTURE)[0]), 400, "timezone"),
    "another type": (request(b"{}", "application/json"), 415, "multipart/form-data"),
    "another type of picture": (
        request(form(listed(fields()), (key_of(1), "image/png", jpeg()))[0]),
        400,
        "a picture is not of type image/jpeg",
    ),
    "no type": (request(whole()[0], ""), 415, "multipart/form-data"),
    "half a body": (request(HALF[0][:-400], HALF[1]), 400, "it ends before its last boundary"),
    "no body": (request(b""), 400, "this needs a body"),
    "another method": (request(b"", method="PUT"), 405, "does not take that method"),
    "another name": (request(b"", Host="evil.example"), 421, "not called by that name"),
    "a page of another site": (request(b"", Origin="http://evil.example"), 403, "another site"),
    "a long header": (request(b"", X_Long="x" * 9000), 431, "headers are too large"),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01" * 20 + b"\r\n\r\n", 400, "not valid HTTP"),
}


def test_each_is_refused_in_its_own_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner) as here:
            for name, (sent, status, words) in REFUSED.items():
                answered = await ask(here, sent)
                assert (answered.status, words in answered.sentence) == (status, True), (name, answered)
            assert refiner.worked_on == 0
            assert isinstance((await here.client.refine(crop(key_of(1))))[key_of(1)], wire.Refined)

    asyncio.run(scenario())


def test_a_body_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    """It comes in pieces, so that nobody knows how long it will be."""
    piece = b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"

    async def pour(writer: asyncio.StreamWriter) -> None:
        for _ in range(200):
            writer.write(piece)
            await writer.drain()

    async def scenario() -> None:
        async with running(tmp_path, ObedientRefiner()) as here:
            reader, writer = await connected(here)
            writer.write(request(b"", Content_Length="", Transfer_Encoding="chunked"))
            pouring = asyncio.create_task(pour(writer))
            answered = await asyncio.wait_for(answer_on(reader), WAIT_S)
            assert (answered.status, answered.sentence) == (413, "the body is larger than 16 MiB")
            pouring.cancel()
            writer.transport.abort()
            assert len(await here.client.refine(crop(key_of(1)))) == 1

    asyncio.run(scenario())


def test_bombs_are_known_by_their_headers_and_fail_alone(tmp_path: Path) -> None:
    bombs = {
        key_of(1): (png_that_claims(50_000, 50_000), "bad_image", "crops are JPEGs, this is a PNG"),
        key_of(2): (
            jpeg_that_claims(50_000, 50_000),
            "too_large",
            "the crop has 50000x50000 pixels; at most 4 million",
        ),
        key_of(3): (jpeg_that_claims(2, 60_000), "too_small", "it needs 8 on its shorter side"),
        key_of(4): (b"GIF89a" + bytes(50), "bad_image", "no JPEG, PNG or WebP"),
    }

    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner) as here:
            crops = [crop(key, data) for key, (data, _, _) in bombs.items()]
            answers = await here.client.refine(*crops, crop(key_of(9)))
            assert isinstance(answers[key_of(9)], wire.Refined)
            assert refiner.worked_on == 1
            for key, (_, code, words) in bombs.items():
                failed = answers[key]
                assert isinstance(failed, wire.Failed)
                assert (failed.error.code, failed.error.retry) == (code, False)
                assert words in failed.error.message

    asyncio.run(scenario())


def jpeg_that_claims(width: int, height: int) -> bytes:
    data = bytearray(jpeg(0, 64, 48))
    place = data.index(b"\x00\x30\x00\x40")
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def test_the_same_key_with_other_bytes_is_a_conflict(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, ObedientRefiner()) as here:
            first = (await here.client.send(crop(key_of(1)))).body
            other = (await here.client.refine(crop(key_of(1), jpeg(5)), crop(key_of(2))))[key_of(1)]
            assert isinstance(other, wire.Failed)
            assert (other.error.code, other.error.retry) == ("conflict", False)
            assert other.error.message == "this key was used for another crop; a key names one question for ever"
            assert (await here.client.send(crop(key_of(1)))).body == first, "the first stands"

    asyncio.run(scenario())


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_clock_that_is_wrong_changes_nothing(tmp_path: Path, time: str) -> None:
    async def scenario() -> None:
        dataset = {"enabled": True, "sampling_strategies": [{"name": "all", "type": "random"}]}
        async with running(tmp_path, ObedientRefiner(), dataset=dataset) as here:
            answered = await ask(here, request(form(listed(fields(time=time)), PICTURE)[0]))
            assert answered.status == 200
            assert json.loads(answered.body)["results"][0]["label"] == "fire truck"
            await until(lambda: here.service._collecting and here.service._collecting.count("kept") == 1)

    asyncio.run(scenario())


def test_without_a_token_nothing_is_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        http = {
            "tokens": [{"name": "north", "token": TOKEN}],
            "limits": {"failed_logins_per_minute": 3},
        }
        async with running(tmp_path, ObedientRefiner(), http=http) as here:
            body, content_type = whole()
            absent = await ask(here, request(body, content_type))
            assert (absent.status, "WWW-Authenticate: Bearer" in absent.head) == (401, True)
            assert "token" in absent.sentence
            wrong = request(body, content_type, Authorization=bearer("x" * 24))
            assert [(await ask(here, wrong)).status for _ in range(4)] == [401, 401, 401, 429]
            large = await ask(here, request(b"", Content_Length=str(200 * MIB)))
            assert large.status == 401, "who is not let in may not even be too large"

    asyncio.run(scenario())


def test_a_body_that_stops_coming_is_given_up(tmp_path: Path) -> None:
    half = request(*whole())[:-100]

    async def late() -> None:
        async with running(tmp_path, ObedientRefiner(), http={"limits": {"body_timeout_s": 0.2}}) as here:
            answered = await ask(here, half)
            assert (answered.status, answered.sentence) == (408, "the request took too long to arrive")

    async def gone() -> None:
        async with running(tmp_path, ObedientRefiner()) as here:
            _, writer = await connected(here)
            writer.write(half)
            writer.close()
            assert len(await here.client.refine(crop(key_of(1)))) == 1

    asyncio.run(late())
    asyncio.run(gone())


def test_who_leaves_is_not_worked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with running(tmp_path, refiner, batches={"max_size": 1}) as here:
            refiner.gate.clear()
            working = asyncio.create_task(here.client.refine(crop(key_of(9))))
            await refiner.begun.wait()
            _, writer = await connected(here)
            writer.write(request(*whole()))
            await until(lambda: here.service._refinery.waiting == 2)
            writer.transport.abort()
            await until(lambda: here.service._refinery.waiting == 0)
            refiner.gate.set()
            await working
            assert refiner.worked_on == 1

    asyncio.run(scenario())


def test_a_disk_that_is_full_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SinkError("the disk is full")

    monkeypatch.setattr("cloud.refinery.UNKEPT_PAUSE_S", WAIT_S)
    monkeypatch.setattr("stream.http.common._FRESH_S", 0.05)

    async def scenario() -> None:
        async with running(tmp_path, ObedientRefiner()) as here:
            refinery = here.service._refinery
            with monkeypatch.context() as broken:
                broken.setattr(ResultStore, "keep", full)
                refused = await ask(here, request(*whole()))
                assert refused.status == 503
                assert re.search(r"^Retry-After: [1-6]\d\r$", refused.head, re.MULTILINE)
                assert "the refiner cannot keep answers, its disk may be full" in refused.sentence
                assert "full" in json.loads((await here.client.get("/readyz")).body)["error"]
            monkeypatch.setattr(refinery, "_clock", lambda: time.monotonic() + WAIT_S)
            assert not refinery.unkept_s
            assert (await ask(here, request(*whole()))).status == 200
            assert len(here.rows) == 2
            async with asyncio.timeout(WAIT_S):  # its answer is kept for a moment
                while (await here.client.get("/readyz")).status != 200:  # noqa: ASYNC110 - asked over a socket
                    await asyncio.sleep(0.05)

    asyncio.run(scenario())
