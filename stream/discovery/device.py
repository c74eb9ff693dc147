"""Asking one network camera, over HTTP, what it is and where its streams are."""

from __future__ import annotations

import asyncio
import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from stream.discovery import soap
from stream.discovery.soap import CameraStream, Credentials, Profile, SoapFaultError
from stream.discovery.xml_reading import MAX_XML_BYTES, UnreadableXmlError

_HEADERS: Final = {"Content-Type": "application/soap+xml; charset=utf-8", "Accept-Encoding": "identity"}
_HTTP_UNAUTHORIZED = 401


class UnreadableDeviceError(Exception):
    """The device does not answer as an ONVIF device does; the message says how, in a clause."""


@dataclass(frozen=True, slots=True)
class DeviceAnswers:
    """What a device told. ``problem`` is why it told no more, in a clause, empty where nothing is missing;
    ``wants_user`` says that it would tell more to a (nother) user; ``is_onvif`` that it answered at least once as
    such a device does."""

    maker: str = ""
    model: str = ""
    streams: tuple[CameraStream, ...] = ()
    problem: str = ""
    wants_user: bool = False
    is_onvif: bool = False


class OnvifDevice:
    """One device at ``address``, that of its device service.

    Nothing is followed away from its host, whatever it answers; the password leaves only as a digest.
    """

    def __init__(self, session: aiohttp.ClientSession, address: str, credentials: Credentials | None) -> None:
        self._session = session
        self._address = address
        self._credentials = credentials
        self._clock_ahead = timedelta()
        self._told = DeviceAnswers()
        # Some cameras want HTTP's own digest instead of the one within the message.
        self._middlewares = (
            (aiohttp.DigestAuthMiddleware(credentials.user, credentials.password),) if credentials else ()
        )

    async def ask(self, deadline_s: float) -> DeviceAnswers:
        """All that it tells within ``deadline_s`` seconds."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._ask_streams()
                await self._ask_name()
        except SoapFaultError as fault:
            return replace(self._told, problem=self._refusal(fault), wants_user=fault.wants_user)
        except TimeoutError:
            return replace(self._told, problem="it did not answer in time")
        except UnreadableDeviceError as exc:
            return replace(self._told, problem=str(exc))
        return self._told

    async def _ask_streams(self) -> None:
        await self._learn_clock()
        address = self._own(soap.media_address_in(await self._post(self._address, soap.GET_CAPABILITIES)))
        profiles = soap.profiles_in(await self._post(address, soap.GET_PROFILES))
        for profile in profiles:
            stream = await self._with_uri(address, profile)
            self._told = replace(self._told, streams=(*self._told.streams, stream))

    async def _with_uri(self, address: str, profile: Profile) -> CameraStream:
        try:
            body = await self._post(address, soap.get_stream_uri(profile.token))
        except SoapFaultError as fault:
            if fault.wants_user:
                raise
            return profile.stream  # one stream that cannot be had says nothing of the others
        return replace(profile.stream, uri=soap.stream_uri_in(body))

    async def _ask_name(self) -> None:
        try:
            maker, model = soap.maker_and_model_in(await self._post(self._address, soap.GET_INFORMATION))
        except SoapFaultError:
            return  # what it announced will have to do
        self._told = replace(self._told, maker=maker, model=model)

    async def _learn_clock(self) -> None:
        """Signatures are dated, and refused where the two clocks differ: the device's own is the one that counts."""
        try:
            theirs = soap.clock_in(await self._post(self._address, soap.GET_CLOCK, signed=False))
        except SoapFaultError:
            return
        if theirs is not None:
            self._clock_ahead = theirs - datetime.now(UTC)

    def _own(self, address: str) -> str:
        """``address`` on the host that was asked: behind a router devices name one that is not reached from here."""
        own = urlsplit(self._address)
        try:
            path = urlsplit(address).path
        except ValueError:
            path = ""
        return urlunsplit((own.scheme, own.netloc, path or own.path, "", ""))

    async def _post(self, address: str, body: str, *, signed: bool = True) -> ET.Element:
        created = datetime.now(UTC) + self._clock_ahead
        credentials = self._credentials if signed else None
        message = soap.envelope(body, credentials, created, os.urandom(soap.NONCE_BYTES))
        status, data = await self._exchange(address, message, self._middlewares if signed else ())
        try:
            answer = soap.read_answer(data)
        except SoapFaultError:
            self._told = replace(self._told, is_onvif=True)
            raise
        except UnreadableXmlError as exc:
            if status == _HTTP_UNAUTHORIZED:
                raise SoapFaultError("HTTP 401", wants_user=True) from exc
            raise UnreadableDeviceError(f"its answer (HTTP {status}) is not that of an ONVIF device") from exc
        self._told = replace(self._told, is_onvif=True)
        return answer

    async def _exchange(
        self, address: str, message: bytes, middlewares: tuple[aiohttp.DigestAuthMiddleware, ...]
    ) -> tuple[int, bytes]:
        try:
            async with self._session.post(
                address, data=message, headers=_HEADERS, allow_redirects=False, ssl=False, middlewares=middlewares
            ) as response:
                return response.status, await _bounded(response.content)
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise UnreadableDeviceError(f"it cannot be asked ({type(exc).__name__})") from exc

    def _refusal(self, fault: SoapFaultError) -> str:
        if not fault.wants_user:
            return f"it refuses: {fault}"
        return "it refuses this user or password" if self._credentials else "it tells its streams to its users only"


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    """The whole body, or one byte more than is ever read as XML."""
    data = bytearray()
    while len(data) <= MAX_XML_BYTES:
        chunk = await content.read(MAX_XML_BYTES + 1 - len(data))
        if not chunk:
            break
        data += chunk
    return bytes(data)
