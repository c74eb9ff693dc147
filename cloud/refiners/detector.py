"""A second detector as refiner: what it finds in the middle of the crop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from cloud.crops import Crop
from cloud.errors import ItemError
from cloud.refiners.base import Opinion
from models.catalogue import ModelFile
from models.classifier import Guess
from models.families import Boxes, recognise
from models.session import Session, inspect, open_session
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


class DetectorRefiner:
    """Looks at one crop after the other, each batch on a thread of its own; as :class:`cloud.refiners.base.Refiner`."""

    def __init__(self, model: ModelFile, *, device: str, workers: int, threads: int, k: int) -> None:
        spec = inspect(model)
        self._family = recognise(spec)
        side = spec.imgsz or (DEFAULT_SIDE_PX, DEFAULT_SIDE_PX)
        shape = (spec.input.height or side[0], spec.input.width or side[1])
        self._session: Session = open_session(model, device=device, threads=threads, shape=shape)
        self._shape = shape
        self._view = NetworkView(shape[1], shape[0], rgb=spec.input.rgb, placement=spec.input.placement)
        self._k = k
        self.model = ModelIdentity(model.name, model.version, model.sha256, model.signer)
        if not self._family.names:
            raise ModelError(f"{model.name} does not name its classes: write them into its metadata as 'names'")
        self.labels: Sequence[str] | None = tuple(self._family.names)
        self.workers = workers
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="refine")

    async def start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._session.warm_up)

    def prepare(self, crop: Crop) -> _Prepared:
        return _Prepared(*for_network(crop.jpeg, crop.header, self._view))

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
                self._shape,
                confidence=MIN_CONFIDENCE,
                iou=_SUPPRESSION_IOU,
                max_detections=_MAX_BOXES,
                classes=None,
            )
        except ModelError:
            return ItemError.failed()
        guesses = _in_the_middle(boxes, prepared.letterbox, self._family.names)[: self._k]
        return Opinion(guesses) if guesses else ItemError.nothing_found()


def _in_the_middle(boxes: Boxes, letterbox: Letterbox, names: Sequence[str]) -> tuple[Guess, ...]:
    """The classes of the boxes over the crop's middle, where its subject is, each with its best confidence."""
    middle = np.array([letterbox.left + letterbox.inner_width / 2, letterbox.top + letterbox.inner_height / 2])
    over = np.asarray((boxes.xyxy[:, :2] <= middle).all(axis=1) & (boxes.xyxy[:, 2:] >= middle).all(axis=1))
    best: dict[str, float] = {}
    for number, confidence in zip(boxes.class_id[over], boxes.confidence[over], strict=True):
        name = names[int(number)]
        best[name] = max(best.get(name, 0.0), min(1.0, float(confidence)))
    ordered = sorted(best.items(), key=lambda entry: -entry[1])
    return tuple(Guess(name, confidence) for name, confidence in ordered)
