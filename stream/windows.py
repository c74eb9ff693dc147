"""Rolling windows: what a camera's pipeline did in the last seconds, and in the whole run.

Nothing here reads a clock: times are passed in, in seconds of the caller's monotonic clock. A window belongs to one
thread. Percentiles of a window are exact by nearest rank: the smallest value that at least p percent of the values
do not exceed, so always one that was measured. Percentiles of a run come from a histogram (:class:`LogHistogram`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from stream.frame import Timings

Seconds = NDArray[np.float64]

STAGES = ("decode", "queue", "preprocess", "inference", "postprocess", "track", "total")
_stage_seconds = attrgetter(*(f"{stage}_s" for stage in STAGES))

# A frame may skip a stage (carried boxes are not inferred), and Timings then says 0; but not waiting is a value too.
_COUNTED_WHEN_ZERO = frozenset({"queue", "total"})

# A run's timeline never holds more points than a picture has room for; when full, neighbours are joined.
TIMELINE_POINTS = 720


@dataclass(frozen=True, slots=True)
class Percentiles:
    """How long a stage took, in seconds, over ``count`` frames."""

    p50: float
    p95: float
    p99: float
    count: int
    mean: float


@dataclass(frozen=True, slots=True)
class WindowSnapshot:
    """What happened from ``start_s`` to ``end_s``.

    ``longest_gap_in_s`` and ``longest_gap_out_s`` are the longest waits between two frames that arrived and between
    two results; a gap counts in the window in which it ends, 0 where there was none.
    """

    start_s: float
    end_s: float
    frames_in: int
    frames_out: int
    latencies: Mapping[str, Percentiles]
    drops: Mapping[str, int]
    queue_depth_max: int
    queue_depth_mean: float
    detections: int
    longest_gap_in_s: float = 0.0
    longest_gap_out_s: float = 0.0

    @property
    def elapsed_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def fps_in(self) -> float:
        """Frames that arrived a second of real time."""
        return self.frames_in / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def fps_out(self) -> float:
        """Results a second of real time."""
        return self.frames_out / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def dropped(self) -> int:
        return sum(self.drops.values())

    def metrics(self, camera: str | None = None) -> dict[str, float]:
        """The figures under their MLflow names, below ``<camera>/`` when a camera is named."""
        prefix = f"{metric_name(camera)}/" if camera is not None else ""
        values: dict[str, float] = {
            "fps/in": self.fps_in,
            "fps/out": self.fps_out,
            "frames/dropped": float(self.dropped),
            "frames/longest_gap_ms": self.longest_gap_out_s * 1e3,
            "queue/depth": self.queue_depth_mean,
            "queue/depth_max": float(self.queue_depth_max),
            "detections/count": float(self.detections),
        }
        for cause, count in self.drops.items():
            values[f"frames/dropped_by/{metric_name(cause)}"] = float(count)
        for stage, latency in self.latencies.items():
            for rank in ("p50", "p95", "p99"):
                values[f"latency_ms/{metric_name(stage)}/{rank}"] = getattr(latency, rank) * 1e3
        return {prefix + name: value for name, value in values.items()}


class RollingWindow:
    """Collects what happens to one camera's frames until it is closed, then begins anew.

    Feeding costs one list append a frame; sorting is left to :meth:`close_window`, which also hands the figures
    to ``totals``. Memory grows with the frames of one window (about 300 bytes each): close it regularly.
    """

    def __init__(self, start_s: float, totals: RunTotals | None = None) -> None:
        self._totals = totals
        self._last_in_s: float | None = None
        self._last_out_s: float | None = None
        self._begin(start_s)

    def _begin(self, start_s: float) -> None:
        self._start_s = start_s
        self._frames_in = 0
        self._detections = 0
        self._gap_in_s = 0.0
        self._gap_out_s = 0.0
        self._frames: list[tuple[float, ...]] = []
        self._stages: dict[str, list[float]] = {}
        self._drops: Counter[str] = Counter()
        self._depths: list[int] = []

    def frame_in(self, now_s: float) -> None:
        """A frame arrived from the source."""
        self._frames_in += 1
        if self._last_in_s is not None:
            self._gap_in_s = max(self._gap_in_s, now_s - self._last_in_s)
        self._last_in_s = now_s

    def frame_out(self, now_s: float, timings: Timings, detections: int) -> None:
        """A result left for the sinks, carrying ``detections`` boxes."""
        self._frames.append(_stage_seconds(timings))
        self._detections += detections
        if self._last_out_s is not None:
            self._gap_out_s = max(self._gap_out_s, now_s - self._last_out_s)
        self._last_out_s = now_s

    def stage(self, name: str, seconds: float) -> None:
        """A stage outside the frame's own timings, such as ``draw`` or ``encode``, took ``seconds``."""
        self._stages.setdefault(name, []).append(seconds)

    def dropped(self, cause: str, n: int = 1) -> None:
        self._drops[cause] += n

    def queue_depth(self, n: int) -> None:
        """``n`` frames are waiting just now."""
        self._depths.append(n)

    def close_window(self, now_s: float) -> WindowSnapshot:
        """The figures since the last close (or the start); the next window begins at ``now_s``."""
        samples = self._samples()
        snapshot = WindowSnapshot(
            start_s=self._start_s,
            end_s=now_s,
            frames_in=self._frames_in,
            frames_out=len(self._frames),
            latencies={stage: _exact_percentiles(values) for stage, values in samples.items()},
            drops=dict(self._drops),
            queue_depth_max=max(self._depths, default=0),
            queue_depth_mean=sum(self._depths) / len(self._depths) if self._depths else 0.0,
            detections=self._detections,
            longest_gap_in_s=self._gap_in_s,
            longest_gap_out_s=self._gap_out_s,
        )
        if self._totals is not None:
            self._totals.absorb(snapshot, samples)
        self._begin(now_s)
        return snapshot

    def _samples(self) -> dict[str, Seconds]:
        """The measured seconds by stage; stages without any are left out."""
        table = np.array(self._frames, dtype=np.float64).reshape(-1, len(STAGES))
        columns = {
            stage: column if stage in _COUNTED_WHEN_ZERO else column[column > 0.0]
            for stage, column in zip(STAGES, table.T, strict=True)
        }
        columns |= {stage: np.array(values, dtype=np.float64) for stage, values in self._stages.items()}
        return {stage: values for stage, values in columns.items() if values.size}


class LogHistogram:
    """Counts of seconds in fixed buckets, each ``GROWTH`` times as wide as the one before, from 1 us to 1000 s.

    A percentile is the geometric middle of its bucket, never outside of what was seen: within 2.5 % of the exact
    nearest-rank value. Values beyond either end are counted in the end bucket, where only min and max are exact.
    """

    LOW_S = 1e-6
    HIGH_S = 1e3
    GROWTH = 1.05
    BUCKETS = math.ceil(math.log(HIGH_S / LOW_S) / math.log(GROWTH))

    def __init__(self) -> None:
        self.counts = np.zeros(self.BUCKETS, dtype=np.int64)
        self.sum_s = 0.0
        self.min_s = math.inf
        self.max_s = 0.0

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    def add(self, values: Seconds) -> None:
        """Count ``values``, a non-empty array of seconds."""
        exponents = np.log(np.maximum(values, self.LOW_S) / self.LOW_S) / math.log(self.GROWTH)
        buckets = np.minimum(exponents.astype(np.int64), self.BUCKETS - 1)
        self.counts += np.bincount(buckets, minlength=self.BUCKETS)
        self.sum_s += float(values.sum())
        self.min_s = min(self.min_s, float(values.min()))
        self.max_s = max(self.max_s, float(values.max()))

    def merge(self, other: LogHistogram) -> None:
        self.counts += other.counts
        self.sum_s += other.sum_s
        self.min_s = min(self.min_s, other.min_s)
        self.max_s = max(self.max_s, other.max_s)

    def edges_s(self) -> Seconds:
        """The ``BUCKETS + 1`` bounds of the buckets."""
        return self.LOW_S * np.power(self.GROWTH, np.arange(self.BUCKETS + 1))

    def percentiles(self) -> Percentiles:
        cumulative = np.cumsum(self.counts)
        count = int(cumulative[-1])
        p50, p95, p99 = (self._value_at(cumulative, _rank(percent, count)) for percent in (50, 95, 99))
        return Percentiles(p50, p95, p99, count, self.sum_s / count if count else 0.0)

    def _value_at(self, cumulative: NDArray[np.int64], rank: int) -> float:
        if rank == 0:
            return 0.0
        bucket = int(np.searchsorted(cumulative, rank))
        middle_s: float = self.LOW_S * self.GROWTH ** (bucket + 0.5)
        return min(max(middle_s, self.min_s), self.max_s)


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """One point of a run's timeline: one window, or several joined ones. The p95 values are seconds."""

    start_s: float
    end_s: float
    fps_in: float
    fps_out: float
    total_p95_s: float
    inference_p95_s: float
    dropped: int

    def joined(self, later: TimelinePoint) -> TimelinePoint:
        """Both as one: rates by time, the worse p95, the sum of the drops."""
        mine_s, theirs_s = self.end_s - self.start_s, later.end_s - later.start_s
        share = mine_s / (mine_s + theirs_s) if mine_s + theirs_s > 0 else 0.5
        return TimelinePoint(
            self.start_s,
            later.end_s,
            self.fps_in * share + later.fps_in * (1 - share),
            self.fps_out * share + later.fps_out * (1 - share),
            max(self.total_p95_s, later.total_p95_s),
            max(self.inference_p95_s, later.inference_p95_s),
            self.dropped + later.dropped,
        )


@dataclass(slots=True)
class RunTotals:
    """The figures of a whole run in bounded memory, fed by a window each time it closes."""

    start_s: float
    end_s: float = 0.0
    frames_in: int = 0
    frames_out: int = 0
    detections: int = 0
    windows: int = 0
    queue_depth_max: int = 0
    longest_gap_in_s: float = 0.0
    longest_gap_out_s: float = 0.0
    drops: Counter[str] = field(default_factory=Counter)
    histograms: dict[str, LogHistogram] = field(default_factory=dict)
    timeline: list[TimelinePoint] = field(default_factory=list)
    _depth_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.end_s = max(self.end_s, self.start_s)

    def absorb(self, snapshot: WindowSnapshot, samples: Mapping[str, Seconds]) -> None:
        """Add a closed window; ``samples`` are the seconds by stage of which its latencies were made."""
        self.windows += 1
        self.end_s = max(self.end_s, snapshot.end_s)
        self.frames_in += snapshot.frames_in
        self.frames_out += snapshot.frames_out
        self.detections += snapshot.detections
        self.drops.update(snapshot.drops)
        self.queue_depth_max = max(self.queue_depth_max, snapshot.queue_depth_max)
        self.longest_gap_in_s = max(self.longest_gap_in_s, snapshot.longest_gap_in_s)
        self.longest_gap_out_s = max(self.longest_gap_out_s, snapshot.longest_gap_out_s)
        self._depth_seconds += snapshot.queue_depth_mean * snapshot.elapsed_s
        for stage, values in samples.items():
            self.histograms.setdefault(stage, LogHistogram()).add(values)
        self._extend_timeline(snapshot)

    def _extend_timeline(self, snapshot: WindowSnapshot) -> None:
        self.timeline.append(
            TimelinePoint(
                snapshot.start_s,
                snapshot.end_s,
                snapshot.fps_in,
                snapshot.fps_out,
                _p95_s(snapshot.latencies, "total"),
                _p95_s(snapshot.latencies, "inference"),
                snapshot.dropped,
            )
        )
        if len(self.timeline) >= TIMELINE_POINTS:
            pairs = zip(self.timeline[::2], self.timeline[1::2], strict=True)
            self.timeline = [earlier.joined(later) for earlier, later in pairs]

    def snapshot(self) -> WindowSnapshot:
        """The run as one long window; its percentiles are within 2.5 % of the exact ones.

        ``queue_depth_mean`` is the mean of the windows' means, weighted by their length.
        """
        elapsed_s = self.end_s - self.start_s
        return WindowSnapshot(
            start_s=self.start_s,
            end_s=self.end_s,
            frames_in=self.frames_in,
            frames_out=self.frames_out,
            latencies={stage: histogram.percentiles() for stage, histogram in self.histograms.items()},
            drops=dict(self.drops),
            queue_depth_max=self.queue_depth_max,
            queue_depth_mean=self._depth_seconds / elapsed_s if elapsed_s > 0 else 0.0,
            detections=self.detections,
            longest_gap_in_s=self.longest_gap_in_s,
            longest_gap_out_s=self.longest_gap_out_s,
        )


def merged_histograms(totals: Iterable[RunTotals]) -> dict[str, LogHistogram]:
    """One histogram a stage over all cameras."""
    merged: dict[str, LogHistogram] = {}
    for each in totals:
        for stage, histogram in each.histograms.items():
            merged.setdefault(stage, LogHistogram()).merge(histogram)
    return merged


def metric_name(text: str) -> str:
    """``text`` as one part of an MLflow metric name: letters, digits, ``_ - .`` and space, never empty or dots only."""
    cleaned = re.sub(r"[^A-Za-z0-9_\-. ]", "_", text).strip()
    return cleaned if cleaned.strip(".") else "unnamed"


def _rank(percent: int, count: int) -> int:
    """The nearest rank, 1-based; in integers, for 0.95 * 20 need not be 19 in binary."""
    return -(-percent * count // 100)


def _exact_percentiles(values: Seconds) -> Percentiles:
    ordered = np.sort(values)
    p50, p95, p99 = (float(ordered[_rank(percent, ordered.size) - 1]) for percent in (50, 95, 99))
    return Percentiles(p50, p95, p99, int(ordered.size), float(ordered.mean()))


def _p95_s(latencies: Mapping[str, Percentiles], stage: str) -> float:
    return latencies[stage].p95 if stage in latencies else 0.0
