"""The role of a source, and the thread that reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from stream.channel import Channel, ChannelClosed
from stream.errors import SourceError
from stream.frame import Frame, NetworkView, SourceInfo


class PictureDemand(Enum):
    """Of which of a live source's frames the whole picture is wanted: converting one costs more than decoding it."""

    NONE = "none"
    LOOKED_AT = "looked_at"
    """Of those that go to the detector."""
    ALL = "all"


ViewPlanner = Callable[[int, int], NetworkView | None]
"""From the upright picture's width and height to what the detector wants to see of it; None while it is not ready."""


@dataclass(frozen=True, slots=True)
class SourceLosses:
    """What a source could not deliver as it should: ``corrupt_packets`` gave no picture, ``damaged_frames`` were
    delivered with the decoder's own repairs, the others had their pts mended. ``truncated`` says that the source
    ended with an error before its end."""

    corrupt_packets: int = 0
    damaged_frames: int = 0
    pts_missing: int = 0
    pts_not_forward: int = 0
    truncated: str | None = None

    @property
    def any_frames(self) -> bool:
        """Whether pictures were lost or damaged (mended times alone lose nothing)."""
        return bool(self.corrupt_packets or self.damaged_frames or self.truncated)


class Source(Protocol):
    """Decodes one video. ``open``, ``frames`` and ``close`` are called on one thread, in that order.

    ``open`` raises :class:`stream.errors.SourceError`; ``frames`` ends at the source's end and raises
    :class:`stream.errors.DecodeError` when it cannot go on; ``close`` is called once after a successful ``open``.
    """

    name: str

    def open(self) -> SourceInfo: ...

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]: ...

    def close(self) -> None: ...

    @property
    def losses(self) -> SourceLosses: ...


class SourceReader:
    """The thread that opens a source, decodes it into a channel and closes it."""

    def __init__(self, source: Source, plan: ViewPlanner, frames: Channel[Frame]) -> None:
        self._source = source
        self._plan = plan
        self._frames = frames
        self._opened: Channel[SourceInfo] = Channel(1)
        self._quit = threading.Event()
        self.left = False
        """Whether the thread was still inside libav when nobody waited for it any longer."""
        self._thread = threading.Thread(target=self._read, name=f"decode:{source.name}", daemon=True)

    async def start(self) -> SourceInfo:
        """Open the source. Raises SourceError when it does not open."""
        self._thread.start()
        return await self._opened.aget()

    def stop(self) -> None:
        """Let the frames end here; what is decoded already still goes through."""
        self._quit.set()

    def leave(self) -> None:
        """Wait no longer for a source that was told to end and is silent: what is decoded already still goes through,
        the thread ends by itself once libav returns."""
        self.left = self._thread.is_alive()
        self._opened.close(SourceError(f"{self._source.name} was stopped before it gave a picture"))
        self._frames.close()

    def abandon(self) -> None:
        """Nobody takes frames any more: the thread ends as soon as libav returns."""
        self._quit.set()
        self._frames.cancel()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; False when it is still inside libav."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _read(self) -> None:
        """Every ending reaches the owner: the errors of opening through one channel, all others through the other."""
        try:
            info = self._source.open()
        except BaseException as exc:  # noqa: BLE001 - the thread's boundary: its owner gets the error and raises it
            self._opened.close(exc)
            return
        error: BaseException | None = None
        try:
            self._deliver(info)
        except ChannelClosed:
            pass
        except BaseException as exc:  # noqa: BLE001 - as above
            error = exc
        finally:
            self._frames.close(error)

    def _deliver(self, info: SourceInfo) -> None:
        try:
            self._opened.put(info)
            for frame in self._source.frames(self._plan):
                self._frames.put(frame)
                if self._quit.is_set():
                    return
        finally:
            self._source.close()
