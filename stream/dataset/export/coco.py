"""COCO: ``images/<split>/`` and ``annotations/instances_<split>.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stream.dataset.export.plan import SPLITS, Item, Plan
from stream.dataset.export.writing import copy_picture, write_text
from stream.dataset.sample import Label


def write(plan: Plan, folder: Path) -> None:
    """Pictures as they are, boxes as x, y, width, height in pixels; categories count from 1. Raises OSError.

    supervision writes the same layout, but encodes every picture anew and leaves out the scores.
    """
    for split in SPLITS:
        items = plan.of(split)
        pictures = folder / "images" / split
        pictures.mkdir(parents=True)
        for item in items:
            copy_picture(item, pictures / item.name)
        content = content_of(items, plan.numbers)
        write_text(folder / "annotations" / f"instances_{split}.json", json.dumps(content, ensure_ascii=False))


def content_of(items: Sequence[Item], numbers: dict[str, int]) -> dict[str, Any]:
    """The content of a split's JSON file."""
    labels = [(number, label) for number, item in enumerate(items, 1) for label in item.labels]
    return {
        "info": {"description": "collected by VideoDisco"},
        "licenses": [],
        "images": [_image(number, item) for number, item in enumerate(items, 1)],
        "annotations": [_annotation(number, image, label, numbers) for number, (image, label) in enumerate(labels, 1)],
        "categories": [{"id": number + 1, "name": name, "supercategory": ""} for name, number in numbers.items()],
    }


def _image(number: int, item: Item) -> dict[str, Any]:
    sample = item.sample
    return {"id": number, "file_name": item.name, "width": sample.width, "height": sample.height}


def _annotation(number: int, image: int, label: Label, numbers: dict[str, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = label.bbox
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "id": number,
        "image_id": image,
        "category_id": numbers[label.class_name] + 1,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "segmentation": [],
        "score": label.confidence,
    }
