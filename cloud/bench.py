"""How much of the model's own rate the service gives, and what batches are worth: ``python -m cloud.bench``.

The service runs as a process of its own, its clients in this one. The model's own rate is onnxruntime's on batches
of the size that the service was seen to make, on as many threads. Turns of the two are taken alternately, for the
machine may be busy with other things; the medians of both are told, and the processor's seconds a crop, which depend
less on that.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import cv2
import numpy as np
import psutil

from cloud.config import CloudSettings
from models.catalogue import find
from models.classifier import Classifier, default_classifier, open_classifier
from stream import wire
from stream.machine import usable_cores

_MODEL = wire.EdgeModel(name="bench", version="1", sha256="0" * 64)
_WIDTH, _HEIGHT = 220, 180
"""Of the crops: what a car takes in a 1080p picture."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn came to; ``batch`` is the mean size of its batches."""

    rate: float
    cpu_ms: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    batch: float = 1.0
    refused: int = 0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[CloudSettings().batches.max_size, 1])
    parser.add_argument("--items", type=int, default=1, help="crops in a request")
    options = parser.parse_args(arguments)
    classifier = open_classifier(find(default_classifier(), CloudSettings().trust), threads=1)
    crops = [_crop(number) for number in range(64)]
    medians: dict[int, float] = {}
    for size in options.sizes:
        served, raw = _compare(options, size, classifier, crops)
        medians[size] = _middle(served).rate
        _tell(f"service, batches up to {size}", served)
        _tell(f"onnxruntime, batches of {round(_middle(served).batch)}", raw)
        share = statistics.median(each.rate / bare.rate for each, bare in zip(served, raw, strict=True))
        cpu = statistics.median(bare.cpu_ms / each.cpu_ms for each, bare in zip(served, raw, strict=True))
        _say(f"  share of the rate {share:.2f}, of the processor's time {cpu:.2f}")
    if len(medians) > 1:
        largest, least = max(medians), min(medians)
        _say(f"batches up to {largest} against {least}: {medians[largest] / medians[least]:.2f}")


def _compare(
    options: argparse.Namespace, size: int, classifier: Classifier, crops: Sequence[bytes]
) -> tuple[list[Turn], list[Turn]]:
    served: list[Turn] = []
    raw: list[Turn] = []
    with _service(size) as (process, url):
        asyncio.run(_serve(process, url, crops, options.clients, options.items, 1.0))
        for _ in range(options.turns):
            served.append(asyncio.run(_serve(process, url, crops, options.clients, options.items, options.seconds)))
            raw.append(_raw(classifier, max(1, round(served[-1].batch)), usable_cores(), options.seconds))
    return served, raw


@contextmanager
def _service(size: int) -> Iterator[tuple[psutil.Process, str]]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "cloud.yaml"
        config.write_text(
            f"results: {{path: {folder}/results.db}}\nhttp: {{port: 0, limits: {{requests_per_minute: 0}}}}\n"
        )
        command = [sys.executable, "-m", "videodisco", "cloud", "--config", str(config), "--batch", str(size)]
        command += ["--no-mlflow", "--project", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                line = process.stdout.readline() if process.stdout else ""
                yield psutil.Process(process.pid), line.split()[-1]
            finally:
                process.terminate()
                process.wait()


async def _serve(
    process: psutil.Process, url: str, crops: Sequence[bytes], clients: int, items: int, seconds: float
) -> Turn:
    """Each client asks again as soon as it has its answer."""
    waits_s: list[float] = []
    refused = 0
    end_s = time.monotonic() + seconds

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal refused
        while time.monotonic() < end_s:
            asked = [wire.Crop(_item(), crops[(number + each) % len(crops)]) for each in range(items)]
            body, content_type = wire.encode_request(asked)
            begun_s = time.monotonic()
            sent = {"Content-Type": content_type}
            async with session.post(f"{url}{wire.REFINE_PATH}", data=body, headers=sent) as response:
                reply = await response.read()
            if response.status != 200 or b'"error"' in reply:
                refused += 1
                continue
            waits_s.append(time.monotonic() - begun_s)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        counts = await _batches(session, url)
        busy_s, begun_s = _cpu_s(process), time.monotonic()
        await asyncio.gather(*(client(session, number) for number in range(clients)))
        elapsed_s, busy_s = time.monotonic() - begun_s, _cpu_s(process) - busy_s
        batches, batched = (after - before for before, after in zip(counts, await _batches(session, url), strict=True))
    done = len(waits_s) * items
    p50_s, p99_s = np.percentile(waits_s, [50, 99])
    return Turn(done / elapsed_s, busy_s / done * 1e3, p50_s * 1e3, p99_s * 1e3, batched / max(1, batches), refused)


def _raw(classifier: Classifier, size: int, threads: int, seconds: float) -> Turn:
    """The model alone on pictures that are ready, on ``threads`` at once."""
    pictures = np.random.default_rng(0).integers(0, 256, (size, classifier.height, classifier.width, 3), np.uint8)
    done = [0] * threads
    end_s = time.monotonic() + seconds

    def work(place: int) -> None:
        while time.monotonic() < end_s:
            classifier.run(pictures)
            done[place] += size

    classifier.warm_up(size)
    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    busy_s, begun_s = time.process_time(), time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    elapsed_s, busy_s = time.monotonic() - begun_s, time.process_time() - busy_s
    return Turn(sum(done) / elapsed_s, busy_s / sum(done) * 1e3, batch=size)


async def _batches(session: aiohttp.ClientSession, url: str) -> tuple[float, float]:
    """How many batches the service has made, and how many crops were in them."""
    async with session.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    figures = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[:1] != "#"}
    name = "videodisco_refine_batch_size"
    return figures.get(f"{name}_count", 0.0), figures.get(f"{name}_sum", 0.0)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _crop(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    _, data = cv2.imencode(".jpg", cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC))
    return data.tobytes()


def _item() -> wire.Item:
    return wire.Item(
        key=secrets.token_hex(16),
        source="bench",
        track_id=None,
        class_name="car",
        confidence=0.5,
        bbox=(0.0, 0.0, float(_WIDTH), float(_HEIGHT)),
        time=datetime.now(UTC),
        width=1920,
        height=1080,
        model=_MODEL,
    )


def _middle(turns: Sequence[Turn]) -> Turn:
    return sorted(turns, key=lambda turn: turn.rate)[len(turns) // 2]


def _tell(what: str, turns: Sequence[Turn]) -> None:
    middle = _middle(turns)
    rates = f"{middle.rate:.0f} crops/s ({min(t.rate for t in turns):.0f}-{max(t.rate for t in turns):.0f})"
    waits = f", p50 {middle.p50_ms:.0f} ms, p99 {middle.p99_ms:.0f} ms" if middle.p99_ms else ""
    refused = f", {sum(t.refused for t in turns)} refused" if any(t.refused for t in turns) else ""
    _say(f"{what}: {rates}, {middle.cpu_ms:.2f} ms of processor a crop, mean batch {middle.batch:.1f}{waits}{refused}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command of its own


if __name__ == "__main__":
    main()
