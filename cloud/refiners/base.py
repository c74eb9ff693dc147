"""What every refiner does: crops in, opinions out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cloud.crops import Crop
from cloud.errors import ItemError
from models.agreement import FinerNames
from models.classifier import Guess, Probabilities, top_k
from stream.errors import ModelError
from stream.frame import ModelIdentity

MAX_LABEL_LENGTH = 200
"""What an answer can hold."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a refiner takes a crop for, and how probable it finds that; ``top`` are its best guesses of all.

    ``agreement`` is how far it sees what the edge saw, from 0 to 1, None where it has no name for that.
    """

    label: str
    confidence: float
    top: tuple[Guess, ...]
    agreement: float | None


class Refiner(Protocol):
    """Looks again at crops."""

    @property
    def model(self) -> ModelIdentity: ...

    @property
    def workers(self) -> int:
        """Batches it works on at a time."""
        ...

    async def start(self) -> None:
        """Be ready for the first crop. Raises ModelError."""
        ...

    def prepare(self, crop: Crop) -> Any:
        """A crop as :meth:`refine` wants it, no larger than that needs; called on decoding threads.

        Raises:
            DecodeError: it cannot be decoded.
        """
        ...

    async def refine(self, batch: Sequence[Any]) -> Sequence[Opinion | ItemError]:
        """For each prepared crop, in order, an opinion or why there is none; leaves the loop to others meanwhile.

        Raises:
            VideoDiscoError: none of them can be answered.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; nothing is asked any more."""
        ...


class Judge:
    """Makes opinions of probabilities ``(labels,)``; ``names`` knows which label is of which class of the edge."""

    def __init__(self, labels: Sequence[str], names: FinerNames, k: int) -> None:
        self.labels = tuple(labels)
        self._names = names
        self._k = k

    def opinion(self, edge_class: str, probabilities: Probabilities) -> Opinion:
        verdict = self._names.judge(edge_class, probabilities)
        top = tuple(Guess(guess.label, share(guess.probability)) for guess in self._best(probabilities))
        agreement = None if verdict.agreement is None else share(verdict.agreement)
        return Opinion(verdict.label, share(verdict.probability), top, agreement)

    def _best(self, probabilities: Probabilities) -> Sequence[Guess]:
        return [guess for guess in top_k(probabilities, self.labels, self._k) if guess.probability > 0]


def finer(labels: Sequence[str], table: Mapping[str, Collection[str]], own: Mapping[str, Sequence[str]]) -> FinerNames:
    """Which labels are finer names of which class of the edge: by ``table``, unless the user's ``own`` says otherwise.

    Raises:
        ModelError: there is no label of a name in ``own``.
    """
    strange = [(name, edge_class) for edge_class, names in own.items() for name in names if name not in labels]
    if strange:
        name, edge_class = strange[0]
        raise ModelError(f"finer_names: the model has no label {name!r}, to be a finer name of {edge_class!r}")
    return FinerNames(labels, {**table, **own})


def shown(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels as they may be sent and logged: one line each, and not empty."""
    return tuple(_CONTROL.sub(" ", label).strip()[:MAX_LABEL_LENGTH] or "unnamed" for label in labels)


def share(value: float) -> float:
    """``value`` between 0 and 1, in six digits: more are noise of the processor."""
    return round(min(1.0, max(0.0, float(value))), 6)
