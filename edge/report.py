"""What a run tells at its end: the closing table and summary.json are made from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge.slots import SlotPlan
from stream.errors import EXIT_DONE, EXIT_LOSSES, EXIT_NO_SOURCE
from stream.frame import ModelIdentity
from stream.sources.base import SourceLosses
from stream.windows import WindowSnapshot

SourceState = Literal["done", "skipped", "incomplete", "stopped", "refused"]
"""``done``: every frame arrived. ``skipped``: a former run did it. ``incomplete``: an output or the reading failed.
``stopped``: by the user. ``refused``: it did not open."""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """How one source ended. Byte offsets are where its part of the shared files begins and ends."""

    name: str
    location: str
    state: SourceState
    frames: int = 0
    seconds: float = 0.0
    errors: tuple[str, ...] = ()
    losses: SourceLosses = field(default_factory=SourceLosses)
    predictions_begin_byte: int = 0
    predictions_end_byte: int = 0
    csv_begin_byte: int | None = None
    csv_end_byte: int | None = None

    @property
    def whole(self) -> bool:
        return self.state in ("done", "skipped") and not self.losses.any_frames


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run."""

    folder: Path
    outputs: tuple[Path, ...]
    sources: tuple[SourceReport, ...]
    model: ModelIdentity
    provider: str
    slots: SlotPlan
    seconds: float
    figures: WindowSnapshot
    detections: Mapping[str, int]
    objects: Mapping[str, int]
    stopped: bool
    told_to_end: bool = False
    """Whether cameras, for which there is hardly another end, were told to: it leaves nothing of them undone."""
    steady_fps: float = 0.0
    """Results a second from the first to the last: without the start."""
    errors: tuple[str, ...] = ()
    """What went wrong with the run's own files."""
    also: Mapping[str, Any] = field(default_factory=dict)
    """More sections of the summary, as plain values."""
    words: tuple[str, ...] = ()
    """The same, as sentences."""

    @property
    def frames(self) -> int:
        return sum(source.frames for source in self.sources if source.state != "skipped")

    @property
    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def exit_code(self) -> int:
        """The code of a run that was not interrupted."""
        if self.sources and all(source.state == "refused" for source in self.sources):
            return EXIT_NO_SOURCE
        whole = all(source.whole for source in self.sources) and not self.errors
        return EXIT_DONE if whole else EXIT_LOSSES

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it before its time and that is all there is to say: a camera that never came is no
        loss of a run that would have waited for it."""
        if not self.told_to_end:
            return self.stopped
        return not self.errors and all(source.whole or source.state == "refused" for source in self.sources)

    def summary(self) -> dict[str, Any]:
        """As the plain values of summary.json; milliseconds, frames a second."""
        return {
            "complete": not self.stopped and self.exit_code == EXIT_DONE,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "fps": round(self.fps, 2),
            "steady_fps": round(self.steady_fps, 2),
            "model": asdict(self.model),
            "provider": self.provider,
            "slots": str(self.slots),
            "slots_reason": self.slots.reason,
            "sources": source_summaries(self.sources),
            "detections": dict(self.detections),
            "objects": dict(self.objects),
            "latency_ms": {
                stage: {rank: round(getattr(latency, rank) * 1e3, 3) for rank in ("p50", "p95", "p99")}
                for stage, latency in self.figures.latencies.items()
            },
            "dropped": dict(self.figures.drops),
            **self.also,
        }


def source_summaries(sources: Sequence[SourceReport]) -> list[dict[str, Any]]:
    """The sources' part of summary.json, which ``--resume`` reads back; a skipped source counts as done."""
    entries = []
    for source in sources:
        entry = asdict(source) | {"errors": list(source.errors)}
        entry["state"] = "done" if source.state == "skipped" else source.state
        entries.append(entry)
    return entries


def without_losses_of(
    reports: Sequence[SourceReport], *, removed: Collection[str], changed: Collection[str]
) -> list[SourceReport]:
    """Without what is of no concern any more: what a camera lost that was removed, and that one never came whose
    settings were changed since."""
    return [
        report
        for report in reports
        if not (report.name in removed and not report.whole)
        and not (report.name in changed and report.state == "refused")
    ]
