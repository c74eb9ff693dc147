"""The loop everybody writes first, to compare with: read, detect, draw, write, one after the other.

OpenCV reads and writes, onnxruntime runs the float model on a square input with all threads, supervision draws. It
shares our fast decoding of the head, so it is quicker than such loops are. It is run as a program, so that its
start counts:

    python -m edge.bench.plain_loop CLIP MODEL.onnx OUTPUT.mp4
"""

from __future__ import annotations

import ast
import sys

import cv2
import numpy as np
import onnxruntime as ort
import supervision as sv

from models.families import nanodet
from models.spec import InputSpec, ModelSpec, OutputSpec
from stream.frame import Pixels

SIDE_PX = 416
CONFIDENCE, IOU = 0.3, 0.6


def main(clip: str, model: str, output: str) -> None:
    """Process ``clip`` to its end and print the number of frames."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    family = _family(session)
    names = _names(session)
    capture = cv2.VideoCapture(clip)
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(output, cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size)
    boxes, labels = sv.BoxAnnotator(), sv.LabelAnnotator()
    frames = 0
    while True:
        found, read = capture.read()
        if not found:
            break
        picture = np.asarray(read, np.uint8)
        canvas, scale = _letterbox(picture)
        decoded = family.decode(
            session.run(None, {session.get_inputs()[0].name: canvas[None]}),
            canvas.shape[:2],
            confidence=CONFIDENCE,
            iou=IOU,
            max_detections=300,
            classes=None,
        )
        detections = sv.Detections(decoded.xyxy / scale, None, decoded.confidence, decoded.class_id)
        texts = [f"{names[i]} {c:.2f}" for i, c in zip(decoded.class_id, decoded.confidence, strict=True)]
        writer.write(labels.annotate(boxes.annotate(picture, detections), detections, texts))
        frames += 1
    writer.release()
    print(frames)  # noqa: T201 - its only result


def _letterbox(picture: Pixels) -> tuple[Pixels, float]:
    """The picture at the top left of a grey square, and by how much it was scaled."""
    scale = SIDE_PX / max(picture.shape[:2])
    scaled = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale), np.uint8)
    canvas = np.full((SIDE_PX, SIDE_PX, 3), 114, np.uint8)
    canvas[: scaled.shape[0], : scaled.shape[1]] = scaled
    return canvas, scale


def _names(session: ort.InferenceSession) -> list[str]:
    names = ast.literal_eval(session.get_modelmeta().custom_metadata_map["names"])
    return [names[number] for number in range(len(names))]


def _family(session: ort.InferenceSession) -> nanodet.NanoDet:
    outputs = [
        OutputSpec(o.name, tuple(s if isinstance(s, int) else None for s in o.shape)) for o in session.get_outputs()
    ]
    pixels = InputSpec("images", "uint8", "NHWC", SIDE_PX, SIDE_PX, rgb=False, mean=(0, 0, 0), scale=(1, 1, 1))
    family = nanodet.recognise(ModelSpec("plain", pixels, outputs, "detect", "nanodet", (), None, 32))
    if family is None:
        raise SystemExit("the plain loop knows NanoDet only")
    return family


if __name__ == "__main__":
    main(*sys.argv[1:4])
