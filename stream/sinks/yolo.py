"""labels/: one text file a frame in the format that YOLO tools train on."""

from __future__ import annotations

from pathlib import Path

from stream.frame import Frame, FrameResult, SourceInfo
from stream.sinks.base import write_failure
from stream.sinks.names import stem_of
from stream.sinks.rows import Row, rows


class LabelsSink:
    """Writes ``<stem>_<frame>.txt`` for each frame with detected boxes, rows ``class xc yc w h [conf] [track_id]``.

    Coordinates are fractions of the upright picture. Carried boxes were not seen by the detector and are left out.
    """

    name = "labels"
    wants_picture = False
    optional = False

    def __init__(self, folder: Path, *, save_conf: bool = False) -> None:
        self._folder = folder
        self._save_conf = save_conf
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
        if result.carried:
            return
        lines = [self._line(row, result.frame) for row in rows(result)]
        if not lines:
            return
        path = self._folder / f"{self._stem}_{result.frame.index}.txt"
        try:
            path.write_text("".join(lines), encoding="utf-8")
        except OSError as error:
            raise write_failure(path, error) from error

    def close(self) -> None:
        """Nothing stays open between frames."""

    def _line(self, row: Row, frame: Frame) -> str:
        x1, x2 = (min(max(x / frame.width, 0.0), 1.0) for x in row.xyxy[0::2])
        y1, y2 = (min(max(y / frame.height, 0.0), 1.0) for y in row.xyxy[1::2])
        values = [f"{value:.6g}" for value in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)]
        if self._save_conf:
            values.append(f"{row.confidence:.4g}")
        if row.track_id is not None:
            values.append(str(row.track_id))
        return " ".join((str(row.class_id), *values)) + "\n"
