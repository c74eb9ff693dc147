"""Ultralytics' own prediction of a file, for ``videodisco bench --peers``: run by the Python of its environment.

    python peer_ultralytics.py predict|save|process_video CLIP MODEL.onnx FOLDER

Prints the frames, the seconds from the first to the last of them, and those of the whole, from before the model is
opened until the files are closed; imports are left out. It imports nothing of ours.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

CONFIDENCE, IOU, MOST_DETECTIONS = 0.25, 0.6, 300
SAME: dict[str, Any] = {"conf": CONFIDENCE, "iou": IOU, "max_det": MOST_DETECTIONS, "device": "cpu", "verbose": False}


def main(way: str, clip: str, model: str, folder: str) -> None:
    """Go through ``clip`` in one of the three ways."""
    from ultralytics import YOLO  # type: ignore[import-not-found] # in the peers' environment alone

    look = process_video if way == "process_video" else predict
    begun_s = time.monotonic()
    times = look(YOLO(model, task="detect"), clip, folder, way)
    print(len(times), times[-1] - times[0], time.monotonic() - begun_s)  # noqa: T201 - its only result


def predict(yolo: Any, clip: str, folder: str, way: str) -> list[float]:
    """What ``yolo predict`` does, saving the annotated video or not."""
    return [time.monotonic() for _ in yolo.predict(clip, stream=True, save=way == "save", project=folder, **SAME)]


def process_video(yolo: Any, clip: str, folder: str, _way: str) -> list[float]:
    """The same model within supervision's loop over a video, as its documentation shows it."""
    import supervision as sv  # of the peers' environment

    boxes, labels = sv.BoxAnnotator(), sv.LabelAnnotator()
    times: list[float] = []

    def look(picture: Any, _index: int) -> Any:
        found = sv.Detections.from_ultralytics(yolo(picture, **SAME)[0])
        times.append(time.monotonic())
        return labels.annotate(boxes.annotate(picture.copy(), found), found)

    sv.process_video(clip, str(Path(folder) / "processed.mp4"), look)
    return times


if __name__ == "__main__":
    main(*sys.argv[1:5])
