"""Those who look out for pictures worth more than a line: asked of the cloud, or kept to learn from.

Made only where they are switched on: what they import would cost every other run a part of its start.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge.config import RunSettings
from stream.dataset.tracks import Agreements
from stream.errors import SinkError
from stream.frame import Refinement
from stream.home import home
from stream.sinks.base import Sink

if TYPE_CHECKING:
    from edge.escalation.figures import EscalationFigures
    from edge.escalation.results import Answer
    from edge.escalation.settings import CameraEscalation
    from stream.dataset.collector import Collector

MOST_LIVES = 200
"""Runs of cameras' pipelines whose answers still reach their events, the last."""


class Lookout(Sink, Protocol):
    """A sink that wants a whole picture now and then, of frames that are looked at."""

    @property
    def wants_picture_now(self) -> bool: ...

    def interrupt(self) -> None:
        """The camera is gone: nothing that was seen lasts. From any thread."""
        ...


class Record(Protocol):
    """The events that this program left before it was started, as :class:`edge.events.former.FormerEvents`."""

    def refine(self, camera: str, track_id: int, seen_at: float, refinement: Refinement) -> None: ...


class Events(Protocol):
    """Keeps the record of a camera's events, as :class:`edge.events.sink.EventsSink`."""

    def refine(self, track_id: int, refinement: Refinement) -> None: ...


@dataclass(frozen=True, slots=True)
class LookoutsTold:
    """``sections`` of summary.json, and the same in sentences."""

    sections: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()


class Lookouts:
    """What all sources of a run share of them.

    Raises:
        UsageError, OutputError: the cloud cannot be asked as the settings want it, or the data set cannot be kept.
    """

    def __init__(self, settings: RunSettings, folder: Path, former: Record | None = None) -> None:
        self._escalation = None
        self._collector = None
        self._told = LookoutsTold()
        self._agreements = Agreements()
        self._readers = Readers(self._agreements, former)
        if settings.escalation.enabled:
            from edge.escalation.escalation import Escalation

            own = {name: camera.escalate for name, camera in settings.cameras.items()}
            self._escalation = Escalation(
                settings.escalation,
                folder,
                home(),
                cameras=own,
                on_answer=self._readers.tell,
                on_former=tell_record,
            )
        if settings.dataset.enabled:
            from stream.dataset.collector import Collector

            self._collector = Collector(settings.dataset, settings.dataset.folder_in(settings.output.project))

    def of(self, source: str, own: CameraEscalation | None = None, events: Events | None = None) -> list[Lookout]:
        """The lookouts for one run of a source's pipeline; ``events`` hear of the cloud's answers, too."""
        found: list[Lookout] = []
        if self._escalation is not None and (asking := self._escalation.sink(source, own)) is not None:
            self._readers.begin(source, asking.life, events)
            found.append(asking)
        if self._collector is not None:
            from stream.dataset.sink import DatasetSink

            found.append(DatasetSink(self._collector, agreement_of=self._agreements.of(source)))
        return found

    def refined(self, source: str) -> Mapping[int, Refinement]:
        """What the cloud has said so far of a source's tracks."""
        return {} if self._escalation is None else self._escalation.refined(source)

    def agreement(self, source: str) -> float | None:
        """How far edge and cloud agreed lately about what a source shows, from 0 to 1; None while nobody knows."""
        return None if self._escalation is None else self._escalation.agreement(source)

    def head_up(self, source: str) -> str:
        """The same as a line to be written into the picture; empty while nobody knows."""
        agreement = self.agreement(source)
        return "" if agreement is None else f"agreement {agreement:.2f}"

    def escalation(self) -> EscalationFigures | None:
        """How asking the cloud goes; None where nobody asks."""
        return None if self._escalation is None else self._escalation.figures()

    def figures(self) -> dict[str, float]:
        """How they go, by MLflow names."""
        figures = {} if self._escalation is None else self._escalation.figures().metrics()
        return figures | ({} if self._collector is None else self._collector.figures().metrics())

    @property
    def outputs(self) -> list[Path]:
        """The files they made, for the closing words."""
        return [] if self._escalation is None else self._escalation.outputs

    def told(self) -> LookoutsTold:
        """How they ended; read once they are closed."""
        return self._told

    def close(self, within_s: float) -> None:
        """Send what can be sent within that time; the rest waits on disk."""
        sections: dict[str, Any] = {}
        words: list[str] = []
        if self._escalation is not None:
            self._escalation.close(within_s)
            sections["escalation"] = self._escalation.figures().summary()
            words.append(self._escalation.figures().sentence())
        if self._collector is not None:
            figures = self._collector.figures()
            sections["dataset"] = {**asdict(figures), **_held(self._collector)}
            words.append(figures.sentence())
            self._collector.close()
        self._told = LookoutsTold(sections, tuple(words))


def _held(collector: Collector) -> dict[str, Any]:
    """What the whole data set holds by now, whoever filled it: where it lies, its digest, and counts."""
    try:
        return {"folder": str(collector.store.folder), "holds": collector.store.provenance()}
    except SinkError as exc:
        return {"folder": str(collector.store.folder), "trouble": str(exc)}


def tell_record(answer: Answer, label: Refinement) -> None:
    """Into the events of the run that saw it, if that is still there."""
    from edge.events.former import FormerEvents

    FormerEvents(Path(answer.run), []).refine(answer.track.camera, answer.track.track_id, answer.frame_time_s, label)


class Readers:
    """Who reads the cloud's answers beside the overlay: the record of events, and the data set. From any thread.

    An answer counts for the life of a camera's tracks in which it was asked, and for no other one; ``former`` has the
    events of lives before this program's.
    """

    def __init__(self, agreements: Agreements, former: Record | None) -> None:
        self._agreements = agreements
        self._former = former
        self._lock = threading.Lock()
        self._events: OrderedDict[str, Events | None] = OrderedDict()
        self._current: dict[str, str] = {}

    def begin(self, source: str, life: str, events: Events | None) -> None:
        """A source's tracks begin anew."""
        with self._lock:
            self._events[life] = events
            if len(self._events) > MOST_LIVES:
                self._events.popitem(last=False)
            self._current[source] = life
            self._agreements.forget(source)

    def tell(self, answer: Answer, label: Refinement | None) -> None:
        """An answer has come; ``label`` is what is worth showing of it."""
        track = answer.track
        with self._lock:
            if self._current.get(track.camera) == track.life:
                name = (track.epoch, track.track_id)
                self._agreements.tell(track.camera, name, answer.class_name, answer.verdict.agreement)
            is_known, events = track.life in self._events, self._events.get(track.life)
        if label is None:
            return
        if events is not None:
            events.refine(track.track_id, label)
        elif not is_known and self._former is not None:
            self._former.refine(track.camera, track.track_id, answer.frame_time_s, label)
