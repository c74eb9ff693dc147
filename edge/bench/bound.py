"""What the machine allows: the processor time of each stage, measured alone, one after the other.

The bound of a piece of work is cores / (processor seconds a frame, summed over its stages): no program of the same
parts can be faster, however well they overlap.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av

from edge.config import DetectorSettings
from edge.detector import OnnxDetector
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan
from edge.tracker import tracker_maker, weakest_wanted
from models.catalogue import find
from models.trust.policy import ANY_MODEL
from stream.config import build
from stream.frame import Frame, FrameResult, SourceInfo, Timings
from stream.machine import usable_cores
from stream.overlay import Overlay
from stream.sinks.recorder import VideoSink
from stream.sources.file import FileRange, FileSource
from stream.sources.opening import open_file, video_stream
from stream.sources.pictures import PictureConverter

T = TypeVar("T")

MOST_FRAMES, LEAST_FRAMES = 200, 20
"""Frames each stage is measured on: enough that the first ones, which set things up, do not matter much."""

MEMORY_BYTES = 500_000_000
"""What the frames may take that are kept between the stages, decoded (1.5 bytes a pixel) and as BGR (3)."""


RECORDING = frozenset({"picture", "draw and encode"})
"""The stages that only a recording needs."""

TRACKING = frozenset({"track"})


@dataclass(frozen=True, slots=True)
class Bound:
    """Processor seconds a frame by stage, and what follows."""

    stages: Mapping[str, float]
    cores: int

    def fps(self, *, recording: bool, tracking: bool = True) -> float:
        """Frames a second that all cores together could make at most."""
        spared = (frozenset() if recording else RECORDING) | (frozenset() if tracking else TRACKING)
        return self.cores / sum(seconds for stage, seconds in self.stages.items() if stage not in spared)


def measure(clip: Path, model: str, device: str = "auto") -> Bound:
    """Measure every stage on the first frames of ``clip``, as a run with default settings does it.

    What is only converted is dropped at once while it is timed, as in a run: memory for all of it would cost more time
    than the conversion.
    """
    stages: dict[str, float] = {}
    settings = build(DetectorSettings, {"device": device}, origin="the bench")
    loaded = LoadedModel(find(model, ANY_MODEL), settings, SlotPlan(1, 1))
    weakest = weakest_wanted("bytetrack", settings.confidence)
    detector = OnnxDetector(loaded, settings.model_copy(update={"confidence": weakest}))
    pictures = list(_decode(clip))
    _timed(stages, "decode", lambda: deque(_decode(clip), maxlen=1))
    converter = PictureConverter()
    view = detector.view(pictures[0].width, pictures[0].height)
    networks = [converter.network(picture, view) for picture in pictures]
    _timed(stages, "preprocess", lambda: deque((converter.network(picture, view) for picture in pictures), maxlen=1))
    wholes = [converter.picture(picture) for picture in pictures]
    _timed(stages, "picture", lambda: deque((converter.picture(picture) for picture in pictures), maxlen=1))
    source = FileSource(clip, name=clip.name, wants_pictures=lambda _index: False, part=FileRange())
    info = source.open()
    source.close()
    frames = [
        Frame(clip.name, index, index, Fraction(1, 25), 0.0, whole.shape[1], whole.shape[0], network, box, whole)
        for index, ((network, box), whole) in enumerate(zip(networks, wholes, strict=True))
    ]
    found = _timed(stages, "inference", lambda: [detector.detect(frame) for frame in frames])
    tracker = tracker_maker("bytetrack", confidence=settings.confidence)(info)
    seen = list(zip(frames, found, strict=True))
    tracked = _timed(stages, "track", lambda: [tracker.update(each.detections, frame.pts_s) for frame, each in seen])
    results = [
        FrameResult(frame, boxes, detector.identity, Timings()) for frame, boxes in zip(frames, tracked, strict=True)
    ]
    _record(stages, info, results)
    return Bound({stage: seconds / len(frames) for stage, seconds in stages.items()}, usable_cores())


def _decode(clip: Path) -> Iterator[av.VideoFrame]:
    with open_file(clip) as container:
        for count, picture in enumerate(container.decode(video_stream(container, clip)), start=1):
            yield picture
            wanted = int(MEMORY_BYTES / (picture.width * picture.height * 4.5))
            if count >= max(LEAST_FRAMES, min(MOST_FRAMES, wanted)):
                break


def _record(stages: dict[str, float], info: SourceInfo, results: Sequence[FrameResult]) -> None:
    """Drawing and encoding together, as the recorder does them."""
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
