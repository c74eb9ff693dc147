"""The same model and file through what people use otherwise, installed in an environment of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from edge.bench import peer_ultralytics
from edge.bench.peer_ultralytics import CONFIDENCE, IOU, MOST_DETECTIONS
from edge.bench.programs import FOLDER, Model, Program, ours
from edge.bench.runs import plain_loop
from stream.errors import UsageError

THEIRS = {
    False: {"predict": "ultralytics predict"},
    True: {"save": "ultralytics predict save=True", "process_video": "supervision.process_video"},
}
"""The ways of :mod:`edge.bench.peer_ultralytics` by whether they record, and what they are called."""

SAME = ("--tracker", "off", "--conf", str(CONFIDENCE), "--iou", str(IOU), "--max-det", str(MOST_DETECTIONS))
"""What makes a run of ours do what the others do."""


def peers(python: Path, clip: Path, models: Sequence[Model], devices: Sequence[str]) -> list[Program]:
    """Ultralytics, a plain loop and ours over the first of the ``models``, without and with recording; supervision's
    loop, which records; and ours on the other ``devices`` and over the other models. All have the same thresholds, none
    tracks.

    Raises:
        UsageError: the environment has no Ultralytics.
    """
    has_it = subprocess.run([python, "-c", "import ultralytics, supervision"], capture_output=True, check=False)
    if has_it.returncode != 0:
        raise UsageError(f"{python} has no ultralytics and supervision; make bench-peers sets such an environment up")
    model, said = models[0], (str(clip), str(models[0].path), FOLDER)
    ways = [(model, device) for device in devices] + [(other, devices[0]) for other in models[1:]]
    programs = []
    for records in (False, True):
        for way, name in THEIRS[records].items():
            command = (str(python), peer_ultralytics.__file__, way, *said)
            programs.append(Program(name, command, model.name, "cpu", records))
        programs.append(plain_loop(clip, model, CONFIDENCE, IOU, records=records))
        save = ("--no-mlflow", *(("--save",) if records else ()))
        for each, device in ways:
            more = f" --device {device}" * (device != devices[0]) + f" --model {each.name}" * (each != model)
            name = f"run{' --save' if records else ''}{more}"
            programs.append(ours(name, clip, each, device, *SAME, *save, tracks=False))
    return programs
