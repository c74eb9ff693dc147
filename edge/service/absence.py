"""How long cameras have been away: one absence, however many attempts are made meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from stream.sources.status import SourceState, SourceStatus

_NOT_AWAY = frozenset({SourceState.LIVE, SourceState.PAUSED, SourceState.ENDED})


@dataclass(frozen=True, slots=True)
class Absence:
    """Since when (monotonic) there is nothing from a camera, and why as far as anybody knows."""

    since_s: float
    reason: str = ""


class Absences:
    """Told of every change of a camera's state. For one thread."""

    def __init__(self) -> None:
        self._known: dict[str, Absence] = {}

    def tell(self, camera: str, status: SourceStatus) -> None:
        """This is how it stands now."""
        if (absence := self.of(camera, status)) is None:
            self._known.pop(camera, None)
        else:
            self._known[camera] = absence

    def of(self, camera: str, status: SourceStatus) -> Absence | None:
        """The absence that ``status`` is a part of; None while pictures come, or none are wanted."""
        if status.state in _NOT_AWAY:
            return None
        known = self._known.get(camera)
        if known is None:
            return Absence(status.since_s, status.reason)
        return Absence(known.since_s, status.reason or known.reason)

    def forget(self, camera: str) -> None:
        """The camera is gone for good."""
        self._known.pop(camera, None)
