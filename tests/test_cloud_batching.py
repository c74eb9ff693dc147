"""Which crops go together and when: exact cases, then everything that can happen in any order."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloud.batching import Admission, BatchLimits, Job, MicroBatcher


def job(name: str, *, at: float = 0.0, deadline: float = 100.0) -> Job[str]:
    return Job(name, at, deadline)


def names(jobs: tuple[Job[str], ...]) -> list[str]:
    return [each.payload for each in jobs]


def test_a_full_batch_goes_at_once_and_in_order() -> None:
    batcher = MicroBatcher[str](BatchLimits(max_size=2, max_wait_s=5.0))
    for name in "abc":
        batcher.offer(job(name))
    assert names(batcher.take(0.0).batch) == ["a", "b"]
    assert names(batcher.take(0.0).batch) == []
    assert len(batcher) == 1


def test_a_batch_goes_when_its_oldest_has_waited() -> None:
    batcher = MicroBatcher[str](BatchLimits(max_size=9, max_wait_s=5.0))
    assert batcher.due_s() is None
    batcher.offer(job("a", at=1.0))
    batcher.offer(job("b", at=3.0))
    assert batcher.due_s() == 6.0
    assert batcher.take(5.9).batch == ()
    assert names(batcher.take(6.0).batch) == ["a", "b"]


def test_who_has_little_time_waits_for_half_of_it() -> None:
    batcher = MicroBatcher[str](BatchLimits(max_size=9, max_wait_s=5.0))
    batcher.offer(job("patient", at=0.0, deadline=100.0))
    batcher.offer(job("hasty", at=1.0, deadline=3.0))
    assert batcher.due_s() == 2.0
    assert names(batcher.take(2.0).batch) == ["patient", "hasty"]


def test_what_is_too_late_is_not_worked_on() -> None:
    batcher = MicroBatcher[str](BatchLimits(max_size=2, max_wait_s=0.0))
    batcher.offer(job("late", deadline=1.0))
    batcher.offer(job("in time", deadline=9.0))
    batcher.offer(job("too", deadline=9.0))
    taken = batcher.take(1.0)
    assert names(taken.expired) == ["late"]
    assert names(taken.batch) == ["in time", "too"], "what expired takes nobody's place"


def test_who_gave_up_is_not_worked_for() -> None:
    batcher = MicroBatcher[str](BatchLimits(max_size=2, max_wait_s=0.0))
    gone, stays = job("gone"), job("stays")
    batcher.offer(gone)
    batcher.offer(stays)
    assert batcher.discard(gone)
    assert not batcher.discard(gone)
    assert names(batcher.take(0.0).batch) == ["stays"]
    assert not batcher.discard(stays), "it is being worked on"


def test_all_of_a_request_come_in_or_none() -> None:
    admission = Admission(3)
    assert admission.enter(2)
    assert not admission.enter(2)
    assert admission.inside == 2
    admission.leave(2, now_s=1.0)
    assert admission.enter(3)


def test_who_is_refused_hears_when_to_come_again() -> None:
    admission = Admission(100)
    assert admission.enter(100)
    assert admission.wait_s(1, now_s=0.0) == 1.0, "nothing is known yet"
    for second in range(1, 6):
        admission.leave(10, now_s=float(second))
        assert admission.enter(10)
    assert admission.wait_s(50, now_s=6.0) == 5.0, "ten a second leave"
    assert admission.wait_s(100, now_s=600.0) == 30.0, "nobody waits for ever"
    assert Admission(5).wait_s(5, now_s=0.0) == 0.0


SIZE, WAIT_S = 4, 2.0


class AnyOrder(RuleBasedStateMachine):
    """Jobs come, are given up and are taken by a worker that looks whenever one is due."""

    def __init__(self) -> None:
        super().__init__()
        self.batcher = MicroBatcher[int](BatchLimits(SIZE, WAIT_S))
        self.now_s = 0.0
        self.free_since_s = 0.0
        self.jobs: list[Job[int]] = []
        self.fate: Counter[Job[int]] = Counter()

    @rule(budget_s=st.floats(0.01, 10.0))
    def offer(self, budget_s: float) -> None:
        each = Job(len(self.jobs), self.now_s, self.now_s + budget_s)
        self.jobs.append(each)
        self.batcher.offer(each)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(self.jobs))
        if self.batcher.discard(each):
            self.fate[each] += 1

    @rule(seconds=st.floats(0.0, 5.0))
    def free_worker_until(self, seconds: float) -> None:
        """Time passes while a worker is free: it looks at every moment something is due."""
        until_s = self.now_s + seconds
        while (due_s := self.batcher.due_s()) is not None and due_s <= until_s:
            self.now_s = max(self.now_s, due_s)
            before = len(self.batcher)
            self.look(on_time=True)
            assert len(self.batcher) < before, "what is due is taken"
        self.now_s = until_s

    @rule(seconds=st.floats(0.0, 5.0))
    def busy_for(self, seconds: float) -> None:
        self.now_s += seconds
        self.free_since_s = self.now_s
        self.look(on_time=False)

    def look(self, *, on_time: bool) -> None:
        taken = self.batcher.take(self.now_s)
        assert len(taken.batch) <= SIZE
        assert all(each.deadline_s > self.now_s for each in taken.batch), "nothing is begun too late"
        assert all(each.deadline_s <= self.now_s for each in taken.expired)
        order = [each.payload for each in taken.batch]
        assert order == sorted(order)
        if on_time and len(taken.batch) < SIZE:
            since_s = [each.arrived_s for each in taken.batch if each.arrived_s >= self.free_since_s]
            assert all(self.now_s - arrived_s <= WAIT_S + 1e-9 for arrived_s in since_s)
        self.fate.update(taken.batch + taken.expired)

    @invariant()
    def everyone_is_settled_once_or_waits(self) -> None:
        waiting = set(self.batcher)
        assert len(waiting) == len(self.batcher)
        for each in self.jobs:
            assert self.fate[each] == (0 if each in waiting else 1)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
