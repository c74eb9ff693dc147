"""Measure the bundled models and write the figures into their cards.

    python -m models.build.evaluate --package human-models.tgz --clips vtest.avi bikes.mp4

Clips are those the INT8 build was calibrated on; only frames it has not seen are used.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from models.build.cards import BUNDLED, write_card
from models.build.clips import Pixels, canvas_of, frame_count, held_out_indices, letterboxed_frames
from models.build.graph import MEAN, STD
from models.build.nanodet import read_source
from models.build.reference import run_reference
from models.catalogue import FLOAT, INT8, find
from models.families import Boxes, recognise
from models.matching import Agreement, agreement
from models.session import Session, open_session

CONFIDENCE = 0.35
IOU = 0.6
# Grey levels by which each pixel is moved up or down at most, to see how firm a detector's answers are.
NOISE_LEVELS = 2
TIMED_RUNS = 60
# The best of several turns: other work on the machine only ever takes speed away.
TURNS = 4
# The source graph's own names for scores and boxes, in the order of our outputs.
REFERENCE_OUTPUTS = ("Identity", "Identity_3", "Identity_1", "Identity_4", "Identity_2", "Identity_5")


class Detector:
    """One bundled model at any picture size."""

    def __init__(self, name: str) -> None:
        self._session = open_session(find(name), device="cpu", threads=2, shape=None)
        self._family = recognise(self._session.spec)

    def __call__(self, picture: Pixels) -> Boxes:
        outputs = self._session.run(picture)
        size = picture.shape[:2]
        return self._family.decode(outputs, size, confidence=CONFIDENCE, iou=IOU, max_detections=300, classes=None)


def int8_against_float(clip: Path) -> Agreement:
    exact, quick = Detector(FLOAT), Detector(INT8)
    pictures = letterboxed_frames(clip, held_out_indices(frame_count(clip)))
    return agreement((exact(picture), quick(picture)) for picture in pictures)


def float_against_itself(clip: Path) -> Agreement:
    """The float build on frames against itself on the same frames with noise nobody sees: what agreement can be had."""
    detect, noise = Detector(FLOAT), np.random.default_rng(0)
    pictures = letterboxed_frames(clip, held_out_indices(frame_count(clip)))
    return agreement((detect(picture), detect(_noisy(picture, noise))) for picture in pictures)


def _noisy(picture: Pixels, noise: np.random.Generator) -> Pixels:
    moved = picture + noise.integers(-NOISE_LEVELS, NOISE_LEVELS + 1, picture.shape)
    return moved.clip(0, 255).astype(np.uint8)


def snug_against_square(name: str, clip: Path) -> Agreement:
    """Boxes on the square canvas against those on the snug one, in pixels of the source."""
    detect = Detector(name)
    indices = held_out_indices(frame_count(clip))
    return agreement(
        zip(_in_source(detect, clip, indices, square=True), _in_source(detect, clip, indices), strict=True)
    )


def _in_source(detect: Detector, clip: Path, indices: list[int], *, square: bool = False) -> Iterator[Boxes]:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        box = canvas_of(stream.width, stream.height, square=square)
    for picture in letterboxed_frames(clip, indices, square=square):
        boxes = detect(picture)
        yield Boxes(box.to_source(boxes.xyxy), boxes.confidence, boxes.class_id)


def distance_from_reference(package: Path, clip: Path) -> float:
    """The largest difference of any output between the float build and the source graph run in numpy."""
    (picture,) = letterboxed_frames(clip, {1}, square=True)
    pixels = ((picture - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]
    expected = run_reference(read_source(package), pixels)
    outputs = open_session(find(FLOAT), device="cpu", threads=2, shape=picture.shape[:2]).run(picture)
    pairs = zip(outputs, REFERENCE_OUTPUTS, strict=True)
    return max(float(np.abs(seen.reshape(expected[name].shape) - expected[name]).max()) for seen, name in pairs)


def speeds(name: str, shape: tuple[int, int]) -> dict[str, float]:
    """Frames a second of inference alone, in the three ways two cores can be used."""
    one, two = (open_session(find(name), device="cpu", threads=threads, shape=shape) for threads in (1, 2))
    return {
        "fps_1_thread": round(_fps(one, 1)),
        "fps_2_threads": round(_fps(two, 1)),
        "fps_2_workers_of_1_thread": round(_fps(one, 2)),
    }


def _fps(session: Session, workers: int) -> float:
    session.warm_up(3)
    picture = np.random.default_rng(0).integers(0, 256, (*_shape(session), 3), np.uint8)
    return workers * TIMED_RUNS / min(_turn_s(session, picture, workers) for _ in range(TURNS))


def _turn_s(session: Session, picture: Pixels, workers: int) -> float:
    def work() -> None:
        for _ in range(TIMED_RUNS):
            session.run(picture)

    threads = [threading.Thread(target=work, name=f"worker-{number}") for number in range(workers)]
    begun_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - begun_s


def _shape(session: Session) -> tuple[int, int]:
    height, width = session.spec.input.height, session.spec.input.width
    if height is None or width is None:
        raise ValueError("speed is measured at a fixed shape")
    return height, width


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines() if cpuinfo.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    vnni = next(("AVX512-VNNI" for line in lines if "avx512_vnni" in line), "no AVX512-VNNI")
    return f"{name}, {vnni}"


def measure(name: str, package: Path, clips: list[Path]) -> dict[str, Any]:
    settings = {"confidence": CONFIDENCE, "iou": IOU, "match_iou": 0.5}
    figures: dict[str, Any] = {
        "processor": processor(),
        # Speeds under a load near or above the number of cores are lower bounds, those of two cores most of all.
        "load_average_before": round(os.getloadavg()[0], 1),
        "settings": settings,
        "speed": {f"{width}x{height}": speeds(name, (height, width)) for height, width in ((416, 416), (256, 416))},
        "snug_against_square": {clip.name: snug_against_square(name, clip).figures() for clip in clips},
    }
    if name == FLOAT:
        figures["largest_difference_from_source_graph"] = float(f"{distance_from_reference(package, clips[0]):.2g}")
    else:
        figures["agreement_with_float"] = {clip.name: int8_against_float(clip).figures() for clip in clips}
        figures["agreement_of_float_with_itself_under_noise_of_2_levels"] = {
            clip.name: float_against_itself(clip).figures() for clip in clips
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, required=True, help="the .tgz that npm pack fetches")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, metavar="CLIP")
    options = parser.parse_args()
    for name in (FLOAT, INT8):
        card = dict(find(name).card or {})
        card["measured"] = measure(name, options.package, options.clips)
        write_card(BUNDLED / f"{name}.json", card)
        print(json.dumps({name: card["measured"]}, indent=2))  # noqa: T201 - a maintainer's command


if __name__ == "__main__":
    main()
