"""predictions.csv: one row a box, with the column names of supervision's CSVSink and ours behind them."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path

from stream.frame import FrameResult, SourceInfo
from stream.sinks.append import AppendFile
from stream.sinks.rows import rounded_rows

COLUMNS = (
    "x_min",
    "y_min",
    "x_max",
    "y_max",
    "class_id",
    "confidence",
    "tracker_id",
    "class_name",
    "source",
    "frame",
    "pts_s",
    "carried",
)


class CsvSink:
    """Appends a row for each box; several sources may share the file, each with a sink of its own."""

    name = "csv"
    wants_picture = False
    optional = False

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._file = AppendFile(path, clock)

    @property
    def outputs(self) -> list[Path]:
        return [self._path]

    @property
    def offset_bytes(self) -> int:
        """Where the last complete row handed to the operating system ends; a resumed run truncates to it."""
        return self._file.offset_bytes

    def open(self, info: SourceInfo) -> None:  # noqa: ARG002 # every row names its source
        self._file.open(header=",".join(COLUMNS) + "\n")

    def write(self, result: FrameResult) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        frame = result.frame
        for row in rounded_rows(result):
            table.writerow(
                (
                    *row.xyxy,
                    row.class_id,
                    row.confidence,
                    "" if row.track_id is None else row.track_id,
                    row.class_name,
                    frame.source,
                    frame.index,
                    frame.pts_s,
                    int(result.carried),
                )
            )
        if text.tell():
            self._file.append(text.getvalue())

    def close(self) -> None:
        self._file.close()
