"""How many pictures a second ``videodisco serve`` answers, as a share of what the machine could do at most.

The bound is cores / (CPU seconds of a picture): its decoding and scaling, the network and reading what it says,
each done alone in one thread. What is lost goes into HTTP, into threads that meet, and to the clients,
which need the same cores. The service is a process of its own; the clients are in this one.

    python -m edge.bench.images [PICTURE.jpg] [--clients 1,8,64] [--seconds 8]
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import psutil
import typer

from edge.config import DetectorSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from models.catalogue import find
from models.trust.policy import TrustSettings
from stream.frame import Frame
from stream.images import for_network, read_header
from stream.machine import usable_cores

BOUND_S = 3.0
WARM_UP_S = 2.0
READY_S = 60.0


@dataclass(slots=True)
class Load:
    """What came of some clients' requests."""

    clients: int
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    service_cpu_s: float = 0.0
    client_cpu_s: float = 0.0
    camera_frames: float = 0.0
    camera_lost: float = 0.0

    @property
    def answered(self) -> int:
        return self.statuses[200]

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    def latency_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_s, percent)) * 1e3 if self.latencies_s else 0.0


def cpu_seconds_of_a_picture(jpeg: bytes, seconds: float = BOUND_S) -> float:
    """CPU seconds to decode, scale, look at and understand ``jpeg``, in one thread."""
    cv2.setNumThreads(1)
    settings = DetectorSettings()
    detector = OnnxDetector(LoadedModel(find(settings.model, TrustSettings()), settings, SlotPlan(1, 1)), settings)
    header = read_header(jpeg, max_pixels=1 << 30)
    view = detector.view(*header.upright_size)

    def look() -> None:
        read_header(jpeg, max_pixels=1 << 30)
        network, box = for_network(jpeg, header, view)
        width, height = header.upright_size
        detector.detect(Frame("bench", 0, 0, Fraction(1), 0.0, width, height, network=network, letterbox=box))

    for _ in range(20):
        look()
    count, begun_s, until_s = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until_s:
        look()
        count += 1
    return (time.process_time() - begun_s) / count


@contextlib.contextmanager
def service(folder: Path, *options: str) -> Iterator[tuple[int, psutil.Process]]:
    """``videodisco serve`` in a process of its own; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    config = folder / "bench.yaml"
    config.write_text("serve: {http: {limits: {requests_per_minute: 0}}}\n")
    command = [sys.executable, "-m", "videodisco", "serve", *options, "--port", str(port), "--config", str(config)]
    process = subprocess.Popen(
        [*command, "--no-mlflow", "--quiet", "--project", str(folder)], env={**os.environ, "NO_COLOR": "1"}
    )
    try:
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


async def until_ready(port: int) -> None:
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError, ConnectionError, asyncio.IncompleteReadError):
            client = await _Client.connected(port)
            status, _ = await client.ask(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.close()
            if status == 200:
                return
        await asyncio.sleep(0.2)
    raise RuntimeError("the service did not get ready")


async def measure(port: int, process: psutil.Process, jpeg: bytes, clients: int, seconds: float) -> Load:
    """So many clients, each asking again as soon as it was answered, or after as long as it was told to wait."""
    head = (
        f"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    )
    request, load = head.encode() + jpeg, Load(clients)
    cameras = await _camera_figures(port)
    before, own_s, begun_s = process.cpu_times(), time.process_time(), time.monotonic()
    await asyncio.gather(*(_keep_asking(port, request, load, begun_s + seconds) for _ in range(clients)))
    after = process.cpu_times()
    load.seconds = time.monotonic() - begun_s
    load.service_cpu_s = after.user + after.system - before.user - before.system
    load.client_cpu_s = time.process_time() - own_s
    load.camera_frames, load.camera_lost = (
        now - then for now, then in zip(await _camera_figures(port), cameras, strict=True)
    )
    return load


async def _camera_figures(port: int) -> tuple[float, float]:
    """How many pictures of cameras there were, and how many were not looked at."""
    client = await _Client.connected(port)
    text = await client.read(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    client.close()
    sums: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        sums[name.partition("{")[0]] += float(value) if name.startswith("videodisco_frames_") else 0
    return sums["videodisco_frames_total"], sums["videodisco_frames_dropped_total"]


async def _keep_asking(port: int, request: bytes, load: Load, until_s: float) -> None:
    client = await _Client.connected(port)
    while time.monotonic() < until_s:
        begun_s = time.monotonic()
        status, wait_s = await client.ask(request)
        load.statuses[status] += 1
        if status == 200:
            load.latencies_s.append(time.monotonic() - begun_s)
        else:
            await asyncio.sleep(min(wait_s, max(0.0, until_s - time.monotonic())))
    client.close()


class _Client:
    """HTTP as cheap as it gets: the cores are wanted for something else."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connected(cls, port: int) -> _Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> tuple[int, float]:
        """Status, and how many seconds to wait when it says so."""
        head, _ = await self._answer(request)
        return int(head[9:12]), float(_number(head, b"retry-after:"))

    async def read(self, request: bytes) -> str:
        """The body of the answer."""
        return (await self._answer(request))[1].decode()

    async def _answer(self, request: bytes) -> tuple[bytes, bytes]:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        return head, await self._reader.readexactly(_number(head, b"content-length:"))

    def close(self) -> None:
        self._writer.close()


def _number(head: bytes, name: bytes) -> int:
    at = head.find(name)
    return int(head[at + len(name) : head.index(b"\r\n", at)]) if at >= 0 else 0


def main(
    picture: Annotated[Path, typer.Argument(help="A JPEG.")],
    clients: Annotated[str, typer.Option(help="How many clients, one figure after the other.")] = "1,8,64",
    seconds: Annotated[float, typer.Option(help="How long each is measured.")] = 8.0,
    source: Annotated[list[str] | None, typer.Option(help="A camera that runs meanwhile.")] = None,
) -> None:
    """Measure, and print a line for each number of clients."""
    jpeg = picture.read_bytes()
    header, cores = read_header(jpeg, max_pixels=1 << 30), usable_cores()
    typer.echo(f"{picture.name}: {header.width}x{header.height}, {len(jpeg) / 1e3:.0f} kB; {cores} cores")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure_all(Path(folder), jpeg, [int(each) for each in clients.split(",")], seconds, source or ()))


async def _measure_all(
    folder: Path, jpeg: bytes, clients: Sequence[int], seconds: float, sources: Sequence[str]
) -> None:
    with service(folder, *sources, *(("--realtime", "--loop") if sources else ())) as (port, process):
        await until_ready(port)
        await measure(port, process, jpeg, 4, WARM_UP_S)
        for count in clients:
            before_s = await asyncio.to_thread(cpu_seconds_of_a_picture, jpeg)
            load = await measure(port, process, jpeg, count, seconds)
            after_s = await asyncio.to_thread(cpu_seconds_of_a_picture, jpeg)
            typer.echo(_line(load, (before_s + after_s) / 2))
            if sources:
                typer.echo(_camera_line(load))


def _camera_line(load: Load) -> str:
    return (
        f"    cameras: {load.camera_frames / load.seconds:.2f} pictures a second, "
        f"{load.camera_lost / load.seconds:.2f} of them not looked at"
    )


def _line(load: Load, picture_s: float) -> str:
    cores = usable_cores()
    bound = min(load.clients, cores) / picture_s
    answered = max(1, load.answered)
    refused = sum(count for status, count in load.statuses.items() if status != 200)
    return (
        f"{load.clients:3} clients: {load.per_second:6.1f}/s of {bound:6.1f} possible ({load.per_second / bound:.2f}); "
        f"p50 {load.latency_ms(50):.0f} p95 {load.latency_ms(95):.0f} p99 {load.latency_ms(99):.0f} ms; "
        f"{refused} told to come back; CPU ms a picture: {picture_s * 1e3:.2f} alone, "
        f"{load.service_cpu_s / answered * 1e3:.2f} service, {load.client_cpu_s / answered * 1e3:.2f} clients "
        f"(share by CPU {picture_s / (load.service_cpu_s / answered):.2f})"
    )


if __name__ == "__main__":
    typer.run(main)
