"""The records that travel from the frame process through the spool to the courier, one JSON object each.

A session is one topic of the spool: one ``begin``, then ``window`` records, then at its end ``artifact`` and
``pictures`` records and one ``finish``. ``begin`` stays in the spool, and remembers the MLflow run's id once there
is one, until the session is delivered to its end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stream.telemetry.destination import Destination
from stream.windows import LogHistogram, RunTotals, TimelinePoint, merged_histograms

Record = dict[str, Any]

BEGIN, WINDOW, ARTIFACT, PICTURES, FINISH = "begin", "window", "artifact", "pictures", "finish"

# When the spool is full the windows go first: a run that has its name, its end and its files is worth most.
VALUES = {BEGIN: 3.0, FINISH: 2.0, ARTIFACT: 1.0, PICTURES: 1.0, WINDOW: 0.0}


@dataclass(frozen=True, slots=True)
class RunDescription:
    """What is known of a run at its start. ``started_at`` is seconds since the epoch; nothing here is secret."""

    experiment: str
    run_name: str | None
    started_at: float
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    keep_days: int | None = None
    """Of a session of several days: how many are kept, None for all."""


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """A file to log; it must stay where it is until it is delivered. ``artifact_path`` is its folder in MLflow."""

    path: Path
    artifact_path: str | None = None


def encode(record: Record) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def decode(payload: bytes) -> Record:
    record: Record = json.loads(payload)
    return record


def begin(description: RunDescription, where: Destination) -> Record:
    return {
        "kind": BEGIN,
        "uri": where.uri,
        "artifact_root": where.artifact_root,
        "experiment": description.experiment,
        "run_name": description.run_name,
        "started_at": description.started_at,
        "params": dict(description.params),
        "tags": dict(description.tags),
        "keep_days": description.keep_days,
    }


def window(metrics: Mapping[str, float], step: int, at: float) -> Record:
    return {"kind": WINDOW, "metrics": _finite(metrics), "step": step, "at": at}


def artifact(reference: ArtifactRef) -> Record:
    return {"kind": ARTIFACT, "path": str(reference.path.absolute()), "artifact_path": reference.artifact_path}


def pictures(totals: Mapping[str, RunTotals]) -> Record:
    """The data of the closing pictures: latencies over all cameras, a timeline for each."""
    histograms = merged_histograms(totals.values())
    return {
        "kind": PICTURES,
        "latencies": {stage: _histogram(histogram) for stage, histogram in histograms.items()},
        "timelines": {camera: _timeline(each.start_s, each.timeline) for camera, each in totals.items()},
    }


def finish(status: str, metrics: Mapping[str, float], at: float, note: str = "") -> Record:
    """``note`` is Markdown for the top of the run's page."""
    return {"kind": FINISH, "status": status, "metrics": _finite(metrics), "at": at, "note": note}


def summary_metrics(totals: Mapping[str, RunTotals]) -> dict[str, float]:
    """The figures of the whole run, named as those of a window but below ``summary/``."""
    return {
        f"summary/{name}": value
        for camera, each in totals.items()
        for name, value in each.snapshot().metrics(camera or None).items()
    }


def summary_table(totals: Mapping[str, RunTotals]) -> str:
    """The run in a Markdown table, a row for each camera."""
    lines = [
        "| camera | frames in | results | fps in | fps out | latency p50 / p95 / p99, ms | dropped | detections |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for camera, each in totals.items():
        run = each.snapshot()
        total = run.latencies.get("total")
        latency = f"{total.p50 * 1e3:.1f} / {total.p95 * 1e3:.1f} / {total.p99 * 1e3:.1f}" if total else "-"
        name = (camera or "source").replace("|", "/")
        lines.append(
            f"| {name} | {run.frames_in} | {run.frames_out} | {run.fps_in:.2f} | {run.fps_out:.2f} "
            f"| {latency} | {run.dropped} | {run.detections} |"
        )
    return "\n".join(lines)


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _histogram(histogram: LogHistogram) -> Record:
    """Only the buckets from the first to the last that hold something, with their bounds in milliseconds."""
    filled = np.flatnonzero(histogram.counts)
    first, last = (int(filled[0]), int(filled[-1])) if filled.size else (0, 0)
    percentiles = histogram.percentiles()
    return {
        "edges_ms": [round(edge * 1e3, 6) for edge in histogram.edges_s()[first : last + 2].tolist()],
        "counts": histogram.counts[first : last + 1].tolist(),
        "p50_ms": percentiles.p50 * 1e3,
        "p95_ms": percentiles.p95 * 1e3,
        "p99_ms": percentiles.p99 * 1e3,
    }


def _timeline(start_s: float, points: Iterable[TimelinePoint]) -> list[Record]:
    return [
        {
            "from_s": round(point.start_s - start_s, 3),
            "to_s": round(point.end_s - start_s, 3),
            "fps_in": round(point.fps_in, 3),
            "fps_out": round(point.fps_out, 3),
            "total_p95_ms": round(point.total_p95_s * 1e3, 3),
            "inference_p95_ms": round(point.inference_p95_s * 1e3, 3),
            "dropped": point.dropped,
        }
        for point in points
    ]
