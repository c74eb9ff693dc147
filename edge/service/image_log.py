"""What MLflow hears of single pictures: latencies by window, and a sample of the predictions in files that are logged
when they are complete."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.service.looking import Seen
from edge.service.settings import ImageLogSettings
from stream.sinks.rows import rounded_rows
from stream.windows import LogHistogram, RollingWindow, RunTotals, WindowSnapshot

log = logging.getLogger(__name__)

FOLDER = "images"
WAITING_BYTES = 64 << 20
"""Pictures whose predictions wait for the disk; more are left out, and counted."""

LOOK_EVERY_S = 0.5


class ImageLog:
    """Told of every picture that was looked at, on the loop's thread; a thread of its own writes.

    ``logged`` is given each file once no more will be written into it.
    """

    def __init__(
        self,
        folder: Path,
        settings: ImageLogSettings,
        logged: Callable[[Path], None],
        *,
        first: Callable[[], None] = lambda: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.lost = 0
        self._settings = settings
        self._first = first
        self._chance = chance
        self._totals = RunTotals(time.monotonic())
        self._window = RollingWindow(time.monotonic(), self._totals)
        self._writer = _Writer(folder / FOLDER, settings, logged)
        self._writer.start()

    @property
    def stages(self) -> dict[str, LogHistogram]:
        """Seconds by stage of all pictures so far, but those of the current window."""
        return dict(self._totals.histograms)

    def looked(self, seen: Seen) -> None:
        """A picture was answered."""
        self._first()
        now_s = time.monotonic()
        self._window.frame_in(now_s)
        self._window.frame_out(now_s, seen.result.timings, len(seen.result.detections))
        if self._settings.sample > 0 and self._chance() < self._settings.sample:
            self.lost += not self._writer.put(seen)

    def refused(self, cause: str) -> None:
        self._window.dropped(cause)

    def metrics(self) -> dict[str, float]:
        """The figures of the window that ends now, by their MLflow names; nothing where nothing was asked."""
        snapshot = self._window.close_window(time.monotonic())
        if not snapshot.frames_out and not snapshot.dropped:
            return {}
        return _metrics(snapshot) | {"images/predictions_lost": float(self.lost)}

    def close(self, within_s: float) -> None:
        """Write what waits; the last file is logged as well."""
        self._writer.close(within_s)


def _metrics(snapshot: WindowSnapshot) -> dict[str, float]:
    values = {
        "images/per_second": snapshot.fps_out,
        "images/requests": float(snapshot.frames_out),
        "images/detections": float(snapshot.detections),
        "images/refused": float(snapshot.dropped),
    }
    for stage, latency in snapshot.latencies.items():
        prefix = "images/latency_ms" if stage == "total" else f"images/latency_ms/{stage}"
        for rank in ("p50", "p95", "p99"):
            values[f"{prefix}/{rank}"] = getattr(latency, rank) * 1e3
    return values


class _Writer:
    """Lines into one file after the other; each is closed after a while or when it is large, and never opened again.

    It looks now and then for what came: to be woken for each picture would cost more than its line.
    """

    def __init__(self, folder: Path, settings: ImageLogSettings, logged: Callable[[Path], None]) -> None:
        self._folder = folder
        self._settings = settings
        self._logged = logged
        self._lock = threading.Lock()
        self._waiting: list[tuple[datetime, Seen]] = []
        self._waiting_bytes = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="image-log", daemon=True)
        self._path: Path | None = None
        self._bytes = 0
        self._closes_s = 0.0
        self._complained = False

    def start(self) -> None:
        self._thread.start()

    def put(self, seen: Seen) -> bool:
        with self._lock:
            if self._waiting and self._waiting_bytes + len(seen.data) > WAITING_BYTES:
                return False
            self._waiting.append((datetime.now(UTC), seen))
            self._waiting_bytes += len(seen.data)
        return True

    def close(self, within_s: float) -> None:
        self._closing.set()
        self._thread.join(within_s)

    def _work(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(LOOK_EVERY_S)
            self._write()
            full = self._bytes >= self._settings.max_mb * 1e6
            if self._path is not None and (closing or full or time.monotonic() >= self._closes_s):
                self._finish(self._path)

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        text = "".join(_line(at, seen) + "\n" for at, seen in waiting)
        try:
            if self._path is None:
                self._path = self._begin()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
            self._bytes += len(text)
        except OSError as exc:
            if not self._complained:
                log.warning("predictions of pictures are not kept: %s", exc.strerror)
            self._complained = True

    def _begin(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._bytes, self._closes_s = 0, time.monotonic() + self._settings.every_s
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")[:-3]
        return self._folder / f"{stamp}Z.jsonl"

    def _finish(self, path: Path) -> None:
        self._path = None
        self._logged(path)
        for old in sorted(self._folder.glob("*Z.jsonl"))[: -self._settings.keep]:
            with suppress(OSError):
                old.unlink()


def _line(at: datetime, seen: Seen) -> str:
    """One prediction. The picture itself is known again by its hash."""
    result, model = seen.result, seen.result.model
    line: dict[str, Any] = {
        "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "image_sha256": hashlib.sha256(seen.data).hexdigest(),
        "bytes": len(seen.data),
        "width": result.frame.width,
        "height": result.frame.height,
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "latency_ms": round(result.timings.total_s * 1e3, 2),
        "detections": [
            {"class": row.class_name, "class_id": row.class_id, "confidence": row.confidence, "bbox": row.xyxy}
            for row in rounded_rows(result)
        ],
    }
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False)
