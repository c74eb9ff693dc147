"""Where recordings go: one index, one floor of free disk and one retention for each folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stream.recording.disk import DiskFloor
from stream.recording.index import RecordingIndex
from stream.recording.recorder import SegmentRecorder
from stream.recording.retention import Keep, Retention
from stream.recording.settings import RecordSettings


class Archive:
    """The recordings of several cameras in one folder.

    Raises:
        OutputError: the folder or its index cannot be made.
    """

    def __init__(self, folder: Path, min_free_gb: float, on_note: Callable[[str], None]) -> None:
        self.folder = folder
        self.index = RecordingIndex(folder)
        self._on_note = on_note
        self._floor = DiskFloor(folder, min_free_gb)
        self._keeps: dict[str, Keep] = {}
        self._retention = Retention(self.index, lambda: dict(self._keeps), self._floor, on_note=on_note)
        self._retention.start()

    def recorder(
        self, camera: str, settings: RecordSettings, started_at: Callable[[], float | None]
    ) -> SegmentRecorder:
        """A recorder of this camera, at work."""
        self._keeps[camera] = Keep.of(settings)
        recorder = SegmentRecorder(
            camera,
            settings,
            self.index,
            started_at=started_at,
            on_note=self._on_note,
            on_pause=self._retention.wake,
            floor=self._floor,
        )
        recorder.start()
        return recorder

    def close(self, timeout_s: float) -> None:
        self._retention.close(timeout_s)
        self.index.close()
