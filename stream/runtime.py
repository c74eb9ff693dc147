"""How a process begins, the event loop's thread, and the signals that end it.

The main thread keeps the signals, the terminal and the window.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, TypeVar

from stream.errors import EXIT_SIGHUP, EXIT_SIGINT, EXIT_SIGTERM

EXIT_CODES = {signal.SIGINT: EXIT_SIGINT, signal.SIGTERM: EXIT_SIGTERM}
if hasattr(signal, "SIGHUP"):  # a terminal that is closed; Windows has no such signal
    EXIT_CODES[signal.SIGHUP] = EXIT_SIGHUP

LOOK_EVERY_S = 0.1
"""How often the main thread looks whether a signal has come while it waits."""

T = TypeVar("T")


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """For what a process imports at its start and keeps: to look through it for garbage again and again takes a tenth
    of that time. Nor is it ever looked at again afterwards, which all threads would have to wait for."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class LoopThread:
    """Runs coroutines on an event loop (uvloop where there is one) in a thread of its own."""

    def __init__(self) -> None:
        self._started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._serve, name="loop", daemon=True)

    def __enter__(self) -> LoopThread:
        self._thread.start()
        self._loop = self._started.result()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run ``coroutine`` on the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the loop and wait for its outcome, on the main thread, which acts on signals meanwhile.

        It does not wait for good: the system may hand a signal to any thread, and nothing would wake this one, on
        which alone Python calls the handler.
        """
        running = self.submit(coroutine)
        while not running.done():
            concurrent.futures.wait([running], LOOK_EVERY_S)
        return running.result()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call ``function`` on the loop soon; safe from a signal handler."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        self._stop = asyncio.Event()
        self._started.set_result(asyncio.get_running_loop())
        await self._stop.wait()


class SignalStop:
    """SIGINT, SIGTERM and SIGHUP: the first calls ``stop`` on the loop and ``say`` here, the second ends the process.

    ``exit_code`` is that of the first signal, None without one. Make it on the main thread.
    """

    def __init__(self, stop: Callable[[], None], loop: LoopThread, say: Callable[[], None]) -> None:
        self._stop = stop
        self._loop = loop
        self._say = say
        self.exit_code: int | None = None
        self._leave_with: int | None = None
        for number in EXIT_CODES:
            signal.signal(number, self._on_signal)

    def leave_at_once_with(self, exit_code: int) -> None:
        """The files are closed: from now on the first signal ends the process."""
        self._leave_with = exit_code

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._leave_with is not None:
            os._exit(self._leave_with)
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        self._leave_with = self.exit_code
        with contextlib.suppress(RuntimeError):  # the loop is closed: all has just ended by itself
            self._loop.call(self._stop)
        self._say()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
