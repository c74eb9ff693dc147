"""Crops to a refiner on loopback and its answers home, while it is good, slow, wrong, away, and while we are killed."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from edge.escalation.board import Board
from edge.escalation.escalation import Escalation
from edge.escalation.exchange import Request
from edge.escalation.figures import EscalationFigures
from edge.escalation.outbox import Outbox, Waiting
from edge.escalation.parcel import TrackKey
from edge.escalation.reception import shown_label
from edge.escalation.results import Answer, ResultStore, Verdict, answer_to
from edge.escalation.settings import CameraEscalation, EscalationSettings, SpoolSettings
from stream.errors import SinkError, UsageError
from stream.frame import Refinement
from tests import refine_server as refiner
from tests.escalation import BOX, STARTED_AT, lines, noise, parcel
from tests.events import FPS, frame
from tests.refine_server import WAIT_S, Asked, Behaviour, RefineServer, answer, verdict
from tests.results import source

ENTRY = "open sesame"

QUICK: dict[str, Any] = {
    "timeout_s": WAIT_S,
    "connect_timeout_s": WAIT_S / 2,
    "longest_pause_s": 0.1,
    "failures": 3,
    "linger_s": 0.02,
}

PAUSE_S = 0.05
"""After a request that failed, with half of the luck there may be."""

TOLD_ONCE_S = 1000.0


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.escalation.rests.FIRST_REST_S", 0.05)
    monkeypatch.setattr("edge.escalation.forwarder.POLL_S", 0.1)


class House:
    """A run that escalates to a refiner, with its folder and its state."""

    def __init__(self, folder: Path, url: str, *, run: str = "run", start: bool = True, **known: Any) -> None:
        self.folder = folder / run
        self.folder.mkdir(exist_ok=True)
        self.home = folder / "home"
        client, budget = known.pop("client", {}), known.pop("budget", {})
        values: dict[str, Any] = {"enabled": True, "shadow": False, "url": url, "client": QUICK | client}
        cameras = known.pop("cameras", {})
        values |= {"budget": {"requests_per_s": None} | budget} | known
        self.former: list[tuple[str, str]] = []
        self.told: list[tuple[Answer, Refinement | None]] = []
        wall_clock = values.pop("wall_clock", time.time)
        self.escalation = Escalation(
            EscalationSettings.model_validate(values),
            self.folder,
            self.home,
            cameras=cameras,
            on_answer=lambda answer, label: self.told.append((answer, label)),
            on_former=lambda answer, label: self.former.append((answer.key, label.label)),
            luck=lambda: 0.5,
            wall_clock=wall_clock,
        )
        if start:
            self.office.start()

    @property
    def office(self) -> Any:
        assert self.escalation._office is not None
        return self.escalation._office

    def put(self, *numbers: int, value: Callable[[int], float] = float, size_bytes: int = 100) -> None:
        for number in numbers:
            jpeg = b"\xff\xd8" + bytes(size_bytes)
            self.office.put(parcel(number, jpeg=jpeg, run=str(self.folder)), value(number))

    @property
    def figures(self) -> EscalationFigures:
        return self.escalation.figures()

    def wait_for(self, condition: Callable[[EscalationFigures], bool], within_s: float = WAIT_S) -> EscalationFigures:
        """Looks again and again: what it waits for happens in another thread. The figures are not of one moment: all
        that is said of them later belongs into the condition."""
        deadline_s = time.monotonic() + within_s
        while not condition(figures := self.figures):
            assert time.monotonic() < deadline_s, figures
            time.sleep(0.01)
        return figures

    def keys_in_store(self) -> list[str]:
        return keys_in_store(self.home)

    def keys_in_file(self) -> list[str]:
        return [line["key"] for line in lines(self.folder / "refinements.jsonl")]

    def close(self, within_s: float = 2.0) -> None:
        self.escalation.close(within_s)


def keys_in_store(home: Path) -> list[str]:
    """One for each row, whatever it says."""
    with sqlite3.connect(home / "escalation" / "results.db") as connection:
        rows = [key for (key,) in connection.execute("SELECT key FROM answers ORDER BY id")]
    connection.close()
    return rows


def all_done(count: int) -> Callable[[EscalationFigures], bool]:
    """So many are answered, written down and out of the queue, and the cloud is well."""
    return lambda figures: (
        (figures.refined, figures.spooled, figures.spooled_bytes) == (count, 0, 0)
        and (figures.state, figures.reason) == ("closed", "")
    )


def keys(*numbers: int) -> list[str]:
    return [parcel(number).key for number in numbers]


@contextmanager
def house(folder: Path, url: str, **known: Any) -> Iterator[House]:
    made = House(folder, url, **known)
    try:
        yield made
    finally:
        made.close(0.2)


def test_every_crop_is_answered_once_in_batches_over_few_connections(tmp_path: Path) -> None:
    with RefineServer() as server, house(tmp_path, server.url, start=False) as home:
        home.put(*range(30))
        home.office.start()
        figures = home.wait_for(all_done(30))
        assert sorted(home.keys_in_store()) == sorted(home.keys_in_file()) == sorted(keys(*range(30)))
        assert server.answered == Counter(keys(*range(30)))
        # two are under way at a time: nobody knows which arrives first
        assert sorted(len(asked.keys) for asked in server.asked) == [6, 8, 8, 8]
        assert server.most_under_way <= 2
        assert (figures.requests, figures.sent, figures.spooled, figures.spooled_bytes) == (4, 30, 0, 0)
        assert figures.sent_bytes >= sum(asked.size_bytes for asked in server.asked), "no byte leaves uncounted"
        assert home.escalation.outputs == [home.folder / "refinements.jsonl"]


def test_only_what_the_contract_lists_goes_out(tmp_path: Path) -> None:
    with RefineServer() as server, house(tmp_path, server.url, token=ENTRY) as home:
        home.put(1)
        server.wait_for(lambda server: len(server.asked) > 0)
        (asked,) = server.asked
        (item,) = asked.items
        assert item.pop("jpeg") == b"\xff\xd8" + bytes(100)
        assert item == {
            "key": "key-00000001",
            "source": "cam1",
            "track_id": 1,
            "class": "dog",
            "confidence": 0.5,
            "bbox": list(BOX),
            "time": "2023-11-14T22:13:20.100000Z",
            "width": 320,
            "height": 240,
            "model": {"name": "nanodet-g", "version": "1.0.0", "sha256": "ab" * 32},
        }
        assert asked.headers["Authorization"] == f"Bearer {ENTRY}"
        assert set(asked.headers) <= {
            *("Host", "Authorization", "User-Agent", "Accept", "Accept-Encoding", "Content-Type", "Content-Length")
        }


def test_the_most_valuable_go_first_and_of_equal_ones_the_newest(tmp_path: Path) -> None:
    known: dict[str, Any] = {"client": {"batch": 2}, "budget": {"in_flight": 1}}
    with RefineServer() as server, house(tmp_path, server.url, start=False, **known) as home:
        home.put(1, 2, 3, 4, 5, 6, value=lambda number: float(number % 3))
        home.office.start()
        home.wait_for(all_done(6))
        assert server.keys == keys(5, 2, 4, 1, 6, 3)


def test_a_lone_crop_waits_a_moment_for_company(tmp_path: Path) -> None:
    now = [STARTED_AT]
    known: dict[str, Any] = {"client": {"linger_s": 0.3}, "wall_clock": lambda: now[0]}
    with RefineServer() as server, house(tmp_path, server.url, start=False, **known) as home:
        looked: list[int] = []
        best = home.office.outbox.best

        def noted(*how: Any) -> list[Waiting]:
            found: list[Waiting] = best(*how)
            looked.append(len(found))
            return found

        home.office.outbox.best = noted
        home.office.start()
        home.put(1)
        home.wait_for(lambda _: 1 in looked)
        home.put(2)
        home.wait_for(lambda _: 2 in looked)
        assert server.asked == []
        now[0] += 0.31
        home.wait_for(all_done(2))
        assert [len(asked.keys) for asked in server.asked] == [2]


# A refiner that misbehaves: bounded, counted, a clear state; and then all is answered, once.

HTML = b"<html>it works</html>"
UNASKED = b'{"version":1,"results":[{"key":"somebody-else","label":"x","confidence":1,"model":{"name":"m"}}]}'


@pytest.mark.parametrize(
    ("behave", "cause", "state"),
    [
        (refiner.status(500), "status_500", "open"),
        (refiner.status(503, Retry_After="0"), "status_503", "open"),
        (refiner.status(400), "status_400", "open"),
        (refiner.status(401), "unauthorized", "refused"),
        (refiner.status(403), "unauthorized", "refused"),
        (refiner.status(404), "not_found", "refused"),
        (refiner.status(302, Location="http://127.0.0.1:1/stolen"), "redirect", "refused"),
        (refiner.status(429), "throttled", "closed"),
        (refiner.body(HTML), "bad_answer", "open"),
        (refiner.body(b""), "bad_answer", "open"),
        (refiner.body(b"[" * 100_000), "bad_answer", "open"),
        (refiner.body(b'{"version":1,"results":[]}'), "no_answers", "open"),
        (refiner.body(UNASKED), "unknown_id", "open"),
        (refiner.others_ids, "unknown_id", "open"),
        (refiner.body(b" " * 10_000_000), "answer_too_large", "open"),
        (refiner.half, "cut_off", "open"),
        (refiner.hang_up, "cut_off", "open"),
        (refiner.reset, "cut_off", "open"),
        (refiner.slow(30), "timeout", "open"),
        (refiner.drip, "timeout", "open"),
    ],
)
def test_whatever_it_does_nothing_is_lost_or_doubled(tmp_path: Path, behave: Behaviour, cause: str, state: str) -> None:
    limits = {"timeout_s": 0.15} if cause == "timeout" else {}
    begun_s = time.monotonic()
    with RefineServer(behave) as server, house(tmp_path, server.url, client=limits) as home:
        home.put(*range(12))
        figures = home.wait_for(
            # it says what is the matter
            lambda figures: figures.failures.get(cause, 0) >= 4 and state in figures.entered and figures.reason != ""
        )
        assert set(figures.failures) <= {cause, "no_answers"}
        assert (figures.refined, figures.errors, home.keys_in_store()) == (0, 0, [])
        # two at a time at most; without any pause it would be thousands of requests
        assert figures.requests <= 2 + 2 * (time.monotonic() - begun_s) / PAUSE_S
        server.behave = refiner.good
        figures = home.wait_for(all_done(12))
        assert figures.dropped == {}
        assert sorted(home.keys_in_store()) == sorted(home.keys_in_file()) == keys(*range(12))


def test_a_refiner_that_is_not_there(tmp_path: Path) -> None:
    server = RefineServer().start()
    server.stop()
    with house(tmp_path, server.url) as home:
        home.put(1, 2, 3)
        home.wait_for(
            lambda figures: (
                figures.failures.get("unreachable", 0) >= 4
                and figures.entered.get("open", 0) >= 1
                and figures.reason == "it cannot be reached"
            )
        )
        with server:
            home.wait_for(all_done(3))
        assert sorted(home.keys_in_store()) == keys(1, 2, 3)


def test_patience_is_kept_when_it_is_asked_for(tmp_path: Path) -> None:
    patient = refiner.status(429, Retry_After="1")
    with RefineServer(patient) as server, house(tmp_path, server.url, budget={"in_flight": 1}) as home:
        home.put(*range(20))
        server.wait_for(lambda server: len(server.asked) > 0)
        server.behave = refiner.good
        home.wait_for(all_done(20))
        first, second = server.asked[0].at_s, server.asked[1].at_s
        assert second - first >= 1.0


def test_it_is_tried_with_one_crop_whether_it_works_again(tmp_path: Path) -> None:
    with RefineServer(refiner.status(503)) as server, house(tmp_path, server.url, start=False) as home:
        home.put(*range(20))
        home.office.start()
        server.wait_for(lambda server: len(server.asked) >= 8)
        sizes = [len(asked.keys) for asked in server.asked]
        assert sizes[:3] == [8, 8, 8]
        assert set(sizes[5:]) == {1}, "two requests were under way when it opened"


def test_a_crop_that_it_cannot_take_does_not_hold_up_the_others(tmp_path: Path) -> None:
    bad = set(keys(7))

    def after_another(behave: Behaviour) -> Behaviour:
        """So that it never looks as if the cloud were away, however slow somebody is."""
        answered = [0]

        async def badly(request: web.Request, asked: Asked) -> web.StreamResponse:
            while server.answered.total() == answered[-1]:  # noqa: ASYNC110 - told to nobody on this loop
                await asyncio.sleep(0.005)
            answered.append(server.answered.total())
            return await behave(request, asked)

        return badly

    for number, behave in enumerate((refiner.status(500), refiner.body(HTML))):
        server = RefineServer(refiner.Except(bad, after_another(behave)))
        with server, house(tmp_path, server.url, run=f"run{number}", client={"tries": 2}, start=False) as home:
            home.office._results.close()
            (home.home / "escalation" / "results.db").unlink()
            home.put(*range(10))
            home.office.start()
            home.wait_for(lambda figures: figures.refined == 9)
            more = iter(range(100, 10_000))
            while not home.figures.dropped:  # others are answered meanwhile: only so can it be known to be the one
                home.put(next(more))
                home.wait_for(lambda figures: figures.spooled <= 1)
            assert home.figures.dropped == {"given_up": 1}
            assert "open" not in home.figures.entered, "one crop is no reason to think that the cloud is away"
            (line,) = [line for line in lines(home.folder / "refinements.jsonl") if line["key"] in bad]
            assert line["error"].startswith("given_up: ")
            (told,) = lines(home.folder / "decisions.jsonl")
            assert (told["decision"], told["cause"], told["key"]) == ("drop", "given_up", *bad)


def test_half_of_the_answers_are_taken_and_the_rest_asked_for_again(tmp_path: Path) -> None:
    async def every_other(request: web.Request, asked: Asked) -> web.StreamResponse:
        return answer([verdict(item) for item in asked.items[::2]])

    with RefineServer(every_other) as server, house(tmp_path, server.url, start=False) as home:
        home.put(*range(8))
        home.office.start()
        figures = home.wait_for(all_done(8))
        assert server.answered == Counter(keys(*range(8)))
        assert figures.failures == {"unanswered": 4 + 2 + 1}
        assert (figures.state, figures.entered) == ("closed", {"closed": 1})


def test_errors_of_single_crops(tmp_path: Path) -> None:
    answers = Counter[str]()

    async def behave(request: web.Request, asked: Asked) -> web.StreamResponse:
        answers.update(asked.keys)
        errors = {"key-00000001": ("bad_image", False), "key-00000002": ("deadline", answers["key-00000002"] < 2)}
        results = []
        for item in asked.items:
            code, retry = errors.get(item["key"], ("", False))
            problem = {"code": code, "message": "so it is", "retry": retry}
            is_error = code == "bad_image" or retry
            results.append({"key": item["key"], "error": problem} if is_error else verdict(item))
        return answer(results)

    with RefineServer(behave) as server, house(tmp_path, server.url, start=False) as home:
        home.put(1, 2, 3)
        home.office.start()
        figures = home.wait_for(lambda figures: (figures.refined, figures.errors, figures.spooled) == (2, 1, 0))
        assert figures.failures == {"deadline": 1}
        assert sorted(home.keys_in_store()) == keys(1, 2, 3)
        said = {line["key"]: line for line in lines(home.folder / "refinements.jsonl")}
        assert said["key-00000001"]["error"] == "bad_image: so it is"
        assert said["key-00000002"]["refined"] == {"label": "fine dog", "confidence": 0.82, "model": "lite0"}
        assert server.most_under_way <= 2


def test_parcels_that_nobody_could_send_are_given_up(tmp_path: Path) -> None:
    with RefineServer() as server, house(tmp_path, server.url, start=False) as home:
        home.put(1, 2)
        broken = parcel(3, run=str(home.folder), model_sha256="none")
        home.office.put(broken, 2.5)
        home.office.put(parcel(4, run=str(home.folder), bbox=(-5.0, -7.0, 330.0, 241.0), confidence=1.0001), 0.0)
        home.office.outbox._spool.append(home.office.outbox.topic, b"of another version", time.time(), 9.0)
        home.office.start()
        figures = home.wait_for(all_done(3))
        assert figures.dropped == {"unsendable": 1, "unreadable": 1}
        boxes = {item["key"]: item["bbox"] for asked in server.asked for item in asked.items}
        assert boxes["key-00000004"] == [0, 0, 320, 240]


# Restarts.


def test_a_cloud_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    server = RefineServer(refiner.slow(0.02)).start()
    try:
        with house(tmp_path, server.url) as home:
            home.put(*range(20))
            server.wait_for(lambda server: len(server.answered) >= 5)
            server.stop()
            home.put(*range(20, 60))
            home.wait_for(lambda figures: figures.entered.get("open", 0) >= 1)
            assert home.figures.spooled >= 40
            server.start()
            figures = home.wait_for(all_done(60))
            assert figures.entered["closed"] >= 2
            assert sorted(home.keys_in_store()) == sorted(home.keys_in_file()) == keys(*range(60))
            told = lines(home.folder / "decisions.jsonl")
            assert [(line["decision"], line["cause"]) for line in told] == [("cloud", "open"), ("cloud", "closed")]
    finally:
        server.stop()


def test_what_was_left_is_sent_at_the_next_start_to_the_same_address_only(tmp_path: Path) -> None:
    with RefineServer(refiner.slow(30)) as server:
        with house(tmp_path, server.url) as home:
            home.put(1, 2, 3)
            server.wait_for(lambda server: len(server.asked) > 0)
        server.behave = refiner.good
        with RefineServer() as other, house(tmp_path, other.url, run="run2") as second:
            second.put(9)
            second.wait_for(lambda figures: figures.refined == 1)
            assert other.keys == keys(9)
        with house(tmp_path, server.url, run="run3") as third:
            server.wait_for(lambda server: len(server.answered) == 3)
            third.wait_for(lambda figures: figures.spooled == 0)
            third.close(1.0)
        assert sorted(home.keys_in_file()) == keys(1, 2, 3), "in the folder of the run that saw them"
        assert third.keys_in_file() == []
        assert third.told == []
        assert sorted(third.former) == [(key, "fine dog") for key in keys(1, 2, 3)]


@pytest.mark.parametrize(
    ("stricter", "cause", "why"),
    [
        ({"deny": ["dog"]}, "denied", "dog never leaves by now"),
        ({"deny": ["16"]}, "denied", "dog never leaves by now"),
        ({"deny": ["Person", "cat"]}, "denied", "it was cut out before cat was hidden in it"),
        ({"blur_others": True}, "denied", "it was cut out before others were blurred in it"),
        ({"shadow": True}, "shadow", "of its camera it is only reported by now what would be sent"),
        ({"enabled": False}, "disabled", "nothing of its camera is sent any more"),
    ],
    ids=["the class", "its number", "another class", "blurred", "shadow", "disabled"],
)
def test_a_stricter_policy_counts_for_what_waits(
    tmp_path: Path, stricter: dict[str, Any], cause: str, why: str
) -> None:
    cameras = {"cam1": CameraEscalation.model_validate(stricter)}
    with RefineServer() as server, house(tmp_path, server.url, start=False, cameras=cameras) as home:
        for number in range(20):
            home.office.put(parcel(number, run=str(home.folder), deny=("person",)), 9.0)
        home.office.put(parcel(99, run=str(home.folder), track=TrackKey("cam2", "life", 0, 1)), 1.0)
        home.office.start()
        figures = home.wait_for(lambda figures: figures.spooled == 0)
        assert server.keys == keys(99), "cameras that are none of ours"
        assert figures.dropped == {cause: 20}
        assert (figures.refined, figures.errors) == (1, 20)
        told = lines(home.folder / "decisions.jsonl")
        assert {(line["decision"], line["cause"], line["why"]) for line in told} == {("drop", cause, why)}
        assert sorted(home.keys_in_store()) == keys(*range(20), 99)


def test_a_policy_that_is_no_stricter_keeps_nothing_back(tmp_path: Path) -> None:
    cameras = {"cam1": CameraEscalation(deny=("PERSON",), blur_others=True), "cam2": None}
    with RefineServer() as server, house(tmp_path, server.url, start=False, cameras=cameras) as home:
        home.office.put(parcel(1, run=str(home.folder), deny=("person", "cat"), blur_others=True), 1.0)
        home.office.put(parcel(2, run=str(home.folder), track=TrackKey("cam2", "life", 0, 1)), 1.0)
        home.office.start()
        home.wait_for(all_done(2))


def test_an_answer_that_did_not_reach_its_file_is_written_at_the_next_start_once(tmp_path: Path) -> None:
    with RefineServer() as server:
        with house(tmp_path, server.url) as home:
            home.put(1, 2)
            home.wait_for(all_done(2))
        store = ResultStore(home.home / "escalation" / "results.db")
        with sqlite3.connect(store._database.path) as connection:
            connection.execute("UPDATE answers SET written = 0")  # killed before it could note that
        connection.close()
        path = home.folder / "refinements.jsonl"
        first, second = path.read_text().splitlines(keepends=True)
        path.write_text(first + second[:30])  # and amid the second line
        with house(tmp_path, server.url, run="run2") as again:
            again.put(3)
            again.wait_for(lambda figures: figures.refined == 1)
        text = path.read_text()
        assert [text.count(f'"key":"{key}"') for key in keys(1, 2)] == [1, 1]
        assert sorted(key for key, _ in again.former) == keys(1, 2), "nobody knows how far it had come"
        assert store.unwritten() == []
        store.close()


def test_a_key_that_is_there_is_never_written_again(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results.db")
    first, other = answer_to(parcel(1), Verdict("dog", 0.5), 1.0), answer_to(parcel(2), Verdict(error="no"), 1.0)
    again = answer_to(parcel(1), Verdict("cat", 0.9), 2.0)
    assert store.put([first]) == [first]
    assert store.put([again, other]) == [other]
    assert [answer for _, answer in store.after(0, first.run)] == [first, other]
    assert store.known(["key-00000001", "key-00000003"]) == {"key-00000001"}
    store.close()


def test_two_runs_share_one_queue_and_each_gets_its_own_answers(tmp_path: Path) -> None:
    with RefineServer() as server, house(tmp_path, server.url) as first:
        first.put(1)
        first.wait_for(lambda figures: figures.refined == 1)  # it has the turn
        with house(tmp_path, server.url, run="second") as second:
            second.put(2)
            second.wait_for(lambda _: bool(second.told and second.keys_in_file()))
            assert second.figures.requests == 0
            assert [each.key for each, _ in second.told] == keys(2)
            assert [each.key for each, _ in first.told] == keys(1)
            assert second.keys_in_file() == keys(2)
            first.close()
            second.put(3)
            second.wait_for(lambda figures: figures.refined == 2)
            assert second.figures.requests == 1
        assert second.keys_in_file() == keys(2, 3)


KILLED = """
import os, signal, sys, time
from pathlib import Path
from edge.escalation import reception, results
from tests.test_escalation_forwarder import House

def deadly(function, *, before):
    calls = iter(range(10**6))
    def call(*arguments):
        is_last = next(calls) == 2
        if is_last and before:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = function(*arguments)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    return call

def live(moment, first):
    store = results.ResultStore
    match moment:
        case "answered": store.put = deadly(store.put, before=True)
        case "kept": store.put = deadly(store.put, before=False)
        case "written": reception.write_refinements = deadly(reception.write_refinements, before=False)
        case "noted": store.set_written = deadly(store.set_written, before=False)
    home = House(Path(sys.argv[1]), sys.argv[2], run=f"run{first}", client={"batch": 4})
    for number in range(first, first + 30):
        home.put(number)
        print(number, flush=True)
    time.sleep(60)

for turn, moment in enumerate(sys.argv[3:]):  # what is imported once is there for all of them
    if (child := os.fork()) == 0:
        live(moment, turn * 100_000)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
"""


@pytest.mark.slow
def test_killed_at_the_worst_moments_every_key_is_answered_exactly_once(tmp_path: Path) -> None:
    """SIGKILL right after an answer came, was kept, was written to its file, was noted as written; and the cloud cuts
    every third connection after it has made its answer."""
    turns = iter(range(10**9))

    async def unreliable(request: web.Request, asked: Asked) -> web.StreamResponse:
        return await (refiner.half if next(turns) % 3 == 0 else refiner.good)(request, asked)

    moments = ["answered", "kept", "written", "noted"]
    with RefineServer(unreliable) as server:
        command = [sys.executable, "-c", KILLED, str(tmp_path), server.url, *moments]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        told = [int(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]
        with house(tmp_path, server.url, run="last") as home:
            home.wait_for(lambda figures: figures.spooled == 0)
            home.close()
    stored = keys_in_store(tmp_path / "home")
    assert set(keys(*told)) <= set(stored), "nothing that was kept is lost"
    assert len(stored) == len(set(stored)), "nothing twice"
    assert len(stored) <= len(told) + len(moments), "one more may be kept each time than it lived to tell"
    written = [line["key"] for run in tmp_path.glob("run*") for line in lines(run / "refinements.jsonl")]
    assert sorted(written) == sorted(stored)
    assert any(count > 1 for count in Counter(server.keys).values()), "some were sent twice, or nothing was proved"


# Budgets.


class Begun:
    """Remembers how often a house looked what to send, and of each request when it left by its own clock, how large it
    was, and what it asked about: when they arrive says little, for who left later may arrive sooner."""

    def __init__(self, home: House) -> None:
        self.requests: list[tuple[float, int, list[str]]] = []
        self.looks = 0
        forwarder = home.office.forwarder
        self._begin, self._start_batch = forwarder._begin, forwarder._start_batch
        forwarder._begin, forwarder._start_batch = self._note, self._look

    def _look(self) -> float:
        self.looks += 1
        return float(self._start_batch())

    def _note(self, batch: list[Waiting], request: Request, now_s: float) -> None:
        self.requests.append((now_s, request.size_bytes, [each.parcel.key for each in batch]))
        self._begin(batch, request, now_s)


def test_no_window_exceeds_the_bytes_allowed_and_the_most_valuable_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.escalation.forwarder.HELD_EVERY_S", TOLD_ONCE_S)
    budget = {"bytes_per_s": 10_000, "bytes_per_hour": None, "items_per_day": None}
    with RefineServer() as server, house(tmp_path, server.url, start=False, budget=budget) as home:
        order = [number * 37 % 100 for number in range(100)]
        home.put(*order, value=float, size_bytes=1200)
        begun, begun_s = Begun(home), time.monotonic()
        home.office.start()
        home.wait_for(lambda figures: figures.refined >= 8 and figures.held.get("bytes_per_s", 0) >= 2)
        home.close(0.0)
        figures = home.figures
    for first, (begin_s, _, _) in enumerate(begun.requests):
        total = 0
        for at_s, size_bytes, _ in begun.requests[first:]:
            total += size_bytes
            assert total <= 10_000 * max(1.0, at_s - begin_s) + 1e-3
    arrived_bytes = 0
    for asked in server.asked:
        arrived_bytes += asked.size_bytes
        assert arrived_bytes <= 10_000 * max(1.0, asked.at_s - begun_s)
    sent = [key for _, _, keys in begun.requests for key in keys]
    assert sent == keys(*range(99, 99 - len(sent), -1))
    assert set(server.keys) <= set(sent)
    assert [line["cause"] for line in lines(home.folder / "decisions.jsonl")] == ["bytes_per_s"], "told, but not always"
    assert figures.spooled + figures.refined == 100


def test_items_of_a_day_are_not_renewed_by_a_restart_nor_spent_by_failures(tmp_path: Path) -> None:
    budget = {"items_per_day": 5}
    with RefineServer(refiner.status(503)) as server:
        with house(tmp_path, server.url, budget=budget, client={"batch": 1}) as home:
            home.put(*range(20))
            home.wait_for(lambda figures: figures.requests >= 8)
            server.behave = refiner.good
            home.wait_for(lambda figures: figures.refined == 5 and figures.held.get("items_per_day", 0) > 0)
        with house(tmp_path, server.url, run="run2", budget=budget) as again:
            again.wait_for(lambda figures: figures.held.get("items_per_day", 0) > 0)
            assert again.figures.requests == 0
        assert len(server.answered) == 5


def test_requests_under_way_are_bounded(tmp_path: Path) -> None:
    known: dict[str, Any] = {"budget": {"in_flight": 3}, "client": {"batch": 1}}
    enough = threading.Event()
    with RefineServer(refiner.after(enough)) as server, house(tmp_path, server.url, start=False, **known) as home:
        home.put(*range(12))
        begun = Begun(home)
        home.office.start()
        server.wait_for(lambda server: len(server.asked) >= 3)
        looks = begun.looks
        home.wait_for(lambda _: begun.looks > looks + 1)
        assert len(begun.requests) == 3
        enough.set()
        home.wait_for(all_done(12))
        assert server.most_under_way == 3


def test_a_crop_that_no_budget_ever_allows_is_dropped(tmp_path: Path) -> None:
    with RefineServer() as server, house(tmp_path, server.url, budget={"bytes_per_s": 5000}) as home:
        home.put(1, size_bytes=6000)
        home.wait_for(lambda figures: figures.dropped == {"larger_than_budget": 1})
        home.put(2)
        home.wait_for(all_done(1))
        assert server.keys == keys(2)


# The queue.


def test_the_queue_is_bounded_and_says_what_it_drops(tmp_path: Path) -> None:
    dropped: list[tuple[str, str]] = []
    outbox = Outbox(
        tmp_path,
        "http://cloud",
        SpoolSettings(max_mb=1),
        on_drop=lambda parcel, cause: dropped.append((parcel.key if parcel else "", cause)),
        wall_clock=lambda: STARTED_AT,
    )
    for number in range(12):
        outbox.put(parcel(number, jpeg=bytes(99_000)), float(number % 6))
    assert outbox.size_bytes <= 1_000_000
    assert dropped == [(key, "bytes") for key in keys(0, 6)]
    outbox.close()


def test_the_size_of_the_queue_is_right_however_slow_who_fills_it(tmp_path: Path) -> None:
    """What was put is sent and removed before the one who put it goes on."""
    outbox = Outbox(tmp_path, "http://cloud", SpoolSettings(), on_drop=lambda _parcel, _cause: None)
    append, removing = outbox._spool.append, list[threading.Thread]()

    def slow(topic: str, payload: bytes, now_s: float, value: float = 0.0) -> int:
        item_id = append(topic, payload, now_s, value)
        removing.append(threading.Thread(target=outbox.remove, args=([item_id],)))
        removing[0].start()
        removing[0].join(0.2)
        return item_id

    outbox._spool.append = slow  # type: ignore[method-assign] # as where a machine is busy
    outbox.put(parcel(1), 1.0)
    removing[0].join()
    assert (outbox.depth, outbox.size_bytes) == (0, 0)
    outbox.close()


def test_what_is_too_old_is_dropped_and_told(tmp_path: Path) -> None:
    never = threading.Event()
    with RefineServer(refiner.after(never)) as server, house(tmp_path, server.url, start=False) as home:
        home.office.outbox._wall_clock = lambda: time.time() - 90_000
        home.put(1)
        home.office.outbox._wall_clock = time.time
        home.put(2)
        home.office.start()
        home.wait_for(lambda figures: figures.dropped == {"age": 1})
        assert home.figures.spooled == 1
        (told,) = lines(home.folder / "decisions.jsonl")
        assert (told["decision"], told["cause"], told["key"], told["source"]) == ("drop", "age", *keys(1), "cam1")


def test_the_log_names_the_limit_that_cost_a_crop_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.escalation.forwarder.HELD_EVERY_S", TOLD_ONCE_S)
    known: dict[str, Any] = {"budget": {"items_per_day": 1}, "spool": {"max_mb": 1}, "client": {"batch": 1}}
    with RefineServer() as server, house(tmp_path, server.url, start=False, **known) as home:
        home.put(9)
        home.office.start()
        home.wait_for(all_done(1))
        home.put(1, 2, size_bytes=450_000)
        home.wait_for(lambda figures: figures.held.get("items_per_day", 0) >= 1)
        home.put(3, size_bytes=450_000)
        held, told = lines(home.folder / "decisions.jsonl")
        assert (held["decision"], held["cause"]) == ("hold", "items_per_day")
        assert re.fullmatch(r"crops wait: [12]; the next one may go in \d{5,6}\.\d s", held["why"])
        assert (told["decision"], told["cause"], told["key"]) == ("drop", "bytes", *keys(1))
        assert told["why"] == "too many wait, and it was the least valuable (items_per_day holds requests back)"


def test_a_disk_that_fails_is_waited_for(tmp_path: Path) -> None:
    with RefineServer() as server, house(tmp_path, server.url) as home:
        results = home.office._results
        put, calls = results.put, iter(range(10**6))

        def full(answers: list[Answer]) -> list[Answer]:
            if next(calls) < 2:
                raise SinkError("the disk is full")
            return list(put(answers))

        results.put = full
        home.put(1)
        figures = home.wait_for(all_done(1))
        assert figures.failures == {"disk": 2}
        assert home.keys_in_store() == keys(1)
        assert server.answered == {keys(1)[0]: 3}, "asked again: what is not on disk is not answered"


# Ends.


def test_the_end_sends_what_it_can_and_is_in_time(tmp_path: Path) -> None:
    with RefineServer(refiner.slow(0.05)) as server:
        home = House(tmp_path, server.url)
        home.put(*range(16))
        home.close(WAIT_S)
        assert len(server.answered) == 16
        server.behave, before = refiner.after(threading.Event()), len(server.asked)
        home = House(tmp_path, server.url, run="run2")
        home.put(*range(100, 116))
        server.wait_for(lambda server: len(server.asked) > before)
        begun_s = time.monotonic()
        home.close(0.3)
        assert 0.3 <= time.monotonic() - begun_s < QUICK["timeout_s"] / 2, "not until the request is given up"
        loops = [thread for thread in threading.enumerate() if thread.name == "loop"]
        assert len(loops) == 1, "the server's alone"


def test_a_cloud_that_is_away_is_not_waited_for_at_the_end(tmp_path: Path) -> None:
    server = RefineServer().start()
    server.stop()
    home = House(tmp_path, server.url)
    home.put(1)
    home.wait_for(lambda figures: figures.entered.get("open", 0) > 0)
    begun_s = time.monotonic()
    home.close(WAIT_S)
    assert time.monotonic() - begun_s < WAIT_S / 2


def test_shadow_sends_nothing_not_even_what_waits(tmp_path: Path) -> None:
    with RefineServer() as server:
        with house(tmp_path, server.url, start=False) as home:
            home.put(1)
        made = House(tmp_path, server.url, run="run2", shadow=True, start=False)
        sink = made.escalation.sink("cam1")
        assert sink is not None
        assert sink._mailbox is None
        made.close()
        assert made.figures.spooled == 1
        assert server.asked == []
        made.close()


# All together.


def test_a_dog_becomes_a_golden_retriever_while_it_lives(tmp_path: Path) -> None:
    policy = {"min_sharpness": 0, "settle_s": 0.2, "track_cooldown_s": 1000}
    with RefineServer() as server, house(tmp_path, server.url, policy=policy, start=False) as home:
        sink = home.escalation.sink("cam1")
        assert sink is not None
        sink.open(source(started_at=STARTED_AT))
        for index in range(FPS):
            sink.write(frame(index, {7: BOX}, name="dog", confidence=0.5, picture=noise()))
        home.wait_for(all_done(1))
        sink.write(frame(FPS, {7: BOX}, name="dog", confidence=0.5, picture=noise()))
        assert home.escalation.refined("cam1") == {7: Refinement("fine dog", 0.82, "lite0", "dog")}
        ((told, label),) = home.told
        assert (told.track.track_id, told.verdict.agreement, label) == (
            7,
            1.0,
            Refinement("fine dog", 0.82, "lite0", "dog"),
        )
        figures = home.figures
        assert figures.agreement["cam1", "dog"].mean == 1.0
        assert figures.metrics()["escalation/agreement"] == 1.0
        sink.close()
        assert home.escalation.refined("cam1") == {}
        (line,) = lines(home.folder / "refinements.jsonl")
        assert (line["source"], line["track_id"], line["late"], line["agreement"]) == ("cam1", 7, False, 1.0)
        assert server.asked[0].items[0]["source"] == "cam1"


def test_an_answer_that_comes_after_the_track_is_kept_as_late(tmp_path: Path) -> None:
    policy = {"min_sharpness": 0, "settle_s": 0.2}
    over = threading.Event()
    with RefineServer(refiner.after(over)) as server, house(tmp_path, server.url, policy=policy, start=False) as home:
        sink = home.escalation.sink("cam1")
        assert sink is not None
        sink.open(source(started_at=STARTED_AT))
        for index in range(5):
            sink.write(frame(index, {7: BOX}, name="dog", confidence=0.5, picture=noise()))
        for index in range(5, 5 + 3 * FPS):
            sink.write(frame(index, {}, picture=noise()))
        over.set()
        figures = home.wait_for(all_done(1))
        assert figures.late == 1
        assert home.escalation.refined("cam1") == {}
        ((told, label),) = home.told
        assert (told.track.track_id, label and label.label) == (7, "fine dog")
        (line,) = lines(home.folder / "refinements.jsonl")
        assert line["late"] is True
        sink.close()
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("confidence", "agreement", "shown"),
    [
        (0.3, 0.6, True),
        (0.29, 0.6, False),
        (0.3, None, True),
        (0.89, 0.1, False),
        (0.9, 0.1, True),
    ],
    ids=["a finer name", "a guess", "nothing to compare", "another class, a guess", "another class for sure"],
)
def test_guesses_are_kept_and_not_shown(confidence: float, agreement: float | None, shown: bool) -> None:
    said = answer_to(parcel(1), Verdict("golden retriever", confidence, agreement, "lite0"), 1.0)
    label = Refinement("golden retriever", confidence, "lite0", "dog")
    assert shown_label(said, 0.3) == (label if shown else None)


def test_an_unsure_answer_takes_no_label_away() -> None:
    board, track = Board(), parcel(1).track
    board.begin(track.camera, track.life)
    board.expect(track)
    board.answer(track, Refinement("golden retriever", 0.8, "lite0"))
    assert board.answer(track, None)
    assert board.refined(track.camera)[track.track_id].label == "golden retriever"
    board.forget(track.camera, track.life)
    assert not board.answer(track, None)


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return certificate, key


def test_certificates_on_both_sides(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert_file, key_file = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cert_file)
    context.load_cert_chain(cert_file, key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = {"ca_file": str(cert_file), "cert_file": str(cert_file), "key_file": str(key_file)}
    with RefineServer(tls=context) as server:
        with house(tmp_path, server.url, client=mine) as home:
            home.put(1)
            home.wait_for(all_done(1))
        with house(tmp_path, server.url, run="run2") as stranger:
            stranger.put(2)
            figures = stranger.wait_for(
                lambda figures: figures.entered.get("refused", 0) > 0 and "check ca_file" in figures.reason
            )
            assert figures.failures["certificate"] >= 1
        assert server.keys == keys(1)
    for wrong in ({"ca_file": str(tmp_path / "none.pem")}, {**mine, "key_file": str(cert_file)}):
        with pytest.raises(UsageError, match="cannot use the certificate"):
            House(tmp_path, server.url, run="run3", client=wrong)
