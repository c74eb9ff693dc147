"""A classifier as refiner: the bundled one, or any ONNX classifier with its labels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cloud.crops import Crop
from cloud.errors import ItemError
from cloud.refiners.base import Opinion
from models.classifier import Classifier, top_k
from stream.frame import ModelIdentity, Pixels
from stream.images import decode


class ClassifierRefiner:
    """Runs whole batches, each on a thread of its own; as :class:`cloud.refiners.base.Refiner`."""

    def __init__(self, classifier: Classifier, model: ModelIdentity, *, workers: int, max_batch: int, k: int) -> None:
        self.model = model
        self.labels: Sequence[str] | None = classifier.names
        self.workers = workers
        self._classifier = classifier
        self._max_batch = max_batch
        self._k = k
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="refine")

    async def start(self) -> None:
        """Run the largest batch once on each thread."""
        loop = asyncio.get_running_loop()
        warming = [
            loop.run_in_executor(self._threads, self._classifier.warm_up, self._max_batch) for _ in range(self.workers)
        ]
        await asyncio.gather(*warming)

    def prepare(self, crop: Crop) -> Pixels:
        return self._classifier.prepare(decode(crop.jpeg, crop.header))

    async def refine(self, batch: Sequence[Pixels]) -> Sequence[Opinion | ItemError]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._classify, batch)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _classify(self, batch: Sequence[Pixels]) -> list[Opinion | ItemError]:
        rows = self._classifier.run(np.stack(batch))
        return [
            Opinion(top_k(row, self._classifier.names, self._k)) if np.isfinite(row).all() else ItemError.failed()
            for row in rows
        ]
