"""An HTTP service of the user's own as refiner: a JPEG goes there, a label comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.config import EndpointSettings
from cloud.crops import Crop
from cloud.errors import ItemError
from cloud.refiners.base import Opinion, share
from models.classifier import Guess
from stream.frame import ModelIdentity

MAX_ANSWER_BYTES = 64 << 10


class _Guess(BaseModel):
    model_config = ConfigDict(frozen=True)

    label: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
    confidence: float = Field(ge=0, le=1, allow_inf_nan=False)


class _Answer(_Guess):
    top_k: tuple[_Guess, ...] = Field((), max_length=1000)
    agreement: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)


class EndpointRefiner:
    """Posts each crop on its own, those of a batch at the same time; as :class:`cloud.refiners.base.Refiner`.

    The address is the operator's, so any host will do; but it follows no redirect, waits no longer and reads no more
    than its limits say, and what comes back is believed only as far as it is valid.
    """

    def __init__(self, settings: EndpointSettings, *, max_batch: int, k: int) -> None:
        self._settings = settings
        self._max_batch = max_batch
        self._k = k
        self._session: aiohttp.ClientSession | None = None
        host = urlsplit(settings.url.get_secret_value()).hostname or ""
        self.model = ModelIdentity(settings.name or host, settings.version, "")
        self.workers = settings.connections

    async def start(self) -> None:
        limit = self._max_batch * self.workers
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_connect=min(3.0, self._settings.timeout_s))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, limit_per_host=limit),
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
        )

    def prepare(self, crop: Crop) -> Crop:
        return crop

    async def refine(self, batch: Sequence[Crop]) -> Sequence[Opinion | ItemError]:
        return await asyncio.gather(*(self._ask(crop) for crop in batch))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, crop: Crop) -> Opinion | ItemError:
        try:
            return _opinion(await self._exchange(crop), self._k)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            return ItemError.upstream(_reason(exc))

    async def _exchange(self, crop: Crop) -> bytes:
        if self._session is None:
            raise ValueError("it is closed")
        headers = {"Content-Type": "image/jpeg", "Accept": "application/json", "X-Edge-Class": quote(crop.edge_class)}
        if self._settings.token is not None:
            headers["Authorization"] = f"Bearer {self._settings.token.get_secret_value()}"
        url = self._settings.url.get_secret_value()
        async with self._session.post(url, data=crop.jpeg, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"it answered {response.status}")
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    raise ValueError(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
        return bytes(answer)


def _opinion(answer: bytes, k: int) -> Opinion:
    try:
        read = _Answer.model_validate_json(answer)
    except ValidationError as exc:
        raise ValueError("its answer is not what it should be") from exc
    others = [each for each in read.top_k if each.label != read.label]
    top = tuple(Guess(each.label, share(each.confidence)) for each in [read, *others][:k])
    return Opinion(read.label, share(read.confidence), top, read.agreement)


def _reason(exc: Exception) -> str:
    """Nothing of its address, which may hold a secret."""
    if isinstance(exc, TimeoutError):
        return "it did not answer in time"
    return (
        str(exc) if isinstance(exc, ValueError) and not isinstance(exc, aiohttp.ClientError) else "it cannot be reached"
    )
