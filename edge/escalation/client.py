"""The HTTP of it: one request to the refiner, and everything that may come back, within bounds."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType

import aiohttp

from edge.escalation.codec import decode, encode
from edge.escalation.exchange import Failure, Reply, Request, RequestFailedError
from edge.escalation.parcel import Parcel
from edge.escalation.settings import ClientSettings, EscalationSettings
from stream.errors import UsageError
from stream.wire import LIMITS, REFINE_PATH, WireError


class RefineClient:
    """One session for all requests to one refiner; to be entered and used on one loop."""

    def __init__(self, settings: EscalationSettings, token: str | None) -> None:
        """Raises UsageError when the certificates cannot be used."""
        base = settings.url.rstrip("/")
        self._url = base if base.endswith(REFINE_PATH) else base + REFINE_PATH
        self._token = token
        self._settings = settings.client
        self._in_flight = settings.budget.in_flight
        self._tls = _tls(settings.client) if settings.url.startswith("https:") else None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> RefineClient:
        limits = aiohttp.ClientTimeout(total=self._settings.timeout_s, connect=self._settings.connect_timeout_s)
        headers = {"User-Agent": "videodisco", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._in_flight, ssl=self._tls or True),
            timeout=limits,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def request(self, parcels: Sequence[Parcel]) -> Request:
        """Raises UnsendableError."""
        body, content_type = encode(parcels)
        return Request(frozenset(each.key for each in parcels), body, content_type)

    async def post(self, request: Request) -> Reply:
        """Raises RequestFailedError."""
        if self._session is None:
            raise RuntimeError("the client is not entered")
        headers = {"Content-Type": request.content_type}
        try:
            async with self._session.post(
                self._url, data=request.body, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise _failure_of(response.status, response.headers.get("Retry-After"))
                body = await _limited(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise _failure_by(exc) from exc
        try:
            return decode(body, request.keys)
        except WireError as exc:
            raise RequestFailedError(Failure.SUSPICIOUS, "bad_answer", f"its answer is none: {exc}") from exc


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    parts, size_bytes = [], 0
    async for part in response.content.iter_chunked(1 << 16):
        size_bytes += len(part)
        if size_bytes > LIMITS.max_reply_bytes:
            response.close()  # the connection is not used again: nobody reads the rest
            raise RequestFailedError(
                Failure.PASSING, "answer_too_large", f"its answer is larger than {LIMITS.max_reply_bytes} bytes"
            )
        parts.append(part)
    return b"".join(parts)


def _failure_of(status: int, retry_after: str | None) -> RequestFailedError:
    """An answer that is none, by its status."""
    if status in (401, 403):
        return RequestFailedError(Failure.REFUSED, "unauthorized", f"it does not let us in ({status}); check the token")
    if 300 <= status < 400:
        clause = f"it redirects ({status}), which is not followed; give the final address as url"
        return RequestFailedError(Failure.REFUSED, "redirect", clause)
    if status in (404, 405, 410, 501):
        return RequestFailedError(Failure.REFUSED, "not_found", f"there is no refiner at the url ({status})")
    wait_s = _seconds(retry_after)
    if status == 429:
        return RequestFailedError(Failure.THROTTLED, "throttled", "it asks for patience (429)", wait_s)
    if status in (408, 425, 502, 503, 504):
        return RequestFailedError(Failure.PASSING, f"status_{status}", f"it answers {status}", wait_s)
    return RequestFailedError(Failure.SUSPICIOUS, f"status_{status}", f"it answers {status}", wait_s)


def _failure_by(exc: Exception) -> RequestFailedError:
    """No answer, by the exception; nothing of the address is repeated."""
    if isinstance(exc, TimeoutError):
        if isinstance(exc, aiohttp.ConnectionTimeoutError):
            return RequestFailedError(Failure.PASSING, "unreachable", "it cannot be reached in time")
        return RequestFailedError(Failure.SUSPICIOUS, "timeout", "it does not answer in time")
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return RequestFailedError(
            Failure.REFUSED, "certificate", "its certificate or ours is not accepted; check ca_file and cert_file"
        )
    if isinstance(exc, aiohttp.ClientConnectorError):
        return RequestFailedError(Failure.PASSING, "unreachable", "it cannot be reached")
    # ClientOSError: a connection that is reset, as that of a process that is killed
    if isinstance(
        exc, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | ConnectionError
    ):
        return RequestFailedError(Failure.PASSING, "cut_off", "it hangs up before its answer is complete")
    return RequestFailedError(Failure.PASSING, "bad_http", f"it does not speak HTTP ({type(exc).__name__})")


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header in seconds or as a date; None for anything else."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError):
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _tls(settings: ClientSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as exc:
        raise UsageError(f"cannot use the certificates {settings.ca_file}: {_reason(exc)}") from exc
    if settings.cert_file is not None:
        try:
            # without a password OpenSSL would ask for one on the terminal
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except (OSError, ValueError) as exc:
            raise UsageError(f"cannot use the certificate {settings.cert_file}: {_reason(exc)}") from exc
    return context


def _reason(exc: Exception) -> str:
    return (getattr(exc, "strerror", None) or str(exc)).lower()
