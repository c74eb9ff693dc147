"""How much of the model's own rate the service gives, and what batches are worth: ``python -m cloud.bench``.

The service runs as a process of its own, its clients in this one, which write their requests before the clock starts.
The model's own rate is onnxruntime's on batches of the size that the service was seen to make, on as many threads.
Turns of the two are taken alternately, for the machine may be busy with other things; the medians of both are told, and
the processor's time a crop, which depends less on that. Clients take their share of the machine: the share of the rate
is what the service gives beside them, the share of the processor's time what it would give without.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends again and again, under new keys each time."""

    body: bytes
    content_type: str
    keys: tuple[str, ...]

    def renewed(self) -> bytes:
        body = self.body
        for key in self.keys:
            body = body.replace(key.encode(), secrets.token_hex(len(key) // 2).encode())
        return body


@dataclass(frozen=True, slots=True)
class Service:
    """A running refiner."""

    process: psutil.Process
    url: str


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--items", type=int, default=1, help="crops in a request")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[CloudSettings().batches.max_size, 1])
    options = parser.parse_args(arguments)
    _say(
        f"{usable_cores()} cores, load {os.getloadavg()[0]:.1f} before; {options.turns} turns of {options.seconds:g} s"
    )
    with ExitStack() as stack:
        services = {size: stack.enter_context(_service(size)) for size in options.sizes}
        turns = _turns(options, services)
    for size, pairs in turns.items():
        served, raw = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        _tell(f"service, batches up to {size}", served)
        _tell("the model alone, batches of that size", raw)
        rate = statistics.median(mine.rate / bare.rate for mine, bare in pairs)
        cpu = statistics.median(bare.cpu_ms / mine.cpu_ms for mine, bare in pairs)
        _say(f"  share of the rate {rate:.2f}, of the processor's time {cpu:.2f}")
    if len(turns) > 1:
        both = list(zip(turns[max(turns)], turns[min(turns)], strict=True))
        rate = statistics.median(large.rate / small.rate for (large, _), (small, _) in both)
        cpu = statistics.median(small.cpu_ms / large.cpu_ms for (large, _), (small, _) in both)
        what = f"batches up to {max(turns)} against {min(turns)}"
        _say(f"{what}: {rate:.2f} of the rate, {cpu:.2f} times the crops for the same processor time")
    _say(f"load {os.getloadavg()[0]:.1f} after, this very work included")


def _turns(options: argparse.Namespace, services: Mapping[int, Service]) -> dict[int, list[tuple[Turn, Turn]]]:
    """For each size of batches the service and the model alone, one after the other, several times."""
    requests = [_request(number, options.items) for number in range(options.clients)]
    classifier = open_classifier(find(default_classifier(), CloudSettings().trust), threads=1)
    found: dict[int, list[tuple[Turn, Turn]]] = {size: [] for size in services}
    for turn in range(-1, options.turns):
        for size, service in services.items():
            # the first turn only warms up
            seconds = options.seconds if turn >= 0 else 1.0
            served = asyncio.run(_serve(service, requests, seconds))
            raw = _raw(classifier, max(1, round(served.batch)), usable_cores(), seconds)
            if turn >= 0:
                found[size].append((served, raw))
    return found


@contextmanager
def _service(size: int) -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "cloud.yaml"
        config.write_text(
            f"results: {{path: {folder}/results.db}}\nhttp: {{port: 0, limits: {{requests_per_minute: 0}}}}\n"
        )
        command = [sys.executable, "-m", "videodisco", "cloud", "--config", str(config), "--batch", str(size)]
        command += ["--no-mlflow", "--project", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                line = process.stdout.readline() if process.stdout else ""
                yield Service(psutil.Process(process.pid), line.split()[-1])
            finally:
                process.terminate()
                process.wait()


async def _serve(service: Service, requests: Sequence[Request], seconds: float) -> Turn:
    """A client for each request asks again as soon as it has its answer."""
    waits_s: list[float] = []
    refused = 0
    end_s = time.monotonic() + seconds

    async def client(session: aiohttp.ClientSession, request: Request) -> None:
        nonlocal refused
        while time.monotonic() < end_s:
            body, sent = request.renewed(), {"Content-Type": request.content_type}
            begun_s = time.monotonic()
            async with session.post(f"{service.url}{wire.REFINE_PATH}", data=body, headers=sent) as response:
                reply = await response.read()
            if response.status != 200 or b'"error"' in reply:
                refused += 1
                continue
            waits_s.append(time.monotonic() - begun_s)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        counts = await _batches(session, service.url)
        busy_s, begun_s = _cpu_s(service.process), time.monotonic()
        await asyncio.gather(*(client(session, request) for request in requests))
        elapsed_s, busy_s = time.monotonic() - begun_s, _cpu_s(service.process) - busy_s
        batches, batched = (
            after - before for before, after in zip(counts, await _batches(session, service.url), strict=True)
        )
    if not waits_s:
        sys.exit(f"nobody was answered within {seconds:g} s, {refused} were refused: take longer turns")
    done = len(requests[0].keys) * len(waits_s)
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


def _request(number: int, items: int) -> Request:
    crops = [wire.Crop(_item(), _crop(number * items + each)) for each in range(items)]
    body, content_type = wire.encode_request(crops)
    return Request(body, content_type, tuple(crop.item.key for crop in crops))


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
    _say(f"{what}: {rates}, {middle.cpu_ms:.2f} ms of processor a crop, mean batch {middle.batch:.1f}")
    if middle.p99_ms:
        worst_ms, deadline_ms = max(t.p99_ms for t in turns), CloudSettings().batches.deadline_s * 1e3
        kept = "within" if worst_ms <= deadline_ms else "beyond"
        refused = sum(t.refused for t in turns)
        waits = f"p50 {middle.p50_ms:.0f} ms, p99 {middle.p99_ms:.0f} ms, {worst_ms:.0f} ms in the slowest turn"
        _say(f"  {waits}: {kept} the deadline of {deadline_ms:.0f} ms; {refused} refused")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command of its own


if __name__ == "__main__":
    main()
