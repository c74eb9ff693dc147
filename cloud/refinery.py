"""From questions to answers: each key is worked on once, however often and from wherever it is asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cloud.batching import Admission, BatchLimits
from cloud.crops import CropLimits, look_at
from cloud.dispatch import Dispatcher, Ticket
from cloud.errors import ItemError
from cloud.figures import Figures
from cloud.questions import Outcome, Question, Verdict, decode, encode
from cloud.refiners.base import Opinion, Refiner
from cloud.results import Name, Result, Results
from stream.errors import DecodeError, SinkError

log = logging.getLogger(__name__)

Learn = Callable[[Question, Outcome], None]
"""Told of each new answer once, after it was stored."""


@dataclass(frozen=True, slots=True)
class RefineryLimits:
    """``capacity``: questions in the house at a time; ``decoders``: threads that decode."""

    batches: BatchLimits
    crops: CropLimits
    capacity: int
    decoders: int


class BusyError(Exception):
    """There is no room; come again after ``wait_s``."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"no room for {wait_s:.1f} s")
        self.wait_s = wait_s


@dataclass(slots=True, eq=False)
class _Entry:
    """A question that is being worked on, and how many wait for its answer."""

    question: Question
    deadline_s: float
    task: asyncio.Task[Outcome] = field(init=False)
    ticket: Ticket[Any, Opinion] | None = None
    waiters: int = 0


class Refinery:
    """Belongs to the loop it is used on; threads decode, infer and store."""

    def __init__(
        self,
        refiner: Refiner,
        results: Results,
        limits: RefineryLimits,
        *,
        figures: Figures,
        learn: Learn,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refiner = refiner
        self.admission = Admission(limits.capacity)
        self._results = results
        self._crop_limits = limits.crops
        self._figures = figures
        self._learn = learn
        self._clock = clock
        self._decoders = ThreadPoolExecutor(max_workers=limits.decoders, thread_name_prefix="decode")
        self._dispatcher: Dispatcher[Any, Opinion] = Dispatcher(
            refiner.refine, limits.batches, workers=refiner.workers, on_batch=figures.batch, clock=clock
        )
        self._working: dict[Name, _Entry] = {}
        self._storing = True
        self._closed = False

    @property
    def waiting(self) -> int:
        """Crops that wait for a batch."""
        return self._dispatcher.waiting

    async def answer(self, client: str, questions: Sequence[Question], budget_s: float) -> list[Outcome]:
        """An answer to each question, in order, within ``budget_s``; who is cancelled is not worked for any longer.

        Raises:
            BusyError: there is no room for all of them.
        """
        deadline_s = self._clock() + budget_s
        names = [Name(client, question.key) for question in questions]
        new = len({name for name in names if name not in self._working})
        if not self.admission.enter(new):
            self._figures.item("rejected", len(questions))
            raise BusyError(self.admission.wait_s(new, self._clock()))
        entries = [self._entry(name, question, deadline_s) for name, question in zip(names, questions, strict=True)]
        waits = (
            self._wait(name, entry, question, budget_s)
            for name, entry, question in zip(names, entries, questions, strict=True)
        )
        return await asyncio.gather(*waits)

    async def close(self) -> None:
        """Refuse what waits for a batch, finish what is in one, and let go of threads and files; again does nothing."""
        if self._closed:
            return
        self._closed = True
        await self._dispatcher.close()
        if tasks := [entry.task for entry in self._working.values()]:
            await asyncio.wait(tasks)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        await self.refiner.close()
        await self._results.close()

    def _entry(self, name: Name, question: Question, deadline_s: float) -> _Entry:
        entry = self._working.get(name)
        if entry is None:
            entry = self._working[name] = _Entry(question, deadline_s)
            entry.task = asyncio.get_running_loop().create_task(self._work(name, entry))
        elif entry.question.digest == question.digest:
            self._figures.item("joined")
        entry.waiters += 1
        return entry

    async def _wait(self, name: Name, entry: _Entry, question: Question, budget_s: float) -> Outcome:
        try:
            if entry.question is not question and entry.question.digest != question.digest:
                self._figures.item("conflict")
                return ItemError.conflict()
            async with asyncio.timeout(budget_s):
                return await asyncio.shield(entry.task)
        except TimeoutError:
            self._figures.item("deadline")
            return ItemError.too_late()
        except asyncio.CancelledError:
            self._figures.item("abandoned")
            raise
        finally:
            entry.waiters -= 1
            if not entry.waiters and not entry.task.done():
                self._drop(name, entry)

    def _drop(self, name: Name, entry: _Entry) -> None:
        """Nobody waits any more. What is in a batch is finished and stored all the same: the client may ask again."""
        if entry.ticket is not None and entry.ticket.taken:
            return
        self._forget(name, entry)
        entry.task.cancel()
        if entry.ticket is not None:
            self._dispatcher.give_up(entry.ticket)

    def _forget(self, name: Name, entry: _Entry) -> None:
        if self._working.get(name) is entry:
            del self._working[name]
            self.admission.leave(1, self._clock())

    async def _work(self, name: Name, entry: _Entry) -> Outcome:
        begun_s = self._clock()
        try:
            outcome = await self._recall(name, entry.question)
            if outcome is None:
                outcome = await self._refine(name, entry)
            self._figures.stage("total", self._clock() - begun_s)
            return outcome
        finally:
            self._forget(name, entry)

    async def _recall(self, name: Name, question: Question) -> Outcome | None:
        try:
            stored = await self._results.find(name)
        except SinkError as exc:
            self._cannot_store(exc)
            return None
        if stored is None:
            return None
        same = stored.digest == question.digest
        self._figures.item("replayed" if same else "conflict")
        return decode(stored.answer) if same else ItemError.conflict()

    async def _refine(self, name: Name, entry: _Entry) -> Outcome:
        outcome: Outcome
        try:
            outcome = verdict = await self._look(entry)
            self._figures.refined(entry.question.edge_class, verdict.opinion.label, verdict.opinion.agreement)
        except ItemError as exc:
            self._figures.item(exc.code)
            if exc.retry:
                return exc
            outcome = exc
        await self._keep(name, entry.question, outcome)
        self._learn(entry.question, outcome)
        return outcome

    async def _look(self, entry: _Entry) -> Verdict:
        begun_s = self._clock()
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._decoders, self._prepare, entry.question)
        self._figures.stage("decode", self._clock() - begun_s)
        entry.ticket = self._dispatcher.submit(prepared, entry.deadline_s)
        opinion = await entry.ticket.result
        return Verdict(opinion, self.refiner.model)

    def _prepare(self, question: Question) -> Any:
        _ = question.digest  # computed here, off the loop
        crop = look_at(question.jpeg, question.edge_class, self._crop_limits)
        try:
            return self.refiner.prepare(crop)
        except DecodeError as exc:
            raise ItemError.bad_image(str(exc)) from exc

    async def _keep(self, name: Name, question: Question, outcome: Outcome) -> None:
        try:
            await self._results.keep(name, Result(question.digest, encode(outcome)))
            self._storing = True
        except SinkError as exc:
            # an answer that is not stored is still worth more than none: it comes out the same when asked again
            self._figures.unkept()
            self._cannot_store(exc)

    def _cannot_store(self, exc: SinkError) -> None:
        if self._storing:
            self._storing = False
            log.warning("answers are given, but not kept: %s", exc)
