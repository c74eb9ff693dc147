"""A sink that fails for a while and comes back."""

from __future__ import annotations

from pathlib import Path

from stream.errors import SinkError
from stream.frame import FrameResult, SourceInfo
from stream.sinks.reviving import RETRY_S, RevivingSink
from tests.results import result, source


class Flaky:
    """Fails while ``broken``; notes what it is asked."""

    name = "flaky"
    wants_picture = False
    optional = False

    def __init__(self) -> None:
        self.broken = False
        self.calls: list[str] = []
        self.written: list[int] = []

    @property
    def outputs(self) -> list[Path]:
        return [Path("flaky.txt")]

    def open(self, info: SourceInfo) -> None:
        self.calls.append("open")
        self._perhaps_fail()

    def write(self, result: FrameResult) -> None:
        self._perhaps_fail()
        self.written.append(result.frame.index)

    def close(self) -> None:
        self.calls.append("close")
        self._perhaps_fail()

    def _perhaps_fail(self) -> None:
        if self.broken:
            raise SinkError("cannot write flaky.txt: no space left on device")


def test_a_failure_is_said_once_and_the_sink_comes_back_with_the_number_that_is_missing() -> None:
    inner, now = Flaky(), [0.0]
    notes: list[str] = []
    sink = RevivingSink(inner, on_note=notes.append, clock=lambda: now[0])
    sink.open(source())
    sink.write(result(0))
    inner.broken = True
    for index in range(1, 4):
        sink.write(result(index))
        now[0] += RETRY_S
    inner.broken = False
    sink.write(result(4))
    sink.close()
    assert inner.written == [0, 4]
    assert sink.lost == 3
    assert notes == [
        "cannot write flaky.txt: no space left on device",
        "flaky of " + source().name + " is written again; 3 results are missing",
    ]


def test_it_is_not_tried_with_every_result() -> None:
    inner, now = Flaky(), [0.0]
    inner.broken = True
    sink = RevivingSink(inner, on_note=lambda _note: None, clock=lambda: now[0])
    sink.open(source())
    for index in range(100):
        sink.write(result(index))
        now[0] += RETRY_S / 50
    assert inner.calls.count("open") <= 3


def test_every_successful_opening_is_closed_once() -> None:
    inner = Flaky()
    sink = RevivingSink(inner, on_note=lambda _note: None)
    sink.open(source())
    sink.close()
    sink.close()
    assert inner.calls == ["open", "close"]
