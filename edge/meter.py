"""What a run did so far: rolling windows, totals, objects by class."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import Protocol

from stream.frame import FrameResult
from stream.windows import RollingWindow, RunTotals, WindowSnapshot


class RunListener(Protocol):
    """Told what the meter measures, on the loop's thread; must return at once."""

    def first_result(self) -> None: ...

    def window(self, snapshot: WindowSnapshot) -> None: ...


class RunMeter:
    """Watches a run's frames, as :class:`stream.pipeline.Observer`, and closes a window every ``window_s``.

    All methods but :meth:`stage` belong to the loop's thread.
    """

    def __init__(self, now_s: float, *, window_s: float, listener: RunListener) -> None:
        self.totals = RunTotals(start_s=now_s)
        self.frames = 0
        self.detections: Counter[str] = Counter()
        self._tracks: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        self._window = RollingWindow(now_s, self.totals)
        self._window_s = window_s
        self._closes_at_s = now_s + window_s
        self._listener = listener
        self._stages: deque[tuple[str, float]] = deque()

    def frame_in(self, now_s: float, depth: int) -> None:
        self._window.frame_in(now_s)
        self._window.queue_depth(depth)

    def frame_out(self, now_s: float, result: FrameResult) -> None:
        if self.frames == 0:
            self._listener.first_result()
        self.frames += 1
        self._window.frame_out(now_s, result.timings, len(result.detections))
        self._count(result)
        if now_s >= self._closes_at_s:
            self._closes_at_s = now_s + self._window_s
            self._listener.window(self._close(now_s))

    def stage(self, name: str, seconds: float) -> None:
        """A sink's stage took ``seconds``; called from the sinks' threads."""
        self._stages.append((name, seconds))

    def finish(self, now_s: float) -> None:
        """Close the last window, however short."""
        snapshot = self._close(now_s)
        if snapshot.frames_in or snapshot.frames_out:
            self._listener.window(snapshot)

    def objects(self) -> dict[str, int]:
        """How many different tracks of each class were seen, most first."""
        counts = Counter({name: len(tracks) for name, tracks in self._tracks.items()})
        return dict(counts.most_common())

    def _count(self, result: FrameResult) -> None:
        if result.carried or not len(result.detections):
            return
        names = [str(name) for name in result.detections.data["class_name"]]
        self.detections.update(names)
        if result.detections.tracker_id is not None:
            for name, track in zip(names, result.detections.tracker_id.tolist(), strict=True):
                if track >= 0:
                    self._tracks[name].add((result.frame.source, track))

    def _close(self, now_s: float) -> WindowSnapshot:
        while self._stages:
            self._window.stage(*self._stages.popleft())
        return self._window.close_window(now_s)
