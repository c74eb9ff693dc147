"""What the commands print: to readers that leave, and names as they are."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from edge.cli import closing, probe
from edge.cli.console import Terminal
from edge.cli.execute import Interrupts
from edge.cli.progress import ProgressDisplay
from edge.report import RunReport, SourceReport
from edge.slots import SlotPlan
from edge.station import Progress
from stream.frame import ModelIdentity
from stream.runtime import EXIT_CODES, LoopThread, without_collecting
from stream.windows import WindowSnapshot
from tests import clips
from tests.clips import Clip
from tests.commands import command, environment, summary

ODD_NAMES = ("Title [dQw4w9WgXcQ].mp4", "a[/b].mp4")


def to_nobody(cwd: Path, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and complaints of a command whose output nobody reads."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            command(*arguments),
            cwd=cwd,
            env=environment(),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("checks",), ("config", "schema"), ("probe", "clip.mp4", "--json")])
def test_a_reader_that_left_is_no_failure(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    clips.write_clip(tmp_path / "clip.mp4", Clip(frames=5))
    assert to_nobody(tmp_path, *arguments) == (0, "")


@pytest.mark.slow
def test_a_run_without_a_reader_is_whole_and_delivered(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", Clip(frames=5))
    (tmp_path / "patient.yaml").write_text("mlflow: {flush_s: 60}\n")
    code, said = to_nobody(tmp_path, "run", clip, "--config", "patient.yaml", "--mlflow-wait")
    assert code == 0, said
    assert summary(tmp_path / "runs" / "run")["complete"] is True
    assert (tmp_path / "runs" / "mlflow.db").exists(), "it was delivered"


def test_garbage_is_collected_again_after_the_start_also_after_one_that_failed() -> None:
    try:
        with pytest.raises(ImportError), without_collecting():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.fixture
def _signals_as_before() -> Iterator[None]:
    """A second signal would end the tests, whichever of them it is meant for."""
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals_as_before")
def test_a_signal_after_the_loops_end_is_kept_as_the_exit_code() -> None:
    with LoopThread() as loop:
        interrupts = Interrupts(lambda: None, loop, Terminal(file=io.StringIO()))
    signal.raise_signal(signal.SIGINT)
    assert interrupts.exit_code == 130


@pytest.mark.usefixtures("_signals_as_before")
def test_a_signal_that_reaches_another_thread_is_acted_on() -> None:
    stopped = asyncio.Event()

    async def until_stopped() -> bool:
        waiting = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
        asyncio.get_running_loop().call_later(0.1, waiting.start)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), 60)
        return stopped.is_set()

    with LoopThread() as loop:
        Interrupts(stopped.set, loop, Terminal(file=io.StringIO()))
        assert loop.run(until_stopped())


def report_of(folder: Path, output: Path) -> RunReport:
    return RunReport(
        folder=folder,
        outputs=(output,),
        sources=(SourceReport(output.name, str(output), "done"),),
        model=ModelIdentity("m", "1", "0"),
        provider="cpu",
        slots=SlotPlan(1, 1),
        seconds=1.0,
        figures=cast("WindowSnapshot", None),
        detections={},
        objects={},
        stopped=False,
    )


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_closing_table_names_files_as_they_are(tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    output.parent.mkdir(exist_ok=True)
    output.touch()
    console = Terminal(file=io.StringIO(), width=500)
    closing.print_report(report_of(tmp_path, output), console, console)
    assert name in cast("io.StringIO", console.file).getvalue()


@pytest.fixture(params=ODD_NAMES)
def oddly_named(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    path.parent.mkdir(exist_ok=True)
    return clips.write_clip(path, Clip(frames=5))


def test_probe_names_files_as_they_are(oddly_named: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    probe.probe(str(oddly_named))
    assert str(oddly_named) in capsys.readouterr().out


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_bar_names_files_as_they_are(name: str) -> None:
    console = Terminal(file=io.StringIO(), width=200, force_terminal=True)
    with ProgressDisplay(console) as display:
        display.update(Progress(source=name, source_number=1, source_count=1, frames=1, frames_total=2))
    assert name in cast("io.StringIO", console.file).getvalue()
