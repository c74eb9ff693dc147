"""Trying the devices that are here on a model: how fast each is, and whether its boxes are those of the CPU."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.catalogue import ModelFile
from models.choice import Choice, Tried, best
from models.families import Boxes, recognise
from models.matching import LEAST_BOXES, LEAST_CONFIDENCE, agreement_above
from models.providers import PROVIDERS, device_of, devices_among
from models.session import Pixels, Session, available_providers, open_session
from stream.errors import ModelError

TURNS = 4
MEASURED_S = 1.0
"""Each device has its turns between those of the others, so that a busy moment hits them all; the best turn counts."""

_IOU, _MOST = 0.6, 1000


@dataclass(frozen=True, slots=True)
class Throughput:
    """Pictures a second as a clock on the wall sees it, and a second of processor time, which tells two models on the
    CPU apart even when others use the machine as well."""

    per_s: float
    per_cpu_s: float


def choose(
    model: ModelFile,
    pictures: Sequence[Pixels],
    *,
    workers: int,
    threads: int,
    confidence: float,
    cache: Path | None = None,
    seconds: float = MEASURED_S,
    judge: bool = True,
) -> Choice:
    """Try every device that is here on ``pictures``, which all have one shape, and choose.

    Takes about ``seconds`` a device and a second more. ``cache`` is a private folder for what a provider compiles.
    Without ``judge`` the pictures show nothing, and whether the boxes agree is left open.

    Raises:
        ModelError: not even the CPU can run the model.
    """
    height, width = pictures[0].shape[:2]
    sessions, tried = _sessions(model, (height, width), workers, threads, cache)
    speeds = _speeds(sessions, pictures[0], workers, seconds / TURNS)
    for device, session in sessions.items():
        judged = judge and device != "cpu"
        f1, boxes = _agreement(sessions["cpu"], session, pictures, confidence) if judged else (None, 0)
        per_s, per_cpu_s = round(speeds[device].per_s, 1), round(speeds[device].per_cpu_s, 2)
        tried[device] = Tried(device, session.provider, per_s, f1, boxes, pictures_per_cpu_s=per_cpu_s)
    results = tuple(tried[device] for device in PROVIDERS if device in tried)
    return Choice(
        model=model.name,
        sha256=model.sha256,
        device=best(results),
        workers=workers,
        threads=threads,
        width=width,
        height=height,
        confidence=confidence,
        measured_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        tried=results,
    )


def throughput(session: Session, picture: Pixels, workers: int, seconds: float) -> Throughput:
    """Let ``workers`` threads look at a picture for so long, each of which finishes what it has begun, and looks once
    even where the machine only lets it begin when the time is over."""
    counts = [0] * workers
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()

    def work(place: int) -> None:
        while not counts[place] or time.perf_counter() - begun_s < seconds:
            session.run(picture)
            counts[place] += 1

    threads = [threading.Thread(target=work, args=(place,), name=f"try-{place}") for place in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pictures = sum(counts)
    return Throughput(
        pictures / (time.perf_counter() - begun_s), pictures / max(1e-9, time.process_time() - begun_cpu_s)
    )


def _speeds(sessions: Mapping[str, Session], picture: Pixels, workers: int, turn_s: float) -> dict[str, Throughput]:
    """The best turn of each by either clock."""
    speeds = dict.fromkeys(sessions, Throughput(0.0, 0.0))
    for _ in range(TURNS):
        for device, session in sessions.items():
            seen, best_yet = throughput(session, picture, workers, turn_s), speeds[device]
            speeds[device] = Throughput(max(seen.per_s, best_yet.per_s), max(seen.per_cpu_s, best_yet.per_cpu_s))
    return speeds


def _sessions(
    model: ModelFile, shape: tuple[int, int], workers: int, threads: int, cache: Path | None
) -> tuple[dict[str, Session], dict[str, Tried]]:
    """A session for each device that can run the model, and the reasons of those that cannot."""
    sessions: dict[str, Session] = {}
    failed: dict[str, Tried] = {}
    for device in sorted(devices_among(available_providers()), key=lambda device: device != "cpu"):
        try:
            sessions[device] = _open(model, device, shape, workers, threads, cache)
        except ModelError as exc:
            if device == "cpu":
                raise
            failed[device] = Tried(device, PROVIDERS[device], problem=str(exc))
    return sessions, failed


def _open(
    model: ModelFile, device: str, shape: tuple[int, int], workers: int, threads: int, cache: Path | None
) -> Session:
    session = open_session(model, device=device, threads=threads, shape=shape, cache=cache, workers=workers)
    if device_of(session.provider) != device:
        raise ModelError(f"onnxruntime fell back to {session.provider}")
    session.warm_up()
    return session


def _agreement(
    reference: Session, other: Session, pictures: Sequence[Pixels], confidence: float
) -> tuple[float | None, int]:
    pairs = [(boxes_of(reference, picture), boxes_of(other, picture)) for picture in pictures]
    seen, _ = agreement_above(pairs, confidence)
    return (round(seen.f1, 4) if seen.boxes >= LEAST_BOXES else None), seen.boxes


def boxes_of(session: Session, picture: Pixels) -> Boxes:
    """All that a detector finds in a picture, down to :data:`models.matching.LEAST_CONFIDENCE`."""
    outputs, size = session.run(picture), picture.shape[:2]
    return recognise(session.spec).decode(
        outputs, size, confidence=LEAST_CONFIDENCE, iou=_IOU, max_detections=_MOST, classes=None
    )
