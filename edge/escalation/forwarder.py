"""Brings waiting crops to the cloud and its answers home: in batches, within the budget, again when it failed."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from edge.escalation.breaker import Breaker, BreakerState, BreakerView
from edge.escalation.budget import Holdup
from edge.escalation.codec import UnsendableError
from edge.escalation.exchange import Failure, Reply, Request, RequestFailedError
from edge.escalation.means import Means
from edge.escalation.outbox import TRIM_EVERY_S, Waiting, depth_of
from edge.escalation.rests import Rests
from edge.escalation.results import Answer, Verdict, answer_to
from edge.escalation.settings import ClientSettings
from stream.errors import SinkError

log = logging.getLogger(__name__)

POLL_S = 1.0
"""How often the queue is looked at unasked: another process may have added to it, or have stopped working on it."""

FIRST_PAUSE_S = 0.5

HELD_EVERY_S = 10.0
"""That a limit holds crops back is told no more often than this: in a crowd it always does."""

LONGEST_RETRY_AFTER_S = 300.0
"""No server may ask for a pause of hours."""

GIVEN_UP = "given_up"
UNSENDABLE = "unsendable"
TOO_LARGE = "larger_than_budget"


class Forwarder:
    """One loop; all but :meth:`wake`, :meth:`view` and :attr:`obstacle` belong to its thread.

    A crop leaves the queue only after its answer is on disk: it may be sent twice, but is answered once, for its key
    stays the same. Nothing is raised: failures are counted, and what cannot be sent now waits.
    """

    def __init__(
        self,
        means: Means,
        settings: ClientSettings,
        *,
        in_flight: int,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._means = means
        self._settings = settings
        self._most_in_flight = in_flight
        self._clock = clock
        self._wall_clock = wall_clock
        self._luck = luck
        self._breaker = Breaker(
            failures=settings.failures, longest_pause_s=settings.longest_pause_s, now_s=self._clock()
        )
        self._rests = Rests(tries=settings.tries, luck=luck)
        self._in_flight: dict[int, asyncio.Task[None]] = {}
        self._quiet_until_s = float("-inf")
        self._failed_in_row = 0
        self._trim_at_s = float("-inf")
        self._held: tuple[int, str] | None = None
        self._held_again_at_s: dict[str, float] = {}
        self._told = BreakerState.CLOSED
        self._has_turn: bool | None = None  # nobody has asked yet
        self._seen_row = 0
        self._stop_at_s: float | None = None
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def view(self) -> BreakerView:
        return self._breaker.view()

    @property
    def obstacle(self) -> str:
        """What keeps crops from going out just now: a limit of the budget, or what is wrong with the cloud. From any
        thread."""
        held = self._held
        return f"{held[1]} holds requests back" if held else self._breaker.view().reason

    def wake(self) -> None:
        """There is something to do. From any thread."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed: it is over
                loop.call_soon_threadsafe(self._woken.set)

    def stop(self, within_s: float) -> None:
        """End once all is sent, the cloud is away or the time is up; on the loop's thread."""
        self._stop_at_s = self._clock() + within_s
        self._woken.set()

    async def run(self) -> None:
        """Until stopped. What is under way then is given up, and waits for the next start."""
        self._loop = asyncio.get_running_loop()
        try:
            with suppress(SinkError):
                self._seen_row = self._means.results.newest_id()
            while not self._is_over():
                self._woken.clear()
                pause_s = self._round()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), min(POLL_S, pause_s, self._left_s()))
        finally:
            tasks = set(self._in_flight.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _is_over(self) -> bool:
        if self._stop_at_s is None:
            return False
        if self._clock() >= self._stop_at_s or self._has_turn is False:
            return True
        if self._in_flight:
            return False
        return self._breaker.state is not BreakerState.CLOSED or depth_of(self._means.outbox) == 0

    def _left_s(self) -> float:
        return POLL_S if self._stop_at_s is None else max(0.0, self._stop_at_s - self._clock())

    def _round(self) -> float:
        """Send what may be sent; for how long there is nothing to do."""
        try:
            self._trim_when_due()
            if not self._is_my_turn():
                return POLL_S
            while (pause_s := self._start_batch()) == 0.0:
                pass
        except (SinkError, OSError) as exc:
            self._fail_on_disk(exc)
            return POLL_S
        return pause_s

    def _trim_when_due(self) -> None:
        now_s = self._clock()
        if now_s >= self._trim_at_s:
            self._trim_at_s = now_s + TRIM_EVERY_S
            self._means.outbox.trim()

    def _is_my_turn(self) -> bool:
        """Whether we are the one to send; until we are, our answers are what the other one writes down."""
        if self._has_turn:
            return True
        self._has_turn = self._means.turn.try_acquire()
        found = self._means.results.after(self._seen_row, self._means.run)
        if found:
            self._seen_row = found[-1][0]
            self._means.home.join([answer for _, answer in found])
        if self._has_turn:
            self._means.home.recover()
        return self._has_turn

    def _start_batch(self) -> float:
        """Begin one request; 0 when another may follow at once, else for how long not."""
        now_s = self._clock()
        if len(self._in_flight_tasks) >= self._most_in_flight:
            return POLL_S
        pause_s = max(self._breaker.wait_s(now_s), self._quiet_until_s - now_s)
        if pause_s > 0:
            return pause_s
        trying = self._breaker.state is not BreakerState.CLOSED
        if trying and self._in_flight:
            return POLL_S
        batch = self._most_valuable(1 if trying else self._settings.batch, now_s)
        if not batch:
            return self._rests.next_s(now_s)
        linger_s = self._linger_s(batch)
        if linger_s > 0 and not trying:
            return linger_s
        return self._send_what_fits(batch, now_s)

    @property
    def _in_flight_tasks(self) -> set[asyncio.Task[None]]:
        return set(self._in_flight.values())

    def _most_valuable(self, limit: int, now_s: float) -> list[Waiting]:
        """What is to be sent next, without what was answered before a crash could take it out of the queue."""
        left_out = self._in_flight.keys() | self._rests.resting(now_s)
        batch = self._permitted(limit, left_out)
        known = self._means.results.known([each.parcel.key for each in batch])
        if known:
            self._means.outbox.remove([each.id for each in batch if each.parcel.key in known])
            batch = [each for each in batch if each.parcel.key not in known]
        if batch and self._rests.is_suspect(batch[0].id):
            return batch[:1]
        return [each for each in batch if not self._rests.is_suspect(each.id)]

    def _permitted(self, limit: int, left_out: Collection[int]) -> list[Waiting]:
        """The most valuable, without those that the policy by now would keep back: these never go out."""
        while True:
            batch = self._means.outbox.best(limit, left_out)
            refused = [(each, refusal) for each in batch if (refusal := self._means.permit.refusal(each.parcel))]
            if not refused:
                return batch
            for each, refusal in refused:
                self._give_up(each, refusal.cause, refusal.why)

    def _linger_s(self, batch: Sequence[Waiting]) -> float:
        """How long the batch may still wait for company."""
        if len(batch) >= self._settings.batch or self._stop_at_s is not None:
            return 0.0
        oldest_s = self._wall_clock() - min(each.created_s for each in batch)
        return self._settings.linger_s - oldest_s if oldest_s >= 0 else 0.0

    def _send_what_fits(self, batch: Sequence[Waiting], now_s: float) -> float:
        """As many of the batch as the budget allows, the most valuable; nothing overtakes them that costs less."""
        count = len(batch)
        while True:
            try:
                request = self._means.client.request([each.parcel for each in batch[:count]])
            except UnsendableError as exc:
                if count == 1:
                    self._give_up(batch[0], UNSENDABLE, str(exc))
                    return 0.0
                count //= 2
                continue
            holdup = self._means.budget.holdup(request.size_bytes, count, now_s)
            if holdup is None:
                self._begin(batch[:count], request, now_s)
                return 0.0
            if count == 1:
                break
            count //= 2
        first = batch[0]
        if request.size_bytes > self._means.budget.largest_bytes:
            self._give_up(first, TOO_LARGE, f"{request.size_bytes} bytes are more than the budget ever allows")
            return 0.0
        self._hold(first, holdup, now_s)
        return holdup.wait_s

    def _hold(self, first: Waiting, holdup: Holdup, now_s: float) -> None:
        """Counted for each crop that is next and has to wait, and told now and then."""
        if self._held == (first.id, holdup.cause):
            return
        self._held = (first.id, holdup.cause)
        if now_s >= self._held_again_at_s.get(holdup.cause, now_s):
            self._held_again_at_s[holdup.cause] = now_s + HELD_EVERY_S
            waiting = depth_of(self._means.outbox)
            self._means.home.held_back(
                holdup.cause, f"crops wait: {waiting}; the next one may go in {holdup.wait_s:.1f} s"
            )
        self._means.tally.by_cause("held", holdup.cause)

    def _begin(self, batch: Sequence[Waiting], request: Request, now_s: float) -> None:
        means = self._means
        means.results.spend(means.outbox.topic, self._wall_clock(), request.size_bytes, 0)
        means.budget.begin(request.size_bytes, len(batch), now_s)
        self._breaker.begin(now_s)
        means.tally.add(requests=1, sent=len(batch), sent_bytes=request.size_bytes)
        self._held = None
        task = asyncio.create_task(self._deliver(batch, request))
        self._in_flight |= dict.fromkeys((each.id for each in batch), task)

    async def _deliver(self, batch: Sequence[Waiting], request: Request) -> None:
        answered = 0
        try:
            answered = await self._attempt(batch, request)
        except SinkError as exc:
            self._fail_on_disk(exc)
            self._breaker.abandoned(self._clock(), self._luck())
            self._rests.put([each.id for each in batch], self._clock())
        except asyncio.CancelledError:
            self._breaker.abandoned(self._clock(), self._luck())
            raise
        finally:
            self._means.budget.finish(len(batch), answered, self._clock())
            for each in batch:
                self._in_flight.pop(each.id, None)
            self._woken.set()

    async def _attempt(self, batch: Sequence[Waiting], request: Request) -> int:
        """How many crops were answered. Raises SinkError when that cannot be kept; then they stay in the queue."""
        try:
            return self._take(batch, await self._means.client.post(request))
        except RequestFailedError as exc:
            self._fail(batch, exc)
            return 0

    def _take(self, batch: Sequence[Waiting], reply: Reply) -> int:
        """Keep what was answered, on disk before it leaves the queue; how many were."""
        means, now_s = self._means, self._clock()
        for cause, count in (("unknown_id", reply.strangers), ("senseless", reply.senseless)):
            if count:
                means.tally.by_cause("failures", cause, count)
        taken = [each for each in batch if each.parcel.key in reply.verdicts]
        left = [each for each in batch if each.parcel.key not in reply.verdicts]
        answered_s = self._wall_clock()
        answers = [answer_to(each.parcel, reply.verdicts[each.parcel.key], answered_s) for each in taken]
        self._keep(answers)
        means.outbox.remove([each.id for each in taken])
        means.results.spend(means.outbox.topic, answered_s, 0, len(taken))
        self._rests.forget([each.id for each in taken])
        if not taken and not reply.transient:
            raise RequestFailedError(Failure.SUSPICIOUS, "no_answers", "it answers about none of the crops")
        self._succeed(now_s)
        for each in left:
            code = reply.transient.get(each.parcel.key, "unanswered")
            means.tally.by_cause("failures", code)
            self._put_off(each, f"the cloud does not answer it ({code})", now_s)
        return len(taken)

    def _keep(self, answers: Sequence[Answer]) -> None:
        new = self._means.results.put(answers)
        if not new:
            return
        with suppress(SinkError):  # they are written down at the next start
            self._means.home.welcome(new)

    def _succeed(self, now_s: float) -> None:
        if self._breaker.state is not BreakerState.CLOSED:
            log.info("the cloud answers again")
        self._failed_in_row = 0
        self._breaker.succeeded(now_s)
        self._tell_state("it answers again")
        self._rests.note_success()

    def _tell_state(self, why: str) -> None:
        """Tries in between are no news."""
        state = self._breaker.state
        if state not in (self._told, BreakerState.HALF_OPEN):
            self._told = state
            self._means.home.cloud_is(state.value, why)

    def _fail(self, batch: Sequence[Waiting], error: RequestFailedError) -> None:
        now_s = self._clock()
        self._means.tally.by_cause("failures", error.cause)
        if not self._failed_in_row:
            log.warning("the cloud: %s; crops wait", error)
        self._failed_in_row += 1
        if error.kind is Failure.REFUSED:
            self._breaker.refused(str(error), now_s, self._luck())
        elif error.kind is Failure.THROTTLED:
            self._breaker.abandoned(now_s, self._luck())
            self._breaker.note(str(error))
        else:
            self._breaker.failed(str(error), now_s, self._luck())
        self._tell_state(str(error))
        longest_s = min(self._settings.longest_pause_s, FIRST_PAUSE_S * 2.0 ** min(self._failed_in_row - 1, 30))
        asked_s = min(error.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
        self._quiet_until_s = now_s + max(asked_s, longest_s * self._luck())
        if error.kind is Failure.SUSPICIOUS:
            for each in batch:
                self._suspect(each, alone=len(batch) == 1, why=str(error), now_s=now_s)

    def _suspect(self, each: Waiting, *, alone: bool, why: str, now_s: float) -> None:
        """One of the batch may be what the cloud cannot take: they are sent one by one from now on."""
        self._rests.suspect(each.id)
        if alone:
            self._put_off(each, why, now_s)

    def _put_off(self, each: Waiting, why: str, now_s: float) -> None:
        if self._rests.put_off(each.id, now_s):
            self._give_up(each, GIVEN_UP, why)

    def _give_up(self, each: Waiting, cause: str, why: str) -> None:
        """It is accounted for as an answer that says why there is none."""
        self._keep([answer_to(each.parcel, Verdict(error=f"{cause}: {why}"), self._wall_clock())])
        self._means.outbox.remove([each.id])
        self._rests.forget([each.id])
        self._means.home.gave_up(each.parcel, cause, why)

    def _fail_on_disk(self, exc: Exception) -> None:
        self._means.tally.by_cause("failures", "disk")
        log.debug("escalation waits for the disk: %s", exc)
