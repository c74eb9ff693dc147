"""One timeline for a live source, whatever its camera's clock does: it begins at 0 and only moves forward."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

TIME_BASE = Fraction(1, 90_000)
"""A tick of the timeline: RTP's and MPEG-TS's own."""

_TICKS_A_SECOND = 90_000

JUMP_S = 10.0
"""Times that move further than this between two packets begin a new count."""

STRAY_S = 1.0
"""A time this little before the last one is a stray; one further back begins a new count."""

OFF_S = 1.0
"""The timeline never stays further than this from our own clock."""

_SLACK_S = 0.1
"""Within this of our clock the camera's times are left as they are."""

_SLEW = 0.02
"""How much faster or slower than the camera's clock the timeline may run to come back to ours: nobody sees it, and
it is far more than any clock drifts."""

_USUAL_STEP = _TICKS_A_SECOND // 25
_LONGEST_STEP = _TICKS_A_SECOND

_WINDOW_S = 5.0
"""The least delay is that of the current and the last window of this length."""

_READY_S = 0.01
"""A packet that takes less than this to read lay ready."""

FAR_S = 2.0
"""Who is so far behind decodes keyframes alone until he has caught up."""

LATE_AT_MOST_S = 3.0
"""So does who is late for longer than this: either there is no other way to catch up, or the way from the camera has
become longer, which shows when there is time to wait for its packets."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A packet's place on the timeline, in ticks. ``at`` is when it was due to arrive."""

    pts: int
    dts: int
    at: int


class LiveClock:
    """Maps a source's packet times onto the timeline. It reads no clock: ``now_s`` is monotonic, of the arrival.

    A source's times are kept as they are as long as they make sense. Where they are missing, stand still, jump or
    go backwards, the time of arrival takes their place; where the two clocks drift apart, the timeline follows ours.
    """

    def __init__(self) -> None:
        self.missing = 0
        self.not_forward = 0
        self.start_s: float | None = None
        self._paced = False
        self._time_base = TIME_BASE
        self._shift: int | None = None
        self._last: int | None = None
        self._last_shown = -1
        self._step = _USUAL_STEP
        self._strayed = False
        self._delays = _LeastDelay()

    def begin(self, time_base: Fraction, frame_rate: Fraction, *, paced: bool) -> None:
        """The next packet is the first of a new connection, or of another turn of a file.

        ``paced`` sources can be read faster than they play (files, HLS): their packets may be early, and are then
        held back by the caller until :meth:`due_s`.
        """
        self._paced = paced
        self._time_base = time_base
        self._step = min(_LONGEST_STEP, round(_TICKS_A_SECOND / frame_rate)) if frame_rate > 0 else _USUAL_STEP
        self._anew()

    def stamp(self, pts: int | None, dts: int | None, now_s: float, waited_s: float) -> Stamp:
        """The packet's place. ``waited_s`` is how long the reader had to wait for it."""
        self.missing += pts is None and dts is None
        return self._stamped(pts, dts, now_s, waited_s)

    def arrived(self, now_s: float, waited_s: float) -> Stamp:
        """The place of a packet whose source states no times at all."""
        return self._stamped(None, None, now_s, waited_s)

    def _stamped(self, pts: int | None, dts: int | None, now_s: float, waited_s: float) -> Stamp:
        if self.start_s is None:
            self.start_s = now_s
        elapsed = round((now_s - self.start_s) * _TICKS_A_SECOND)
        raw_pts, raw_dts = self._ticks(pts), self._ticks(dts)
        at = self._place(raw_pts if raw_dts is None else raw_dts, elapsed, waited=self._waited(waited_s))
        least = 0 if self._last is None else self._last + 1
        # Who states no decoding time has not seen yet how pictures are reordered: it lies before all that follow.
        placed_dts = max(least, at) if raw_dts is not None or raw_pts is None else least
        lead = 0 if raw_pts is None or raw_dts is None else raw_pts - raw_dts
        placed_pts = at + lead if 0 <= lead <= _LONGEST_STEP else at
        self._last = placed_dts
        return Stamp(max(placed_pts, placed_dts), placed_dts, at)

    def shown(self, pts: int | None) -> int:
        """The time of a decoded picture, made later than that of the picture before it."""
        if pts is None or pts <= self._last_shown:
            self.not_forward += 1
            pts = self._last_shown + 1
        self._last_shown = pts
        return pts

    def due_s(self, stamp: Stamp) -> float:
        """When our clock reaches the packet's place."""
        return (self.start_s or 0.0) + stamp.at / _TICKS_A_SECOND

    def lag_s(self, stamp: Stamp, now_s: float, waited_s: float) -> float:
        """How much later than it could be the packet is in our hands at ``now_s``."""
        return self._delays.lag_s(now_s - self.due_s(stamp), now_s, waited=self._waited(waited_s))

    def _waited(self, waited_s: float) -> bool:
        """Whether the packet did not lie ready: other threads alone can make reading take some milliseconds."""
        return waited_s > min(_READY_S, self._step / _TICKS_A_SECOND / 4)

    def _place(self, raw: int | None, elapsed: int, *, waited: bool) -> int:
        if raw is None:
            return self._next(elapsed)
        if self._shift is None or self._last is None:
            return self._anchored(raw, elapsed)
        at = raw + self._shift + self._slew(raw + self._shift)
        if self._out_of_time(at, elapsed, waited=waited):
            self._anew()
            return self._anchored(raw, elapsed)
        if at > self._last:
            self._strayed = False
            self._learn_step(at - self._last)
            return at
        self.not_forward += 1
        # One stray is mended; the second shows that the camera counts on from there.
        if not self._strayed and self._last - at < STRAY_S * _TICKS_A_SECOND:
            self._strayed = True
            return self._last + 1
        self._anew()
        return self._anchored(raw, elapsed)

    def _out_of_time(self, at: int, elapsed: int, *, waited: bool) -> bool:
        """Whether ``at`` is too far from our clock, or from the last packet, to be believed."""
        off_s = (elapsed - at) / _TICKS_A_SECOND
        if self._paced:
            dry = waited and off_s > OFF_S
            return dry or at - (self._last or 0) > JUMP_S * _TICKS_A_SECOND
        return off_s < -OFF_S or self._delays.least_s > OFF_S

    def _anchored(self, raw: int, elapsed: int) -> int:
        at = self._next(elapsed)
        self._shift = at - raw
        return at

    def _next(self, elapsed: int) -> int:
        """The place of a packet whose own time says nothing."""
        if self._last is None:
            return elapsed
        usual = self._last + self._step
        if self._paced:
            return elapsed if elapsed - usual > OFF_S * _TICKS_A_SECOND else usual
        return max(self._last + 1, elapsed) if self._shift is not None else max(usual, elapsed)

    def _anew(self) -> None:
        self._shift = None
        self._strayed = False
        self._delays = _LeastDelay()

    def _slew(self, at: int) -> int:
        """Ticks by which the timeline moves towards our clock at this packet."""
        least_s = self._delays.least_s
        if self._paced or abs(least_s) <= _SLACK_S or self._shift is None or self._last is None:
            return 0
        most = max(0, min(at - self._last, _LONGEST_STEP)) * _SLEW
        change = round(max(-most, min(most, least_s * _TICKS_A_SECOND)))
        self._shift += change
        self._delays.move(-change / _TICKS_A_SECOND)
        return change

    def _learn_step(self, step: int) -> None:
        if step <= _LONGEST_STEP:
            self._step = step

    def _ticks(self, value: int | None) -> int | None:
        if value is None or self._time_base == TIME_BASE:
            return value
        return round(value * self._time_base / TIME_BASE)


class _LeastDelay:
    """The least delay of packets lately: what the way from the camera takes at best.

    Packets that lay ready say nothing of the way, only of the reader, so that one who is always behind does not come
    to believe that this is how it must be; but none can be earlier than it was sent.
    """

    def __init__(self) -> None:
        self._now_s: float | None = None
        self._before_s: float | None = None
        self._turn_s = 0.0

    @property
    def least_s(self) -> float:
        """0 while nothing is known."""
        known = [delay_s for delay_s in (self._now_s, self._before_s) if delay_s is not None]
        return min(known, default=0.0)

    def lag_s(self, delay_s: float, now_s: float, *, waited: bool) -> float:
        if self._now_s is None and self._before_s is None:
            self._now_s, self._turn_s = delay_s, now_s
        if now_s - self._turn_s > _WINDOW_S and self._now_s is not None:
            self._before_s, self._now_s, self._turn_s = self._now_s, None, now_s
        if waited or delay_s < self.least_s:
            self._now_s = delay_s if self._now_s is None else min(self._now_s, delay_s)
        return delay_s - self.least_s

    def move(self, by_s: float) -> None:
        self._now_s = None if self._now_s is None else self._now_s + by_s
        self._before_s = None if self._before_s is None else self._before_s + by_s


class Standing(IntEnum):
    """How a reader stands to its camera."""

    FRESH = 0
    LATE = 1
    """Pictures are decoded and thrown away."""
    FAR = 2
    """Even decoding them all would take too long."""


class Freshness:
    """Judges from each packet's lag how its reader stands."""

    def __init__(self, max_staleness_s: float) -> None:
        self.standing = Standing.FRESH
        self._limit_s = max_staleness_s
        self._fresh_s = float("-inf")

    def judge(self, lag_s: float, now_s: float) -> Standing:
        """Who was late has to catch up well before he counts as fresh: on the limit every picture would be as old
        as just allowed."""
        if lag_s <= self._limit_s / 2 or (lag_s <= self._limit_s and self.standing is Standing.FRESH):
            self._fresh_s = now_s
            self.standing = Standing.FRESH
        elif lag_s > max(FAR_S, self._limit_s) or now_s - self._fresh_s > LATE_AT_MOST_S:
            self.standing = Standing.FAR
        else:
            self.standing = max(self.standing, Standing.LATE)
        return self.standing
