"""Where cameras of common makers keep their streams: facts from their manuals and their owners."""

from __future__ import annotations

import re
from dataclasses import dataclass

RTSP_PORT = 554


@dataclass(frozen=True, slots=True)
class VendorPaths:
    """The path of a maker's full picture and of its small one (empty: none is usual), from after the host on.

    ``port`` is where it listens unless told otherwise; ``scheme`` is ``rtsps`` where it encrypts. ``also`` are other
    names on the box, as they appear in a camera's own description. A capitalised word stands for what differs from
    camera to camera.
    """

    maker: str
    main: str
    sub: str = ""
    port: int = RTSP_PORT
    scheme: str = "rtsp"
    also: tuple[str, ...] = ()
    note: str = ""

    def is_of(self, name: str) -> bool:
        """Whether ``name``, a maker or model as a camera states it, is of this maker."""
        return any(re.search(rf"\b{re.escape(own)}\b", name, re.IGNORECASE) for own in (self.maker, *self.also))


VENDOR_PATHS = (
    VendorPaths(
        "Hikvision",
        "/Streaming/Channels/101",
        "/Streaming/Channels/102",
        also=("HIK", "Annke", "LTS", "Hilook", "EZVIZ"),
        note="recorders: 201 is the second camera",
    ),
    VendorPaths(
        "Dahua",
        "/cam/realmonitor?channel=1&subtype=0",
        "/cam/realmonitor?channel=1&subtype=1",
        also=("Amcrest", "Lorex", "Imou", "Intelbras"),
        note="also Amcrest, Lorex, Imou",
    ),
    VendorPaths("Axis", "/axis-media/media.amp", "/axis-media/media.amp?resolution=640x360"),
    VendorPaths("Reolink", "/Preview_01_main", "/Preview_01_sub", note="older: /h264Preview_01_main"),
    VendorPaths(
        "TP-Link Tapo",
        "/stream1",
        "/stream2",
        also=("TP-Link", "Tapo", "VIGI"),
        note="with the camera account made in its app",
    ),
    VendorPaths(
        "Ubiquiti UniFi",
        "/KEY",
        port=7441,
        scheme="rtsps",
        also=("Ubiquiti", "UniFi", "UBNT"),
        note="KEY stands in the camera's settings, under RTSP",
    ),
    VendorPaths("Foscam", "/videoMain", "/videoSub", port=88, note="newer: port 554"),
    VendorPaths("Wyze", "/live", note="with its RTSP firmware"),
    VendorPaths("Bosch", "/?inst=1", "/?inst=2"),
    VendorPaths("Hanwha", "/profile2/media.smp", "/profile3/media.smp", also=("Samsung", "Wisenet", "Techwin")),
    VendorPaths("Vivotek", "/live1s1.sdp", "/live1s2.sdp", note="older: /live.sdp"),
    VendorPaths("Uniview", "/unicast/c1/s0/live", "/unicast/c1/s1/live", also=("UNV",), note="cameras: /media/video1"),
    VendorPaths("Sony", "/video1", "/video2"),
    VendorPaths("Panasonic", "/MediaInput/h264/stream_1", "/MediaInput/h264/stream_2", also=("i-PRO",)),
    VendorPaths("Milesight", "/main", "/sub"),
    VendorPaths("Eufy", "/live0", note="when switched on in its app"),
    VendorPaths("D-Link", "/live1.sdp", "/live2.sdp"),
    VendorPaths("Avigilon", "/defaultPrimary?streamType=u", "/defaultSecondary?streamType=u"),
    VendorPaths("Yi", "/ch0_0.h264", "/ch0_1.h264", also=("yi-hack",), note="with yi-hack"),
    VendorPaths("Frigate, go2rtc, MediaMTX", "/NAME", port=8554, also=("go2rtc", "MediaMTX", "Frigate")),
    VendorPaths("many without a name", "/onvif1", "/onvif2", note="others: /11 and /12, /live/ch00_0"),
)


def vendors_of(stated: str) -> tuple[VendorPaths, ...]:
    """The makers that ``stated``, what a camera says of itself, names."""
    return tuple(vendor for vendor in VENDOR_PATHS if vendor.is_of(stated))
