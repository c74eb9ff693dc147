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
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from tests.commands import command, environment
from tests.faulty_camera import Fault, FaultyCamera
from tests.rtsp_server import CameraSpec, RtspCamera

RATE = 15
FLAP_EVERY_S = 11.0
FAULT_EVERY_S = 7.0
LOOK_EVERY_S = 2.0
WARM_UP_S = 20.0
STEADY = ("steady1", "steady2")


@dataclass(frozen=True, slots=True)
class Look:
    """The process at one moment."""

    at_s: float
    rss_mb: float
    threads: int
    files: int


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of it. ``rates`` are frames a second of each camera by minute (or shorter), after the warm-up."""

    seconds: float
    exit_code: int
    shutdown_s: float
    rates: dict[str, list[float]]
    looks: Sequence[Look]
    said: str

    @property
    def memory_mb(self) -> tuple[float, float]:
        """Medians of the first and of the last third after the warm-up."""
        warm = [look for look in self.looks if look.at_s > WARM_UP_S]
        third = max(1, len(warm) // 3)
        first, last = (statistics.median(look.rss_mb for look in part) for part in (warm[:third], warm[-third:]))
        return first, last


def soak(seconds: float, *, part_s: float = 60.0) -> Soaked:
    """Run for so long, with rates of each ``part_s``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        spec = CameraSpec(width=640, height=360, rate=RATE)
        servers = [stack.enter_context(RtspCamera(spec)) for _ in range(4)]
        hostile = stack.enter_context(FaultyCamera(servers[3].port))
        urls = dict(zip((*STEADY, "flapping"), (server.url for server in servers), strict=False))
        urls["hostile"] = servers[3].url.replace(str(servers[3].port), str(hostile.port))
        config = folder / "soak.yaml"
        config.write_text(yaml.safe_dump(_configuration(urls, folder)), encoding="utf-8")
        done = threading.Event()
        trouble = threading.Thread(target=_make_trouble, args=(servers[2], hostile, done))
        process = subprocess.Popen(
            command("run", "--config", config),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        trouble.start()
        try:
            looks = _watch(process, seconds)
        finally:
            done.set()
            trouble.join()
        begun_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        shutdown_s = time.monotonic() - begun_s
        rates = _rates(folder / "runs" / "soak" / "predictions.jsonl", part_s)
    return Soaked(seconds, process.returncode, shutdown_s, rates, looks, said)


def _configuration(urls: dict[str, str], folder: Path) -> dict[str, object]:
    impatient = {"open_timeout_s": 2, "read_timeout_s": 3, "stall_s": 1}
    return {
        "defaults": {"detect_fps": 5, "record": {"mode": "continuous", "segment_s": 10, "keep_gb": 0.02}, **impatient},
        "cameras": {name: {"source": url} for name, url in urls.items()},
        "output": {"project": str(folder / "runs"), "name": "soak"},
        "mlflow": {"enabled": False},
    }


def _make_trouble(flapping: RtspCamera, hostile: FaultyCamera, done: threading.Event) -> None:
    begun_s = time.monotonic()
    faults = itertools.cycle(Fault)
    next_flap_s, next_fault_s, is_up = FLAP_EVERY_S, FAULT_EVERY_S, True
    while not done.wait(0.5):
        elapsed_s = time.monotonic() - begun_s
        if elapsed_s > next_flap_s:
            next_flap_s += FLAP_EVERY_S
            (flapping.stop if is_up else flapping.start)()
            is_up = not is_up
        if elapsed_s > next_fault_s:
            next_fault_s += FAULT_EVERY_S
            hostile.fault = next(faults)


def _watch(process: subprocess.Popen[str], seconds: float) -> list[Look]:
    looks: list[Look] = []
    watched = psutil.Process(process.pid)
    begun_s = time.monotonic()
    while (elapsed_s := time.monotonic() - begun_s) < seconds and process.poll() is None:
        with watched.oneshot():
            rss_mb = watched.memory_info().rss / 1e6
            looks.append(Look(elapsed_s, rss_mb, watched.num_threads(), watched.num_fds()))
        time.sleep(LOOK_EVERY_S)
    return looks


def _rates(predictions: Path, part_s: float) -> dict[str, list[float]]:
    """Frames a second of each camera in each whole part of its time, by the source's own clock."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    with predictions.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            times[entry["source"]].append(entry["pts_s"])
    rates = {}
    for camera, seen in times.items():
        parts = range(int((seen[-1] - WARM_UP_S) // part_s))
        bounds = [(WARM_UP_S + part * part_s, WARM_UP_S + (part + 1) * part_s) for part in parts]
        rates[camera] = [sum(begin <= pts_s < end for pts_s in seen) / part_s for begin, end in bounds]
    return rates


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=15.0)
    soaked = soak(parser.parse_args().minutes * 60)
    first_mb, last_mb = soaked.memory_mb
    print(f"{soaked.seconds:.0f} s, exit code {soaked.exit_code}, ended in {soaked.shutdown_s:.1f} s")
    print(f"memory {first_mb:.0f} MB in the first third, {last_mb:.0f} MB in the last")
    for name, values in (
        ("threads", [x.threads for x in soaked.looks]),
        ("open files", [x.files for x in soaked.looks]),
    ):
        print(f"{name}: {values[len(values) // 3]} after a third, {values[-1]} at the end, {max(values)} at most")
    for camera, rates in soaked.rates.items():
        print(f"{camera}: {statistics.mean(rates):.2f} fps, {min(rates):.2f} to {max(rates):.2f} by minute")
    steady = all(abs(rate - RATE) / RATE <= 0.05 for name in STEADY for rate in soaked.rates[name])
    print("the steady cameras kept their rate" if steady else "a steady camera lost its rate")
    return 0 if steady else 1


if __name__ == "__main__":
    sys.exit(main())
