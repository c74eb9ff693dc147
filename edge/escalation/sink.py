"""What one camera's tracks have to ask: from results to crops that wait for the cloud."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.escalation.best_crop import encode
from edge.escalation.board import Board
from edge.escalation.decisions import DecisionLog
from edge.escalation.figures import Tally
from edge.escalation.parcel import Parcel, TrackKey
from edge.escalation.policy import Cause, Decision
from edge.escalation.tracks import Ready, Sight, TrackWatch
from stream.errors import SinkError
from stream.frame import FrameResult, SourceInfo

TOO_LARGE = "larger_than_budget"
NOT_KEPT = "disk"


class Mailbox(Protocol):
    """Takes crops to be sent; returns at once. Raises SinkError when a crop cannot be kept."""

    def put(self, parcel: Parcel, value: float) -> None: ...


@dataclass(frozen=True, slots=True)
class CropEncoding:
    """How crops are made: ``most_bytes`` is what the budget lets through at all."""

    jpeg_quality: int
    most_bytes: float = float("inf")


class EscalationSink:
    """Decides about the tracks of one camera, as :class:`stream.sinks.base.Sink`, for one run of its pipeline.

    Without a ``mailbox`` (shadow mode) decisions are only reported. Nothing is raised: what cannot be kept is counted.
    """

    name = "escalation"
    optional = True
    wants_picture = True

    def __init__(
        self,
        camera: str,
        watch: TrackWatch,
        *,
        folder: Path,
        board: Board,
        tally: Tally,
        log: DecisionLog,
        encoding: CropEncoding,
        mailbox: Mailbox | None,
        wall_clock: Callable[[], float] = time.time,
        new_key: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._camera = camera
        self._watch = watch
        self._run = str(folder.absolute())
        self._board = board
        self._tally = tally
        self._log = log
        self._encoding = encoding
        self._mailbox = mailbox
        self._wall_clock = wall_clock
        self._new_key = new_key
        self.life = uuid.uuid4().hex
        """Drawn anew for each sink: numbers of tracks count within one."""
        self._started_at = 0.0
        self._lock = threading.Lock()
        # before the first frame: the camera's tracker counts from the beginning
        board.begin(camera, self.life)

    @property
    def wants_picture_now(self) -> bool:
        """Whether the next picture may be of use: only while a picture decides about a track. From any thread."""
        return self._watch.wants_pictures

    @property
    def outputs(self) -> list[Path]:
        return [self._log.path] if self._log.path.exists() else []

    def open(self, info: SourceInfo) -> None:
        self._started_at = self._wall_clock() if info.started_at is None else info.started_at

    def write(self, result: FrameResult) -> None:
        with self._lock:
            if result.frame.epoch != self._watch.epoch:
                self._conclude(*self._watch.end_all())
                self._watch.begin_epoch(result.frame.epoch, result.frame.pts_s)
                self._board.begin(self._camera, self.life, result.frame.epoch)
            self._conclude(*self._watch.update(result))

    def interrupt(self) -> None:
        """The camera is gone: decide now instead of when its next picture comes. From any thread."""
        with self._lock:
            self._conclude(*self._watch.end_all())

    def close(self) -> None:
        self.interrupt()
        with self._lock:
            self._board.forget(self._camera, self.life)
            self._log.close()

    def _conclude(self, ready: Sequence[Ready], over: Sequence[int]) -> None:
        for each in ready:
            self._decide(each)
        if over:
            self._board.end(self._camera, self.life, over)

    def _decide(self, ready: Ready) -> None:
        decision, is_news = self._watch.decide(ready)
        sight, ready.track.best = ready.track.best, None
        if is_news:
            self._tally.add(decided=1)
        if decision.send and sight is not None:
            self._send(ready, sight, decision)
        elif is_news:
            self._refuse(ready, decision.cause, decision.why)

    def _refuse(self, ready: Ready, cause: str, why: str) -> None:
        self._tally.by_cause("refused", cause)
        self._log.write("refuse", cause, why, **self._about(ready))

    def _send(self, ready: Ready, sight: Sight, decision: Decision) -> None:
        try:
            jpeg = encode(sight.crop.pixels, self._encoding.jpeg_quality, self._encoding.most_bytes)
        except SinkError as exc:
            self._refuse(ready, TOO_LARGE, str(exc))
            return
        if jpeg is None:
            why = f"no crop of it that tells anything is below {self._encoding.most_bytes:.0f} bytes"
            self._refuse(ready, TOO_LARGE, why)
            return
        parcel = self._parcel(ready, sight, decision.cause, jpeg)
        about = self._about(ready) | {"frame": sight.frame, "key": parcel.key}
        about |= {"value": decision.value, "bytes": len(jpeg), "bbox": list(parcel.bbox)}
        self._tally.by_cause("chosen", decision.cause)
        if self._mailbox is None:
            self._tally.add(would_send=1, would_send_bytes=len(jpeg))
            self._log.write("would_send", decision.cause, decision.why, **about)
            return
        self._board.expect(parcel.track)
        try:
            self._mailbox.put(parcel, decision.value)
        except SinkError as exc:
            self._tally.by_cause("dropped", NOT_KEPT)
            self._log.write("drop", NOT_KEPT, str(exc), **about)
        else:
            self._log.write("send", decision.cause, decision.why, **about)

    def _about(self, ready: Ready) -> dict[str, object]:
        candidate = ready.candidate
        picture = candidate.picture
        return {
            "source": self._camera,
            "pts_s": ready.now_s,
            "epoch": ready.epoch,
            "track_id": ready.track.track_id,
            "class": candidate.row.class_name,
            "confidence": candidate.confidence,
            "trigger": candidate.trigger.value,
            "size_px": candidate.size_px,
            "sharpness": picture.sharpness if picture else None,
            "quality": picture.quality if picture else None,
        }

    def _parcel(self, ready: Ready, sight: Sight, cause: Cause, jpeg: bytes) -> Parcel:
        row, model = ready.candidate.row, sight.model
        return Parcel(
            key=self._new_key(),
            track=TrackKey(self._camera, self.life, ready.epoch, ready.track.track_id, ready.track.leaps),
            run=self._run,
            class_name=row.class_name,
            class_id=row.class_id,
            confidence=row.confidence,
            bbox=row.xyxy,
            width=sight.width,
            height=sight.height,
            frame=sight.frame,
            pts_s=sight.pts_s,
            frame_time_s=self._started_at + sight.pts_s,
            cause=cause.value,
            model_name=model.name,
            model_version=model.version,
            model_sha256=model.sha256,
            jpeg=jpeg,
            deny=self._watch.settings.deny,
            blur_others=self._watch.settings.blur_others,
        )
