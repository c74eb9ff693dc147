"""What was kept: events with their pictures and clips, and recordings; files never from outside of their folder."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from aiohttp import web
from pydantic import BeforeValidator, Field

from edge.events.event import iso_time
from edge.service.event_index import EventFilter
from edge.service.hub import Hub
from edge.service.wire import Box
from stream.errors import SinkError
from stream.http.endpoints import Call, Endpoint, HttpError, Media, Result, Wire
from stream.recording.index import Recording
from stream.recording.names import parse


def _is_a_date(value: object) -> object:
    """pydantic takes numbers as well, of seconds or milliseconds by their size."""
    if isinstance(value, str) and "-" not in value[1:]:
        raise ValueError("a date and time is needed, as in 2026-01-31T12:00:00Z")
    return value


Name = Annotated[str | None, Field(min_length=1, max_length=100)]
Moment = Annotated[
    datetime | None, BeforeValidator(_is_a_date), Field(description="ISO 8601; without a zone it is UTC.")
]
Cursor = Annotated[str | None, Field(max_length=400, description="What the former answer says in next.")]

_VIDEO = Media("video/mp4", "The file; ranges are answered.")
_VIDEO_KINDS = (_VIDEO, Media("video/x-matroska"))


class EventQuery(Wire):
    """Which events, the newest first."""

    camera: Name = None
    class_name: Name = Field(None, alias="class")
    zone: Name = Field(None, description="That were in this zone at some time.")
    start: Moment = None
    end: Moment = None
    min_confidence: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    limit: int = Field(100, ge=1, le=500)
    after: Cursor = None


class EventAnswer(Wire):
    """An object's stay before a camera, as it stood last."""

    id: str
    camera: str
    class_name: str = Field(alias="class")
    track_id: int
    confidence: float
    bbox: Box
    width: int
    height: int
    start_time: str
    latest_time: str
    end_time: str | None
    zones: tuple[str, ...]
    entered_zones: tuple[str, ...]
    stationary: bool
    refined: dict[str, Any] | None
    snapshot: str | None = Field(description="Where its picture is.")
    snapshot_bbox: Box | None = Field(description="Where it is in that; while the event lasts, as last told.")
    clip: str | None = Field(description="Where its video is.")


class EventsAnswer(Wire):
    """Some events."""

    events: tuple[EventAnswer, ...]
    next: str | None = Field(description="Ask with after= for more; null: there are none.")


class RecordingQuery(Wire):
    """Which recordings, the earliest first unless the newest are wanted."""

    camera: Name = None
    newest: bool = Field(default=False, description="The newest first.")
    start: Moment = None
    end: Moment = None
    limit: int = Field(100, ge=1, le=1000)
    after: Cursor = None


class RecordingAnswer(Wire):
    """One file."""

    camera: str
    kind: str = Field(description="continuous, event or manual.")
    start_time: str
    end_time: str | None = Field(description="Null while it is written.")
    size_bytes: int
    events: tuple[str, ...]
    url: str


class RecordingsAnswer(Wire):
    """Some recordings."""

    recordings: tuple[RecordingAnswer, ...]
    next: str | None


class Archive:
    """The endpoints that give out what was kept."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def endpoints(self) -> list[Endpoint]:
        picture = {200: Media("image/jpeg")}
        video = {200: _VIDEO_KINDS, 206: _VIDEO_KINDS}
        return [
            Endpoint(
                "GET", "/events", self.events, "Events", query=EventQuery, answers={200: EventsAnswer}, tag="archive"
            ),
            Endpoint("GET", "/events/{id}", self.event, "One event", answers={200: EventAnswer}, tag="archive"),
            Endpoint("GET", "/events/{id}/snapshot.jpg", self.snapshot, "Its picture", answers=picture, tag="archive"),
            Endpoint("GET", "/events/{id}/clip", self.clip, "Its video", answers=video, errors=(416,), tag="archive"),
            Endpoint(
                "GET",
                "/recordings",
                self.recordings,
                "Recordings",
                query=RecordingQuery,
                answers={200: RecordingsAnswer},
                tag="archive",
            ),
            Endpoint(
                "GET",
                "/recordings/{camera}/{day}/{file}",
                self.recording,
                "One recording",
                answers=video,
                errors=(416,),
                tag="archive",
            ),
        ]

    async def events(self, call: Call) -> Result:
        asked: EventQuery = call.query
        before = _opened(asked.after)
        wanted = EventFilter(
            camera=asked.camera,
            class_name=asked.class_name,
            zone=asked.zone,
            start=_epoch_s(asked.start),
            end=_epoch_s(asked.end),
            min_confidence=asked.min_confidence,
            before=before,
            limit=asked.limit,
        )
        found = await _in_thread(self._hub.events.find, wanted)
        more = len(found) == asked.limit
        cursor = _closed(_epoch_s_of(found[-1]["start_time"]), found[-1]["id"]) if more else None
        return EventsAnswer(events=tuple(map(_event, found)), next=cursor)

    async def event(self, call: Call) -> Result:
        return _event(await self._event(call))

    async def snapshot(self, call: Call) -> Result:
        event = await self._event(call)
        return await self._file(event.get("snapshot"), "image/jpeg", event["id"])

    async def clip(self, call: Call) -> Result:
        event = await self._event(call)
        path = event.get("clip")
        for archive in self._hub.running.assembly.archives.values():
            path = await _in_thread(archive.index.clip_of, event["id"]) or path
        return await self._file(path, "video/mp4", event["id"])

    async def recordings(self, call: Call) -> Result:
        asked: RecordingQuery = call.query
        cursor = _opened(asked.after)
        found = await _in_thread(self._find, asked, cursor)
        more = len(found) == asked.limit
        following = _closed(found[-1].started_at, _place(found[-1])) if more else None
        return RecordingsAnswer(recordings=tuple(map(_recording, found)), next=following)

    async def recording(self, call: Call) -> Result:
        place = PurePosixPath(call.path["camera"], call.path["day"], call.path["file"])
        if len(place.parts) != 3 or parse(place) is None:
            raise _nothing()
        for folder in self._folders():
            if await _in_thread((folder / place).is_file):
                name = f"{place.parent.parent.name} {place.parent.name} {place.stem}"
                return await self._file(folder / place, "video/mp4", name)
        raise _nothing()

    def _find(self, asked: RecordingQuery, cursor: tuple[float, str] | None) -> list[Recording]:
        """Of all folders, in the order of time; each gives as many as are asked for."""
        found: list[Recording] = []
        since = cursor[0] if cursor else 0.0
        span: dict[str, Any] = {"start": _epoch_s(asked.start) or 0.0}
        if asked.end is not None:
            span["end"] = _epoch_s(asked.end)
        for archive in self._hub.running.assembly.archives.values():
            after = None
            if cursor is not None:
                after = Recording(archive.folder.absolute() / cursor[1], "", "continuous", since, None, 0)
            found += archive.index.find(
                camera=asked.camera, limit=asked.limit, after=after, newest_first=asked.newest, **span
            )
        found.sort(key=lambda each: (each.started_at, _place(each)), reverse=asked.newest)
        return found[: asked.limit]

    async def _event(self, call: Call) -> dict[str, Any]:
        event: dict[str, Any] | None = await _in_thread(self._hub.events.one, call.path["id"])
        if event is None:
            raise HttpError(404, "there is no event of this id")
        return event

    def _folders(self) -> Iterator[Path]:
        for folder in (*self._hub.running.assembly.archives, self._hub.running.folder.path / "recordings"):
            yield folder.absolute()  # a configuration may name one below the working directory

    async def _file(self, path: str | Path | None, content_type: str, name: str = "") -> web.StreamResponse:
        """A file that is one of ours, whatever the index says of it; saved, it is called by ``name``."""
        if path is None:
            raise _nothing()
        known = [self._hub.running.folder.path, *self._folders()]
        real = await _in_thread(_within, self._hub.running.folder.path / path, known)
        if real is None:
            raise _nothing()
        kind = "video/x-matroska" if real.suffix == ".mkv" else content_type
        named = f"inline; filename*=UTF-8''{quote(f'{name or real.stem}{real.suffix}', safe='')}"
        headers = {"Content-Type": kind, "Content-Disposition": named, "Cache-Control": "private, no-cache"}
        return web.FileResponse(real, headers=headers)


def _within(path: Path, folders: list[Path]) -> Path | None:
    """The file itself, if it lies in one of the folders."""
    real = path.resolve()
    inside = any(real.is_relative_to(folder.resolve()) for folder in folders)
    return real if inside and real.is_file() else None


def _event(line: dict[str, Any]) -> EventAnswer:
    kept = {key: line.get(key) for key in _EVENT_KEYS}
    place = f"/events/{quote(str(line['id']), safe='')}"
    files = {
        "snapshot": f"{place}/snapshot.jpg" if line.get("snapshot") else None,
        "clip": f"{place}/clip" if line.get("clip") else None,
    }
    return EventAnswer.model_validate({**kept, **files})


_EVENT_KEYS = [info.alias or name for name, info in EventAnswer.model_fields.items()]


def _recording(recording: Recording) -> RecordingAnswer:
    return RecordingAnswer(
        camera=recording.camera,
        kind=recording.kind,
        start_time=iso_time(recording.started_at),
        end_time=None if recording.ended_at is None else iso_time(recording.ended_at),
        size_bytes=recording.size_bytes,
        events=recording.events,
        url=f"/recordings/{quote(_place(recording))}",
    )


def _place(recording: Recording) -> str:
    """Below its folder: camera, day and file."""
    return "/".join(recording.path.parts[-3:])


def _epoch_s(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _epoch_s_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _closed(at: float, name: str) -> str:
    """Where a list goes on, as something to hand back as it is."""
    return base64.urlsafe_b64encode(json.dumps([at, name]).encode()).decode()


def _opened(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    try:
        at, name = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return float(at), str(name)
    except (ValueError, TypeError, binascii.Error) as exc:
        raise HttpError(400, "query: 'after' is not what the former answer said") from exc


def _nothing() -> HttpError:
    return HttpError(404, "there is no such file")


async def _in_thread(function: Any, *arguments: Any) -> Any:
    try:
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    except SinkError as exc:
        raise HttpError(503, "the index cannot be read just now", retry_after_s=5, cause="index") from exc
