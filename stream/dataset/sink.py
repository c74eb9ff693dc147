"""What of one camera is worth learning from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from stream.dataset.collector import Collector, cut_out
from stream.dataset.sample import Label, Origin
from stream.dataset.settings import Kind
from stream.dataset.tracks import AgreementOf, TrackOpinions, no_agreement
from stream.errors import SinkError
from stream.frame import FrameResult, Pixels, SourceInfo
from stream.sinks.rows import Row, rows

log = logging.getLogger(__name__)


class DatasetSink:
    """Offers the results of one camera to a collector, as :class:`stream.sinks.base.Sink`.

    Only detections count, never boxes that were carried over. A disk that is full stops nobody: what could not be
    kept is counted, and ``close`` raises the first failure as SinkError. A source that does not say when it began is
    dated as if it began when it was opened.
    """

    name = "dataset"
    optional = True
    wants_picture = True

    def __init__(
        self,
        collector: Collector,
        *,
        agreement_of: AgreementOf = no_agreement,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._collector = collector
        self._agreement_of = agreement_of
        self._wall_clock = wall_clock
        self._opinions = TrackOpinions()
        self._camera = ""
        self._started_at = 0.0
        self._failing = False
        self._failure: SinkError | None = None

    @property
    def wants_picture_now(self) -> bool:
        """Whether the next picture that is looked at may be taken. From any thread."""
        return self._collector.wants_picture_now()

    @property
    def outputs(self) -> list[Path]:
        folder = self._collector.store.folder
        return [folder] if folder.exists() else []

    def open(self, info: SourceInfo) -> None:
        self._camera = info.name
        self._started_at = self._wall_clock() if info.started_at is None else info.started_at

    def write(self, result: FrameResult) -> None:
        if result.carried:
            return
        labels = [self._label(result, row) for row in rows(result)]
        crops = self._collector.settings.what == "crops"
        picture = result.frame.picture
        if picture is None:
            for each in [[label] for label in labels] if crops else [labels]:
                self._collector.pass_by(each)
            return
        origin = Origin(self._camera, self._started_at + result.frame.pts_s, result.model, result.frame.index)
        if crops:
            self._offer_crops(picture, labels, origin)
        else:
            self._offer(picture, labels, origin, "frame")

    def interrupt(self) -> None:
        """The camera is gone; its tracks are told apart by the source's epoch."""

    def close(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _offer_crops(self, picture: Pixels, labels: Sequence[Label], origin: Origin) -> None:
        for label in labels:
            cut = cut_out(picture, label, self._collector.settings.margin)
            if cut is not None:
                self._offer(cut[0], [cut[1]], origin, "crop")

    def _label(self, result: FrameResult, row: Row) -> Label:
        refined = agreement = track_agreement = None
        if row.track_id is not None:
            track = (result.frame.epoch, row.track_id)
            refined = result.refinement_of(row.track_id, row.class_name)
            agreement = self._agreement_of(track, row.class_name)
            track_agreement = self._opinions.see(track, row.class_name, agreement)
        return Label(
            row.class_name, row.class_id, row.confidence, row.xyxy, row.track_id, refined, agreement, track_agreement
        )

    def _offer(self, picture: Pixels, labels: Sequence[Label], origin: Origin, kind: Kind) -> None:
        """That nothing can be kept is said once, until something can again."""
        try:
            self._collector.offer(picture, labels, origin, kind=kind)
        except SinkError as exc:
            if not self._failing:
                log.warning("pictures for the data set of %s are lost: %s", self._camera, exc)
            self._failing = True
            self._failure = self._failure or exc
        else:
            self._failing = False
