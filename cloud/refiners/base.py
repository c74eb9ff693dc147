"""What every refiner does: crops in, opinions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cloud.crops import Crop
from cloud.errors import ItemError
from models.classifier import Guess
from stream.frame import ModelIdentity


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a refiner takes a crop for: at least one guess, best first."""

    guesses: tuple[Guess, ...]


class Refiner(Protocol):
    """Looks again at crops. ``labels`` are all it can say, None where nobody knows them."""

    @property
    def model(self) -> ModelIdentity: ...

    @property
    def labels(self) -> Sequence[str] | None: ...

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
