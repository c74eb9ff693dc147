"""Single pictures through the inference threads that the cameras share: few at a time, in turn, none in vain.

    loop -> (large ones: decode threads) -> task lane of the pool: decoding, scaling, looking -> loop

An ordinary picture is decoded in its turn, so that requests take no more of the processor than their share of the
inference threads, and cameras keep theirs. What takes long to decode would hold up such a thread: it is done before.
What is taken in is bounded by tickets, a request each; without one a request is refused at once. Whoever waits no
longer is not worked for: the picture is dropped at the next step.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2

from edge.detector import OnnxDetector
from edge.service.models import RequestModels, Wish
from edge.service.settings import ImageSettings
from stream.errors import DecodeError, VideoDiscoError
from stream.frame import Frame, FrameResult, Timings
from stream.http.errors import HttpError
from stream.images import Header, decode, for_network, read_header
from stream.overlay import Overlay
from stream.pipeline import Detected
from stream.pool import TaskLane

QUICK_BYTES = 1 << 20
"""Headers of so much are read on the loop: it takes microseconds, and a few milliseconds at worst."""

QUICK_PIXELS = 4_000_000
"""Pictures of so many are decoded in their turn: some tens of milliseconds."""

SIDE_BY_SIDE = 2
"""Pictures of one request that are worked on at once: a client with many does not fill the lane with them."""

ANNOTATED_QUALITY = 90

_ONE = Fraction(1)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One picture and what was found in it; ``result`` holds no pixels."""

    data: bytes
    header: Header
    result: FrameResult


class _Look:
    """One picture on its way, as :class:`stream.pool.Task`. Only :meth:`settle` runs on the loop's thread."""

    def __init__(self, data: bytes, detector: OnnxDetector, room: ImageRoom, loop: asyncio.AbstractEventLoop) -> None:
        self.found: asyncio.Future[Seen] = loop.create_future()
        self.wanted = True
        self._data = data
        self._detector = detector
        self._room = room
        self._loop = loop
        self._frame: Frame | None = None
        self._begun_s = time.monotonic()

    def begin(self, decoders: Executor) -> None:
        """Go to the lane, or first to be decoded; on the loop. Raises DecodeError, HttpError."""
        if len(self._data) <= QUICK_BYTES:
            self._header = read_header(self._data, max_pixels=self._room.max_pixels)
            if self._header.width * self._header.height <= QUICK_PIXELS:
                if not self._room.lane.offer(self):
                    raise self._room.too_busy()
                return
        decoders.submit(self.prepare)

    def prepare(self) -> None:
        """Decode it and go on to the lane; on a decode thread."""
        if not self.wanted:
            return
        try:
            self._header = read_header(self._data, max_pixels=self._room.max_pixels)
            self._frame = self._prepared(self._header)
            if not self._room.lane.offer(self):
                self._tell(HttpError(429, "too many pictures wait already", retry_after_s=1, cause="queue"))
        except Exception as exc:  # noqa: BLE001 - the thread's boundary: who asked gets the error
            self._tell(exc)

    def work(self) -> None:
        """Look at it; on an inference thread."""
        try:
            frame = self._frame or self._prepared(self._header)
            found = self._detector.detect(frame)
            self._tell(Seen(self._data, self._header, self._result(frame, found)))
        except Exception as exc:  # noqa: BLE001 - as above
            self._tell(exc)

    def give_up(self, cause: str) -> None:
        self._tell(HttpError(503, "the service is about to stop", retry_after_s=5, cause=f"image_{cause}"))

    def _prepared(self, header: Header) -> Frame:
        begun_s = time.monotonic()
        width, height = header.upright_size
        view = self._room.models.view(self._detector, width, height)
        network, letterbox = for_network(self._data, header, view)
        return Frame(
            source="image",
            index=0,
            pts=0,
            time_base=_ONE,
            received_s=self._begun_s,
            width=width,
            height=height,
            network=network,
            letterbox=letterbox,
            preprocess_s=time.monotonic() - begun_s,
        )

    def _result(self, frame: Frame, found: Detected) -> FrameResult:
        total_s = time.monotonic() - self._begun_s
        worked_s = frame.preprocess_s + found.inference_s + found.postprocess_s
        timings = Timings(
            preprocess_s=frame.preprocess_s,
            inference_s=found.inference_s,
            postprocess_s=found.postprocess_s,
            queue_s=max(0.0, total_s - worked_s),
            total_s=total_s,
        )
        bare = replace(frame, network=None)
        return FrameResult(bare, found.detections, self._detector.identity, timings)

    def _tell(self, outcome: Seen | BaseException) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.settle, outcome)

    def settle(self, outcome: Seen | BaseException) -> None:
        if self.found.done():
            return
        if isinstance(outcome, BaseException):
            self.found.set_exception(outcome)
        else:
            self.found.set_result(outcome)


class ImageRoom:
    """Takes pictures in and looks at them; for the loop's thread. ``looked`` is told of each, ``refused`` why one was
    not."""

    def __init__(
        self,
        settings: ImageSettings,
        models: RequestModels,
        lane: TaskLane,
        decoders: Executor,
        looked: Callable[[Seen], None] = lambda _seen: None,
        refused: Callable[[str], None] = lambda _cause: None,
    ) -> None:
        self.models = models
        self.lane = lane
        self.max_pixels = int(settings.max_megapixels * 1e6)
        self.answered = 0
        self._settings = settings
        self._decoders = decoders
        self._looked = looked
        self._refused = refused
        self._tickets = 0
        self._took_s: deque[float] = deque(maxlen=50)

    @property
    def depth(self) -> int:
        """Requests that wait or are worked on."""
        return self._tickets

    async def look(self, pictures: Sequence[bytes], wish: Wish) -> list[Seen]:
        """What is found in each of ``pictures``, of one request.

        Raises:
            HttpError: 413 too many pictures, 429 too many requests at once, 503 not done in time, 404 no such model.
            DecodeError: one of them is no picture, too large, or damaged.
            ModelError, UsageError: the model is refused, or does not know a class.
        """
        if len(pictures) > self._settings.max_files:
            raise HttpError(413, f"at most {self._settings.max_files} pictures are taken at once", cause="pictures")
        with self._ticket():
            try:
                async with asyncio.timeout(self._settings.deadline_s):
                    return await self._all(pictures, wish)
            except TimeoutError as exc:
                self._refused("deadline")
                late = f"this was not done within {self._settings.deadline_s:g} s"
                raise HttpError(503, late, retry_after_s=self._wait_s(), cause="deadline") from exc

    async def annotate(self, seen: Seen) -> bytes:
        """The picture with what was found drawn into it, as JPEG."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, _annotated, seen)

    def too_busy(self) -> HttpError:
        self._refused("queue")
        return HttpError(429, "too many pictures wait already", retry_after_s=self._wait_s(), cause="queue")

    async def _all(self, pictures: Sequence[bytes], wish: Wish) -> list[Seen]:
        loop = asyncio.get_running_loop()
        detector = self.models.detector(wish, at_hand=True)
        if detector is None:
            detector = await loop.run_in_executor(self._decoders, self.models.detector, wish)
        if detector is None:
            raise RuntimeError("a model that was loaded is not there")
        if len(pictures) == 1:
            return [await self._one(pictures[0], detector)]
        turns = asyncio.Semaphore(SIDE_BY_SIDE)

        async def in_turn(number: int, data: bytes) -> Seen:
            async with turns:
                try:
                    return await self._one(data, detector)
                except DecodeError as exc:
                    raise DecodeError(f"picture {number}: {exc}") from exc

        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(in_turn(number, data)) for number, data in enumerate(pictures, start=1)]
        except* VideoDiscoError as group:
            raise _first(group) from None
        return [task.result() for task in running]

    async def _one(self, data: bytes, detector: OnnxDetector) -> Seen:
        loop = asyncio.get_running_loop()
        look = _Look(data, detector, self, loop)
        try:
            look.begin(self._decoders)
            seen = await look.found
        finally:
            look.wanted = False
        self.answered += 1
        self._looked(seen)
        return seen

    @contextmanager
    def _ticket(self) -> Iterator[None]:
        if self._tickets >= self._settings.queue:
            raise self.too_busy()
        self._tickets += 1
        begun_s = time.monotonic()
        try:
            yield
        finally:
            self._tickets -= 1
            self._took_s.append(time.monotonic() - begun_s)

    def _wait_s(self) -> float:
        """When there will probably be room: what a request took lately, for that long all that wait now take."""
        took_s = sorted(self._took_s)
        return max(1.0, took_s[len(took_s) // 2] if took_s else 1.0)


def _annotated(seen: Seen) -> bytes:
    picture = Overlay().draw(decode(seen.data, seen.header), seen.result)
    done, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, ANNOTATED_QUALITY])
    if not done:
        raise DecodeError("the picture does not fit into a JPEG")
    return jpeg.tobytes()


def _first(group: BaseExceptionGroup[VideoDiscoError]) -> VideoDiscoError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
