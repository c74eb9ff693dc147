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
from cloud.errors import STORAGE, ItemError
from cloud.figures import Figures
from cloud.questions import Outcome, Question, Verdict, decode, encode
from cloud.refiners.base import Opinion, Refiner
from cloud.results import Name, Result, Results
from stream.errors import DecodeError, SinkError

log = logging.getLogger(__name__)

Learn = Callable[[str, Question, Outcome], None]
"""Told of each new answer once, after it was stored, and by which client it was asked."""

UNKEPT_PAUSE_S = 5.0
"""After an answer could not be stored nothing is worked on for so long; then it is tried again."""


@dataclass(frozen=True, slots=True)
class RefineryLimits:
    """``capacity``: questions in the house at a time; ``decoders``: threads that decode."""

    batches: BatchLimits
    crops: CropLimits
    capacity: int
    decoders: int


class NotNowError(Exception):
    """There are no answers just now; come again after ``wait_s``."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"come again in {wait_s:.1f} s")
        self.wait_s = wait_s


class BusyError(NotNowError):
    """There is no room."""


class StorageError(NotNowError):
    """Answers cannot be kept: the disk is full, most likely."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """The key was used before: ``how`` is replayed, or conflict."""

    how: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Ready:
    """A crop as the refiner wants it."""

    prepared: Any


@dataclass(slots=True, eq=False)
class _Entry:
    """A question that is being worked on, and how many wait for its answer."""

    name: Name
    question: Question
    deadline_s: float
    task: asyncio.Task[Outcome] = field(init=False)
    ticket: Ticket[Any, Opinion] | None = None
    waiters: int = 0


class Refinery:
    """Belongs to the loop it is used on; threads look up, decode, infer and store."""

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
        self._idle_until_s = 0.0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Crops that wait for a batch."""
        return self._dispatcher.waiting

    @property
    def unkept_s(self) -> float:
        """For how long nothing is worked on, because answers cannot be kept; 0: they can, as far as is known."""
        return max(0.0, self._idle_until_s - self._clock())

    async def answer(self, client: str, questions: Sequence[Question], budget_s: float) -> list[Outcome]:
        """An answer to each question, in order, within ``budget_s``; who is cancelled is not worked for any longer.

        Raises:
            BusyError: there is no room for all of them.
            StorageError: one of the answers cannot be kept.
        """
        deadline_s = self._clock() + budget_s
        names = [Name(client, question.key) for question in questions]
        new = len({name for name in names if name not in self._working})
        if not self.admission.enter(new):
            self._figures.item("rejected", len(questions))
            raise BusyError(self.admission.wait_s(new, self._clock()))
        entries = [self._join(name, question, deadline_s) for name, question in zip(names, questions, strict=True)]
        outcomes = await self._outcomes(entries, budget_s)
        if any(isinstance(outcome, ItemError) and outcome.code == STORAGE for outcome in outcomes):
            raise StorageError(self.unkept_s)
        return outcomes

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

    def _join(self, name: Name, question: Question, deadline_s: float) -> _Entry | None:
        """What is being worked on under this name, now waited for once more; None where that is another question."""
        entry = self._working.get(name)
        if entry is None:
            entry = self._working[name] = _Entry(name, question, deadline_s)
            entry.task = asyncio.get_running_loop().create_task(self._work(entry))
        elif entry.question.digest != question.digest:
            self._figures.item("conflict")
            return None
        else:
            self._figures.item("joined")
        entry.waiters += 1
        return entry

    async def _outcomes(self, entries: Sequence[_Entry | None], budget_s: float) -> list[Outcome]:
        joined = [entry for entry in entries if entry is not None]
        try:
            if joined:
                await asyncio.wait({entry.task for entry in joined}, timeout=budget_s)
            return [ItemError.conflict() if entry is None else self._outcome_of(entry) for entry in entries]
        except asyncio.CancelledError:
            self._figures.item("abandoned", len(entries))
            raise
        finally:
            for entry in joined:
                self._leave(entry)

    def _outcome_of(self, entry: _Entry) -> Outcome:
        if entry.task.done():
            return entry.task.result()
        self._figures.item("deadline")
        return ItemError.too_late()

    def _leave(self, entry: _Entry) -> None:
        entry.waiters -= 1
        if not entry.waiters and not entry.task.done():
            self._drop(entry)

    def _drop(self, entry: _Entry) -> None:
        """Nobody waits any more. What is in a batch is finished and stored all the same: the client may ask again."""
        if entry.ticket is not None and entry.ticket.taken:
            return
        self._forget(entry)
        entry.task.cancel()
        if entry.ticket is not None:
            self._dispatcher.give_up(entry.ticket)

    def _forget(self, entry: _Entry) -> None:
        if self._working.get(entry.name) is entry:
            del self._working[entry.name]
            self.admission.leave(1, self._clock())

    async def _work(self, entry: _Entry) -> Outcome:
        begun_s = self._clock()
        try:
            outcome = await self._worked_out(entry)
            self._figures.stage("total", self._clock() - begun_s)
            return outcome
        finally:
            self._forget(entry)

    async def _worked_out(self, entry: _Entry) -> Outcome:
        begun_s = self._clock()
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._decoders, self._open, entry.name, entry.question)
        if isinstance(found, _Answered):
            self._figures.item(found.how)
            return found.outcome
        self._figures.stage("decode", self._clock() - begun_s)
        outcome = found if isinstance(found, ItemError) else await self._look(entry, found)
        if isinstance(outcome, ItemError) and outcome.retry:
            self._figures.item(outcome.code)
            return outcome
        return await self._settle(entry.name, entry.question, outcome)

    def _open(self, name: Name, question: Question) -> _Answered | _Ready | ItemError:
        """On a decoding thread: what was answered before, else the crop made ready, or why it cannot be."""
        digest = question.digest  # computed here, off the loop
        try:
            stored = self._results.find(name)
        except SinkError as exc:
            self._cannot_keep(exc)
            return ItemError.storage()
        if stored is not None:
            same = stored.digest == digest
            return _Answered("replayed", decode(stored.answer)) if same else _Answered("conflict", ItemError.conflict())
        if self._clock() < self._idle_until_s:
            return ItemError.storage()
        try:
            return _Ready(self.refiner.prepare(look_at(question.jpeg, question.edge_class, self._crop_limits)))
        except DecodeError as exc:
            return ItemError.bad_image(str(exc))
        except ItemError as exc:
            return exc

    async def _look(self, entry: _Entry, ready: _Ready) -> Outcome:
        entry.ticket = self._dispatcher.submit(ready.prepared, entry.deadline_s)
        try:
            return Verdict(await entry.ticket.result, self.refiner.model)
        except ItemError as exc:
            return exc

    async def _settle(self, name: Name, question: Question, outcome: Outcome) -> Outcome:
        """Keep a new answer, so that it may be given."""
        try:
            await self._results.keep(name, Result(question.digest, encode(outcome)))
        except SinkError as exc:
            self._figures.unkept()
            self._figures.item(STORAGE)
            self._cannot_keep(exc)
            return ItemError.storage()
        self._storing = True
        if isinstance(outcome, ItemError):
            self._figures.item(outcome.code)
        else:
            self._figures.refined(question.edge_class, outcome.opinion.label, outcome.opinion.agreement)
        self._learn(name.client, question, outcome)
        return outcome

    def _cannot_keep(self, exc: SinkError) -> None:
        """Nothing new is worked on for a moment: it would be in vain, for what is not kept is not given."""
        self._idle_until_s = self._clock() + UNKEPT_PAUSE_S
        if self._storing:
            self._storing = False
            log.warning("no answers are given, for they cannot be kept: %s", exc)
