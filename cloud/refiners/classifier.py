"""A classifier as refiner: the bundled one, or any ONNX classifier with its labels."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from cloud.crops import Crop
from cloud.errors import ItemError
from cloud.refiners.base import Judge, Opinion, finer, shown
from models.classifier import Classifier
from models.finer_names import COCO_TO_IMAGENET
from stream.frame import ModelIdentity, Pixels
from stream.images import decode


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    pixels: Pixels
    edge_class: str


class ClassifierRefiner:
    """Runs whole batches, each on a thread of its own; as :class:`cloud.refiners.base.Refiner`."""

    def __init__(
        self,
        classifier: Classifier,
        model: ModelIdentity,
        *,
        finer_names: Mapping[str, Sequence[str]],
        workers: int,
        max_batch: int,
        k: int,
    ) -> None:
        self.model = model
        self.workers = workers
        self._classifier = classifier
        labels = shown(classifier.names)
        self._judge = Judge(labels, finer(labels, COCO_TO_IMAGENET, finer_names), k)
        self._max_batch = max_batch
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="refine")

    async def start(self) -> None:
        """Run the largest batch once on each thread."""
        loop = asyncio.get_running_loop()
        warming = (
            loop.run_in_executor(self._threads, self._classifier.warm_up, self._max_batch) for _ in range(self.workers)
        )
        await asyncio.gather(*warming)

    def prepare(self, crop: Crop) -> _Prepared:
        wanted = (self._classifier.width, self._classifier.height)
        pixels = decode(crop.jpeg, crop.header, at_least=wanted)
        return _Prepared(self._classifier.prepare(pixels), crop.edge_class)

    async def refine(self, batch: Sequence[_Prepared]) -> Sequence[Opinion | ItemError]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._classify, batch)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _classify(self, batch: Sequence[_Prepared]) -> list[Opinion | ItemError]:
        rows = self._classifier.run(np.stack([each.pixels for each in batch]))
        # a network that answers with something else than numbers fails on that crop alone
        sound = [bool(np.isfinite(row).all()) for row in rows]
        return [
            self._judge.opinion(each.edge_class, row) if fine else ItemError.failed()
            for each, row, fine in zip(batch, rows, sound, strict=True)
        ]
