"""The loop everybody writes first, to compare with: read, detect, draw, write, one after the other.

OpenCV reads and writes, onnxruntime runs the model on a square input with all threads, supervision draws. It shares
our fast decoding of the head and our suppression, so it is quicker than such loops are. It is run as a program, so
that its start counts; without OUTPUT nothing is drawn and written:

    python -m edge.bench.plain_loop CLIP MODEL.onnx CONFIDENCE IOU [OUTPUT.mp4]

Prints the frames, the seconds from the first to the last of them, and those of the loop with what it opens and closes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import supervision as sv
from numpy.typing import NDArray

from models.describe import describe
from models.families import Boxes, recognise
from models.spec import InputSpec
from stream.frame import Pixels

SIDE_PX = 640
"""Of the square input where a model takes every size and names none."""


def main(clip: str, model: str, confidence: str, iou: str, output: str = "") -> None:
    """Process ``clip`` to its end."""
    begun_s = time.monotonic()
    detect = _detector(model, float(confidence), float(iou))
    capture = cv2.VideoCapture(clip)
    write, close = _recorder(output, capture) if output else (_nothing, _nothing)
    times: list[float] = []
    while True:
        found, read = capture.read()
        if not found:
            break
        picture = np.asarray(read, np.uint8)
        write(picture, *detect(picture))
        times.append(time.monotonic())
    close()
    print(len(times), times[-1] - times[0], time.monotonic() - begun_s)  # noqa: T201 - its only result


def _detector(model: str, confidence: float, iou: float) -> Callable[[Pixels], tuple[sv.Detections, list[str]]]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    spec = describe(Path(model).stem, session)
    family = recognise(spec)
    side_px = spec.input.height or max(spec.imgsz or (SIDE_PX, SIDE_PX))

    def detect(picture: Pixels) -> tuple[sv.Detections, list[str]]:
        canvas, scale = _letterbox(picture, side_px)
        boxes: Boxes = family.decode(
            session.run(None, {spec.input.name: _tensor(canvas, spec.input)}),
            canvas.shape[:2],
            confidence=confidence,
            iou=iou,
            max_detections=300,
            classes=None,
        )
        names = [family.names[i] if family.names else str(i) for i in boxes.class_id]
        texts = [f"{name} {score:.2f}" for name, score in zip(names, boxes.confidence, strict=True)]
        return sv.Detections(boxes.xyxy / scale, None, boxes.confidence, boxes.class_id), texts

    return detect


def _recorder(output: str, capture: cv2.VideoCapture) -> tuple[Callable[..., None], Callable[[], None]]:
    """What draws and writes a picture, and what closes the file."""
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(output, cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size)
    boxes, labels = sv.BoxAnnotator(), sv.LabelAnnotator()

    def write(picture: Pixels, found: sv.Detections, texts: list[str]) -> None:
        writer.write(labels.annotate(boxes.annotate(picture, found), found, texts))

    return write, writer.release


def _nothing(*_ignored: object) -> None:
    """Of a loop that does not record."""


def _letterbox(picture: Pixels, side_px: int) -> tuple[Pixels, float]:
    """The picture at the top left of a grey square, and by how much it was scaled."""
    scale = side_px / max(picture.shape[:2])
    scaled = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale), np.uint8)
    canvas = np.full((side_px, side_px, 3), 114, np.uint8)
    canvas[: scaled.shape[0], : scaled.shape[1]] = scaled
    return canvas, scale


def _tensor(canvas: Pixels, wanted: InputSpec) -> NDArray[Any]:
    """What the network is given: the pixels as they are, or what OpenCV's own function makes of them."""
    if wanted.dtype == "uint8" and wanted.layout == "NHWC":
        return np.asarray((canvas[..., ::-1] if wanted.rgb else canvas)[None])
    if wanted.layout != "NCHW" or len(set(wanted.scale)) > 1:
        raise SystemExit("the plain loop cannot prepare pictures for this model")
    blob = cv2.dnn.blobFromImage(canvas, wanted.scale[0], mean=wanted.mean, swapRB=wanted.rgb)
    return np.asarray(blob, wanted.dtype)


if __name__ == "__main__":
    main(*sys.argv[1:6])
