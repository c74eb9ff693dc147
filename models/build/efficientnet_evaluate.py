"""Measure the bundled refiner and write the figures into its cards.

    python -m models.build.efficientnet_evaluate --clips vtest.avi bikes.mp4 bigbuckbunny.mp4 carphone_pristine.mp4

Clips are those the INT8 build was calibrated on; only frames it has not seen are used. With ``--reference`` the float
build is held against answers that ``models.build.efficientnet_reference`` got from PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from models.build.cards import BUNDLED, write_card
from models.build.clips import Pixels, frame_count, held_out_indices
from models.build.efficientnet_crops import crops
from models.build.efficientnet_graph import LOGITS
from models.build.evaluate import processor
from models.catalogue import content_of, find
from models.classifier import REFINER_FLOAT, REFINER_INT8, Classifier, Probabilities, open_classifier
from models.providers import CPU
from models.runtime import create, options_for

BATCHES = (1, 4, 8, 16)
THREADS = (1, 2)
# The best of many short turns: other work on the machine only ever takes speed away.
TURNS = 60
# Below it the best label is one among many near ones, and which it is says little.
SURE = 0.3
HELD_OUT_FRAMES = 30


def opened(name: str, threads: int) -> Classifier:
    return open_classifier(find(name), device="cpu", threads=threads)


def speeds(name: str) -> dict[str, dict[str, float]]:
    """Inference alone by threads and batch size: the best time of a batch and crops a second by the clock, and the
    processor time of a crop, which hardly depends on what else the machine does."""
    figures: dict[str, dict[str, float]] = {}
    for threads in THREADS:
        classifier = opened(name, threads)
        for batch in BATCHES:
            batch_s, cpu_s = _seconds(classifier, batch)
            figures[f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}"] = {
                "ms": round(batch_s * 1000, 1),
                "crops_a_second": round(batch / batch_s),
                "cpu_ms_a_crop": round(cpu_s * 1000 / batch, 1),
            }
    return figures


def _seconds(classifier: Classifier, batch: int) -> tuple[float, float]:
    """The least wall-clock time and the least processor time of a batch."""
    shape = (batch, classifier.height, classifier.width, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    classifier.run(pictures)
    turns = [_turn(classifier, pictures) for _ in range(max(10, TURNS // batch))]
    return min(wall_s for wall_s, _ in turns), min(cpu_s for _, cpu_s in turns)


def _turn(classifier: Classifier, pictures: Pixels) -> tuple[float, float]:
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    classifier.run(pictures)
    return time.monotonic() - begun_s, time.process_time() - begun_cpu_s


def drift(exact: Probabilities, quick: Probabilities) -> dict[str, float]:
    """How far the second answers are from the first, over rows of probabilities."""
    same = exact.argmax(axis=1) == quick.argmax(axis=1)
    sure = exact.max(axis=1) >= SURE
    best_five = np.argsort(-exact, axis=1)[:, :5]
    within_five = (best_five == quick.argmax(axis=1)[:, None]).any(axis=1)
    divergence = (exact * np.log((exact + 1e-9) / (quick + 1e-9))).sum(axis=1)
    top = np.take_along_axis(quick, exact.argmax(axis=1)[:, None], axis=1)[:, 0]
    return {
        "crops": len(exact),
        "same_best": round(float(same.mean()), 3),
        "best_within_best_five": round(float(within_five.mean()), 3),
        "sure_crops": int(sure.sum()),
        "same_best_of_sure": round(float(same[sure].mean()), 3) if sure.any() else 1.0,
        "mean_kl_divergence": round(float(divergence.mean()), 4),
        "mean_drift_of_best": round(float(np.abs(exact.max(axis=1) - top).mean()), 4),
    }


def int8_against_float(clip: Path) -> dict[str, float]:
    exact, quick = opened(REFINER_FLOAT, 2), opened(REFINER_INT8, 2)
    indices = held_out_indices(frame_count(clip), HELD_OUT_FRAMES)
    pictures = np.stack([exact.prepare(crop) for crop in crops(clip, indices)])
    return drift(exact.run(pictures), quick.run(pictures))


def largest_difference(reference: Path) -> float:
    """Of any logit of the float build from PyTorch's, over the pictures in an ``.npz`` of pictures and logits."""
    model = find(REFINER_FLOAT)
    runtime = create(model.name, content_of(model), options_for(2), [(CPU, {})])
    with np.load(reference) as kept:
        (logits,) = runtime.run([LOGITS], {"images": kept["pictures"]})
        return float(np.abs(logits - kept["logits"]).max())


def measure(name: str, clips: list[Path], reference: Path | None, earlier: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "processor": processor(),
        # Speeds under a load near or above the number of cores are lower bounds, those of two threads most of all.
        "load_average_before": round(os.getloadavg()[0], 1),
        "speed": speeds(name),
    }
    if name == REFINER_INT8:
        figures["agreement_with_float"] = {clip.name: int8_against_float(clip) for clip in clips}
        return figures
    key = "largest_difference_from_pytorch"
    seen = float(f"{largest_difference(reference):.2g}") if reference else earlier.get(key)
    return figures | ({key: seen} if seen is not None else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True, metavar="CLIP")
    parser.add_argument("--reference", type=Path, metavar="NPZ")
    options = parser.parse_args()
    for name in (REFINER_FLOAT, REFINER_INT8):
        card = dict(find(name).card or {})
        card["measured"] = measure(name, options.clips, options.reference, card["measured"])
        write_card(BUNDLED / f"{name}.json", card)
        print(json.dumps({name: card["measured"]}, indent=2))  # noqa: T201 - a maintainer's command


if __name__ == "__main__":
    main()
