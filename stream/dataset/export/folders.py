"""A folder of pictures by class, as classifiers are trained from: ``<split>/<class>/``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stream.dataset.collector import cut_out, encode
from stream.dataset.export.plan import SPLITS, Item, Plan
from stream.dataset.export.writing import copy_picture
from stream.errors import SinkError
from stream.sinks.names import safe_name

CROP_QUALITY = 95


def write(plan: Plan, folder: Path) -> None:
    """Crops as they are; of a frame every object is cut out. Raises OSError, and SinkError for a broken picture."""
    for split in SPLITS:
        (folder / split).mkdir()
        for item in plan.of(split):
            if item.sample.kind == "crop":
                for label in item.labels:
                    copy_picture(item, _place(folder / split, label.class_name) / item.name)
            else:
                _cut_all(item, folder / split)


def _cut_all(item: Item, folder: Path) -> None:
    if not item.labels:
        return
    picture = cv2.imdecode(np.frombuffer(item.path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise SinkError(f"{item.path} cannot be decoded; run videodisco dataset verify --repair")
    for number, label in enumerate(item.labels):
        cut = cut_out(np.asarray(picture, np.uint8), label, margin=0.0)
        if cut is not None:
            path = _place(folder, label.class_name) / f"{Path(item.name).stem}_{number}.jpg"
            path.write_bytes(encode(cut[0], CROP_QUALITY))


def _place(folder: Path, class_name: str) -> Path:
    place = folder / safe_name(class_name)
    place.mkdir(exist_ok=True)
    return place
