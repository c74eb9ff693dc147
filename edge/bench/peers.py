"""The same model and file through what people use otherwise, installed in an environment of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from edge.bench import peer_ultralytics
from edge.bench.peer_ultralytics import CONFIDENCE, IOU, MOST_DETECTIONS
from edge.bench.programs import FOLDER, Model, Program, ours
from edge.bench.runs import plain_loop
from stream.errors import UsageError


def peers(python: Path, clip: Path, model: Model, devices: tuple[str, ...]) -> list[Program]:
    """Ultralytics, a plain loop and ours, without and with recording, and supervision's loop, which records. Ours runs
    on each of the ``devices``. All have the same thresholds, none tracks.

    Raises:
        UsageError: the environment has no Ultralytics.
    """
    has_it = subprocess.run([python, "-c", "import ultralytics, supervision"], capture_output=True, check=False)
    if has_it.returncode != 0:
        raise UsageError(f"{python} has no ultralytics and supervision; make bench-peers sets such an environment up")
    script, said = (str(python), peer_ultralytics.__file__), (str(clip), str(model.path), FOLDER)
    same = ("--tracker", "off", "--conf", str(CONFIDENCE), "--iou", str(IOU), "--max-det", str(MOST_DETECTIONS))
    ways = {"predict": "ultralytics predict", "save": "ultralytics predict save=True"}
    ways |= {"process_video": "supervision.process_video"}
    programs = []
    for records in (False, True):
        theirs = ("save", "process_video") if records else ("predict",)
        programs += [Program(ways[way], (*script, way, *said), model.name, "cpu", records) for way in theirs]
        programs.append(plain_loop(clip, model, CONFIDENCE, IOU, records=records))
        for device in devices:
            shown = "run" + (" --save" if records else "") + f" --device {device}" * (device != devices[0])
            save = ("--no-mlflow", *(("--save",) if records else ()))
            programs.append(ours(shown, clip, model, device, *same, *save, tracks=False))
    return programs
