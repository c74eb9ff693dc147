"""The refiner put together: model, batches, result store, figures, and the service around them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib import metadata

import prometheus_client as prometheus

from cloud.batching import BatchLimits
from cloud.collecting import OUTCOMES, Collecting
from cloud.config import CloudSettings
from cloud.crops import CropLimits
from cloud.errors import ItemError
from cloud.figures import Figures
from cloud.handlers import Handlers
from cloud.questions import Outcome, Question, as_dict
from cloud.refiners.base import Refiner
from cloud.refinery import Refinery, RefineryLimits
from cloud.results import Results, ResultStore
from cloud.run_log import RunLog, make_folder, remove_folder
from cloud.samples import Samples, is_sampled
from stream.dataset.collector import Collector
from stream.home import home
from stream.http.app import About, Instruments, build_app
from stream.http.service import Service

DRAIN_S = 7.0
"""Requests may take this long to finish once a stop was asked for; ten seconds are all there is."""

_CLOSE_S = 1.5

_DESCRIPTION = "Looks again at crops that an edge was not sure of."


class CloudService:
    """One process's refiner: :meth:`start`, :meth:`run` until :meth:`stop`. Belongs to one loop.

    ``refiner`` is made, and not started yet.
    """

    def __init__(self, settings: CloudSettings, refiner: Refiner) -> None:
        self._settings = settings
        self.refiner = refiner
        self._stop = asyncio.Event()
        self._instruments = Instruments(ready={"refiner": self._ready})
        self._collecting = self._make_collecting()
        self._tell_model()
        self._figures = Figures(self._instruments.metrics.registry, time.monotonic())
        self._results = self._make_results()
        self._folder = make_folder(settings)  # now that nothing else can be wrong with the settings
        self._log = RunLog(settings, self._folder)
        self._samples = Samples(self._folder, settings.samples, self._log.predictions)
        self._refinery = self._make_refinery()
        self._service = self._make_service()

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._service.addresses

    async def start(self) -> None:
        """Warm the model up, then listen.

        Raises:
            ModelError: the model fails.
            UsageError: the address cannot be listened on.
        """
        await self.refiner.start()
        await self._service.start()
        self._log.begin(self.refiner.model, self._params())

    async def run(self) -> None:
        """Serve until :meth:`stop` is called, then finish what was begun."""
        windows = asyncio.get_running_loop().create_task(self._windows())
        await self._stop.wait()
        await self._service.drain(DRAIN_S)
        windows.cancel()
        await self.close()
        self._log.finish(self._figures.summary(time.monotonic()))

    def stop(self) -> None:
        self._stop.set()

    async def close(self) -> None:
        """Let go of threads and files."""
        with contextlib.suppress(TimeoutError):  # a batch hangs; the process is about to end
            async with asyncio.timeout(_CLOSE_S):
                await self._refinery.close()
        self._samples.close()
        if self._collecting is not None:
            self._collecting.close()
        self._log_window()

    async def give_up(self) -> None:
        """The same for one that did not start: nothing of it stays."""
        await self.close()
        remove_folder(self._folder)

    def deliver(self) -> str:
        """See to it that MLflow gets it all; a sentence about what has to wait."""
        return self._log.deliver()

    async def _windows(self) -> None:
        while True:
            await asyncio.sleep(self._settings.mlflow.window_s)
            self._log_window()
            self._samples.tick()
            self._results.tidy()

    def _log_window(self) -> None:
        kept = self._collecting.figures() if self._collecting is not None else {}
        dataset = {f"dataset/{outcome}": count for outcome, count in kept.items()}
        self._log.window({**self._figures.close_window(time.monotonic()), **dataset})

    async def _ready(self) -> str | None:
        if self._stop.is_set():
            return "it is about to stop"
        return "answers cannot be kept: is the disk full?" if self._refinery.unkept_s else None

    def _tell_model(self) -> None:
        """As the edge tells Prometheus of its models."""
        told = prometheus.Info(
            "videodisco_model", "What looks again.", ("model",), registry=self._instruments.metrics.registry
        )
        told.labels("refiner").info(asdict(self.refiner.model))

    def _make_results(self) -> Results:
        kept = self._settings.results
        path = kept.path or home() / "cloud" / "results.db"
        return Results(ResultStore(path.absolute(), max_age_s=kept.keep_hours * 3600, max_rows=kept.max_rows))

    def _make_refinery(self) -> Refinery:
        batches, crops = self._settings.batches, self._settings.crops
        refinery = Refinery(
            self.refiner,
            self._results,
            RefineryLimits(
                BatchLimits(batches.max_size, batches.max_wait_ms / 1e3),
                CropLimits(crops.min_side_px, int(crops.max_megapixels * 1e6)),
                capacity=batches.queue,
                decoders=batches.decoders,
            ),
            figures=self._figures,
            learn=self._learn,
        )
        registry = self._instruments.metrics.registry
        waiting = prometheus.Gauge("videodisco_refine_waiting", "Crops that wait for a batch.", registry=registry)
        waiting.set_function(lambda: refinery.waiting)
        inside = prometheus.Gauge("videodisco_refine_inside", "Crops in the house.", registry=registry)
        inside.set_function(lambda: refinery.admission.inside)
        return refinery

    def _make_service(self) -> Service:
        about = About("cloud", "VideoDisco refiner", metadata.version("videodisco"), _DESCRIPTION)
        endpoints = Handlers(self._refinery, self._settings.batches.deadline_s).endpoints()
        app = build_app(self._settings.http, endpoints, about=about, instruments=self._instruments)
        return Service(app, self._settings.http)

    def _make_collecting(self) -> Collecting | None:
        settings = self._settings.dataset
        if not settings.enabled:
            return None
        collecting = Collecting(Collector(settings, settings.folder_in(self._settings.project)))
        gauge = prometheus.Gauge(
            "videodisco_dataset_crops",
            "Crops that a sampling strategy wanted, by what became of them.",
            ("outcome",),
            registry=self._instruments.metrics.registry,
        )
        for outcome in OUTCOMES:
            gauge.labels(outcome).set_function(partial(collecting.count, outcome))
        return collecting

    def _learn(self, client: str, question: Question, outcome: Outcome) -> None:
        """Write an answer down, if it is one of the sample, and offer its crop to the data set."""
        if isinstance(outcome, ItemError):
            return
        if self._collecting is not None:
            self._collecting.tell(client if self._settings.http.login_needed else "", question, outcome)
        if not is_sampled(question.key, self._settings.samples.share):
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "key": question.key,
            "crop_sha256": question.jpeg_sha256,
            "edge_class": question.edge_class,
            **as_dict(outcome),
        }
        self._samples.write(json.dumps(line, ensure_ascii=False))

    def _params(self) -> dict[str, str]:
        refiner, batches = self._settings.refiner, self._settings.batches
        return {
            "refiner": refiner.kind,
            "workers": str(self.refiner.workers),
            "batch_max_size": str(batches.max_size),
            "batch_max_wait_ms": str(batches.max_wait_ms),
            "queue": str(batches.queue),
            "deadline_s": str(batches.deadline_s),
        }
