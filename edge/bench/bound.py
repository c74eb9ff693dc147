"""What the machine allows: the processor time of each stage, measured alone, one after the other.

The bound of a piece of work is cores / (processor seconds a frame, summed over its stages): no program of the same
parts can be faster, however well they overlap.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av

from edge.config import DetectorSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from edge.tracker import tracker_maker
from models.catalogue import find
from models.trust.policy import ANY_MODEL
from stream.frame import Frame, FrameResult, SourceInfo, Timings
from stream.machine import usable_cores
from stream.overlay import Overlay
from stream.pipeline import Detected
from stream.sinks.recorder import VideoSink
from stream.sources.file import FileRange, FileSource
from stream.sources.opening import open_file, video_stream
from stream.sources.pictures import PictureConverter

T = TypeVar("T")

MOST_FRAMES, LEAST_FRAMES = 200, 20
"""Frames each stage is measured on: enough that the first ones, which set things up, do not matter much."""

MEMORY_BYTES = 500_000_000
"""What the frames may take that are kept between the stages, decoded (1.5 bytes a pixel) and as BGR (3)."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Processor seconds a frame by stage, and what follows."""

    stages: dict[str, float]
    cores: int

    def fps(self, *, recording: bool) -> float:
        """Frames a second that all cores together could make at most."""
        used = sum(seconds for stage, seconds in self.stages.items() if recording or stage not in RECORDING)
        return self.cores / used


RECORDING = frozenset({"picture", "draw and encode"})
"""The stages that only a recording needs."""


def measure(clip: Path, model: str) -> Bound:
    """Measure every stage on the first frames of ``clip``."""
    stages: dict[str, float] = {}
    loaded = LoadedModel(find(model, ANY_MODEL), DetectorSettings(), SlotPlan(1, 1))
    detector = OnnxDetector(loaded, DetectorSettings())
    pictures = _timed(stages, "decode", lambda: _decode(clip))
    converter = PictureConverter()
    view = detector.view(pictures[0].width, pictures[0].height)
    networks = _timed(stages, "preprocess", lambda: [converter.network(picture, view) for picture in pictures])
    wholes = _timed(stages, "picture", lambda: [converter.picture(picture) for picture in pictures])
    source = FileSource(clip, name=clip.name, wants_pictures=lambda _index: False, part=FileRange())
    info = source.open()
    source.close()
    frames = [
        Frame(clip.name, index, index, Fraction(1, 25), 0.0, whole.shape[1], whole.shape[0], network, box, whole)
        for index, ((network, box), whole) in enumerate(zip(networks, wholes, strict=True))
    ]
    found = _timed(stages, "inference", lambda: [detector.detect(frame) for frame in frames])
    tracker = tracker_maker("bytetrack")(info)
    _timed(stages, "track", lambda: [tracker.update(d.detections, f.pts_s) for f, d in zip(frames, found, strict=True)])
    _record(stages, info, detector, frames, found)
    return Bound({stage: seconds / len(frames) for stage, seconds in stages.items()}, usable_cores())


def _decode(clip: Path) -> list[av.VideoFrame]:
    pictures: list[av.VideoFrame] = []
    with open_file(clip) as container:
        for picture in container.decode(video_stream(container, clip)):
            pictures.append(picture)
            wanted = int(MEMORY_BYTES / (picture.width * picture.height * 4.5))
            if len(pictures) >= max(LEAST_FRAMES, min(MOST_FRAMES, wanted)):
                break
    return pictures


def _record(
    stages: dict[str, float], info: SourceInfo, detector: OnnxDetector, frames: list[Frame], found: list[Detected]
) -> None:
    """Drawing and encoding together, as the recorder does them."""
    results = [
        FrameResult(frame, detected.detections, detector.identity, Timings())
        for frame, detected in zip(frames, found, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        sink = VideoSink(Path(folder) / "bound.mp4", Overlay())
        sink.open(info)

        def write() -> None:
            for result in results:
                sink.write(result)
            sink.close()

        _timed(stages, "draw and encode", write)


def _timed(stages: dict[str, float], stage: str, work: Callable[[], T]) -> T:
    begun_s = time.process_time()
    answer = work()
    stages[stage] = time.process_time() - begun_s
    return answer
