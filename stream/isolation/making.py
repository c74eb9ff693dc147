"""The source that the child decodes, made of what the parent sent."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from stream.attention import Attention, LookSettings
from stream.frame import Pixels
from stream.isolation.messages import Start
from stream.isolation.pulse import Pulse
from stream.packets import PacketTap
from stream.sources.address import Address
from stream.sources.base import PictureDemand, Source
from stream.sources.live import LiveSettings
from stream.sources.status import SourceStatus


class WatchedSource(Source, Protocol):
    """What is decoded here, in the role of :class:`stream.sources.live.LiveSource`."""

    def interrupt(self) -> None: ...

    def status(self, now_s: float) -> SourceStatus: ...

    @property
    def drops(self) -> Mapping[str, int]: ...


class FeltAttention:
    """Attention that lets the pulse be felt: it is asked for every packet and every picture."""

    def __init__(self, attention: Attention, pulse: Pulse) -> None:
        self._attention = attention
        self._pulse = pulse

    def wants(self, luma: Callable[[], Pixels], received_s: float) -> bool:
        self._pulse.beat()
        return self._attention.wants(luma, received_s)

    @property
    def idle(self) -> bool:
        self._pulse.beat()
        return self._attention.idle

    @property
    def still(self) -> bool:
        return self._attention.still


def make_source(
    start: Start, pulse: Pulse, wants_pictures: Callable[[], PictureDemand], tap: PacketTap
) -> WatchedSource:
    """Call the factory that ``start`` names as ``module:name``."""
    module, _, name = start.factory.partition(":")
    factory = getattr(importlib.import_module(module), name)
    source = factory(
        Address(start.address_kind, start.url, start.label),
        name=start.name,
        settings=LiveSettings.model_validate(start.settings),
        attention=FeltAttention(Attention(LookSettings.model_validate(start.look)), pulse),
        wants_pictures=wants_pictures,
        tap=tap if start.tapped else None,
    )
    return cast("WatchedSource", source)
