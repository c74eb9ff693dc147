"""All who are told of events, made from the settings, started and closed together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.events.event import EventChange
from edge.events.publish.mqtt import MqttPublisher, MqttStatistics
from edge.events.publish.webhook import WebhookPublisher, WebhookStatistics, open_spool
from edge.events.settings import MqttSettings, WebhookSettings
from stream.errors import SinkError, UsageError
from stream.sources.status import SourceState


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """Webhooks by ``number:name``, for two may be shown alike; ``mqtt`` is None without a broker."""

    webhooks: dict[str, WebhookStatistics]
    mqtt: MqttStatistics | None


class Publishers:
    """Webhooks and the broker as one :class:`edge.events.publish.base.Publisher`, shared by all cameras.

    ``home`` is the program's state folder, where the webhooks' queue is kept.

    Raises:
        UsageError: two webhooks are the same, the MQTT package is missing, or a file with certificates cannot be used.
        OutputError: the queue cannot be opened.
    """

    def __init__(self, webhooks: Sequence[WebhookSettings], mqtt: MqttSettings | None, home: Path) -> None:
        urls = [each.url for each in webhooks]
        if twice := [each.shown for each in webhooks if urls.count(each.url) > 1]:
            raise UsageError(f"two webhooks have the same url, that of {twice[0]}; leave one out")
        spool = open_spool(home / "events") if webhooks else None
        self._webhooks = [WebhookPublisher(each, spool) for each in webhooks] if spool else []
        self._names = [f"{number}:{each.shown}" for number, each in enumerate(webhooks, start=1)]
        self._mqtt = MqttPublisher(mqtt) if mqtt else None

    def start(self) -> None:
        for each in self._all:
            each.start()

    def publish(self, change: EventChange) -> None:
        for each in self._all:
            each.publish(change)

    def camera_state(self, camera: str, state: SourceState) -> None:
        """Tell how a camera is; returns at once."""
        if self._mqtt is not None:
            self._mqtt.camera_state(camera, state)

    def close(self, within_s: float) -> None:
        """All at the same time: a hanging server costs the others nothing. Close the cameras' sinks before, for they
        have the ends of their events to tell."""
        closing = [threading.Thread(target=each.close, args=(within_s,), daemon=True) for each in self._all]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def statistics(self) -> PublisherStatistics:
        known = {}
        for name, webhook in zip(self._names, self._webhooks, strict=True):
            with suppress(SinkError):
                known[name] = webhook.statistics()
        return PublisherStatistics(known, self._mqtt.statistics() if self._mqtt else None)

    @property
    def _all(self) -> list[WebhookPublisher | MqttPublisher]:
        return [*self._webhooks, *([self._mqtt] if self._mqtt else [])]
