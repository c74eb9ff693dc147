"""Ultralytics' own prediction of a file, for ``videodisco bench --peers``: run by the Python of its environment.

    python peer_ultralytics.py predict|save|process_video CLIP MODEL.onnx FOLDER

Prints the frames and the seconds from the first to the last of them. It imports nothing of ours.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

CONFIDENCE, IOU = 0.25, 0.6


def main(way: str, clip: str, model: str, folder: str) -> None:
    """Go through ``clip`` in one of the three ways."""
    times = process_video(clip, model, folder) if way == "process_video" else predict(clip, model, folder, way)
    print(len(times), times[-1] - times[0])  # noqa: T201 - its only result


def predict(clip: str, model: str, folder: str, way: str) -> list[float]:
    """What ``yolo predict`` does, saving the annotated video or not."""
    results = _yolo(model).predict(
        clip, stream=True, save=way == "save", project=folder, conf=CONFIDENCE, iou=IOU, verbose=False, device="cpu"
    )
    return [time.monotonic() for _ in results]


def process_video(clip: str, model: str, folder: str) -> list[float]:
    """The same model within supervision's loop over a video, as its documentation shows it."""
    import supervision as sv  # of the peers' environment

    yolo, boxes, labels = _yolo(model), sv.BoxAnnotator(), sv.LabelAnnotator()
    times: list[float] = []

    def look(picture: Any, _index: int) -> Any:
        found = sv.Detections.from_ultralytics(yolo(picture, conf=CONFIDENCE, iou=IOU, verbose=False, device="cpu")[0])
        times.append(time.monotonic())
        return labels.annotate(boxes.annotate(picture.copy(), found), found)

    sv.process_video(clip, str(Path(folder) / "processed.mp4"), look)
    return times


def _yolo(model: str) -> Any:
    from ultralytics import YOLO  # type: ignore[import-not-found] # in the peers' environment alone

    return YOLO(model, task="detect")


if __name__ == "__main__":
    main(*sys.argv[1:5])
