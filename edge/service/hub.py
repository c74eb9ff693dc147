"""What the endpoints of the service share: the station, once it is there, and how it is changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from edge.cameras.differences import Place
from edge.cameras.station import CameraStation
from edge.config import RunSettings
from edge.service.absence import Absences
from edge.service.configuration import ConfigDocument, Content
from edge.service.event_index import EventIndex
from edge.service.feed import Feeds
from edge.service.image_log import ImageLog
from edge.service.looking import ImageRoom
from edge.service.models import RequestModels
from stream.errors import VideoDiscoError
from stream.http.errors import HttpError
from stream.machine import usable_cores
from stream.windows import LogHistogram


@dataclass(slots=True)
class Hub:
    """Belongs to the loop, on which it is made; the station and what depends on it are there once models are loaded."""

    settings: RunSettings
    document: ConfigDocument
    station: CameraStation | None = None
    room: ImageRoom | None = None
    deepstack_room: ImageRoom | None = None
    index: EventIndex | None = None
    image_log: ImageLog | None = None
    models: RequestModels | None = None
    decoders: Executor = field(default_factory=lambda: ThreadPoolExecutor(usable_cores(), "picture"))
    encoders: Executor = field(default_factory=lambda: ThreadPoolExecutor(usable_cores(), "live"))
    feeds: Feeds = field(init=False)
    absences: Absences = field(default_factory=Absences)

    def __post_init__(self) -> None:
        self.feeds = Feeds(self.settings.serve.live, self.encoders, asyncio.get_running_loop())

    @property
    def running(self) -> CameraStation:
        """The station. Raises HttpError 503 while it is being made."""
        if self.station is None:
            raise _loading()
        return self.station

    @property
    def changing(self) -> asyncio.Lock:
        """Held by whoever changes the settings. Raises HttpError 503 while the station is being made."""
        return self.running.changing

    @property
    def events(self) -> EventIndex:
        """What happened. Raises HttpError 503 while the station is being made."""
        if self.index is None:
            raise _loading()
        return self.index

    @property
    def images(self) -> ImageRoom:
        """Where pictures are looked at. Raises HttpError 503 while the models are loaded."""
        if self.room is None:
            raise _loading()
        return self.room

    @property
    def deepstack(self) -> ImageRoom:
        """The same for DeepStack's clients, who wait for tenths of a second only: with turns of its own."""
        if self.deepstack_room is None:
            raise _loading()
        return self.deepstack_room

    @property
    def rooms(self) -> list[ImageRoom]:
        return [room for room in (self.room, self.deepstack_room) if room is not None]

    def opened(self, station: CameraStation, models: RequestModels, room: ImageRoom, deepstack: ImageRoom) -> None:
        """The models are loaded."""
        self.station, self.models, self.room, self.deepstack_room = station, models, room, deepstack

    def close(self) -> None:
        for threads in (self.decoders, self.encoders):
            threads.shutdown(wait=False, cancel_futures=True)
        if self.index is not None:
            self.index.close(_CLOSE_S)
        if self.station is not None:
            self.station.folder.release()

    async def apply(self, settings: RunSettings) -> list[str]:
        """Take over changed settings; sentences about what changed. One after the other.

        Raises:
            UsageError, SourceError, ModelError: then nothing is changed.
            HttpError: 503 while the station is being made.
        """
        async with self.changing:
            return await self.take_over(settings)

    async def take_over(self, settings: RunSettings) -> list[str]:
        """The same for who holds ``changing`` already."""
        station = self.running
        before = set(station.listed)
        told = await station.take_over(settings, partial(self._went_back, self.document.content))
        for name in before - set(station.listed):
            self.feeds.forget(name)
            self.absences.forget(name)
        self._adopt(settings)
        return told

    def _adopt(self, settings: RunSettings) -> None:
        self.settings = settings
        if self.models is not None:
            self.models.adapt(settings)

    async def _went_back(self, former: Content, places: Collection[Place]) -> None:
        """The station looks with former models again: so do pictures, and the document has what it had in ``former``.

        Raises SinkError when that cannot be written.
        """
        self._adopt(self.running.settings)
        content = self.document.with_models_of(former, places)
        if content != self.document.content:
            await asyncio.get_running_loop().run_in_executor(None, self.document.save, content)

    def standing(self, camera: str, now_s: float) -> dict[str, Any]:
        """How a listed camera is, as answers say it; on the loop's thread."""
        status = self.running.status_of(camera, now_s)
        absence = self.absences.of(camera, status)
        return {
            "state": status.state.value,
            "reason": absence.reason if absence else status.reason,
            "state_s": round(now_s - status.since_s, 1),
            "away_s": round(now_s - absence.since_s, 1) if absence else None,
            "retry_in_s": None if status.retry_at_s is None else round(max(0.0, status.retry_at_s - now_s), 1),
        }

    def image_stages(self) -> dict[str, LogHistogram]:
        """Seconds by stage of the pictures that were looked at."""
        return self.image_log.stages if self.image_log else {}

    def image_metrics(self) -> dict[str, float]:
        """The figures of the window that ends now, for MLflow."""
        return self.image_log.metrics() if self.image_log else {}

    async def models_ready(self) -> str | None:
        return "they are being loaded" if self.room is None else None

    async def cameras_ready(self) -> str | None:
        """Which cameras are not as they should be."""
        if self.station is None:
            return "they have not begun"
        now_s = time.monotonic()
        states = {name: self.station.status_of(name, now_s).state for name in self.station.listed}
        lacking = [f"{name} is {state.replace('_', ' ')}" for name, state in states.items() if state not in _AS_WISHED]
        return ", ".join(lacking) or None


_CLOSE_S = 2.0
_AS_WISHED = frozenset({"live", "paused"})


def _loading() -> VideoDiscoError:
    return HttpError(503, "the models are still being loaded", retry_after_s=1, cause="loading")
