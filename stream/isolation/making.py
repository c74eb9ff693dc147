"""The source that the child decodes, made of what the parent sent; imports what is heavy late."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, cast

from stream.isolation.messages import Start
from stream.packets import PacketTap
from stream.sources.address import Address
from stream.sources.base import PictureDemand, Source
from stream.sources.status import SourceStatus


class WatchedSource(Source, Protocol):
    """What is decoded here, in the role of :class:`stream.sources.live.LiveSource`."""

    def interrupt(self) -> None: ...

    def status(self, now_s: float) -> SourceStatus: ...

    @property
    def drops(self) -> Mapping[str, int]: ...


Factory: TypeAlias = Callable[[Start, Callable[[], PictureDemand], PacketTap | None], WatchedSource]
"""What makes the source: of what the parent says, with the demand for pictures, and the tap."""


def live_source(start: Start, wants_pictures: Callable[[], PictureDemand], tap: PacketTap | None) -> WatchedSource:
    """The real one."""
    from stream.attention import Attention
    from stream.sources.live import LiveSource
    from stream.sources.settings import LiveSettings, LookSettings

    return LiveSource(
        Address(start.address_kind, start.url, start.label),
        name=start.name,
        settings=LiveSettings.model_validate(start.settings),
        attention=Attention(LookSettings.model_validate(start.look)),
        wants_pictures=wants_pictures,
        tap=tap,
    )


def factory_named(path: str) -> Factory:
    """``module:name``, imported."""
    module, _, name = path.partition(":")
    return cast("Factory", getattr(importlib.import_module(module), name))
