"""Crops that are worth learning from: offered with their answers to the data set, and no request waits for that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cloud.questions import Question, Verdict
from models.coco import COCO_CLASSES
from stream.dataset.collector import Collector
from stream.dataset.sample import Box, Label, Origin
from stream.dataset.samplers import fitting
from stream.errors import DecodeError, SinkError
from stream.frame import ModelIdentity, Refinement
from stream.images import LONGEST_SIDE_PX, decode, read_header
from stream.wire import Item

log = logging.getLogger(__name__)

MOST_WAITING = 64
"""Crops that wait to be offered; there are seconds in which a disk takes nothing."""

OUTCOMES = ("kept", "duplicates", "lost", "above_limit", "left_out")

_SAME_PX = 2.0
"""The margin is the same on all sides, but for rounding."""


class Collecting:
    """Offers crops to ``collector`` on a thread of its own. :meth:`tell` and :meth:`figures` belong to one thread."""

    def __init__(self, collector: Collector, wall_clock: Callable[[], float] = time.time) -> None:
        self._collector = collector
        self._wall_clock = wall_clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dataset")
        self._waiting = 0
        self._left_out = 0
        self._unreadable = 0
        self._failing = False

    def tell(self, client: str, question: Question, verdict: Verdict) -> None:
        """A crop was answered; returns at once. ``client`` is empty where nobody has to say who he is."""
        if question.item is None:
            return
        if self._waiting >= MOST_WAITING:
            self._left_out += 1
            return
        self._waiting += 1
        self._thread.submit(self._offer, client, question, question.item, verdict)

    def figures(self) -> dict[str, float]:
        """How many crops became what, of those that a strategy wanted; ``left_out``: too many were waiting."""
        counted = self._collector.figures()
        counts = (counted.kept, counted.duplicates, counted.lost + self._unreadable, counted.above_limit)
        return dict(zip(OUTCOMES, map(float, (*counts, self._left_out)), strict=True))

    def count(self, outcome: str) -> float:
        """One of the :meth:`figures`."""
        return self.figures()[outcome]

    def close(self) -> None:
        """Finish the crop that is being kept, give up those that wait, and let go of the data set."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._collector.close()

    def _offer(self, client: str, question: Question, item: Item, verdict: Verdict) -> None:
        try:
            self._consider(client, question.jpeg, item, verdict)
            self._failing = False
        except DecodeError:  # a service of the user's own answers what it likes
            self._unreadable += 1
        except SinkError as exc:
            if not self._failing:
                log.warning("crops for the data set are lost: %s", exc)
            self._failing = True
        finally:
            self._waiting -= 1

    def _consider(self, client: str, jpeg: bytes, item: Item, verdict: Verdict) -> None:
        header = read_header(jpeg, max_pixels=LONGEST_SIDE_PX**2)
        labels = [_label(item, verdict, header.upright_size)]
        strategies = self._collector.settings.sampling_strategies
        if all(fitting(strategy, labels) is None for strategy in strategies):
            return
        if not self._collector.wants_picture_now():
            self._collector.pass_by(labels)
            return
        as_it_came = jpeg if header.orientation == 1 else None
        origin = self._origin(client, item)
        self._collector.offer(decode(jpeg, header), labels, origin, kind="crop", jpeg=as_it_came)

    def _origin(self, client: str, item: Item) -> Origin:
        camera = f"{client}/{item.source}" if client else item.source
        # the clock of an edge may be wrong, but what comes today was not taken tomorrow
        taken_at = min(max(0.0, item.time.timestamp()), self._wall_clock())
        return Origin(camera, taken_at, ModelIdentity(item.model.name, item.model.version, item.model.sha256))


def _label(item: Item, verdict: Verdict, size: tuple[int, int]) -> Label:
    said = verdict.opinion
    return Label(
        item.class_name,
        COCO_CLASSES.index(item.class_name) if item.class_name in COCO_CLASSES else -1,
        item.confidence,
        box_in_crop(item, *size),
        item.track_id,
        Refinement(said.label, said.confidence, verdict.model.name, item.class_name),
        said.agreement,
    )


def box_in_crop(item: Item, width: int, height: int) -> Box:
    """Where the object lies in its crop of ``width x height``, which has a margin nobody told us: the same on all sides
    unless the frame ends before. A crop that was made smaller, or cut otherwise, counts as all object."""
    x1, y1, x2, y2 = item.bbox
    across, down = width - (x2 - x1), height - (y2 - y1)
    left, top = _before(across, x1, item.width - x2), _before(down, y1, item.height - y2)
    unequal = abs(max(left, across - left) - max(top, down - top)) > _SAME_PX
    if min(left, top) < -_SAME_PX or unequal:
        return (0.0, 0.0, float(width), float(height))
    return (left, top, left + x2 - x1, top + y2 - y1)


def _before(extra: float, room_before: float, room_after: float) -> float:
    """How much of what a crop is longer than its object lies before the object."""
    return min(room_before, max(extra / 2, extra - room_after))
