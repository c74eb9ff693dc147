"""One annotated picture of what a camera shows now."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import cv2

from stream.errors import SinkError
from stream.frame import FrameResult
from stream.overlay import Overlay
from stream.sinks.base import write_failure
from stream.sinks.names import safe_name

JPEG_QUALITY = 92


def write_snapshot(folder: Path, result: FrameResult, at: float) -> Path:
    """Write the result's picture with its boxes as ``<camera>_<time>.jpg``; ``at`` is seconds since the epoch.

    Raises:
        SinkError: the result has no picture, or the file cannot be written.
    """
    picture = result.frame.picture
    if picture is None:
        raise SinkError(f"{result.frame.source} has no picture to keep just now")
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")[:-3]
    path = folder / f"{safe_name(result.frame.source)}_{moment}Z.jpg"
    encoded, data = cv2.imencode(".jpg", Overlay().draw(picture, result), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise SinkError(f"the picture of {result.frame.source} does not fit into a JPEG")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise write_failure(path, error) from error
    return path
