"""The result store: what was answered stays answered, within its bounds."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path

import pytest

from cloud.results import Name, Result, Results, ResultStore
from stream.errors import OutputError, SinkError

A, B = Name("edge", "key-a"), Name("edge", "key-b")
FIRST, SECOND = Result(b"1", '{"a":1}'), Result(b"2", '{"a":2}')


def store(folder: Path, *, max_age_s: float = 100.0, max_rows: int = 1000) -> ResultStore:
    return ResultStore(folder / "results.db", max_age_s=max_age_s, max_rows=max_rows)


def found(results: ResultStore, *names: Name) -> list[Result | None]:
    return [results.find(name) for name in names]


def test_what_was_kept_is_found_by_its_client_alone(tmp_path: Path) -> None:
    results = store(tmp_path)
    results.keep([(A, FIRST), (B, SECOND)], now_s=1.0)
    assert found(results, B, A, Name("edge", "key-c"), Name("other", "key-a")) == [SECOND, FIRST, None, None]


def test_the_first_answer_stands(tmp_path: Path) -> None:
    results = store(tmp_path)
    results.keep([(A, FIRST)], now_s=1.0)
    results.keep([(A, SECOND), (B, SECOND), (B, FIRST)], now_s=2.0)
    assert found(results, A, B) == [FIRST, SECOND]
    assert results.count() == 2


def test_answers_outlive_the_process(tmp_path: Path) -> None:
    before = store(tmp_path)
    before.keep([(A, FIRST)], now_s=1.0)
    # not closed: as after a kill
    assert store(tmp_path).find(A) == FIRST


def test_the_old_go_and_then_the_oldest(tmp_path: Path) -> None:
    results = store(tmp_path, max_age_s=10.0, max_rows=2)
    for number in range(5):
        results.keep([(Name("edge", f"key-{number}"), FIRST)], now_s=float(number))
    assert results.trim(now_s=10.5) == 3, "one is too old, two are too many"
    names = [Name("edge", f"key-{number}") for number in range(5)]
    assert found(results, *names) == [None, None, None, FIRST, FIRST]
    assert results.trim(now_s=10.5) == 0


def test_much_is_forgotten_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.results.TRIM_STEP_ROWS", 3)
    results = store(tmp_path, max_age_s=10.0, max_rows=1)
    results.keep([(Name("edge", f"key-{number}"), FIRST) for number in range(8)], now_s=0.0)
    assert [results.trim(now_s=100.0), results.trim(now_s=100.0), results.trim(now_s=100.0)] == [3, 3, 2]


def test_a_store_that_forgets_does_not_grow(tmp_path: Path) -> None:
    """Months in small: what is forgotten makes room for what comes, and the log beside it is cut back."""
    results = store(tmp_path, max_rows=500)
    answer = Result(b"d" * 32, "x" * 500)
    sizes = []
    for day in range(12):
        for hour in range(10):
            keys = (hashlib.sha256(f"{day} {hour} {number}".encode()).hexdigest() for number in range(50))
            names = [Name("edge", key) for key in keys]
            results.keep([(name, answer) for name in names], now_s=float(day * 10 + hour))
        while results.trim(now_s=float(day * 10 + 9)):
            pass
        assert results.count() == 500
        sizes.append(sum(path.stat().st_size for path in tmp_path.glob("results.db*")))
    assert max(sizes[6:]) <= 1.5 * max(sizes[:6])
    assert max(sizes) < 10_000_000


def test_what_is_too_old_goes_although_nothing_comes(tmp_path: Path) -> None:
    clock = iter([1.0, 1.0, 50.0, 500.0])
    old = store(tmp_path)
    old.keep([(A, FIRST)], now_s=1.0)

    async def scenario() -> None:
        results = Results(store(tmp_path), clock=lambda: next(clock))
        for expected in (FIRST, FIRST, FIRST, None):
            results.tidy()
            if results._trimming is not None:
                await results._trimming
            assert results.find(A) == expected
        await results.close()

    asyncio.run(scenario())


def test_a_damaged_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "results.db").write_bytes(b"this is no database at all, but long enough to be taken for one" * 100)
    with caplog.at_level(logging.WARNING):
        results = store(tmp_path)
    results.keep([(A, FIRST)], now_s=1.0)
    assert results.find(A) == FIRST
    assert "result store" in caplog.text
    assert list(tmp_path.glob("results.db.corrupt-*"))


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="result store") as caught:
        store(tmp_path / "file")
    assert "cannot be used (Not a directory); " in str(caught.value) or "(File exists); " in str(caught.value)


def test_what_comes_together_goes_into_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    keep = ResultStore.keep

    def counted(self: ResultStore, entries: list[tuple[Name, Result]], now_s: float) -> None:
        groups.append(len(entries))
        keep(self, entries, now_s)

    monkeypatch.setattr(ResultStore, "keep", counted)

    async def scenario() -> list[Result | None]:
        results = Results(store(tmp_path), clock=lambda: 1.0)
        names = [Name("edge", f"key-{number}") for number in range(50)]
        await asyncio.gather(*(results.keep(name, FIRST) for name in names))
        kept = [results.find(name) for name in names]
        await results.close()
        return kept

    assert asyncio.run(scenario()) == [FIRST] * 50
    assert groups == [50]


def test_a_failure_reaches_all_of_a_group_and_no_later_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        results = Results(store(tmp_path), clock=lambda: 1.0)
        with monkeypatch.context() as broken:
            broken.setattr(ResultStore, "keep", _fail)
            failed = await asyncio.gather(results.keep(A, FIRST), results.keep(B, FIRST), return_exceptions=True)
        assert [type(each) for each in failed] == [SinkError, SinkError]
        await results.keep(A, SECOND)
        assert results.find(A) == SECOND
        await results.close()

    asyncio.run(scenario())


def _fail(*_: object) -> None:
    raise SinkError("the disk is full")
