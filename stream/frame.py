"""What travels through the pipeline: frames in, results out. Plain values and numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream.geometry import Letterbox, Placement

if TYPE_CHECKING:
    import supervision as sv

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """A source's sound, of which only a recording takes notice."""

    codec: str
    sample_rate_hz: int
    channels: int


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source holds, known once it is open.

    ``width`` and ``height`` are of the upright picture (rotation applied). ``frame_rate`` is the container's
    nominal rate, zero where it states none; ``frame_count`` and ``duration_s`` are estimates, None where unknown.
    ``started_at`` is the wall-clock time of pts 0 in seconds since the epoch, None where the source states none.
    """

    name: str
    location: str
    container: str
    codec: str
    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    frame_count: int | None = None
    duration_s: float | None = None
    rotation_degrees: int = 0
    audio: AudioInfo | None = None
    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class NetworkView:
    """The size and colour order in which a detector wants its pixels, and where on the canvas the picture lies."""

    width: int
    height: int
    rgb: bool
    placement: Placement = "centre"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture.

    ``index`` counts from 0 in decode order. ``pts * time_base`` are seconds in the source's own time;
    ``received_s`` is the monotonic clock when it was decoded, ``preprocess_s`` how long its pixels then took.
    ``epoch`` counts how often the source had to begin anew before this frame: tracks and files do not reach across.
    ``still`` says that nothing has moved in the scene since the detector last looked. ``view`` is what ``network`` was
    prepared for, None where only one detector will ever see it.
    ``network`` is the uint8 ``(h, w, 3)`` letterboxed picture for the detector, None for a frame that is not to be
    looked at; ``picture`` is the upright uint8 ``(height, width, 3)`` BGR picture, None unless a sink wants one.
    Both are shared: never write into them.
    """

    source: str
    index: int
    pts: int
    time_base: Fraction
    received_s: float
    width: int
    height: int
    network: Pixels | None = None
    letterbox: Letterbox | None = None
    picture: Pixels | None = None
    decode_s: float = 0.0
    preprocess_s: float = 0.0
    epoch: int = 0
    still: bool = False
    view: NetworkView | None = None

    @property
    def pts_s(self) -> float:
        return float(self.pts * self.time_base)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answered. ``signer`` is the trusted key that signed it, empty where none did."""

    name: str
    version: str
    sha256: str
    signer: str = ""


@dataclass(frozen=True, slots=True)
class Refinement:
    """What the cloud said of a track. ``edge_class`` is the class it was asked about, empty where that is not known:
    the label is a finer name of that class alone."""

    label: str
    confidence: float
    model: str
    edge_class: str = ""


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds a frame spent in each stage; ``queue_s`` is all waiting, ``total_s`` from decoded to tracked."""

    decode_s: float = 0.0
    queue_s: float = 0.0
    preprocess_s: float = 0.0
    inference_s: float = 0.0
    postprocess_s: float = 0.0
    track_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ZoneView:
    """What a zone or line of a camera shows at one frame.

    ``points`` are pixels of the upright picture: the corners of a zone, or the two ends of a line. ``inside`` are the
    tracks within a zone (empty for a line). ``entered`` and ``left`` count since the camera's start; for a line they
    are its crossings in and out.
    """

    name: str
    points: tuple[tuple[int, int], ...]
    is_line: bool = False
    inside: tuple[int, ...] = ()
    entered: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """A frame with all that is known of it when it reaches the sinks.

    ``detections`` are in pixels of the upright source picture, with ``data["class_name"]`` and, when tracked,
    ``tracker_id`` (-1: not yet confirmed). ``carried`` says that the boxes were carried over from an earlier
    frame instead of detected. ``refined`` is a snapshot of cloud labels by track id, ``zones`` what the camera's
    zones and lines show.
    """

    frame: Frame
    detections: sv.Detections
    model: ModelIdentity
    timings: Timings
    carried: bool = False
    dropped_before: int = 0
    refined: Mapping[int, Refinement] = field(default_factory=dict)
    zones: tuple[ZoneView, ...] = ()

    def refinement_of(self, track_id: int, class_name: str) -> Refinement | None:
        """What the cloud said of a track, as far as it holds for the class that the track has in this frame."""
        refined = self.refined.get(track_id)
        return refined if refined and refined.edge_class in ("", class_name) else None
