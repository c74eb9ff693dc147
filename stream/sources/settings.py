"""What can be set for live sources: read on its own by every configuration, so it imports nothing heavy."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field

from stream.config import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ReachSettings(Settings):
    """What a guarded source may connect to, besides other machines' ordinary addresses."""

    networks: tuple[Network, ...] = Field(
        (), description="Networks that are allowed although others like them are not."
    )
    folders: tuple[Path, ...] = Field((), description="Folders whose files may be played.")
    webcams: bool = Field(default=False, description="Allow the webcams of this machine.")


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
    guard: ReachSettings | None = Field(
        None,
        description="For an address somebody else named: never this machine, link-local and metadata addresses, local "
        "files. Empty allows all.",
    )


class LookSettings(Settings):
    """How often a camera is looked at."""

    detect_fps: float | None = Field(
        None,
        gt=0,
        le=240,
        allow_inf_nan=False,
        description="Detect at most so often a second, the tracker carries the boxes between; empty looks at all.",
    )
    motion: Literal["auto", "off"] = Field(
        "auto", description="auto: a scene in which nothing moves is looked at now and then only. off: always look."
    )
    check_every_s: float = Field(
        5.0, ge=0.1, le=3600, allow_inf_nan=False, description="How often a still scene is looked at all the same."
    )
    idle_decode: Literal["all", "keyframes"] = Field(
        "all",
        description="keyframes: while nothing moves and nobody wants pictures, decode keyframes only; "
        "motion is then noticed at the next one.",
    )
