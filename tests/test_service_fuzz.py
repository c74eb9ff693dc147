"""Damaged pictures by the hundred against the service in a process of its own; by the thousand where that is asked
for: ``SPOILT_PICTURES=10000 pytest tests/test_service_fuzz.py --log-cli-level=INFO``."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from tests.service_runs import frame_of
from tests.spoiling import spoilt
from tests.test_service_command import Process, serving
from tests.test_service_images import encoded

pytestmark = pytest.mark.slow

log = logging.getLogger(__name__)

COUNT = int(os.environ.get("SPOILT_PICTURES", "600"))
AT_ONCE = 8
FLAT_BYTES = 60 << 20
"""What memory may grow by after the first fifth: decoders' and the allocator's own keeping, not what is lost."""


def originals(scene: NDArray[np.uint8]) -> list[tuple[str, bytes]]:
    """Every way of coding that is taken, each with its orientation said."""
    return [
        ("image/jpeg", encoded("jpeg", scene, 6)),
        ("image/jpeg", encoded("jpeg", scene, 1, progressive=True)),
        ("image/png", encoded("png", scene, 3)),
        ("image/webp", encoded("webp", scene, 8)),
        ("image/webp", encoded("webp", scene, 1, lossless=True)),
    ]


class Attack:
    """Sends damaged pictures, a few at a time, and counts what came back."""

    def __init__(self, service: Process, goods: list[tuple[str, bytes]]) -> None:
        self.statuses: Counter[int] = Counter()
        self.rss_bytes: list[int] = []
        self.slowest_s = 0.0
        self._url = service.url
        self._process = psutil.Process(service.process.pid)
        self._goods = goods
        self._chance = random.Random(5)  # noqa: S311 - reproducible noise

    async def run(self, count: int, steps: int) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            for step in range(steps):
                numbers = iter(range(count * step // steps, count * (step + 1) // steps))
                await asyncio.gather(*(self._keep_sending(session, numbers) for _ in range(AT_ONCE)))
                self.rss_bytes.append(self._process.memory_info().rss)

    async def _keep_sending(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        for number in numbers:
            kind, good = self._goods[number % len(self._goods)]
            data = spoilt(good, self._chance)
            query = "?annotate=1" if number % 10 == 0 else ""
            headers = {"Content-Type": kind}
            begun_s = time.monotonic()
            async with session.post(f"{self._url}/detect{query}", data=data, headers=headers) as found:
                body = await found.read()
                assert found.status in {200, 400, 422}, (number, found.status, body)
                self.statuses[found.status] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)


@pytest.mark.timeout(120 + COUNT // 3)
def test_damaged_pictures_are_answered_or_refused_and_leave_nothing_behind(tmp_path: Path, vtest_clip: Path) -> None:
    scene = np.ascontiguousarray(frame_of(vtest_clip)[::2, ::2])
    config = tmp_path / "open.yaml"
    config.write_text("serve: {http: {limits: {requests_per_minute: 0}}, images: {deadline_s: 60}}\n")
    with serving(tmp_path, "--config", str(config)) as service:
        service.until("ready")
        attack = Attack(service, originals(scene))
        asyncio.run(attack.run(COUNT, 5))
        assert service.get("/healthz")["status"] == "alive"
        assert "Traceback" not in service.said
    log.info("%s; slowest %.2f s; MB %s", attack.statuses, attack.slowest_s, [n // 1_000_000 for n in attack.rss_bytes])
    assert attack.statuses.total() == COUNT
    assert attack.statuses[200] > COUNT / 20, "some are still pictures"
    assert attack.rss_bytes[-1] - attack.rss_bytes[0] < FLAT_BYTES
