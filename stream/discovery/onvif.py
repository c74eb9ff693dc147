"""Finding network cameras: who answers WS-Discovery, and what each of them tells of its streams."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass, replace

import aiohttp

from stream.discovery.device import DeviceAnswers, OnvifDevice
from stream.discovery.soap import CameraStream, Credentials
from stream.discovery.ws_messages import DISCOVERY_PORT, Announcement
from stream.discovery.ws_search import Questions, ask_hosts, ask_networks, interface_addresses
from stream.errors import SourceError

MAX_CAMERAS = 256
MAX_ASKED_AT_ONCE = 32

DEVICE_SERVICE_PORTS = (80, 2020, 8000, 8080, 8899)
"""Where cameras keep their device service: tried at a host that does not answer the search itself."""

_DEVICE_SERVICE_PATH = "/onvif/device_service"


@dataclass(frozen=True, slots=True)
class NetworkCamera:
    """A camera that answered. ``address`` is that of its device service, empty where it named none on its own host;
    ``problem`` says in a clause why its streams are not told, ``wants_user`` that a user's password would help."""

    host: str
    address: str
    name: str = ""
    maker: str = ""
    model: str = ""
    streams: tuple[CameraStream, ...] = ()
    problem: str = ""
    wants_user: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for: on all networks of this machine, or only at ``hosts``.

    Announcements are listened for ``timeout_s``; each camera then has ``ask_deadline_s`` for its answers. ``port``
    differs in tests alone.
    """

    timeout_s: float = 3.0
    hosts: tuple[str, ...] = ()
    credentials: Credentials | None = None
    ask_deadline_s: float = 5.0
    port: int = DISCOVERY_PORT


@dataclass(frozen=True, slots=True)
class Found:
    """The cameras by address. ``asked`` are the own addresses the question was sent from, or the hosts it was sent
    to; ``unread_answers`` counts datagrams that were no answer to it or were too many."""

    cameras: tuple[NetworkCamera, ...]
    asked: tuple[str, ...]
    unread_answers: int = 0


async def find_cameras(search: Search) -> Found:
    """Ask who is there and, of each that answers, what it is and where its streams are.

    Takes ``timeout_s`` and at most ``ask_deadline_s`` more, whatever is answered.

    Raises:
        SourceError: one of the hosts has no address.
    """
    hosts = [await _ip_address(host) for host in search.hosts]
    connector = aiohttp.TCPConnector(limit=MAX_ASKED_AT_ONCE, force_close=True)
    untimed = aiohttp.ClientTimeout(total=None)  # every talk has a deadline of its own
    async with aiohttp.ClientSession(
        connector=connector, timeout=untimed, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as http:
        talks = _Talks(http, search)
        questions = Questions(talks.begin)
        if hosts:
            asked = await ask_hosts(questions, hosts, search.port, search.timeout_s)
            talks.begin_unannounced(hosts)
        else:
            asked = await ask_networks(questions, interface_addresses(), search.port, search.timeout_s)
        cameras = await talks.finish()
    return Found(tuple(sorted(cameras, key=_place)), tuple(asked), questions.unread_answers)


def bracketed(host: str) -> str:
    """``host`` as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


class _Talks:
    """The talks with all cameras of one search, side by side."""

    def __init__(self, http: aiohttp.ClientSession, search: Search) -> None:
        self._http = http
        self._search = search
        self._announced: dict[str, NetworkCamera] = {}
        self._running: dict[str, asyncio.Task[DeviceAnswers]] = {}
        self._guesses: set[str] = set()

    def begin(self, announcement: Announcement) -> None:
        """Talk to the device that announced itself, unless that is going on already."""
        address = announcement.address or ""
        key = address or f"{announcement.sender} {announcement.endpoint}"
        if key in self._announced or len(self._announced) >= MAX_CAMERAS:
            return
        self._announced[key] = NetworkCamera(
            host=announcement.sender,
            address=address,
            name=announcement.scope("name"),
            maker=announcement.scope("manufacturer") or announcement.scope("mfr"),
            model=announcement.scope("hardware"),
            problem="" if address else "it names no address of its own to be asked at",
        )
        if address:
            self._running[key] = asyncio.create_task(self._ask(address))

    def begin_unannounced(self, hosts: list[str]) -> None:
        """Look for the device service itself at those of ``hosts`` that did not announce theirs."""
        heard = {camera.host for camera in self._announced.values()}
        for host in hosts:
            for port in DEVICE_SERVICE_PORTS if host not in heard else ():
                address = f"http://{bracketed(host)}:{port}{_DEVICE_SERVICE_PATH}"
                self._announced[address] = NetworkCamera(host, address)
                self._guesses.add(address)
                self._running[address] = asyncio.create_task(self._ask(address))

    async def finish(self) -> list[NetworkCamera]:
        """All devices with what they told, at the latest ``ask_deadline_s`` from now."""
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=self._search.ask_deadline_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
        told = {key: _told(task) for key, task in self._running.items()}
        return [
            _joined(camera, told.get(key))
            for key, camera in self._announced.items()
            if key not in self._guesses or told[key].is_onvif
        ]

    async def _ask(self, address: str) -> DeviceAnswers:
        device = OnvifDevice(self._http, address, self._search.credentials)
        return await device.ask(self._search.ask_deadline_s)


def _told(task: asyncio.Task[DeviceAnswers]) -> DeviceAnswers:
    return DeviceAnswers(problem="there was no time left to ask it") if task.cancelled() else task.result()


def _joined(camera: NetworkCamera, told: DeviceAnswers | None) -> NetworkCamera:
    """What a device announced of itself, together with what it told when asked."""
    if told is None:
        return camera
    return replace(
        camera,
        name=camera.name or told.model,
        maker=told.maker or camera.maker,
        model=told.model or camera.model,
        streams=told.streams,
        problem=told.problem,
        wants_user=told.wants_user,
    )


async def _ip_address(host: str) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as exc:
        raise SourceError(f"{host} has no address: check its spelling, or name it by its IP address") from exc
    return str(found[0][4][0])


def _place(camera: NetworkCamera) -> tuple[int, int, str]:
    address = ipaddress.ip_address(camera.host)
    return address.version, int(address), camera.address
