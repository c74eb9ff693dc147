"""Those who look out for pictures worth more than a line: asked of the cloud, or kept to learn from.

Made only where they are switched on: what they import would cost every other run a part of its start.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge.config import RunSettings
from stream.home import home
from stream.sinks.base import Sink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.escalation.settings import CameraEscalation
    from stream.frame import Refinement


class Lookout(Sink, Protocol):
    """A sink that wants a whole picture now and then, of frames that are looked at."""

    @property
    def wants_picture_now(self) -> bool: ...


class Lookouts:
    """What all sources of a run share of them.

    Raises:
        UsageError, OutputError: the cloud cannot be asked as the settings want it, or the data set cannot be kept.
    """

    def __init__(self, settings: RunSettings, folder: Path) -> None:
        self._escalation = None
        self._collector = None
        if settings.escalation.enabled:
            from edge.escalation.escalation import Escalation

            self._escalation = Escalation(settings.escalation, folder, home())
        if settings.dataset.enabled:
            from stream.dataset.collector import Collector

            self._collector = Collector(settings.dataset, settings.dataset.folder_in(settings.output.project))

    def of(self, source: str, own: CameraEscalation | None = None) -> list[Lookout]:
        """The lookouts for one run of a source's pipeline."""
        found: list[Lookout] = []
        if self._escalation is not None and (asking := self._escalation.sink(source, own)) is not None:
            found.append(asking)
        if self._collector is not None:
            from stream.dataset.sink import DatasetSink

            found.append(DatasetSink(self._collector))
        return found

    def refined(self, source: str) -> Mapping[int, Refinement]:
        """What the cloud has said so far of a source's tracks."""
        return {} if self._escalation is None else self._escalation.refined(source)

    def figures(self) -> dict[str, float]:
        """How they go, by MLflow names."""
        figures = {} if self._escalation is None else self._escalation.figures().metrics()
        return figures | ({} if self._collector is None else self._collector.figures().metrics())

    @property
    def outputs(self) -> list[Path]:
        """The files they made, for the closing words."""
        return [] if self._escalation is None else self._escalation.outputs

    def close(self, within_s: float) -> None:
        """Send what can be sent within that time; the rest waits on disk."""
        if self._escalation is not None:
            self._escalation.close(within_s)
        if self._collector is not None:
            self._collector.close()
