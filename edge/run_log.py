"""A run as MLflow hears of it: what is said at the start, in every window and at the end."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from edge.config import RunSettings
from edge.detector import OnnxDetector
from edge.events.event import iso_time
from edge.report import RunReport
from edge.run_folder import RunFolder
from stream.config import fingerprint
from stream.frame import ModelIdentity
from stream.redaction import redact_url
from stream.telemetry.journal import open_journal_at_home
from stream.telemetry.process import ProcessFigures
from stream.telemetry.records import ArtifactRef, RunDescription
from stream.windows import RunTotals, WindowSnapshot


class RunLog:
    """Tells one run to MLflow, as :class:`edge.meter.RunListener`; says nothing at all when logging is off."""

    def __init__(self, settings: RunSettings, folder: RunFolder, detector: OnnxDetector) -> None:
        self.samples: list[Path] = []
        self.attached: list[Path] = []
        """More files to be logged at the end."""
        self.first_result_s: float | None = None
        """The monotonic clock at the first result, None before it."""
        self.also: Callable[[], Mapping[str, float]] = dict
        """Figures of the whole run to be told with every window."""
        self._settings = settings
        self._folder = folder
        self._detector = detector
        self._journal = open_journal_at_home(settings.mlflow, settings.output.project)
        self._process = ProcessFigures()
        self._started_at = time.time()
        self._step = 0
        self._swaps = 0

    def first_result(self) -> None:
        """Begin, now that the provider in use is known. The child process starts no earlier than this, for its
        start would slow down the first detection. Only the first call counts."""
        if self.first_result_s is not None:
            return
        self.first_result_s = time.monotonic()
        if self._journal is not None:
            params = self._params()
            model_tags = {key: params[key] for key in ("model_name", "model_version", "model_sha256")}
            self._journal.begin(
                RunDescription(
                    experiment=self._settings.mlflow.experiment,
                    run_name=self._settings.mlflow.run_name or self._folder.path.name,
                    started_at=self._started_at,
                    params=params,
                    tags=model_tags,
                    keep_days=self._settings.mlflow.keep_days,
                )
            )
            self._journal.start_courier()

    def window(self, snapshot: WindowSnapshot) -> None:
        self.metrics(snapshot.metrics())

    def metrics(self, metrics: Mapping[str, float]) -> None:
        """The figures of one window, by their MLflow names; those of the process are added."""
        if self._journal is not None and self.first_result_s is not None:
            self._journal.window({**metrics, **self.also(), **self._process.sample()}, self._step, time.time())
            self._step += 1

    def mlflow_run_id(self) -> str | None:
        """The MLflow run's id; None before MLflow has heard of the run. Reads a disk."""
        return self._journal.run_id() if self._journal is not None else None

    def artifact(self, path: Path, folder: str) -> None:
        """Log a file that will not change any more, below ``folder`` of the run's artifacts."""
        if self._journal is not None and self.first_result_s is not None:
            self._journal.artifact(ArtifactRef(path, folder))

    def swapped(self, camera: str, old: ModelIdentity, new: ModelIdentity, reason: str) -> None:
        """A camera looks with another model from now on: a line of swaps.jsonl, and a metric with its moment."""
        line = {
            "time": iso_time(time.time()),
            "camera": camera,
            "from": asdict(old),
            "to": asdict(new),
            "reason": reason,
        }
        with contextlib.suppress(OSError), self._folder.swaps.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._swaps += 1
        self.metrics({"model/swaps": float(self._swaps)})

    def finish(self, report: RunReport, totals: RunTotals) -> None:
        """Hand over the end of the run; a slow disk is waited for some seconds."""
        if self._journal is None:
            return
        status = "KILLED" if report.interrupted else "FINISHED" if report.exit_code == 0 else "FAILED"
        objects = {f"summary/objects/{name}": float(count) for name, count in report.objects.items()}
        self._journal.finish(status, objects, time.time(), self._artifacts(), {"": totals})

    def deliver(self) -> str:
        """See to it that MLflow gets it all; a sentence about what has to wait, empty when nothing does."""
        if self._journal is None:
            return ""
        delivery = self._journal.close() if self._settings.mlflow.wait else self._journal.leave()
        return "" if delivery.complete else delivery.sentence

    def _params(self) -> dict[str, str]:
        settings, identity = self._settings, self._detector.identity
        sources = [*settings.sources, *(f"{name}: {each.source}" for name, each in settings.cameras.items())]
        return {
            "config_hash": fingerprint(settings),
            "model_name": identity.name,
            "model_version": identity.version,
            "model_sha256": identity.sha256,
            "model_signer": identity.signer or "nobody",
            "provider": self._detector.provider,
            "host": platform.node(),
            "source": redact_url(", ".join(sources))[:500],
            "tracker": settings.tracker,
            "confidence": str(settings.detector.confidence),
            "vid_stride": str(settings.vid_stride),
        }

    def _artifacts(self) -> list[ArtifactRef]:
        files = [self._folder.config, self._folder.summary, self._folder.predictions, self._folder.swaps]
        files += self.attached
        return [ArtifactRef(path) for path in files if path.exists()] + [
            ArtifactRef(path, "samples") for path in self.samples
        ]
