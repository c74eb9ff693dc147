"""What tests of the refiner share: crops, requests over a real socket, and a refiner that does as it is told."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np

from cloud.crops import Crop
from cloud.errors import ItemError
from cloud.refiners.base import Opinion
from models.classifier import Guess
from stream import wire
from stream.frame import ModelIdentity
from stream.images import decode

MODEL = wire.EdgeModel(name="edge", version="1", sha256="ab" * 32)
OBEDIENT = ModelIdentity("obedient", "1", "cd" * 32)
WAIT_S = 60.0
TRUCK = Opinion("fire truck", 0.75, (Guess("fire truck", 0.75), Guess("tow truck", 0.125)), 0.875)


def jpeg(seed: int = 0, width: int = 64, height: int = 48) -> bytes:
    """A picture of blobs, different for each seed."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    done, data = cv2.imencode(".jpg", pixels)
    assert done
    return data.tobytes()


def item(key: str, edge_class: str = "truck") -> wire.Item:
    return wire.Item(
        key=key,
        source="gate",
        track_id=7,
        class_name=edge_class,
        confidence=0.5,
        bbox=(10.0, 10.0, 60.0, 50.0),
        time=datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
        width=640,
        height=480,
        model=MODEL,
    )


def crop(key: str, data: bytes | None = None, edge_class: str = "truck") -> wire.Crop:
    return wire.Crop(item(key, edge_class), jpeg() if data is None else data)


def key_of(number: int) -> str:
    return f"key-{number:06}"


@dataclass(frozen=True, slots=True)
class Replied:
    """One answer of the service."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def answers(self, keys: Sequence[str]) -> Mapping[str, wire.Answer]:
        assert self.status == 200, self.body
        reply = wire.decode_reply(self.body, keys)
        assert not reply.strangers
        assert not reply.senseless
        return reply.answers


class Client:
    """Asks a service as an edge does."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def refine(self, *crops: wire.Crop, **headers: str) -> Mapping[str, wire.Answer]:
        replied = await self.send(*crops, **headers)
        return replied.answers([each.item.key for each in crops])

    async def send(self, *crops: wire.Crop, **headers: str) -> Replied:
        body, content_type = wire.encode_request(crops)
        return await self.post(body, content_type, **headers)

    async def post(self, body: bytes, content_type: str, **headers: str) -> Replied:
        sent = {"Content-Type": content_type, **headers}
        async with self._session.post(
            f"{self._url}{wire.REFINE_PATH}", data=io.BytesIO(body), headers=sent
        ) as response:
            return Replied(response.status, await response.read(), dict(response.headers))

    async def get(self, path: str, **headers: str) -> Replied:
        async with self._session.get(f"{self._url}{path}", headers=headers) as response:
            return Replied(response.status, await response.read(), dict(response.headers))


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2 * WAIT_S)) as session:
        yield Client(session, url)


@dataclass
class ObedientRefiner:
    """Answers every crop alike, but waits for ``gate``, fails once with ``failure``, and on crops of some widths.

    ``batches`` are the widths of the crops of each batch, in order.
    """

    workers: int = 1
    model: ModelIdentity = OBEDIENT
    poison_px: frozenset[int] = frozenset()
    batches: list[list[int]] = field(default_factory=list)
    failure: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    async def start(self) -> None:
        pass

    def prepare(self, crop: Crop) -> int:
        return int(decode(crop.jpeg, crop.header).shape[1])

    async def refine(self, batch: Sequence[Any]) -> Sequence[Opinion | ItemError]:
        self.batches.append(list(batch))
        self.begun.set()
        await self.gate.wait()
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return [ItemError.failed() if width in self.poison_px else TRUCK for width in batch]

    async def close(self) -> None:
        self.closed = True

    @property
    def worked_on(self) -> int:
        return sum(map(len, self.batches))


async def until(condition: Any, timeout_s: float = WAIT_S) -> None:
    """Wait until ``condition()`` holds."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come true"
        await asyncio.sleep(0.005)


def stored(path: Path) -> list[tuple[str, str, float]]:
    """Key, answer and time of every row of a result store, read as somebody else would."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT key, answer, created_s FROM results ORDER BY key").fetchall()
    finally:
        connection.close()
