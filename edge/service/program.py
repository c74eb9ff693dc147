"""The service from its first to its last moment: it listens at once and is drained at its end.

listen -> load the models -> run the cameras ... -> stop listening, finish requests, end the cameras
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

import cv2

from edge.cameras.station import CameraStation, Lasting
from edge.page.page import PAGE
from edge.report import RunReport
from edge.run_folder import RunFolder, open_lasting_folder
from edge.service.about import AboutRoom
from edge.service.archive import Archive
from edge.service.cameras import Cameras
from edge.service.control import Control
from edge.service.detect import Detection
from edge.service.escalation import EscalationRoom
from edge.service.event_index import INDEX_NAME, EventIndex
from edge.service.figures import StationCollector
from edge.service.hub import Hub
from edge.service.image_log import FOLDER as IMAGES_FOLDER
from edge.service.image_log import ImageLog
from edge.service.live import LiveViews
from edge.service.looking import ImageRoom
from edge.service.models import RequestModels, Wish
from stream.errors import ModelError
from stream.http.app import About, Instruments, build_app
from stream.http.endpoints import Endpoint
from stream.http.metrics import Metrics
from stream.http.service import Service
from stream.sources.status import SourceStatus

if TYPE_CHECKING:
    from stream.pipeline import Detector

log = logging.getLogger(__name__)

DRAIN_S = 9.0
"""How long requests may take to finish once the service is told to stop."""

CAMERAS_AFTER_S = 2.0
"""So long the cameras and with them the inference threads go on for requests that are being answered."""

WARM_UP_SIZES = ((1280, 720), (640, 480))
"""Pictures that the usual model is made ready for; of other shapes the first waits some hundred milliseconds."""


class ServeProgram:
    """One service. :meth:`run` on the loop; :meth:`stop` there as well. ``on_listening`` is told the addresses.

    ``wrap_detector`` lays something around each camera's detector, for measurements.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        on_listening: Callable[[Sequence[str]], None] = lambda _addresses: None,
        on_ready: Callable[[], None] = lambda: None,
        on_state: Callable[[str, SourceStatus], None] = lambda _name, _status: None,
        on_note: Callable[[str], None] = lambda _note: None,
        wrap_detector: Callable[[Detector], Detector] = lambda detector: detector,
    ) -> None:
        self.hub = hub
        self._on_listening = on_listening
        self._on_ready = on_ready
        self._on_state = on_state
        self._on_note = on_note
        self._wrap_detector = wrap_detector
        self._stopping = asyncio.Event()
        self._folder: RunFolder | None = None

    def stop(self) -> None:
        """Finish what is being answered and recorded, and end."""
        self._stopping.set()

    async def run(self) -> RunReport | None:
        """Serve until stopped; None when it was stopped before the models were loaded.

        Raises:
            UsageError: it cannot listen, or a setting cannot be used.
            ModelError, OutputError: the model is refused, or the folder cannot be written.
        """
        settings = self.hub.settings.serve.http
        checks = {"models": self.hub.models_ready, "cameras": self.hub.cameras_ready}
        metrics = Metrics()
        metrics.registry.register(StationCollector(self.hub))
        instruments = Instruments(metrics=metrics, ready=checks)
        app = build_app(settings, self._endpoints(), about=_about(), instruments=instruments, pages=[PAGE])
        service = Service(app, settings)
        await service.start()
        self._on_listening(service.addresses)
        ended = asyncio.create_task(self._until_stopped(service), name="drain")
        try:
            station = await self._load()
            return None if self._stopping.is_set() else await station.run()
        finally:
            self._stopping.set()
            await ended
            await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        self.hub.close()
        if self._folder is not None and self._folder.fresh and self.hub.station is None:
            self._folder.remove_if_unused(INDEX_NAME)  # nothing was begun

    async def _load(self) -> CameraStation:
        loop = asyncio.get_running_loop()
        station = await loop.run_in_executor(self.hub.decoders, self._make_station)
        assembly = station.assembly
        models = RequestModels(station.settings, lambda: assembly.models, lambda: assembly.slots)
        await loop.run_in_executor(self.hub.decoders, _warm_up, models)
        images = self.hub.settings.serve.images
        image_log = self.hub.image_log = ImageLog(
            station.folder.path,
            self.hub.settings.serve.image_log,
            lambda path: station.log.artifact(path, IMAGES_FOLDER),
            first=station.log.first_result,
        )

        def room() -> ImageRoom:
            lane = assembly.pool.task_lane(images.queue)
            return ImageRoom(
                images, models, lane, self.hub.decoders, looked=image_log.looked, refused=image_log.refused
            )

        self.hub.opened(station, models, room(), room())
        self._on_ready()
        return station

    def _make_station(self) -> CameraStation:
        settings = self.hub.settings
        folder = self._folder = open_lasting_folder(settings)
        self.hub.index = EventIndex(folder.path)
        return CameraStation(
            settings,
            on_state=self._tell_state,
            on_note=self._on_note,
            wrap_detector=self._wrap_detector,
            extra_sink=self.hub.feeds.sink,
            lasting=Lasting(folder, [self.hub.index], self.hub.image_metrics),
        )

    def _tell_state(self, camera: str, status: SourceStatus) -> None:
        self.hub.absences.tell(camera, status)
        self._on_state(camera, status)

    async def _until_stopped(self, service: Service) -> None:
        await self._stopping.wait()
        begun_s = time.monotonic()
        draining = asyncio.create_task(service.drain(DRAIN_S))
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(draining), CAMERAS_AFTER_S)
        if self.hub.image_log is not None:
            # before the run is told to be over
            await asyncio.get_running_loop().run_in_executor(None, self.hub.image_log.close, CAMERAS_AFTER_S)
        if self.hub.station is not None:
            self.hub.station.stop()
        await draining
        log.info("drained in %.1f s", time.monotonic() - begun_s)

    def _endpoints(self) -> list[Endpoint]:
        rooms = (Detection, Cameras, LiveViews, Archive, Control, EscalationRoom, AboutRoom)
        return [endpoint for room in rooms for endpoint in room(self.hub).endpoints()]


def _warm_up(models: RequestModels) -> None:
    """Open what most pictures need. Raises ModelError, UsageError."""
    detector = models.detector(Wish())
    if detector is None:
        raise ModelError("the model cannot be loaded")
    for width, height in WARM_UP_SIZES:
        models.view(detector, width, height)


def _about() -> About:
    return About(
        "edge",
        "VideoDisco edge",
        version("videodisco"),
        "Object detection in pictures, and the cameras that run here.",
    )


def quiet_decoders() -> None:
    """What is wrong with strangers' pictures is told to them, not to the terminal."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
