"""What came of quantising a model, for people and for programs: figures, and pictures side by side."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.quantising import Compared, Result
from models.families import Boxes
from models.matching import Agreement, agreement
from stream.errors import OutputError
from stream.frame import Pixels

PICTURES = 6
"""The three on which the models differ most, and three that are spread over the clips."""

_AGREED, _ALONE = (80, 200, 80), (60, 60, 230)  # BGR


def free_folder(project: Path, name: str) -> Path:
    """A new folder ``project/quantize-NAME``, numbered where one is there. Raises OutputError if it cannot be made."""
    for number in range(1, 10_000):
        folder = project / f"quantize-{name}{number if number > 1 else ''}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as exc:
            raise OutputError(f"{folder} cannot be made: {exc.strerror}") from exc
        return folder
    raise OutputError(f"{project} is full of folders called quantize-{name}")


def write(result: Result, folder: Path) -> None:
    """Write report.json, report.md and pictures. Raises OutputError."""
    figures = figures_of(result)
    try:
        (folder / "report.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        pictures = [path.name for path in _draw(result, folder)]
        (folder / "report.md").write_text("\n".join(_words(figures, pictures)) + "\n", encoding="utf-8")
    except OSError as exc:
        raise OutputError(f"the report in {folder} cannot be written: {exc.strerror}") from exc


def figures_of(result: Result) -> dict[str, Any]:
    """All figures of a result as plain values."""
    asked, chosen, speed = result.asked, result.chosen, result.speed
    return {
        "model": {"name": result.model.name, "sha256": result.model.sha256},
        "name": result.name,
        "kept": chosen is not None,
        "problem": result.problem,
        "clips": [str(clip) for clip in asked.clips],
        "calibrated_on_frames": result.calibrated_on,
        "judged_on_frames": len(result.compared),
        "confidence": round(result.confidence, 4),
        "match_iou": 0.5,
        "least_f1": asked.least_f1,
        "attempts": [attempt.figures() for attempt in result.attempts],
        "chosen": chosen.figures() if chosen else None,
        "speed": {
            "float_pictures_per_s": round(speed.exact, 1),
            "int8_pictures_per_s": round(speed.quick, 1),
            "ratio": round(speed.ratio, 2),
            "sessions_of_one_thread": speed.workers,
        }
        if speed
        else None,
        "against_marked_boxes": {
            each.clip: {"float": _marked(each.exact), "int8": _marked(each.quick)} for each in result.marked
        },
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            "onnxruntime": metadata.version("onnxruntime"),
        },
    }


def _marked(seen: Agreement) -> dict[str, float]:
    return {"f1": round(seen.f1, 4), "marked": seen.boxes, "missed": seen.only_first, "too_many": seen.only_second}


def _words(figures: dict[str, Any], pictures: Sequence[str]) -> Iterator[str]:
    yield f"# {figures['model']['name']} in 8 bits"
    yield ""
    yield figures["problem"] or f"Kept as `{figures['name']}`: `videodisco run --model {figures['name']} SOURCE`."
    yield ""
    yield (
        f"Calibrated on {figures['calibrated_on_frames']} frames, judged on {figures['judged_on_frames']} others,"
        f" at confidence {figures['confidence']} and IoU 0.5 within a class; asked for is F1 {figures['least_f1']}."
    )
    if speed := figures["speed"]:
        yield ""
        yield (
            f"{speed['sessions_of_one_thread']} inferences at a time on one thread each, by their processor time: float"
            f" {speed['float_pictures_per_s']} pictures a second, 8 bits {speed['int8_pictures_per_s']}:"
            f" **{speed['ratio']} times as fast** (load average {figures['machine']['load_average']} on"
            f" {figures['machine']['cores']} cores)."
        )
    yield from ("", *_table(figures["attempts"]))
    for clip, marked in figures["against_marked_boxes"].items():
        yield ""
        yield f"Against what is marked in {clip}: F1 {marked['float']['f1']} float, {marked['int8']['f1']} in 8 bits."
    if pictures:
        yield from ("", "Left float, right 8 bits; green is found by both, red by one alone.", "")
        yield from (f"![]({name})" for name in pictures)


def _table(attempts: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| kind | float parts | integer / float convolutions | F1 | boxes | score drift | box drift, px | |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in attempts:
        yield (
            f"| {each['activations_and_weights']} | step {each['float_step']}"
            f" | {each['integer_convolutions']} / {each['float_convolutions']} | {each['f1']} | {each['boxes']}"
            f" | {each['mean_score_drift']} | {each['mean_box_drift_px']} | {each['problem'] or 'good'} |"
        )


def _draw(result: Result, folder: Path) -> Iterator[Path]:
    for number, each in enumerate(_telling(result.compared)):
        rgb = each.frame.view is not None and each.frame.view.rgb
        sides = [
            _with_boxes(each, boxes, other, result.names, rgb=rgb)
            for boxes, other in ((each.exact, each.quick), (each.quick, each.exact))
        ]
        path = folder / f"{number}-{Path(each.frame.source).stem}-{each.frame.index}.jpg"
        path.write_bytes(cv2.imencode(".jpg", np.hstack(sides))[1].tobytes())
        yield path


def _telling(compared: Sequence[Compared]) -> list[Compared]:
    worst = sorted(compared, key=lambda each: agreement([(each.exact, each.quick)]).f1 if len(each.exact) else 1.0)
    spread = list(compared[:: max(1, len(compared) // 3)])
    chosen = [*worst[: PICTURES // 2], *spread]
    return list({(each.frame.source, each.frame.index): each for each in chosen}.values())[:PICTURES]


def _with_boxes(each: Compared, boxes: Boxes, other: Boxes, names: Sequence[str], *, rgb: bool) -> Pixels:
    pixels = each.frame.network
    if pixels is None:
        raise ValueError(f"frame {each.frame.index} of {each.frame.source} was not prepared for the network")
    picture: Pixels = np.ascontiguousarray(pixels[..., ::-1] if rgb else pixels).copy()
    for row in range(len(boxes)):
        own = boxes.take(np.array([row]))
        colour = _AGREED if agreement([(own, other)]).matched else _ALONE
        left, top, right, bottom = (round(float(value)) for value in own.xyxy[0])
        number = int(own.class_id[0])
        label = f"{names[number] if number < len(names) else number} {own.confidence[0]:.2f}"
        cv2.rectangle(picture, (left, top), (right, bottom), colour, 1)
        cv2.putText(picture, label, (left, max(8, top - 2)), cv2.FONT_HERSHEY_SIMPLEX, 0.3, colour, 1, cv2.LINE_AA)
    return picture
