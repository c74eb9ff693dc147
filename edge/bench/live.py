"""A clip played as one camera or many: how old results are when they reach a sink, what is left out, what it costs."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from edge.cameras.station import CameraStation
from edge.config import OutputSettings, RunSettings
from stream.config import build
from stream.frame import Frame, FrameResult, ModelIdentity, NetworkView, SourceInfo
from stream.pipeline import Detected, Detector

SAMPLE_EVERY_S = 1.0
"""How often memory is looked at."""

FIRST_WITHIN_S = 10.0
"""Figures of nothing are none: so much longer it lasts at most where a camera has given no result by its end."""


@dataclass(frozen=True, slots=True)
class LiveBench:
    """What to play: ``cameras`` of the clip for ``seconds``, each detection made to take ``detector_s`` at least."""

    clip: Path
    cameras: int = 1
    seconds: float = 30.0
    detector_s: float = 0.0
    recording: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of every camera, as in a configuration's ``defaults``."""
    model: str = "auto"
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class CameraFigures:
    """One camera's results. ``age_s`` are the 50th, 95th and 99th percentile of how old a result was at the sink,
    ``waited_s`` the same of detections, without their own inference; ``halves_s`` are the medians of the first and
    the second half."""

    name: str
    fps_in: float
    fps_detected: float
    age_s: tuple[float, float, float]
    waited_s: tuple[float, float, float]
    halves_s: tuple[float, float]
    longest_gap_s: float
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """The whole bench: ``cpu`` in cores, memory in MB of 10**6 bytes at the first and at the last look."""

    cameras: Sequence[CameraFigures]
    seconds: float
    cpu_cores: float
    memory_mb: tuple[float, float]


def measure_live(bench: LiveBench) -> LiveFigures:
    """Play the clip as it says and measure, after the cameras have started up."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measured(bench, Path(folder)))


async def _measured(bench: LiveBench, folder: Path) -> LiveFigures:
    ages: dict[str, AgeSink] = {}

    def watch(name: str) -> AgeSink:
        return ages.setdefault(name, AgeSink(name))

    station = CameraStation(
        _settings(bench, folder),
        extra_sink=watch,
        wrap_detector=lambda detector: SlowedDetector(detector, bench.detector_s) if bench.detector_s else detector,
    )
    running = asyncio.create_task(station.run())
    while len(ages) < bench.cameras or any(not sink.seen for sink in ages.values()):
        if running.done():
            break
        await asyncio.sleep(0.05)
    process = psutil.Process()
    begun_s, cpu_begun, memory = time.monotonic(), process.cpu_times(), []
    for sink in ages.values():
        sink.begin()
    while not running.done():
        lacking = FIRST_WITHIN_S if any(not sink.noted for sink in ages.values()) else 0.0
        if time.monotonic() - begun_s >= bench.seconds + lacking:
            break
        await asyncio.sleep(SAMPLE_EVERY_S)
        memory.append(process.memory_info().rss / 1e6)
    elapsed_s, cpu_ended = time.monotonic() - begun_s, process.cpu_times()
    figures = [ages[camera.name].figures(elapsed_s, camera.drops) for camera in station.cameras if camera.name in ages]
    station.stop()
    await running
    used_s = cpu_ended.user + cpu_ended.system - cpu_begun.user - cpu_begun.system
    return LiveFigures(figures, elapsed_s, used_s / elapsed_s, (memory[0], memory[-1]) if memory else (0.0, 0.0))


def _settings(bench: LiveBench, folder: Path) -> RunSettings:
    camera = {**bench.settings, "source": str(bench.clip), "loop": True}
    values = {
        "cameras": {f"camera{number:02}": camera for number in range(1, bench.cameras + 1)},
        "output": OutputSettings(project=folder, video=bench.recording).model_dump(),
        "mlflow": {"enabled": False},
        "detector": {"model": bench.model, "device": bench.device},
    }
    return build(RunSettings, values, origin="the bench")


class AgeSink:
    """Notes how old each result is when a sink gets it, as :class:`stream.sinks.base.Sink`."""

    wants_picture = False
    optional = True

    def __init__(self, name: str) -> None:
        self.name = "ages"
        self.seen = 0
        self._camera = name
        self._ages_s: list[float] = []
        self._waited_s: list[float] = []
        self._longest_gap_s = 0.0
        self._last_s: float | None = None

    @property
    def outputs(self) -> list[Path]:
        return []

    @property
    def noted(self) -> int:
        """Results since the beginning."""
        return len(self._ages_s)

    def begin(self) -> None:
        """Forget what was while everything started up."""
        self._ages_s, self._waited_s = [], []
        self._longest_gap_s, self._last_s = 0.0, None

    def open(self, info: SourceInfo) -> None:
        """Nothing is made."""

    def write(self, result: FrameResult) -> None:
        now_s = time.monotonic()
        self.seen += 1
        age_s = now_s - result.frame.received_s
        self._ages_s.append(age_s)
        if not result.carried:
            self._waited_s.append(age_s - result.timings.inference_s)
        if self._last_s is not None:
            self._longest_gap_s = max(self._longest_gap_s, now_s - self._last_s)
        self._last_s = now_s

    def close(self) -> None:
        """Nothing is open."""

    def figures(self, elapsed_s: float, dropped: Mapping[str, int]) -> CameraFigures:
        ages, middle = self._ages_s, len(self._ages_s) // 2
        return CameraFigures(
            name=self._camera,
            fps_in=len(ages) / elapsed_s,
            fps_detected=len(self._waited_s) / elapsed_s,
            age_s=_percentiles(ages),
            waited_s=_percentiles(self._waited_s),
            halves_s=(_percentiles(ages[:middle])[0], _percentiles(ages[middle:])[0]),
            longest_gap_s=self._longest_gap_s,
            dropped=dict(dropped),
        )


class SlowedDetector:
    """A detector that takes at least so long, as :class:`stream.pipeline.Detector`."""

    def __init__(self, detector: Detector, least_s: float) -> None:
        self._detector = detector
        self._least_s = least_s

    @property
    def identity(self) -> ModelIdentity:
        return self._detector.identity

    def view(self, width: int, height: int) -> NetworkView:
        return self._detector.view(width, height)

    def detect(self, frame: Frame) -> Detected:
        begun_s = time.monotonic()
        found = self._detector.detect(frame)
        time.sleep(max(0.0, self._least_s - (time.monotonic() - begun_s)))
        return Detected(found.detections, time.monotonic() - begun_s, found.postprocess_s)


def _percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    if not values:
        return (0.0, 0.0, 0.0)
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return float(p50), float(p95), float(p99)
