"""Who is connected: every open socket with its client, so that too many of them never keep one good client out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from stream.http.patience import Patience
from stream.http.settings import LimitSettings


@dataclass(slots=True, eq=False)
class Visit:
    """One open socket. ``drop`` closes it at once; ``waiting_bytes``: what its reader has not taken yet."""

    client: str
    patience: Patience
    drop: Callable[[], object] = lambda: None
    waiting_bytes: Callable[[], int] = lambda: 0
    counted: bool = True


@dataclass(slots=True)
class Visits:
    """All of them. When there are too many, in total or of one client, the most useless one gives way."""

    limits: LimitSettings
    rejected: Callable[[str], None]
    changed: Callable[[int], None]
    _open: dict[Visit, None] = field(default_factory=dict)
    _of_client: dict[str, dict[Visit, None]] = field(default_factory=dict)
    _busy: set[Visit] = field(default_factory=set)
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)

    def admit(self, client: str, now_s: float, *, counted: bool = True) -> Visit | None:
        """A visit for a new socket, or None if there is no room. Not ``counted``: a proxy, which is many clients."""
        own = self._of_client.get(client, {})
        if counted and len(own) >= self.limits.sockets_per_client and not self._make_room(own, now_s):
            return None
        if len(self._open) >= self.limits.sockets and not self._make_room(self._open, now_s):
            return None
        visit = Visit(client, Patience(now_s), counted=counted)
        self._open[visit] = None
        self._of_client.setdefault(client, {})[visit] = None
        self.changed(len(self._open))
        return visit

    def forget(self, visit: Visit) -> None:
        """Its socket is closed."""
        if visit not in self._open:
            return
        del self._open[visit]
        own = self._of_client[visit.client]
        del own[visit]
        if not own:
            del self._of_client[visit.client]
        self.changed(len(self._open))
        self._rests(visit)

    def began(self, visit: Visit) -> None:
        """A request of it is being answered."""
        visit.patience.began()
        if visit in self._open:
            self._busy.add(visit)
            self._quiet.clear()

    def ended(self, visit: Visit, now_s: float) -> None:
        """The answer is written."""
        visit.patience.ended(now_s)
        self._rests(visit)

    def sweep(self, now_s: float) -> None:
        """Drop whoever kept us waiting too long."""
        for visit in list(self._open):
            cause = visit.patience.verdict(now_s, visit.waiting_bytes(), self.limits)
            if cause is not None:
                self._drop(visit, cause)

    def make_room(self, now_s: float) -> bool:
        """Drop the most useless connection, if there is one."""
        return self._make_room(self._open, now_s)

    def drop_idle(self) -> None:
        for visit in [each for each in self._open if not each.patience.busy]:
            visit.drop()

    def drop_all(self) -> None:
        for visit in list(self._open):
            visit.drop()

    async def quiet(self) -> None:
        """Wait until no request is being answered; for a service that admits no more."""
        if self._busy:
            await self._quiet.wait()

    def _rests(self, visit: Visit) -> None:
        self._busy.discard(visit)
        if not self._busy:
            self._quiet.set()

    def _make_room(self, among: dict[Visit, None], now_s: float) -> bool:
        useless = [(age_s, visit) for visit in among if (age_s := visit.patience.gives_way(now_s)) is not None]
        if not useless:
            self.rejected("sockets")
            return False
        self._drop(max(useless, key=lambda each: each[0])[1], "gave_way")
        return True

    def _drop(self, visit: Visit, cause: str) -> None:
        self.rejected(cause)
        visit.drop()
        # its end is told later; it makes room now
        self.forget(visit)
