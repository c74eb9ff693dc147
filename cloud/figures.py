"""What the refiner counts: for Prometheus since the start, and in windows for MLflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import prometheus_client as prometheus

from cloud.dispatch import BatchDone
from stream.windows import Percentiles, RollingWindow, RunTotals, metric_name

WINDOW_LABELS = 20
"""Labels of a window that are logged, the most frequent ones: a thousand classes are too many for a run's page."""

MAX_LABELS = 2000
"""Labels told apart; a service of the user's own may answer new ones for ever."""

MAX_CLASSES = 200
"""Classes of the edge told apart; they are whatever edges say."""

STAGES = ("decode", "queue", "inference", "total")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(slots=True)
class Agreement:
    """How far the refiner shares the edge's opinions; those without a counterpart are left out."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else float("nan")


@dataclass(slots=True)
class _Counts:
    """What happened in one window, or in all."""

    items: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    batched: int = 0
    largest: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    agreement: Agreement = field(default_factory=Agreement)
    by_class: dict[str, Agreement] = field(default_factory=dict)

    def metrics(self, elapsed_s: float) -> dict[str, float]:
        refined = self.items["refined"]
        values = {f"items/{metric_name(outcome)}": float(count) for outcome, count in self.items.items()}
        values |= {
            "items/refined": float(refined),
            "rate/refined": refined / elapsed_s if elapsed_s > 0 else 0.0,
            "batch/count": float(self.batches),
            "batch/size": self.batched / self.batches if self.batches else 0.0,
            "batch/size_max": float(self.largest),
        }
        if self.agreement.count:
            values["agreement/mean"] = self.agreement.mean
            values |= {f"agreement/{metric_name(name)}": each.mean for name, each in self.by_class.items()}
        top = self.labels.most_common(WINDOW_LABELS)
        return values | {f"labels/{metric_name(label)}": float(count) for label, count in top}


class Figures:
    """Fed on the loop. An item's outcomes: ``refined``, ``replayed`` from the store, ``joined`` to one being worked
    on, ``abandoned`` by its client, ``rejected`` for want of room, or the code of its error."""

    def __init__(self, registry: prometheus.CollectorRegistry, now_s: float) -> None:
        self._window = _Counts()
        self._total = _Counts()
        self._run = RunTotals(now_s)
        self._latencies = RollingWindow(now_s, self._run)
        self._started_s = now_s
        self._items = prometheus.Counter(
            "videodisco_refine_items", "Crops by what became of them.", ("outcome",), registry=registry
        )
        self._labels = prometheus.Counter(
            "videodisco_refine_labels", "Crops by the label they were given.", ("label",), registry=registry
        )
        self._agreement = prometheus.Histogram(
            "videodisco_refine_agreement",
            "How far the refiner agrees with the edge's class, where it can.",
            ("edge_class",),
            buckets=(0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
            registry=registry,
        )
        self._sizes = prometheus.Histogram(
            "videodisco_refine_batch_size", "Crops in a batch.", buckets=_SIZES, registry=registry
        )
        stages = prometheus.Histogram(
            "videodisco_refine_stage_seconds",
            "Decoding and waiting for company of each crop, work on a batch, and a crop's total.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._stage_of = {name: stages.labels(name) for name in STAGES}
        self._failures = prometheus.Counter(
            "videodisco_refine_batches_failed", "Batches of which nothing came.", registry=registry
        )
        self._unkept = prometheus.Counter(
            "videodisco_refine_results_unkept", "Answers that could not be stored.", registry=registry
        )

    def item(self, outcome: str, count: int = 1) -> None:
        self._items.labels(outcome).inc(count)
        for each in (self._window, self._total):
            each.items[outcome] += count

    def stage(self, name: str, seconds: float) -> None:
        """A crop spent ``seconds`` in one of :data:`STAGES`."""
        self._stage_of[name].observe(seconds)
        self._latencies.stage(name, seconds)

    def batch(self, done: BatchDone) -> None:
        self._sizes.observe(done.size)
        for waited_s in done.waited_s:
            self.stage("queue", waited_s)
        self.stage("inference", done.seconds)
        if done.failed:
            self._failures.inc()
        for each in (self._window, self._total):
            each.batches += 1
            each.batched += done.size
            each.largest = max(each.largest, done.size)

    def refined(self, edge_class: str, label: str, agreement: float | None) -> None:
        """A crop got a label; ``agreement`` is None where the edge's class has no counterpart."""
        self.item("refined")
        label = _bounded(label, self._total.labels, MAX_LABELS)
        edge_class = _bounded(edge_class, self._total.by_class, MAX_CLASSES)
        self._labels.labels(label).inc()
        if agreement is not None:
            self._agreement.labels(edge_class).observe(agreement)
        for each in (self._window, self._total):
            each.labels[label] += 1
            if agreement is not None:
                each.agreement.add(agreement)
                each.by_class.setdefault(edge_class, Agreement()).add(agreement)

    def unkept(self) -> None:
        self._unkept.inc()

    def close_window(self, now_s: float) -> Mapping[str, float]:
        """The figures since the last call, under their MLflow names; the next window begins at ``now_s``."""
        snapshot = self._latencies.close_window(now_s)
        counts, self._window = self._window, _Counts()
        return counts.metrics(snapshot.elapsed_s) | _in_ms(snapshot.latencies)

    def summary(self, now_s: float) -> Mapping[str, float]:
        """The figures of the whole process, as far as windows of it were closed."""
        values = self._total.metrics(now_s - self._started_s) | _in_ms(self._run.snapshot().latencies)
        return {f"summary/{name}": value for name, value in values.items()}


def _in_ms(latencies: Mapping[str, Percentiles]) -> dict[str, float]:
    return {
        f"latency_ms/{stage}/{rank}": getattr(latency, rank) * 1e3
        for stage, latency in latencies.items()
        for rank in ("p50", "p95", "p99")
    }


def _bounded(name: str, known: Collection[str], most: int) -> str:
    return name if name in known or len(known) < most else "other"
