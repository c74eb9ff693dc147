"""crops/: every detected object cut out of its picture, in a folder by class."""

from __future__ import annotations

import math
from pathlib import Path

import cv2

from stream.errors import SinkError
from stream.frame import FrameResult, Pixels, SourceInfo
from stream.sinks.base import write_failure
from stream.sinks.names import safe_name, stem_of
from stream.sinks.rows import Row, rows

# Crops are looked at and trained on: hardly any loss.
_JPEG_QUALITY = 95


class CropsSink:
    """Writes ``<class>/<stem>_<frame>_<track>.jpg`` for each detected box, ``n<number>`` where it has no track.

    Boxes are clipped to the picture and widened to whole pixels; carried boxes and those outside are left out.
    """

    name = "crops"
    wants_picture = True
    optional = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stem = ""

    @property
    def outputs(self) -> list[Path]:
        return [self._folder]

    def open(self, info: SourceInfo) -> None:
        self._stem = stem_of(info)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_failure(self._folder, error) from error

    def write(self, result: FrameResult) -> None:
        picture = result.frame.picture
        if result.carried or picture is None:
            return
        for number, row in enumerate(rows(result)):
            crop = cut(picture, row)
            if crop.size:
                which = f"n{number}" if row.track_id is None else str(row.track_id)
                self._save(crop, safe_name(row.class_name), f"{self._stem}_{result.frame.index}_{which}.jpg")

    def close(self) -> None:
        """Nothing stays open between frames."""

    def _save(self, crop: Pixels, class_folder: str, file_name: str) -> None:
        path = self._folder / class_folder / file_name
        encoded, jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not encoded:  # JPEG ends at 65535 pixels a side
            raise SinkError(f"cannot write {path}: a crop of {crop.shape[1]}x{crop.shape[0]} is too large for JPEG")
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(jpeg.tobytes())
        except OSError as error:
            raise write_failure(path, error) from error


def cut(picture: Pixels, row: Row) -> Pixels:
    """A view ``(h, w, 3)`` of the box's pixels, empty when nothing of it lies within the picture."""
    height, width = picture.shape[:2]
    x1, y1 = (max(0, math.floor(value)) for value in row.xyxy[:2])
    x2, y2 = min(width, math.ceil(row.xyxy[2])), min(height, math.ceil(row.xyxy[3]))
    return picture[y1 : max(y1, y2), x1 : max(x1, x2)]
