"""samples/: a few annotated frames of a run, to see at a glance what it saw."""

from __future__ import annotations

from pathlib import Path

import cv2

from stream.errors import SinkError
from stream.frame import FrameResult, SourceInfo
from stream.overlay import Overlay
from stream.sinks.base import write_failure
from stream.sinks.names import stem_of

SAMPLE_FRAMES = frozenset(10 * 4**power for power in range(9))
"""Frames 10, 40, 160 ... 655,360: a handful, spread over a clip as over a day, with no need to know its length."""

_JPEG_QUALITY = 90


class SamplesSink:
    """Writes ``<stem>_<frame>.jpg`` for the frames of :data:`SAMPLE_FRAMES`."""

    name = "samples"
    wants_picture = False  # the source is asked for the pictures of SAMPLE_FRAMES alone
    optional = True

    def __init__(self, folder: Path, overlay: Overlay) -> None:
        self._folder = folder
        self._overlay = overlay
        self._stem = ""
        self.written: list[Path] = []

    @property
    def outputs(self) -> list[Path]:
        return [self._folder] if self.written else []

    def open(self, info: SourceInfo) -> None:
        self._stem = stem_of(info)

    def write(self, result: FrameResult) -> None:
        picture = result.frame.picture
        if result.frame.index not in SAMPLE_FRAMES or picture is None:
            return
        path = self._folder / f"{self._stem}_{result.frame.index}.jpg"
        drawn = self._overlay.draw(picture, result)
        encoded, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not encoded:
            raise SinkError(f"frame {result.frame.index} of {drawn.shape[1]}x{drawn.shape[0]} does not fit into a JPEG")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.tobytes())
        except OSError as error:
            raise write_failure(path, error) from error
        self.written.append(path)

    def close(self) -> None:
        """Nothing is open between frames."""
