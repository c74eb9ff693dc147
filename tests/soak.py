"""The real command on four cameras for a long time: two steady ones, one that flaps, one that is hostile.

``python -m tests.soak --minutes 15`` prints what came of it; a short one is among the tests. Rates are taken from
predictions.jsonl, memory, threads and open files from the operating system.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import yaml

from tests.commands import command, environment
from tests.faulty_camera import Fault, FaultyCamera
from tests.rtsp_server import CameraSpec, RtspCamera

RATE = 15
FLAP_EVERY_S = 11.0
FAULT_EVERY_S = 5.0
LOOK_EVERY_S = 2.0
WARM_UP_S = 20.0
START_S = 60.0
STEADY = ("steady1", "steady2")

AFTERWARDS_S = 3.0
"""What a neighbour's trouble costs, it costs within this."""


@dataclass(frozen=True, slots=True)
class Look:
    """The process at one moment."""

    at_s: float
    rss_mb: float
    threads: int
    files: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """What befell one of the bad cameras, and when by the clock on the wall."""

    at_s: float
    kind: str


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of it. Times are those of the clock on the wall: of the first look, the moments at which each camera's
    frames were filmed, of troubles. ``looks`` count from the first."""

    begun_s: float
    seconds: float
    exit_code: int
    shutdown_s: float
    filmed_s: Mapping[str, Sequence[float]]
    troubles: Sequence[Trouble]
    looks: Sequence[Look]
    said: str

    def rates(self, camera: str, part_s: float) -> list[float]:
        """Frames a second in each whole part of the time after the warm-up."""
        parts = int((self.seconds - WARM_UP_S) // part_s)
        return [self._rate(camera, self.begun_s + WARM_UP_S + part * part_s, part_s) for part in range(parts)]

    def rates_afterwards(self, camera: str) -> dict[str, list[float]]:
        """Frames a second just after each trouble of the bad cameras, by its kind."""
        last_s = self.begun_s + self.seconds - AFTERWARDS_S
        found: defaultdict[str, list[float]] = defaultdict(list)
        for trouble in self.troubles:
            if self.begun_s + WARM_UP_S < trouble.at_s < last_s:
                found[trouble.kind].append(self._rate(camera, trouble.at_s, AFTERWARDS_S))
        return dict(found)

    @property
    def thirds(self) -> tuple[Sequence[Look], Sequence[Look]]:
        """The first and the last third of the looks after the warm-up."""
        warm = [look for look in self.looks if look.at_s > WARM_UP_S]
        third = max(1, len(warm) // 3)
        return warm[:third], warm[-third:]

    def _rate(self, camera: str, begin_s: float, span_s: float) -> float:
        return sum(begin_s <= at_s < begin_s + span_s for at_s in self.filmed_s[camera]) / span_s


def soak(seconds: float) -> Soaked:
    """Run for so long from the first frame on."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        spec = CameraSpec(width=640, height=360, rate=RATE)
        servers = [stack.enter_context(RtspCamera(spec)) for _ in range(4)]
        hostile = stack.enter_context(FaultyCamera(servers[3].port))
        urls = dict(zip((*STEADY, "flapping"), (server.url for server in servers), strict=False))
        urls["hostile"] = servers[3].url.replace(str(servers[3].port), str(hostile.port))
        config = folder / "soak.yaml"
        config.write_text(yaml.safe_dump(_configuration(urls, folder)), encoding="utf-8")
        predictions = folder / "runs" / "soak" / "predictions.jsonl"
        troubles: list[Trouble] = []
        done = threading.Event()
        trouble = threading.Thread(target=_make_trouble, args=(servers[2], hostile, troubles, done))
        said = folder / "said.txt"
        with said.open("wb") as out:
            process = subprocess.Popen(
                command("run", "--config", config), env=environment(), stdout=out, stderr=subprocess.STDOUT
            )
        stack.callback(process.wait)
        stack.callback(process.kill)
        _wait_for(predictions)
        begun_s = time.time()
        trouble.start()
        try:
            looks = _watch(process, seconds)
        finally:
            done.set()
            trouble.join()
        ended_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(START_S)
        shutdown_s = time.monotonic() - ended_s
        filmed_s = _filmed_s(predictions)
        return Soaked(begun_s, seconds, code, shutdown_s, filmed_s, troubles, looks, said.read_text(encoding="utf-8"))


def _configuration(urls: dict[str, str], folder: Path) -> dict[str, object]:
    impatient = {"open_timeout_s": 2, "read_timeout_s": 3, "stall_s": 1}
    return {
        "defaults": {"detect_fps": 5, "record": {"mode": "continuous", "segment_s": 10, "keep_gb": 0.02}},
        "cameras": {name: {"source": url, **({} if name in STEADY else impatient)} for name, url in urls.items()},
        "output": {"project": str(folder / "runs"), "name": "soak"},
        "mlflow": {"enabled": False},
    }


def _wait_for(predictions: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while not (predictions.exists() and predictions.stat().st_size):
        if time.monotonic() > deadline_s:
            raise RuntimeError("no camera gave a frame")
        time.sleep(0.1)


def _make_trouble(flapping: RtspCamera, hostile: FaultyCamera, troubles: list[Trouble], done: threading.Event) -> None:
    begun_s = time.monotonic()
    faults = itertools.cycle(Fault)
    next_flap_s, next_fault_s, is_up = FLAP_EVERY_S, FAULT_EVERY_S, True
    while not done.wait(0.5):
        elapsed_s = time.monotonic() - begun_s
        if elapsed_s > next_flap_s:
            next_flap_s += FLAP_EVERY_S
            (flapping.stop if is_up else flapping.start)()
            is_up = not is_up
            troubles.append(Trouble(time.time(), "on" if is_up else "off"))
        if elapsed_s > next_fault_s:
            next_fault_s += FAULT_EVERY_S
            hostile.fault = next(faults)
            troubles.append(Trouble(time.time(), hostile.fault.value))


def _watch(process: subprocess.Popen[bytes], seconds: float) -> list[Look]:
    looks: list[Look] = []
    watched = psutil.Process(process.pid)
    begun_s = time.monotonic()
    while (elapsed_s := time.monotonic() - begun_s) < seconds and process.poll() is None:
        with watched.oneshot():
            rss_mb = watched.memory_info().rss / 1e6
            looks.append(Look(elapsed_s, rss_mb, watched.num_threads(), watched.num_fds()))
        time.sleep(LOOK_EVERY_S)
    return looks


def _filmed_s(predictions: Path) -> dict[str, list[float]]:
    times: defaultdict[str, list[float]] = defaultdict(list)
    with predictions.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            times[entry["source"]].append(datetime.fromisoformat(entry["time"]).timestamp())
    return dict(times)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=15.0)
    soaked = soak(parser.parse_args().minutes * 60)
    first, last = soaked.thirds
    print(f"{soaked.seconds:.0f} s, exit code {soaked.exit_code}, ended in {soaked.shutdown_s:.1f} s")
    first_mb, last_mb = (statistics.median(look.rss_mb for look in part) for part in (first, last))
    print(f"memory {first_mb:.0f} MB in the first third, {last_mb:.0f} MB in the last")
    for name in ("threads", "files"):
        least, most = (min(getattr(look, name) for look in part) for part in (first, last))
        print(f"{name}: at least {least} in the first third, {most} in the last")
    for camera in soaked.filmed_s:
        rates = soaked.rates(camera, 60)
        print(f"{camera}: {statistics.mean(rates):.2f} fps, {min(rates):.2f} to {max(rates):.2f} by minute")
        for kind, after in soaked.rates_afterwards(camera).items():
            print(f"  {statistics.median(after):.2f} fps after '{kind}', {min(after):.2f} to {max(after):.2f}")
    steady = all(abs(rate - RATE) / RATE <= 0.05 for name in STEADY for rate in soaked.rates(name, 60))
    print("the steady cameras kept their rate" if steady else "a steady camera lost its rate")
    return 0 if steady else 1


if __name__ == "__main__":
    sys.exit(main())
