"""The cameras: what there are, how they do, and how they are added, changed and taken away."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from edge.cameras.settings import CameraName
from edge.events.settings import EventSettings
from edge.service.changes import ChangedAnswer, Changes
from edge.service.hub import Hub
from edge.service.models import known_models
from edge.service.reserved import refuse_variables
from edge.zone_settings import ClassWord, LineSettings, ZoneSettings
from stream.config import merged
from stream.errors import SourceError
from stream.http.endpoints import Answer, Call, Endpoint, HttpError, JsonBody, Result, Role, Wire
from stream.redaction import HIDDEN
from stream.sources.address import parse_address
from stream.windows import TimelinePoint

Count = dict[str, int]


class CameraAnswer(Wire):
    """A camera and how it does."""

    name: str
    source: str = Field(description="Its address, without credentials.")
    state: str = Field(description="connecting, live, stalled, backing_off, refused, paused or ended.")
    reason: str = Field(
        description="Why, where the state does not say it all; of one that is away, what went wrong last."
    )
    state_s: float = Field(description="How long it has been so.")
    away_s: float | None = Field(
        description="How long there has been nothing from it, over all attempts; null: it is live, paused or ended."
    )
    retry_in_s: float | None = Field(description="When it is tried again.")
    connects: int = Field(description="Connections that gave a picture.")
    fps_in: float = Field(description="Pictures a second that arrive.")
    fps_detect: float = Field(description="Pictures a second that the detector looks at.")
    age_ms: float | None = Field(description="Age of the newest result; null before the first.")
    dropped: Count = Field(description="What was left out since it began, by cause.")
    recording: bool
    recorded_by_hand: bool = Field(description="Whether somebody wants it recorded until they say otherwise.")
    record_mode: str = Field(description="What is recorded by itself: continuous, events or off.")
    record_trouble: str = Field(description="Why nothing can be recorded just now; empty: it can.")
    viewers: int
    width: int | None
    height: int | None
    agreement: float | None = Field(
        description="How far detector and refiner agreed lately, 0 to 1; null while nobody knows."
    )
    model: str = Field(description="The model that looks.")
    objects: Count = Field(description="What the newest result shows, by class.")


class CameraDetailsAnswer(CameraAnswer):
    """A camera with its settings."""

    settings: dict[str, Any] = Field(description="Its settings, without credentials.")


class CamerasAnswer(Wire):
    """All cameras, in the order of the configuration."""

    cameras: tuple[CameraAnswer, ...]


class PercentilesAnswer(Wire):
    """Milliseconds."""

    p50: float
    p95: float
    p99: float
    count: int


class PointAnswer(Wire):
    """One window."""

    ago_s: float = Field(description="How long ago it ended.")
    seconds: float
    fps_in: float
    fps_out: float
    total_p95_ms: float
    inference_p95_ms: float
    dropped: int


class FiguresAnswer(Wire):
    """How a camera did since it began."""

    latency_ms: dict[str, PercentilesAnswer] = Field(description="By stage.")
    timeline: tuple[PointAnswer, ...] = Field(description="By window, the oldest first.")
    detections: Count
    objects: Count = Field(description="Different tracks.")


class RecordChange(Wire):
    """What of a camera is recorded. Where it goes is for the configuration file to say."""

    mode: Literal["continuous", "events", "off"] | None = None
    what: Literal["copy", "annotated"] | None = None
    segment_s: Annotated[float | None, Field(ge=1, le=3600, allow_inf_nan=False)] = None
    pre_roll_s: Annotated[float | None, Field(ge=0, le=60, allow_inf_nan=False)] = None
    post_roll_s: Annotated[float | None, Field(ge=0, le=600, allow_inf_nan=False)] = None
    keep_days: Annotated[float | None, Field(gt=0, le=36500, allow_inf_nan=False)] = None
    keep_gb: Annotated[float | None, Field(gt=0, le=1e6, allow_inf_nan=False)] = None


class CameraChange(Wire):
    """What is to be another way; keys that are left out stay, null sets one back to its default."""

    source: Annotated[str | None, Field(min_length=1, max_length=2000, description="Its address.")] = None
    paused: StrictBool | None = None
    model: Annotated[str | None, Field(max_length=100)] = None
    confidence: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    classes: tuple[ClassWord, ...] | None = None
    tracker: Literal["bytetrack", "ocsort", "off"] | None = None
    detect_fps: Annotated[float | None, Field(gt=0, le=1000, allow_inf_nan=False)] = None
    motion: Literal["auto", "off"] | None = None
    rtsp_transport: Literal["tcp", "udp"] | None = None
    loop: StrictBool | None = None
    isolate: StrictBool | None = None
    zones: tuple[ZoneSettings, ...] | None = None
    lines: tuple[LineSettings, ...] | None = None
    record: RecordChange | None = None
    events: EventSettings | None = None


class NewCamera(CameraChange):
    """A camera to be added."""

    name: CameraName
    source: str = Field(min_length=1, max_length=2000, description="Its address.")


class RecordingBody(Wire):
    """Whether it is to be recorded by hand."""

    on: StrictBool


class Cameras:
    """The endpoints about cameras."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._changes = Changes(hub)

    def endpoints(self) -> list[Endpoint]:
        one, changed = "/cameras/{name}", {200: ChangedAnswer}
        return [
            Endpoint("GET", "/cameras", self.all, "All cameras", answers={200: CamerasAnswer}, tag="cameras"),
            Endpoint(
                "POST",
                "/cameras",
                self.add,
                "Add one",
                role=Role.OPERATE,
                body=JsonBody(NewCamera),
                answers={201: ChangedAnswer},
                errors=(409, 422),
                change="camera.add",
                tag="cameras",
            ),
            Endpoint("GET", one, self.one, "One camera", answers={200: CameraDetailsAnswer}, tag="cameras"),
            Endpoint(
                "PATCH",
                one,
                self.change,
                "Change or pause it",
                role=Role.OPERATE,
                body=JsonBody(CameraChange),
                answers=changed,
                errors=(422,),
                change="camera.change",
                tag="cameras",
            ),
            Endpoint(
                "DELETE",
                one,
                self.remove,
                "Take it away",
                role=Role.OPERATE,
                answers=changed,
                errors=(422,),
                change="camera.remove",
                tag="cameras",
            ),
            Endpoint("GET", f"{one}/figures", self.figures, "How it did", answers={200: FiguresAnswer}, tag="cameras"),
            Endpoint(
                "POST",
                f"{one}/recording",
                self.record,
                "Record it by hand",
                role=Role.OPERATE,
                body=JsonBody(RecordingBody),
                answers={204: None},
                errors=(409,),
                change="camera.record",
                tag="cameras",
                description="Until told otherwise, whatever its configuration says; the files are in /recordings with "
                "the kind manual.",
            ),
        ]

    async def all(self, _: Call) -> Result:
        return CamerasAnswer(cameras=tuple(CameraAnswer(**self._told(name)) for name in self._hub.running.listed))

    async def one(self, call: Call) -> Result:
        name = self._known(call)
        shown = self._hub.document.shown_camera(name, self._hub.running.listed[name])
        return CameraDetailsAnswer(**self._told(name), settings=shown)

    async def figures(self, call: Call) -> Result:
        camera = self._hub.running.camera(self._known(call))
        if camera is None:
            return FiguresAnswer(latency_ms={}, timeline=(), detections={}, objects={})
        totals, now_s = camera.meter.totals, time.monotonic()
        return FiguresAnswer(
            latency_ms={
                stage: PercentilesAnswer(p50=each.p50 * 1e3, p95=each.p95 * 1e3, p99=each.p99 * 1e3, count=each.count)
                for stage, each in totals.snapshot().latencies.items()
            },
            timeline=tuple(_point(point, now_s) for point in totals.timeline),
            detections=dict(camera.meter.detections.most_common()),
            objects=camera.meter.objects(),
        )

    async def add(self, call: Call) -> Result:
        body: NewCamera = call.body
        call.note(name=body.name, source=_shown(body.source))
        listed = self._hub.running.listed
        if body.name in listed:
            raise HttpError(409, "there is a camera of this name already")
        if len(listed) >= self._hub.settings.serve.camera_sources.cameras:
            raise HttpError(409, "there are as many cameras as serve.camera_sources.cameras allows")
        entry = await self._entry({}, body)
        return Answer(await self._changes.camera(body.name, entry), 201)

    async def change(self, call: Call) -> Result:
        name, body = self._known(call), call.body
        call.note(name=name, keys=", ".join(sorted(body.model_fields_set)))
        entry = await self._entry(self._hub.document.camera(name, self._hub.running.listed[name]), body)
        return await self._changes.camera(name, entry)

    async def remove(self, call: Call) -> Result:
        name = self._known(call)
        call.note(name=name)
        return await self._changes.camera(name, None)

    async def record(self, call: Call) -> Result:
        camera = self._hub.running.camera(self._known(call))
        if camera is None or camera.recorder is None:
            raise HttpError(409, "this camera does not run just now, so that there is nothing to record")
        call.note(on=call.body.on)
        (camera.recorder.start_manual if call.body.on else camera.recorder.stop_manual)()
        return None

    async def _entry(self, former: Mapping[str, Any], body: CameraChange) -> dict[str, Any]:
        """The camera as it shall stand in the configuration."""
        given = body.model_dump(mode="json", exclude_unset=True, exclude={"name"})
        refuse_variables(given, former)
        if body.model is not None and body.model not in known_models():
            raise HttpError(422, f"no model of this name is known here; known are {', '.join(known_models())}")
        if "source" in given:
            given["source"] = self._hub.document.kept_credentials(body.source or "", former.get("source"))
        if "source" in given and given["source"] != former.get("source"):
            await self._changes.check_source(given["source"])
            # Whoever changes the configuration file may say otherwise.
            given["guard"] = {}
        return _without_nulls(merged(former, given))

    def _known(self, call: Call) -> str:
        name = str(call.path["name"])
        if name not in self._hub.running.listed:
            raise HttpError(404, "there is no camera of this name")
        return name

    def _told(self, name: str) -> dict[str, Any]:
        station, now_s = self._hub.running, time.monotonic()
        status, camera = station.status_of(name, now_s), station.camera(name)
        figures = camera.figures() if camera else None
        recorder = camera.recorder if camera else None
        newest = camera.newest() if camera else None
        names = newest.detections.data.get("class_name", ()) if newest else ()
        settings = station.listed[name]
        return {
            "name": name,
            "source": parse_address(settings.source).label,
            **self._hub.standing(name, now_s),
            "connects": status.connects,
            "fps_in": round(figures.fps_in, 2) if figures else 0.0,
            "fps_detect": round(figures.fps_detect, 2) if figures else 0.0,
            "age_ms": None if newest is None else round((now_s - newest.frame.received_s) * 1e3, 1),
            "dropped": camera.drops if camera else {},
            "recording": bool(figures and figures.recording),
            "recorded_by_hand": bool(recorder and recorder.manual),
            "record_mode": settings.record.mode,
            "record_trouble": recorder.state.reason if recorder else "",
            "viewers": self._hub.feeds.of(name).viewers,
            "width": newest.frame.width if newest else None,
            "height": newest.frame.height if newest else None,
            "agreement": figures.agreement if figures else None,
            "model": newest.model.name
            if newest
            else station.assembly.detector_settings(station.settings, settings).model,
            "objects": _counted(names),
        }


def _shown(source: str) -> str:
    """A source without credentials; of what is no address nobody knows which part is the password."""
    try:
        return parse_address(source).label
    except SourceError:
        return HIDDEN


def _without_nulls(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Null sets a key back: then it is not in the configuration."""
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) and key != "guard" else value
        for key, value in entry.items()
        if value is not None
    }


def _counted(names: Any) -> Count:
    counts: Count = {}
    for name in names:
        counts[str(name)] = counts.get(str(name), 0) + 1
    return counts


def _point(point: TimelinePoint, now_s: float) -> PointAnswer:
    return PointAnswer(
        ago_s=round(now_s - point.end_s, 1),
        seconds=round(point.end_s - point.start_s, 3),
        fps_in=round(point.fps_in, 3),
        fps_out=round(point.fps_out, 3),
        total_p95_ms=round(point.total_p95_s * 1e3, 3),
        inference_p95_ms=round(point.inference_p95_s * 1e3, 3),
        dropped=point.dropped,
    )
