"""Whole programs to run: ours as people use it beside a plain loop, its start, one large camera, a live clip."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from edge.bench.programs import FOLDER, OURS, Model, Program, ours
from edge.config import DEFAULT_CONFIDENCE, DetectorSettings
from stream.sources.opening import open_file, video_stream

CAMERA_PX = (1920, 1080)
CAMERA_FPS, CAMERA_FRAMES = 25, 100
CAMERA_S = 12.0
"""How long the large camera is watched: its memory has settled after a few seconds."""

LIVE_RECORD = "live.json"

FIRST_S = 0.01
"""A run of so much of a clip is a run of its first frame."""


def plain_loop(clip: Path, model: Model, confidence: float, iou: float, *, records: bool) -> Program:
    """The loop of :mod:`edge.bench.plain_loop`."""
    said = (str(confidence), str(iou), *([f"{FOLDER}/plain.mp4"] if records else []))
    name = f"plain OpenCV loop{', recording' if records else ''}"
    command = (sys.executable, "-m", "edge.bench.plain_loop", str(clip), str(model.path), *said)
    return Program(name, command, model.name, "cpu", records)


def whole_runs(clip: Path, model: Model, reference: Model, device: str) -> list[Program]:
    """The plain loop over the ``reference`` model first, then ours over it, and over ``model`` in the ways that people
    run it."""
    save = ("--save", "--no-mlflow")
    plain = plain_loop(clip, reference, DEFAULT_CONFIDENCE, DetectorSettings().iou, records=True)
    over_reference = ours("run --save --no-mlflow (float)", clip, reference, device, *save)
    return [
        *([plain] if reference == model else [replace(plain, name=f"{plain.name} (float)"), over_reference]),
        ours("run --save --no-mlflow", clip, model, device, *save),
        ours("run --save", clip, model, device, "--save"),
        ours("run --no-mlflow", clip, model, device, "--no-mlflow"),
    ]


def start(clip: Path, model: Model, device: str) -> list[Program]:
    """How soon a user sees the help, and the first frame's result on disk in a run of that frame alone, MLflow on."""
    watched = f"{FOLDER}/run/predictions.jsonl"
    return [
        Program("videodisco --help", (*OURS, "--help")),
        ours("run, the first frame alone", clip, model, device, "--end", str(FIRST_S), watched=watched),
    ]


def large_camera(clip: Path, model: Model, device: str) -> list[Program]:
    """One camera that sends ``clip``, without and with recording."""
    options = ("--realtime", "--loop", "--end", str(CAMERA_S), "--no-mlflow")
    return [
        ours("run, one camera", clip, model, device, *options),
        ours("run --save, one camera", clip, model, device, *options, "--save"),
    ]


def write_large(clip: Path, path: Path) -> None:
    """The first frames of ``clip`` at the size and rate of a large camera, as H.264.

    Raises:
        SourceError, DecodeError: it cannot be read.
    """
    width, height = CAMERA_PX
    with open_file(clip) as source, av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=CAMERA_FPS, options={"preset": "ultrafast", "g": str(CAMERA_FPS)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, picture in enumerate(source.decode(video_stream(source, clip))):
            if number >= CAMERA_FRAMES:
                break
            scaled = picture.reformat(width, height, "yuv420p")
            scaled.pts, scaled.time_base = number, Fraction(1, CAMERA_FPS)
            sink.mux(stream.encode(scaled))
        sink.mux(stream.encode(None))


def live(clip: Path, model: Model, device: str, seconds: float) -> Program:
    """This bench's own ``--live`` as a program, so that what was measured before takes no memory in it."""
    said = ("--live", "--seconds", str(seconds), "--model", model.word, "--device", device)
    return Program("live", (*OURS, "bench", str(clip), *said, "--json", f"{FOLDER}/{LIVE_RECORD}"))
