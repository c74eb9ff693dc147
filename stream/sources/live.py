"""A live source: a camera, a stream or a file played at its own pace, kept up whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol

from pydantic import Field

from stream.config import Settings
from stream.frame import Frame, Pixels, SourceInfo
from stream.packets import PacketTap
from stream.sources.address import Address
from stream.sources.base import SourceLosses, ViewPlanner
from stream.sources.status import SourceStatus


class LiveSettings(Settings):
    """How a live source is opened, watched and kept."""

    rtsp_transport: Literal["tcp", "udp"] = Field(
        "tcp", description="How RTSP cameras send: tcp loses nothing; udp is for cameras that know nothing else."
    )
    open_timeout_s: float = Field(
        5.0, ge=0.1, le=60, allow_inf_nan=False, description="Give up a connection that does not come about."
    )
    read_timeout_s: float = Field(
        10.0, ge=0.1, le=300, allow_inf_nan=False, description="Connect anew after so long without a packet."
    )
    stall_s: float = Field(
        2.0, ge=0.1, le=300, allow_inf_nan=False, description="Call it stalled after so long without a packet."
    )
    max_staleness_s: float = Field(
        0.5, ge=0.05, le=60, allow_inf_nan=False, description="Pictures older than this are left out."
    )
    first_connect_limit_s: float = Field(
        10.0, ge=0, le=3600, allow_inf_nan=False, description="Keep trying so long for the first connection."
    )
    wait: bool = Field(default=False, description="Keep trying for ever when the first connection does not come about.")
    loop: bool = Field(default=False, description="Play a file over and over.")


class Attentive(Protocol):
    """What :class:`stream.attention.Attention` is to a source: all is on the decode thread."""

    def wants(self, luma: Callable[[], Pixels], received_s: float) -> bool: ...

    @property
    def idle(self) -> bool: ...

    @property
    def still(self) -> bool: ...


class LiveSource:
    """A source that goes on over reconnections, as :class:`stream.sources.base.Source`."""

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        settings: LiveSettings,
        attention: Attentive,
        wants_picture: Callable[[], bool],
        tap: PacketTap | None = None,
    ) -> None:
        self.name = name
        raise NotImplementedError

    def open(self) -> SourceInfo:
        raise NotImplementedError

    def frames(self, plan: ViewPlanner) -> Iterator[Frame]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def interrupt(self) -> None:
        raise NotImplementedError

    def status(self, now_s: float) -> SourceStatus:
        raise NotImplementedError

    @property
    def losses(self) -> SourceLosses:
        raise NotImplementedError

    @property
    def drops(self) -> Mapping[str, int]:
        raise NotImplementedError
