"""What waits to be sent to a broker: events in order, of values only the last."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple


class Message(NamedTuple):
    """A payload for a topic; a ``retained`` one is kept by the broker for those who come later."""

    topic: str
    payload: str
    retained: bool = False


class Outbox:
    """Bounded, for any threads: of too many events the oldest goes and is counted in ``dropped``; a value replaces
    the one before it, so there are never more than topics."""

    def __init__(self, capacity: int) -> None:
        self.dropped = 0
        self._lock = threading.Lock()
        self._events: deque[Message] = deque()
        self._capacity = capacity
        self._values: dict[str, str] = {}
        self._unsent: dict[str, None] = {}

    def add(self, message: Message) -> None:
        with self._lock:
            self._events.append(message)
            self._drop_excess()

    def set(self, topic: str, value: str) -> None:
        """Tell the value of ``topic``, if it is another than before."""
        with self._lock:
            if self._values.get(topic) != value:
                self._values[topic] = value
                self._unsent[topic] = None

    def take(self) -> Message | None:
        """The next to send, values first; None when nothing waits."""
        with self._lock:
            if self._unsent:
                topic = next(iter(self._unsent))
                del self._unsent[topic]
                return Message(topic, self._values[topic], retained=True)
            return self._events.popleft() if self._events else None

    def put_back(self, messages: list[Message]) -> None:
        """After a connection was lost: what it did not confirm, in its order, and every value anew."""
        with self._lock:
            self._events.extendleft(message for message in reversed(messages) if not message.retained)
            self._unsent = dict.fromkeys(self._values)
            self._drop_excess()

    def __len__(self) -> int:
        return len(self._events) + len(self._unsent)

    def _drop_excess(self) -> None:
        while len(self._events) > self._capacity:
            self._events.popleft()
            self.dropped += 1
