"""What a forwarder works with: roles, and who plays them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.escalation.budget import Budget
from edge.escalation.exchange import Reply, Request
from edge.escalation.figures import Tally
from edge.escalation.outbox import Outbox
from edge.escalation.parcel import Parcel
from edge.escalation.permit import Permit
from edge.escalation.results import Answer, ResultStore


class Client(Protocol):
    """Speaks with the cloud; see :class:`edge.escalation.client.RefineClient`."""

    def request(self, parcels: Sequence[Parcel]) -> Request: ...

    async def post(self, request: Request) -> Reply: ...


class Turn(Protocol):
    """Whose turn it is: of several processes with one queue only one sends."""

    def try_acquire(self) -> bool: ...


class Home(Protocol):
    """Where answers come to; called on the loop's thread."""

    def welcome(self, answers: Sequence[Answer]) -> None:
        """Answers that this process got, each once. Raises SinkError when they cannot be written down."""
        ...

    def join(self, answers: Sequence[Answer]) -> None:
        """Answers that another process got for us."""
        ...

    def recover(self) -> None:
        """It is our turn now: see to what another one left half done. Raises SinkError."""
        ...

    def gave_up(self, parcel: Parcel, cause: str, why: str) -> None:
        """A crop that will never be answered."""
        ...

    def held_back(self, limit: str, why: str) -> None:
        """A limit of the budget keeps crops waiting."""
        ...

    def cloud_is(self, state: str, why: str) -> None:
        """The breaker has opened or closed."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What a forwarder works with."""

    outbox: Outbox
    results: ResultStore
    client: Client
    budget: Budget
    turn: Turn
    home: Home
    tally: Tally
    permit: Permit
    run: str
