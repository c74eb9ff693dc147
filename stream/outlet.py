"""The thread that feeds one sink."""

from __future__ import annotations

import asyncio
import logging
import threading

from stream.channel import Channel, ChannelClosed
from stream.errors import VideoDiscoError
from stream.frame import FrameResult, SourceInfo
from stream.sinks.base import Sink

log = logging.getLogger(__name__)


class Outlet:
    """Opens, feeds and closes a sink on a thread of its own, through a bounded channel.

    A sink that fails is closed and takes no more; its error waits in :attr:`error` while the others go on.
    """

    def __init__(self, sink: Sink, info: SourceInfo, results: Channel[FrameResult]) -> None:
        self.sink = sink
        self.error: VideoDiscoError | None = None
        self._info = info
        self._results = results
        self._finished = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"sink:{sink.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def put(self, result: FrameResult) -> None:
        """Hand over a result, waiting while the channel is full; a failed sink takes it and forgets it."""
        try:
            await self._results.aput(result)
        except ChannelClosed:
            log.debug("%s takes no more results", self.sink.name)

    @property
    def dropped(self) -> int:
        """Results that gave way to newer ones before the sink took them."""
        return self._results.statistics().dropped

    async def finish(self) -> None:
        """Let the sink write what is waiting, and close it."""
        self._results.close()
        await self._finished.wait()

    def _run(self) -> None:
        try:
            self._feed()
        except VideoDiscoError as exc:
            self.error = exc
        except BaseException as exc:
            log.debug("%s failed", self.sink.name, exc_info=True)
            self.error = VideoDiscoError(f"{self.sink.name} failed: {type(exc).__name__}: {exc}")
        finally:
            self._results.cancel()
            self._loop.call_soon_threadsafe(self._finished.set)

    def _feed(self) -> None:
        try:
            self.sink.open(self._info)
            while True:
                self.sink.write(self._results.get())
        except ChannelClosed:
            pass
        finally:
            self.sink.close()
