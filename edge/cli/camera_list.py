"""What ``videodisco cameras`` prints: the cameras found with what to type next, or where was looked in vain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from stream.discovery.onvif import Found, NetworkCamera, Search
from stream.discovery.soap import CameraStream
from stream.discovery.vendors import VendorPaths, vendors_of
from stream.discovery.webcams import Webcams


def as_json(plugged_in: Webcams, found: Found) -> str:
    """Everything found, as JSON."""
    return json.dumps(
        {
            "webcams": [asdict(webcam) for webcam in plugged_in.found],
            "network_cameras": [asdict(camera) for camera in found.cameras],
            "asked": found.asked,
            "unread_answers": found.unread_answers,
            "note": plugged_in.note,
        },
        indent=2,
    )


def lines(plugged_in: Webcams, found: Found, search: Search) -> Iterator[str]:
    """The list for people; never wrapped, so that addresses can be copied."""
    yield "webcams"
    yield from _webcams(plugged_in)
    yield ""
    yield "network cameras (ONVIF)"
    for camera in found.cameras:
        yield from _network_camera(camera)
    yield from _next_step(found, search) if found.cameras else _nobody(found, search)


def _webcams(plugged_in: Webcams) -> Iterator[str]:
    width = max((len(webcam.name) for webcam in plugged_in.found), default=0)
    for webcam in plugged_in.found:
        source = webcam.source if webcam.source.isdecimal() else f'"{webcam.source}"'
        remark = f"   {webcam.problem}" if webcam.problem else ""
        yield f"  {webcam.name:{width}}  videodisco run {source}   ({webcam.device}){remark}"
    if plugged_in.note:
        yield f"  {plugged_in.note}"
    elif not plugged_in.found:
        yield (
            f"  none in {plugged_in.looked_in}; is one plugged in? A container sees only devices passed in "
            "(docker run --device /dev/video0)"
        )


def _network_camera(camera: NetworkCamera) -> Iterator[str]:
    kind = " ".join(dict.fromkeys(word for word in (camera.maker, camera.model) if word))
    name = f"  {camera.name!r}" if camera.name and camera.name not in kind else ""
    yield f"  {camera.host}  {kind or 'unnamed maker'}{name}  {camera.address}".rstrip()
    width = max((len(stream.name) for stream in camera.streams), default=0)
    for stream in camera.streams:
        yield f"    {stream.name:{width}}  {_format_of(stream):16}  {stream.uri or 'its address is not told'}"
    if camera.problem:
        yield f"    {camera.problem}"
    if not any(stream.uri for stream in camera.streams):
        for vendor in vendors_of(f"{camera.maker} {camera.model} {camera.name}"):
            yield f"    usual for {vendor.maker}: {_usual(vendor, camera.host)}"


def _format_of(stream: CameraStream) -> str:
    size = f"{stream.width}x{stream.height}" if stream.width and stream.height else ""
    return f"{stream.codec} {size}".strip()


def _usual(vendor: VendorPaths, host: str) -> str:
    return f"{vendor.scheme}://{host}:{vendor.port}{vendor.main}"


def _next_step(found: Found, search: Search) -> Iterator[str]:
    uris = [stream.uri for camera in found.cameras for stream in camera.streams if stream.uri]
    yield ""
    if any(camera.wants_user for camera in found.cameras) and search.credentials is None:
        yield "for the streams of guarded cameras: videodisco cameras --user NAME"
    if uris:
        scheme, _, rest = uris[0].partition("://")
        yield f"next: videodisco probe '{scheme}://USER:PASSWORD@{rest}'   (USER:PASSWORD@ only where it wants them)"


def _nobody(found: Found, search: Search) -> Iterator[str]:
    places = ", ".join(place for place in found.asked if not place.startswith("127.")) or "this machine alone"
    if search.hosts:
        places = ", ".join(search.hosts)
        yield f"  none: {places} did not answer as a camera with ONVIF does, on UDP {search.port} or the usual ports."
        yield "  Is ONVIF switched on in its settings? A stream needs none: the camera's web page names its address,"
    else:
        yield f"  none: nobody answered within {search.timeout_s:g} s to the question sent from {places}."
        yield "  - Cameras in another network are not reached: videodisco cameras --address HOST"
        yield f"  - A firewall here may hold back answers: they come by UDP from port {search.port}."
        yield "  - ONVIF may be switched off in the camera's settings; slow ones want --timeout 10."
        yield "  A stream needs no search: the camera's own web page or app names its address,"
    yield "  or try it: videodisco probe rtsp://USER:PASSWORD@HOST/ lists the usual paths."
