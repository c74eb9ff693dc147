"""predictions.jsonl: one line a frame."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stream.frame import FrameResult, Refinement, SourceInfo, Timings
from stream.sinks.append import AppendFile
from stream.sinks.rotation import Rotation
from stream.sinks.rows import Row, rounded_rows

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False).encode


class PredictionsSink:
    """Appends each result as a line of JSON; several sources may share the file, each with a sink of its own."""

    name = "predictions"
    wants_picture = False
    optional = False

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, rotation: Rotation | None = None
    ) -> None:
        self._path = path
        self._file = AppendFile(path, clock, rotation)
        self._started_at: float | None = None

    @property
    def outputs(self) -> list[Path]:
        return [self._path]

    @property
    def offset_bytes(self) -> int:
        """Where the last complete line handed to the operating system ends; a resumed run truncates to it."""
        return self._file.offset_bytes

    def open(self, info: SourceInfo) -> None:
        self._started_at = info.started_at
        self._file.open()

    def write(self, result: FrameResult) -> None:
        self._file.append(_encode(prediction(result, self._started_at)) + "\n")

    def close(self) -> None:
        self._file.close()


def prediction(result: FrameResult, started_at: float | None) -> dict[str, Any]:
    """A result as the JSON object of predictions.jsonl; ``started_at`` is the epoch time of pts 0 or None."""
    frame, model, pts_s = result.frame, result.model, result.frame.pts_s
    line: dict[str, Any] = {
        "source": frame.source,
        "frame": frame.index,
        "pts_s": pts_s,
        "time": None if started_at is None else _iso_time(started_at + pts_s),
        "width": frame.width,
        "height": frame.height,
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "detections": [_detection(row, result) for row in rounded_rows(result)],
        "timings_ms": _timings_ms(result.timings),
        "dropped_before": result.dropped_before,
    }
    if result.carried:
        line["carried"] = True
    return line


def _detection(row: Row, result: FrameResult) -> dict[str, Any]:
    detection: dict[str, Any] = {
        "class": row.class_name,
        "class_id": row.class_id,
        "confidence": row.confidence,
        "bbox": row.xyxy,
    }
    if row.track_id is not None:
        detection["track_id"] = row.track_id
        refined = result.refinement_of(row.track_id, row.class_name)
        if refined is not None:
            detection["refined"] = _refinement(refined)
    return detection


def _refinement(refinement: Refinement) -> dict[str, Any]:
    return {
        "label": refinement.label,
        "confidence": round(refinement.confidence, 4),
        "model": refinement.model,
    }


def _timings_ms(timings: Timings) -> dict[str, float]:
    return {
        "queue": round(timings.queue_s * 1e3, 3),
        "preprocess": round(timings.preprocess_s * 1e3, 3),
        "inference": round(timings.inference_s * 1e3, 3),
        "postprocess": round(timings.postprocess_s * 1e3, 3),
        "total": round(timings.total_s * 1e3, 3),
    }


def _iso_time(epoch_s: float) -> str:
    moment = _EPOCH + timedelta(milliseconds=round(epoch_s * 1e3))
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
