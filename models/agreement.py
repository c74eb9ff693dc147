"""Does the classifier see what the detector saw, and what finer name does it have for it?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.coco import COCO_CLASSES
from models.finer_names import COCO_TO_IMAGENET

WITHOUT_COUNTERPART = frozenset(COCO_CLASSES) - COCO_TO_IMAGENET.keys()
"""Classes that ImageNet has no name for: a person, a fork. There is nothing to learn from the bundled refiner about
them, so they are not escalated unless somebody asks for it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a classifier says of a crop that a detector called something.

    ``agreement`` is how much of the probability lies on names of the detector's class, from 0 to 1; None where the
    classifier knows no name of it, which says nothing for or against. ``label`` is the finer name to show and
    ``probability`` its own, not divided by the agreement. ``agrees`` says that the label is of the detector's class.
    """

    label: str
    probability: float
    agreement: float | None
    agrees: bool


class FinerNames:
    """The labels of one classifier by the class of the detector they are finer names of.

    A class that the table does not know is its own counterpart where the classifier has a label of that name.
    """

    def __init__(self, labels: Sequence[str], table: Mapping[str, Collection[str]] = COCO_TO_IMAGENET) -> None:
        self._labels = tuple(labels)
        self._numbers = {label: number for number, label in enumerate(self._labels)}
        self._known = {name: self._of(finer) for name, finer in table.items()}

    def known(self, edge_class: str) -> bool:
        """Whether the classifier has any name for this class."""
        return len(self._counterparts(edge_class)) > 0

    def agreement(self, edge_class: str, probabilities: NDArray[np.float32]) -> float | None:
        """The part of ``probabilities`` ``(labels,)`` that lies on names of ``edge_class``; None where there are none.

        It takes all labels, not the best few: a dog seen from afar is a little of each of a hundred breeds.
        """
        numbers = self._counterparts(edge_class)
        return min(1.0, float(probabilities[numbers].sum())) if len(numbers) else None

    def judge(self, edge_class: str, probabilities: NDArray[np.float32]) -> Verdict:
        """The verdict over one row of probabilities ``(labels,)``.

        There is agreement if the names of ``edge_class`` together are at least as probable as any one label that is
        none of them. Then the most probable of them is offered, otherwise the most probable label of all.
        """
        numbers = self._counterparts(edge_class)
        agreement = self.agreement(edge_class, probabilities)
        best = int(probabilities.argmax())
        # where the best of all is one of the names, no other label is above them
        agrees = agreement is not None and (best in numbers or agreement >= float(probabilities[best]))
        if agrees:
            best = int(numbers[probabilities[numbers].argmax()])
        return Verdict(self._labels[best], float(probabilities[best]), agreement, agrees)

    def _counterparts(self, edge_class: str) -> NDArray[np.intp]:
        if edge_class in self._known:
            return self._known[edge_class]
        return self._of([edge_class])

    def _of(self, names: Collection[str]) -> NDArray[np.intp]:
        return np.array(sorted(self._numbers[name] for name in names if name in self._numbers), np.intp)
