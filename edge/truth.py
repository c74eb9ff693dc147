"""What really is in a clip, as people marked it: a COCO JSON or a MOT text file."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.families import Boxes
from stream.errors import UsageError

Truth = Mapping[int, Boxes]
"""Boxes in pixels of the source picture by frame, counted from 0."""

MAX_BYTES = 500_000_000
_MOT_CLASS = "person"
_Row = tuple[int, tuple[float, float, float, float], int]


def read_truth(path: Path, names: Sequence[str]) -> Truth:
    """Read a file of marked boxes, with the class numbers of a model that has these ``names``.

    COCO: an image's frame is its ``frame_id``, else the last number in its ``file_name``, counted from 0; categories
    are matched by name. MOT: ``frame, id, left, top, width, height, ...`` with frames counted from 1; all are people,
    and lines whose seventh number is 0 are left out, as that format wants it.

    Raises:
        UsageError: it cannot be read, is neither, or names no class of the model.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is too large to be a file of marked boxes")
        text = path.read_text(encoding="utf-8")
        rows = list(_coco(json.loads(text), names) if text.lstrip().startswith("{") else _mot(text, names))
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError, LookupError, RecursionError) as exc:
        raise UsageError(f"{path} holds no boxes in COCO's or MOT's format") from exc
    if not rows:
        raise UsageError(f"{path} marks nothing that this model finds; its classes are {', '.join(names[:20])}")
    return _by_frame(rows)


def _coco(told: Mapping[str, Any], names: Sequence[str]) -> Iterator[_Row]:
    numbers = {name.casefold(): number for number, name in enumerate(names)}
    classes = {each["id"]: numbers.get(str(each["name"]).casefold()) for each in told["categories"]}
    frames = {image["id"]: _frame_of(image) for image in told["images"]}
    for each in told["annotations"]:
        class_id = classes[each["category_id"]]
        if class_id is not None:
            left, top, width, height = map(float, each["bbox"])
            yield frames[each["image_id"]], (left, top, left + width, top + height), class_id


def _frame_of(image: Mapping[str, Any]) -> int:
    if "frame_id" in image:
        return int(image["frame_id"])
    return int(re.findall(r"\d+", Path(str(image["file_name"])).stem)[-1])


def _mot(text: str, names: Sequence[str]) -> Iterator[_Row]:
    known = [name.casefold() for name in names]
    if _MOT_CLASS not in known:
        return
    for line in filter(str.strip, text.splitlines()):
        numbers = [float(part) for part in line.split(",")]
        frame, _, left, top, width, height = numbers[:6]
        if len(numbers) < 7 or numbers[6] != 0:
            yield int(frame) - 1, (left, top, left + width, top + height), known.index(_MOT_CLASS)


def _by_frame(rows: Sequence[_Row]) -> Truth:
    grouped: dict[int, list[_Row]] = defaultdict(list)
    for row in rows:
        grouped[row[0]].append(row)
    return {
        frame: Boxes(
            np.array([box for _, box, _ in own], np.float32),
            np.ones(len(own), np.float32),
            np.array([class_id for _, _, class_id in own], np.int64),
        )
        for frame, own in grouped.items()
    }
