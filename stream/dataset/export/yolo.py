"""YOLO: ``images/<split>/``, ``labels/<split>/`` and ``data.yaml``."""

from __future__ import annotations

from pathlib import Path

import yaml

from stream.dataset.export.plan import SPLITS, Item, Plan
from stream.dataset.export.writing import copy_picture, write_text


def write(plan: Plan, folder: Path) -> None:
    """Pictures as they are, a text file for each, also for those without objects. Raises OSError."""
    for split in SPLITS:
        pictures, labels = folder / "images" / split, folder / "labels" / split
        pictures.mkdir(parents=True)
        labels.mkdir(parents=True)
        for item in plan.of(split):
            copy_picture(item, pictures / item.name)
            write_text(labels / Path(item.name).with_suffix(".txt"), label_lines(item, plan.numbers))
    names = {number: name for name, number in plan.numbers.items()}
    # No path: Ultralytics would look for it from its own working directory; without one the file's folder counts.
    data = {"train": "images/train", "val": "images/val", "nc": len(names), "names": names}
    write_text(folder / "data.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def label_lines(item: Item, numbers: dict[str, int]) -> str:
    """A line for each object: its class's number, then the middle, width and height of its box as parts of the
    picture's."""
    width, height = item.sample.width, item.sample.height
    lines = []
    for label in item.labels:
        x1, y1, x2, y2 = label.bbox
        middle = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
        size = (x2 - x1) / width, (y2 - y1) / height
        lines.append(" ".join([str(numbers[label.class_name]), *(f"{value:.7f}" for value in (*middle, *size))]))
    return "".join(f"{line}\n" for line in lines)
