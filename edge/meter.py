"""What a run did so far: rolling windows, totals, objects by class."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Protocol

from stream.frame import FrameResult
from stream.windows import RollingWindow, RunTotals, WindowSnapshot

MOST_KNOWN_TRACKS = 10_000
"""Tracks remembered in order to count each once: the last of a day, in a run that may last for months."""


class RunListener(Protocol):
    """Told what the meter measures, on the loop's thread; must return at once."""

    def first_result(self) -> None: ...

    def window(self, snapshot: WindowSnapshot) -> None: ...


class RunMeter:
    """Watches a run's frames, as :class:`stream.pipeline.Observer`, and closes a window every ``window_s``: at the
    first result behind it, so that a source which may fall silent wants an infinite ``window_s`` and a caller of
    :meth:`close_window`.

    All methods but :meth:`stage` belong to the loop's thread.
    """

    def __init__(self, now_s: float, *, window_s: float, listener: RunListener) -> None:
        self.totals = RunTotals(start_s=now_s)
        self.frames = 0
        self.depth = 0
        """Frames that waited when the last one was taken."""
        self.detections: Counter[str] = Counter()
        self._objects: Counter[str] = Counter()
        self._known: OrderedDict[tuple[str, str, int], None] = OrderedDict()
        self._window = RollingWindow(now_s, self.totals)
        self._window_s = window_s
        self._closes_at_s = now_s + window_s
        self._listener = listener
        self._first_s: float | None = None
        self._last_s = now_s
        self._stages: deque[tuple[str, float]] = deque()

    def frame_in(self, now_s: float, depth: int) -> None:
        self._window.frame_in(now_s)
        self._window.queue_depth(depth)
        self.depth = depth

    def frame_out(self, now_s: float, result: FrameResult) -> None:
        if self._first_s is None:
            self._first_s = now_s
            self._listener.first_result()
        self._last_s = now_s
        self.frames += 1
        self._window.frame_out(now_s, result.timings, len(result.detections))
        self._count(result)
        if now_s >= self._closes_at_s:
            self._closes_at_s = now_s + self._window_s
            self._listener.window(self.close_window(now_s))

    def dropped(self, cause: str, count: int) -> None:
        """``count`` frames or detections were left out."""
        self._window.dropped(cause, count)

    def stage(self, name: str, seconds: float) -> None:
        """A sink's stage took ``seconds``; called from the sinks' threads."""
        self._stages.append((name, seconds))

    def finish(self, now_s: float) -> None:
        """Close the last window, however short."""
        snapshot = self.close_window(now_s)
        if snapshot.frames_in or snapshot.frames_out:
            self._listener.window(snapshot)

    @property
    def steady_fps(self) -> float:
        """Results a second from the first to the last: without the start."""
        took_s = self._last_s - (self._first_s or self._last_s)
        return (self.frames - 1) / took_s if took_s > 0 else 0.0

    def objects(self) -> dict[str, int]:
        """How many different tracks of each class were seen, most first."""
        return dict(self._objects.most_common())

    def _count(self, result: FrameResult) -> None:
        if result.carried or not len(result.detections):
            return
        names = [str(name) for name in result.detections.data["class_name"]]
        self.detections.update(names)
        if result.detections.tracker_id is not None:
            for name, track in zip(names, result.detections.tracker_id.tolist(), strict=True):
                if track >= 0:
                    self._count_object(name, result.frame.source, track)

    def _count_object(self, name: str, source: str, track: int) -> None:
        key = (name, source, track)
        if key not in self._known:
            self._objects[name] += 1
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > MOST_KNOWN_TRACKS:
            self._known.popitem(last=False)

    def close_window(self, now_s: float) -> WindowSnapshot:
        """The figures since the last window; the next begins here."""
        while self._stages:
            self._window.stage(*self._stages.popleft())
        return self._window.close_window(now_s)
