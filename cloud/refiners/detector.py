"""A second detector as refiner: what it finds in the middle of the crop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from cloud.crops import Crop
from cloud.errors import ItemError
from cloud.refiners.base import Judge, Opinion, finer, shown
from models.catalogue import ModelFile
from models.classifier import Probabilities
from models.families import Boxes, recognise
from models.session import inspect, open_session
from stream.errors import ModelError
from stream.frame import ModelIdentity, NetworkView, Pixels
from stream.geometry import Letterbox
from stream.images import for_network

DEFAULT_SIDE_PX = 640
"""The input of networks that leave its size open and do not say what they were trained with."""

MIN_CONFIDENCE = 0.05
"""What is less is noise, and no guess."""

_SUPPRESSION_IOU = 0.6
_MAX_BOXES = 100


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    canvas: Pixels
    letterbox: Letterbox
    edge_class: str


class DetectorRefiner:
    """Looks at one crop after the other, each batch on a thread of its own; as :class:`cloud.refiners.base.Refiner`.

    Its classes agree with those of the edge that have the same name, or as ``finer_names`` say.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        finer_names: Mapping[str, Sequence[str]],
        device: str,
        workers: int,
        threads: int,
        k: int,
    ) -> None:
        spec = inspect(model)
        self._family = recognise(spec)
        names = shown(self._family.names)
        if not names:
            raise ModelError(f"{model.name} does not name its classes: write them into its metadata as 'names'")
        side = spec.imgsz or (DEFAULT_SIDE_PX, DEFAULT_SIDE_PX)
        height, width = spec.input.height or side[0], spec.input.width or side[1]
        self._session = open_session(model, device=device, threads=threads, shape=(height, width))
        self._view = NetworkView(width, height, rgb=spec.input.rgb, placement=spec.input.placement)
        self._judge = Judge(names, finer(names, {}, finer_names), k)
        self.model = ModelIdentity(model.name, model.version, model.sha256, model.signer)
        self.workers = workers
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="refine")

    async def start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._session.warm_up)

    def prepare(self, crop: Crop) -> _Prepared:
        return _Prepared(*for_network(crop.jpeg, crop.header, self._view), crop.edge_class)

    async def refine(self, batch: Sequence[_Prepared]) -> Sequence[Opinion | ItemError]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._look_at_all, batch)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _look_at_all(self, batch: Sequence[_Prepared]) -> list[Opinion | ItemError]:
        return [self._look(each) for each in batch]

    def _look(self, prepared: _Prepared) -> Opinion | ItemError:
        try:
            boxes = self._family.decode(
                self._session.run(prepared.canvas),
                (self._view.height, self._view.width),
                confidence=MIN_CONFIDENCE,
                iou=_SUPPRESSION_IOU,
                max_detections=_MAX_BOXES,
                classes=None,
            )
        except ModelError:
            return ItemError.failed()
        confidences = in_the_middle(boxes, prepared.letterbox, len(self._judge.labels))
        if not confidences.any():
            return ItemError.nothing_found()
        return self._judge.opinion(prepared.edge_class, confidences)


def in_the_middle(boxes: Boxes, letterbox: Letterbox, classes: int) -> Probabilities:
    """The best confidence ``(classes,)`` of each class among the boxes over the crop's middle, where its subject is."""
    middle = np.array([letterbox.left + letterbox.inner_width / 2, letterbox.top + letterbox.inner_height / 2])
    over = np.asarray((boxes.xyxy[:, :2] <= middle).all(axis=1) & (boxes.xyxy[:, 2:] >= middle).all(axis=1))
    best = np.zeros(classes, np.float32)
    np.maximum.at(best, boxes.class_id[over], boxes.confidence[over])
    return best
