"""Jobs on the event loop: gathered into batches, worked on by at most so many workers at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cloud.batching import BatchLimits, Job, MicroBatcher
from cloud.errors import ItemError
from stream.errors import VideoDiscoError

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

Work = Callable[[Sequence[T]], Awaitable[Sequence["R | ItemError"]]]
"""Answers a batch: for each member, in order, its result or why there is none."""


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A batch that was worked on: how long each member had waited for it, and how long the work took."""

    waited_s: tuple[float, ...]
    seconds: float
    failed: bool

    @property
    def size(self) -> int:
        return len(self.waited_s)


@dataclass(slots=True, eq=False)
class Ticket(Generic[T, R]):
    """One job: await ``result``. ``taken``: it is being worked on, and cannot be given up any more."""

    payload: T
    result: asyncio.Future[R] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    taken: bool = False


class Dispatcher(Generic[T, R]):
    """Belongs to the loop it is used on; ``work`` leaves it for threads or the network."""

    def __init__(
        self,
        work: Work[T, R],
        limits: BatchLimits,
        *,
        workers: int,
        on_batch: Callable[[BatchDone], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._workers = workers
        self._on_batch = on_batch
        self._clock = clock
        self._batcher: MicroBatcher[Ticket[T, R]] = MicroBatcher(limits)
        self._jobs: dict[Ticket[T, R], Job[Ticket[T, R]]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        return len(self._batcher)

    def submit(self, payload: T, deadline_s: float) -> Ticket[T, R]:
        """Ask for ``payload`` to be worked on before ``deadline_s``.

        The ticket's result may raise ItemError: its own, or its whole batch's, or because the deadline passed.
        """
        ticket: Ticket[T, R] = Ticket(payload)
        job = Job(ticket, self._clock(), deadline_s)
        self._jobs[ticket] = job
        self._batcher.offer(job)
        self._look()
        return ticket

    def give_up(self, ticket: Ticket[T, R]) -> None:
        """Nobody wants it any more; what is taken already is finished."""
        job = self._jobs.get(ticket)
        if job is not None and self._batcher.discard(job):
            self._jobs.pop(ticket, None)
            ticket.result.cancel()

    async def close(self) -> None:
        """Give up what waits, finish what is being worked on."""
        for job in list(self._batcher):
            self._batcher.discard(job)
            self._settle(job, ItemError.stopping())
        if self._running:
            await asyncio.wait(self._running)

    def _look(self) -> None:
        """Start what is due, as far as there are free workers, and look again when more will be."""
        while len(self._running) < self._workers:
            taken = self._batcher.take(self._clock())
            for job in taken.expired:
                self._settle(job, ItemError.too_late())
            if not taken.batch:
                self._wake_when_due()
                return
            for job in taken.batch:
                job.payload.taken = True
            task = asyncio.get_running_loop().create_task(self._run(taken.batch))
            self._running.add(task)

    def _wake_when_due(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        due_s = self._batcher.due_s()
        delay_s = None if due_s is None else max(0.0, due_s - self._clock())
        loop = asyncio.get_running_loop()
        self._alarm = None if delay_s is None else loop.call_later(delay_s, self._look)

    async def _run(self, batch: Sequence[Job[Ticket[T, R]]]) -> None:
        begun_s = self._clock()
        results = await self._results([job.payload.payload for job in batch])
        seconds = self._clock() - begun_s
        # the worker goes on with the next batch before anybody is told of this one
        if (task := asyncio.current_task()) is not None:
            self._running.discard(task)
        self._look()
        for job, result in zip(batch, results, strict=True):
            self._settle(job, result)
        failed = all(isinstance(result, ItemError) for result in results)
        self._on_batch(BatchDone(tuple(begun_s - job.arrived_s for job in batch), seconds, failed))

    async def _results(self, payloads: Sequence[T]) -> Sequence[R | ItemError]:
        try:
            results = await self._work(payloads)
        except VideoDiscoError as exc:
            log.warning("a batch of %d failed: %s", len(payloads), exc)
            return [ItemError.failed() for _ in payloads]
        except Exception:  # the task's boundary: a bug fails this batch and no other
            log.exception("a batch of %d failed", len(payloads))
            return [ItemError.failed() for _ in payloads]
        if len(results) != len(payloads):
            log.error("a batch of %d was answered by %d results", len(payloads), len(results))
            return [ItemError.failed() for _ in payloads]
        return results

    def _settle(self, job: Job[Ticket[T, R]], result: R | ItemError) -> None:
        self._jobs.pop(job.payload, None)
        future = job.payload.result
        if future.done():
            return
        if isinstance(result, ItemError):
            future.set_exception(result)
        else:
            future.set_result(result)
