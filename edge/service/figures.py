"""The station's figures for Prometheus, and how they are called in MLflow.

Prometheus counts what MLflow gives as rates: it makes rates itself, over the time that is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from edge.cameras.camera import Camera
from edge.cameras.station import CameraStation
from edge.escalation.figures import EscalationFigures
from edge.service.escalation import escalation_families
from edge.service.hub import Hub
from stream.sources.status import SourceState
from stream.windows import LogHistogram

STAGE_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

MLFLOW_NAMES = {
    "fps/in": "rate(videodisco_frames_in_total[1m])",
    "fps/out": "rate(videodisco_frames_total[1m])",
    "latency_ms/<stage>/p50|p95|p99": "histogram_quantile(0.95, rate(videodisco_stage_seconds_bucket[5m]))",
    "frames/dropped": "sum(increase(videodisco_frames_dropped_total[1m]))",
    "frames/dropped_by/<cause>": 'videodisco_frames_dropped_total{cause="<cause>"}',
    "queue/depth": 'videodisco_queue_depth{queue="frames"}',
    "detections/count": "increase(videodisco_detections_total[1m])",
    "source/live": 'videodisco_camera_state{state="live"}',
    "source/connects": "videodisco_camera_connects_total",
    "images/requests": 'rate(videodisco_http_requests_total{route="/detect"}[1m])',
    "images/latency_ms/p50|p95|p99": 'videodisco_stage_seconds{camera="images",stage="total"}',
    "escalation/<count>": "videodisco_escalation_<count>_total",
    "escalation/refused/<cause>": 'videodisco_escalation_refused_total{cause="<cause>"}',
    "escalation/spooled": 'videodisco_queue_depth{queue="escalation"}',
    "escalation/agreement/<camera>/<class>": 'videodisco_escalation_agreement{camera="<camera>", class="<class>"}',
    "cpu/percent": "rate(process_cpu_seconds_total[1m]) * 100",
    "memory/rss_mb": "process_resident_memory_bytes / 1e6",
}
"""MLflow's names, and where Prometheus has the same. <camera>/ before a name is the label camera."""

IMAGES = "images"
"""Stands where a camera's name stands, for the pictures of requests."""


class StationCollector(Collector):
    """Reads the figures off the station whenever they are asked for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterable[Metric]:
        station = self._hub.station
        if station is None:
            return
        cameras = list(station.cameras)
        yield _stages(cameras, self._hub.image_stages())
        yield from _counts(cameras)
        yield from _states(station)
        yield self._absences(station)
        yield _model(station)
        escalation = station.assembly.escalation()
        yield self._depths(cameras, escalation)
        yield from self._images()
        if escalation is not None:
            yield from escalation_families(escalation)

    def _absences(self, station: CameraStation) -> Metric:
        away = GaugeMetricFamily(
            "videodisco_camera_away_seconds",
            "For how long there has been nothing from it; 0 while it is live, paused or ended.",
            labels=["camera"],
        )
        now_s = time.monotonic()
        for name in tuple(station.listed):
            absence = self._hub.absences.of(name, station.status_of(name, now_s))
            away.add_metric([name], now_s - absence.since_s if absence else 0.0)
        return away

    def _depths(self, cameras: Sequence[Camera], escalation: EscalationFigures | None) -> Metric:
        """Only what waits at a camera has the label of one."""
        depth = GaugeMetricFamily("videodisco_queue_depth", "What waits, by queue.", labels=["queue"])
        rooms = self._hub.rooms
        if rooms:
            depth.add_metric(["images"], sum(room.lane.depth for room in rooms))
            depth.add_metric(["image_requests"], sum(room.depth for room in rooms))
        depth.add_metric(["viewers"], self._hub.feeds.viewers)
        if escalation is not None:
            depth.add_metric(["escalation"], escalation.spooled)
        for camera in cameras:
            depth.add_sample(depth.name, {"queue": "frames", "camera": camera.name}, camera.meter.depth)
        return depth

    def _images(self) -> Iterator[Metric]:
        looked = CounterMetricFamily("videodisco_images", "Pictures of requests that were looked at.")
        looked.add_metric([], sum(room.answered for room in self._hub.rooms))
        yield looked
        lost = CounterMetricFamily("videodisco_events_unindexed", "Changes of events that could not be indexed.")
        lost.add_metric([], self._hub.index.lost if self._hub.index else 0)
        yield lost


def _stages(cameras: Sequence[Camera], images: dict[str, LogHistogram]) -> Metric:
    family = HistogramMetricFamily(
        "videodisco_stage_seconds",
        "Seconds in each stage; up to a window late.",
        labels=["camera", "stage"],
    )
    rows = [(camera.name, dict(camera.meter.totals.histograms)) for camera in cameras]
    for name, histograms in [*rows, (IMAGES, images)]:
        for stage, histogram in histograms.items():
            family.add_metric([name, stage], _buckets(histogram), histogram.sum_s)
    return family


def _buckets(histogram: LogHistogram) -> list[tuple[str, float]]:
    """Cumulative counts at our bounds; a bucket of the histogram counts below the bound that its end does not pass."""
    ends = histogram.edges_s()[1:]
    cumulative = np.concatenate(([0], np.cumsum(histogram.counts)))
    found = [(str(bound), float(cumulative[np.searchsorted(ends, bound, "right")])) for bound in STAGE_BOUNDS_S]
    return [*found, ("+Inf", float(cumulative[-1]))]


def _counts(cameras: Sequence[Camera]) -> Iterator[Metric]:
    labels = ["camera"]
    arrived = CounterMetricFamily("videodisco_frames_in", "Frames that arrived.", labels=labels)
    results = CounterMetricFamily("videodisco_frames", "Frames that went to the sinks.", labels=labels)
    dropped = CounterMetricFamily(
        "videodisco_frames_dropped", "Frames and detections left out.", labels=["camera", "cause"]
    )
    found = CounterMetricFamily("videodisco_detections", "Objects found.", labels=["camera", "class"])
    age = GaugeMetricFamily("videodisco_result_age_seconds", "Age of the newest result.", labels=labels)
    now_s = time.monotonic()
    for camera in cameras:
        arrived.add_metric([camera.name], camera.meter.totals.frames_in)
        results.add_metric([camera.name], camera.meter.frames)
        # A counter that begins with its first drop would have no rate of that one.
        for cause, count in (dict.fromkeys(camera.causes, 0) | camera.drops).items():
            dropped.add_metric([camera.name, cause], count)
        for name, count in tuple(camera.meter.detections.items()):
            found.add_metric([camera.name, name], count)
        newest = camera.newest()
        if newest is not None:
            age.add_metric([camera.name], now_s - newest.frame.received_s)
    yield from (arrived, results, dropped, found, age)


def _states(station: CameraStation) -> Iterator[Metric]:
    state = GaugeMetricFamily("videodisco_camera_state", "1 for the state a camera is in.", labels=["camera", "state"])
    connects = CounterMetricFamily("videodisco_camera_connects", "Connections that gave a picture.", labels=["camera"])
    now_s = time.monotonic()
    for name in tuple(station.listed):
        status = station.status_of(name, now_s)
        connects.add_metric([name], status.connects)
        for each in SourceState:
            state.add_metric([name, each.value], float(status.state is each))
    yield state
    yield connects


def _model(station: CameraStation) -> Metric:
    info = InfoMetricFamily("videodisco_model", "What looks, by its name in the configuration.", labels=["model"])
    for name, loaded in station.assembly.models.items():
        identity = loaded.identity
        info.add_metric(
            [name],
            {
                "name": identity.name,
                "version": identity.version,
                "sha256": identity.sha256,
                "provider": loaded.provider,
                "signer": identity.signer,
            },
        )
    return info
