"""The source that the child decodes, made of what the parent sent; imports what is heavy late."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from stream.frame import Pixels
from stream.isolation.messages import Start
from stream.isolation.pulse import Pulse
from stream.packets import PacketTap
from stream.sources.address import Address
from stream.sources.base import PictureDemand, Source
from stream.sources.status import SourceStatus

if TYPE_CHECKING:
    from stream.attention import Attention


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


Factory: TypeAlias = Callable[[Start, Pulse, Callable[[], PictureDemand], PacketTap | None], WatchedSource]
"""What makes the source: of what the parent says, with the pulse to beat, the demand for pictures, and the tap."""


def live_source(
    start: Start, pulse: Pulse, wants_pictures: Callable[[], PictureDemand], tap: PacketTap | None
) -> WatchedSource:
    """The real one."""
    from stream.attention import Attention, LookSettings
    from stream.sources.live import LiveSettings, LiveSource

    return LiveSource(
        Address(start.address_kind, start.url, start.label),
        name=start.name,
        settings=LiveSettings.model_validate(start.settings),
        attention=FeltAttention(Attention(LookSettings.model_validate(start.look)), pulse),
        wants_pictures=wants_pictures,
        tap=tap,
    )


def factory_named(path: str) -> Factory:
    """``module:name``, imported."""
    module, _, name = path.partition(":")
    return cast("Factory", getattr(importlib.import_module(module), name))
