"""Recorders that run, for tests of what they record."""

from __future__ import annotations

from pathlib import Path

from stream.packets import EncodedPacket
from stream.recording.disk import DiskFloor
from stream.recording.index import RecordingIndex
from stream.recording.recorder import SegmentRecorder
from stream.recording.settings import RecordSettings
from tests.recordings import NOON, Disk

CLOSE_S = 60.0


class Recorder:
    """A recorder, started, and what it said."""

    def __init__(self, folder: Path, *, started_at: float | None = NOON, **settings: object) -> None:
        self.notes: list[str] = []
        self.now = NOON + 1800
        self.index = RecordingIndex(folder)
        options = {name: settings.pop(name) for name in ("open_file", "buffer_bytes", "on_pause") if name in settings}
        self.settings = RecordSettings.model_validate({"mode": "continuous"} | settings)
        self.recorder = SegmentRecorder(
            "cam1",
            self.settings,
            self.index,
            started_at=lambda: started_at,
            on_note=self.notes.append,
            clock=lambda: self.now,
            floor=DiskFloor(folder, self.settings.min_free_gb) if "min_free_gb" in settings else self.no_floor(folder),
            **options,  # type: ignore[arg-type] # the options' own types
        )
        self.recorder.start()

    @staticmethod
    def no_floor(folder: Path) -> DiskFloor:
        return DiskFloor(folder, 0.0, Disk())

    def feed(self, some: list[EncodedPacket] | tuple[EncodedPacket, ...]) -> None:
        for packet in some:
            self.recorder.packet(packet)

    def close(self) -> None:
        assert self.recorder.close(CLOSE_S)
        self.index.close()
