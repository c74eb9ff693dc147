"""Each key is worked on once: joined, replayed, given up, refused, and never spoiled by its neighbours."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import prometheus_client as prometheus
import pytest

from cloud.batching import BatchLimits
from cloud.crops import CropLimits
from cloud.errors import ItemError
from cloud.figures import Figures
from cloud.questions import Outcome, Question, Verdict
from cloud.refinery import UNKEPT_PAUSE_S, BusyError, Refinery, RefineryLimits, StorageError
from cloud.results import Results, ResultStore
from stream.errors import ModelError, SinkError
from stream.frame import ModelIdentity
from tests.refining import OBEDIENT, TRUCK, ObedientRefiner, jpeg, key_of, stored, until

ANSWER = Verdict(TRUCK, OBEDIENT)
BUDGET_S = 120.0
TOGETHER_S = 60.0
"""Crops that are asked about together are in one batch, however busy the machine is."""


class House:
    """A refinery, what it learnt, and its figures."""

    def __init__(self, folder: Path, refiner: ObedientRefiner, *, capacity: int, max_size: int, wait_s: float) -> None:
        self.path = folder / "results.db"
        self.refiner = refiner
        self.registry = prometheus.CollectorRegistry()
        self.learnt: list[str] = []
        self.now_s = 0.0
        limits = RefineryLimits(BatchLimits(max_size, wait_s), CropLimits(8, 1_000_000), capacity=capacity, decoders=1)
        self.refinery = Refinery(
            refiner,
            Results(ResultStore(self.path, max_age_s=1e6, max_rows=1000)),
            limits,
            figures=Figures(self.registry, 0.0),
            learn=lambda _client, question, _outcome: self.learnt.append(question.key),
            clock=lambda: time.monotonic() + self.now_s,
        )

    async def ask(self, *questions: Question, client: str = "edge", budget_s: float = BUDGET_S) -> list[Outcome]:
        return await self.refinery.answer(client, questions, budget_s)

    def count(self, outcome: str) -> int:
        name = "videodisco_refine_items_total"
        return int(self.registry.get_sample_value(name, {"outcome": outcome}) or 0)


@asynccontextmanager
async def house(
    folder: Path, refiner: ObedientRefiner | None = None, *, capacity: int = 64, max_size: int = 4, wait_s: float = 0.01
) -> AsyncIterator[House]:
    made = House(folder, refiner or ObedientRefiner(), capacity=capacity, max_size=max_size, wait_s=wait_s)
    try:
        yield made
    finally:
        made.refiner.gate.set()
        await made.refinery.close()
        assert made.refinery.admission.inside == 0, "everybody left"


def question(number: int, *, width: int = 64, edge_class: str = "truck") -> Question:
    return Question(key_of(number), jpeg(number, width), edge_class)


def codes(outcomes: list[Outcome]) -> list[str]:
    return [outcome.code if isinstance(outcome, ItemError) else "refined" for outcome in outcomes]


def test_a_question_is_answered_and_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, max_size=2, wait_s=TOGETHER_S) as here:
            assert await here.ask(question(1), question(2)) == [ANSWER, ANSWER]
            assert here.learnt == [key_of(1), key_of(2)]
            assert here.refiner.batches == [[64, 64]]
            assert [key for key, _, _ in stored(here.path)] == [key_of(1), key_of(2)]

    asyncio.run(scenario())


def test_the_same_key_again_is_answered_from_the_store_also_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            await here.ask(question(1))
            assert await here.ask(question(1)) == [ANSWER]
        before = stored(tmp_path / "results.db")
        async with house(tmp_path) as restarted:
            assert await restarted.ask(question(1)) == [ANSWER]
            assert restarted.refiner.worked_on == 0
            assert restarted.learnt == []
            assert restarted.count("replayed") == 1
        assert stored(tmp_path / "results.db") == before

    asyncio.run(scenario())


def test_an_old_answer_says_which_model_gave_it(tmp_path: Path) -> None:
    """A key keeps its answer when the model is changed; new keys get the new one's."""
    newer = ModelIdentity("obedient", "2", "ef" * 32)

    async def scenario() -> None:
        async with house(tmp_path) as here:
            await here.ask(question(1))
        async with house(tmp_path, ObedientRefiner(model=newer)) as here:
            assert await here.ask(question(1), question(2)) == [ANSWER, Verdict(TRUCK, newer)]

    asyncio.run(scenario())


def test_a_key_that_is_being_worked_on_is_joined(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            here.refiner.gate.clear()
            asked = [asyncio.create_task(here.ask(question(1))) for _ in range(5)]
            await here.refiner.begun.wait()
            asked.append(asyncio.create_task(here.ask(question(1))))
            await until(lambda: here.count("joined") == 5)
            here.refiner.gate.set()
            assert await asyncio.gather(*asked) == [[ANSWER]] * 6
            assert here.refiner.worked_on == 1
            assert here.learnt == [key_of(1)]
            assert len(stored(here.path)) == 1

    asyncio.run(scenario())


def test_each_client_has_keys_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            await here.ask(question(1), client="north")
            await here.ask(question(1), client="south")
            assert here.refiner.worked_on == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("later", [False, True], ids=["meanwhile", "later"])
def test_a_key_names_one_question_for_ever(tmp_path: Path, later: bool) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            if later:
                await here.ask(question(1))
                assert codes(await here.ask(question(1, width=80), question(1, edge_class="bus"))) == ["conflict"] * 2
            else:
                both = await here.ask(question(1), question(1, width=80))
                assert codes(both) == ["refined", "conflict"]
            assert here.count("conflict") == (2 if later else 1)
            assert await here.ask(question(1)) == [ANSWER], "the first one stands"

    asyncio.run(scenario())


def test_bad_crops_spoil_nothing_for_their_neighbours(tmp_path: Path) -> None:
    good = jpeg(0)
    bad = {
        "bad_image": [b"", b"garbage", good[: len(good) // 2], b"\xff\xd8\xff" + bytes(100), _png()],
        "too_small": [jpeg(0, 64, 4)],
        "too_large": [good.replace(b"\x00\x30\x00\x40", b"\xff\xf0\xff\xf0", 1)],
    }
    pairs = [(code, data) for code, crops in bad.items() for data in crops]
    asked = [(code, Question(f"bad-{number}", data, "car")) for number, (code, data) in enumerate(pairs)]

    async def scenario() -> None:
        async with house(tmp_path, max_size=2, wait_s=TOGETHER_S) as here:
            outcomes = await here.ask(question(1), *(each for _, each in asked), question(2))
            assert codes(outcomes) == ["refined", *(code for code, _ in asked), "refined"]
            assert here.refiner.batches == [[64, 64]]
            again = await here.ask(*(each for _, each in asked))
            assert codes(again) == [code for code, _ in asked]
            assert not any(outcome.retry for outcome in again if isinstance(outcome, ItemError))
            assert len(stored(here.path)) == 2 + len(asked)

    asyncio.run(scenario())


def _png() -> bytes:
    import cv2
    import numpy as np

    return bytes(cv2.imencode(".png", np.zeros((20, 20, 3), np.uint8))[1].tobytes())


def test_a_poisoned_crop_fails_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner(poison_px=frozenset({99}))
        async with house(tmp_path, refiner, max_size=3, wait_s=TOGETHER_S) as here:
            outcomes = await here.ask(question(1), question(2, width=99), question(3))
            assert codes(outcomes) == ["refined", "failed", "refined"]
            assert len(refiner.batches) == 1
            assert [key for key, _, _ in stored(here.path)] == [key_of(1), key_of(3)], "it may fare better later"
            refiner.poison_px = frozenset()
            assert codes(await here.ask(question(2, width=99), question(4), question(5))) == ["refined"] * 3

    asyncio.run(scenario())


@pytest.mark.parametrize("failure", [ModelError("it broke"), ZeroDivisionError()], ids=["ours", "a bug"])
def test_a_failed_batch_fails_its_members_only(
    tmp_path: Path, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with house(tmp_path, max_size=2, wait_s=TOGETHER_S) as here:
            here.refiner.gate.clear()
            first = asyncio.create_task(here.ask(question(1), question(2)))
            await here.refiner.begun.wait()
            second = asyncio.create_task(here.ask(question(3), question(4)))
            await until(lambda: here.refinery.waiting == 2)
            here.refiner.failure = failure
            here.refiner.gate.set()
            assert codes(await first) == ["failed", "failed"]
            assert codes(await second) == ["refined", "refined"]

    with caplog.at_level(logging.CRITICAL, logger="cloud.dispatch"):
        asyncio.run(scenario())


def test_a_refiner_that_answers_too_little_fails_the_batch(tmp_path: Path) -> None:
    class Short(ObedientRefiner):
        async def refine(self, batch: object) -> list[object]:  # type: ignore[override] # that is the fault
            return []

    async def scenario() -> None:
        logging.disable(logging.ERROR)
        try:
            async with house(tmp_path, Short()) as here:
                assert codes(await here.ask(question(1))) == ["failed"]
        finally:
            logging.disable(logging.NOTSET)

    asyncio.run(scenario())


def test_a_full_house_refuses_at_once_and_says_when_to_come_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, capacity=4) as here:
            here.refiner.gate.clear()
            inside = asyncio.create_task(here.ask(*map(question, range(3))))
            await here.refiner.begun.wait()
            with pytest.raises(BusyError) as refused:
                await here.ask(question(8), question(9))
            assert refused.value.wait_s >= 1.0
            assert here.count("rejected") == 2
            joining = asyncio.create_task(here.ask(question(0), question(7)))
            await until(lambda: here.refinery.admission.inside == 4)
            here.refiner.gate.set()
            assert codes(await inside + await joining) == ["refined"] * 5

    asyncio.run(scenario())


def test_who_left_is_not_worked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, max_size=1) as here:
            here.refiner.gate.clear()
            working = asyncio.create_task(here.ask(question(1)))
            await here.refiner.begun.wait()
            leaving = asyncio.create_task(here.ask(question(2), question(3)))
            shared = asyncio.create_task(here.ask(question(3)))
            await until(lambda: here.refinery.waiting == 2 and here.count("joined") == 1)
            leaving.cancel()
            await until(lambda: here.refinery.waiting == 1)
            assert here.count("abandoned") == 2
            assert here.refinery.admission.inside == 2
            here.refiner.gate.set()
            assert await working + await shared == [ANSWER, ANSWER]
            assert [key for key, _, _ in stored(here.path)] == [key_of(1), key_of(3)]

    asyncio.run(scenario())


def test_what_is_in_a_batch_is_finished_for_a_client_that_left(tmp_path: Path) -> None:
    """It will ask again, and then the answer is there."""

    async def scenario() -> None:
        async with house(tmp_path) as here:
            here.refiner.gate.clear()
            leaving = asyncio.create_task(here.ask(question(1)))
            await here.refiner.begun.wait()
            leaving.cancel()
            await asyncio.wait([leaving])
            here.refiner.gate.set()
            assert await here.ask(question(1)) == [ANSWER]
            assert here.refiner.worked_on == 1

    asyncio.run(scenario())


def test_what_is_too_late_is_answered_in_time_and_not_worked_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, max_size=1) as here:
            here.refiner.gate.clear()
            working = asyncio.create_task(here.ask(question(1)))
            await here.refiner.begun.wait()
            late = await here.ask(question(2), budget_s=0.05)
            assert codes(late) == ["deadline"]
            assert isinstance(late[0], ItemError)
            assert late[0].retry
            assert here.count("deadline") == 1
            here.refiner.gate.set()
            assert await working == [ANSWER]
            assert here.refiner.worked_on == 1

    asyncio.run(scenario())


def test_an_answer_that_cannot_be_kept_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            assert await here.ask(question(1)) == [ANSWER]
            with monkeypatch.context() as full:
                full.setattr(ResultStore, "keep", _fail)
                with pytest.raises(StorageError) as refused:
                    await here.ask(question(1), question(2))
            assert 0 < refused.value.wait_s <= UNKEPT_PAUSE_S
            assert here.refiner.worked_on == 2
            with pytest.raises(StorageError):
                await here.ask(question(3))
            assert here.refiner.worked_on == 2, "nothing is worked on in vain"
            assert await here.ask(question(1)) == [ANSWER], "what is kept is given"
            assert here.registry.get_sample_value("videodisco_refine_results_unkept_total") == 1
            assert here.learnt == [key_of(1)]
            here.now_s += UNKEPT_PAUSE_S
            assert await here.ask(question(2)) == [ANSWER]
            assert here.count("refined") == 2, "counted once"

    asyncio.run(scenario())
    assert caplog.text.count("the disk is full") == 1, "said once"


def test_a_store_that_cannot_be_read_stops_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as here:
            with monkeypatch.context() as broken:
                broken.setattr(ResultStore, "find", _fail)
                with pytest.raises(StorageError):
                    await here.ask(question(1))
            assert here.refiner.worked_on == 0

    asyncio.run(scenario())


def _fail(*_: object) -> None:
    raise SinkError("the disk is full")


def test_closing_finishes_what_is_in_a_batch_and_refuses_what_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, max_size=1) as here:
            here.refiner.gate.clear()
            working = asyncio.create_task(here.ask(question(1)))
            await here.refiner.begun.wait()
            waiting = asyncio.create_task(here.ask(question(2)))
            await until(lambda: here.refinery.waiting == 1)
            closing = asyncio.create_task(here.refinery.close())
            assert codes(await waiting) == ["stopping"]
            here.refiner.gate.set()
            await closing
            assert await working == [ANSWER]
            assert here.refiner.closed

    asyncio.run(scenario())


def test_a_window_tells_rates_latencies_agreement_and_labels(tmp_path: Path) -> None:
    async def scenario() -> None:
        refiner = ObedientRefiner()
        async with house(tmp_path, refiner, max_size=2, wait_s=TOGETHER_S) as here:
            figures = here.refinery._figures
            await here.ask(question(1), question(2))
            await here.ask(question(1))
            window = figures.close_window(10.0)
            assert window["rate/refined"] == 0.2
            assert window["items/replayed"] == 1
            assert window["batch/size"] == 2
            assert window["agreement/mean"] == window["agreement/truck"] == 0.875
            assert window["labels/fire truck"] == 2
            assert {f"latency_ms/{stage}/p99" for stage in ("decode", "queue", "inference", "total")} <= set(window)
            empty = figures.close_window(20.0)
            assert empty["items/refined"] == 0
            assert "agreement/mean" not in empty, "nothing is averaged in"
            summary = figures.summary(20.0)
            assert summary["summary/items/refined"] == 2
            assert summary["summary/latency_ms/total/p99"] > 0

    asyncio.run(scenario())


def test_names_that_others_make_up_are_bounded() -> None:
    figures = Figures(prometheus.CollectorRegistry(), 0.0)
    for number in range(5000):
        figures.refined(f"class {number}", f"label {number}", 0.5)
    window = figures.close_window(1.0)
    assert window["labels/other"] == 3000
    assert len(window) < 300
