"""Fetching one file over HTTPS: resumed where it was broken off, bounded in size and time, whole or not at all.

What came so far lies in a ``.part`` file with the server's tag for it (``.etag``) beside it; it is only gone on with
while the server still has the same file.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stream.errors import ModelError, OutputError

CHUNK_BYTES = 1 << 18
STALL_S = 30.0
"""A server that says nothing for so long has gone."""

ATTEMPTS = 4
MAX_REDIRECTS = 5
_PART, _NOTHING_LEFT = 206, 416

Opener = Callable[[urllib.request.Request], Any]
"""Sends a request and gives the response, a context manager as urllib has it."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, and how many there will be if that is known."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """No more than ``most_bytes``, exactly ``size_bytes`` if that is known, within ``most_s`` of the given clock."""

    most_bytes: int
    size_bytes: int | None
    most_s: float
    clock: Callable[[], float]


class _InterruptedError(Exception):
    """The connection broke; what came is kept."""


def https_opener(context: ssl.SSLContext | None = None) -> Opener:
    """Requests over HTTPS alone, through the proxy of the environment if there is one."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context or ssl.create_default_context()),
        _HttpsRedirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        director.add_handler(handler)
    return lambda request: director.open(request, timeout=STALL_S)


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_https(url: str) -> None:
    """Raises ModelError for an address of another kind."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ModelError(f"models are fetched over https only, not from {parts.scheme}://{parts.hostname}")


def fetch(url: str, part: Path, bounds: Bounds, opener: Opener, progress: Progress) -> None:
    """Make ``part`` the whole file at ``url``, going on from what is there.

    Raises:
        ModelError: it cannot be reached, is not there, or is larger or longer in coming than the bounds say.
        OutputError: the part cannot be written.
    """
    check_https(url)
    until_s = bounds.clock() + bounds.most_s
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _attempt(url, part, bounds, until_s, opener, progress)
            return
        except _InterruptedError as exc:
            if attempt == ATTEMPTS:
                raise ModelError(
                    f"the connection to {urlsplit(url).hostname} broke off {ATTEMPTS} times ({exc}); "
                    "what came is kept: start it again to go on"
                ) from exc


def _attempt(url: str, part: Path, bounds: Bounds, until_s: float, opener: Opener, progress: Progress) -> None:
    offset, tag = _so_far(part)
    if offset and offset == bounds.size_bytes:
        return
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "videodisco"})  # noqa: S310 - checked to be https
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", tag)
    total: int | None = None
    with _foreign_errors(url), opener(request) as response:
        if not _goes_on(response, offset):
            offset = 0
        total = _total(response, offset)
        _check_size(url, total, bounds)
        _write(part, offset, response, until_s, bounds, progress, total)
    if total is not None and part.stat().st_size < total:
        raise _InterruptedError(f"{part.stat().st_size} of {total} bytes came")
    _check_size(url, part.stat().st_size, bounds)


def _so_far(part: Path) -> tuple[int, str]:
    """How much is there and the server's tag for it; nothing without a tag that tells one file from another."""
    try:
        tag = _tag_path(part).read_text(encoding="latin-1")
        return (part.stat().st_size, tag) if tag.startswith('"') else (0, "")
    except OSError:
        return 0, ""


def _goes_on(response: Any, offset: int) -> bool:
    begins = str(response.headers.get("Content-Range", "")).startswith(f"bytes {offset}-")
    return bool(offset and response.status == _PART and begins)


def _total(response: Any, offset: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return offset + int(length) if length.isascii() and length.isdigit() else None


def _check_size(url: str, size_bytes: int | None, bounds: Bounds) -> None:
    if size_bytes is None:
        return
    if bounds.size_bytes not in (None, size_bytes):
        raise ModelError(f"{url} has {size_bytes} bytes where the catalogue knows {bounds.size_bytes}: it was changed")
    if size_bytes > bounds.most_bytes:
        raise ModelError(f"{url} has {size_bytes} bytes: too large to be a detection model")


def _write(
    part: Path,
    offset: int,
    response: Any,
    until_s: float,
    bounds: Bounds,
    progress: Progress,
    total: int | None,
) -> None:
    _tag_path(part).write_text(response.headers.get("ETag", ""), encoding="latin-1", errors="replace")
    with part.open("ab" if offset else "wb") as file:
        done = offset
        while chunk := response.read(CHUNK_BYTES):
            done += len(chunk)
            if done > (bounds.size_bytes or bounds.most_bytes):
                raise ModelError(
                    f"the server sends more than the {bounds.size_bytes or bounds.most_bytes} bytes expected"
                )
            if bounds.clock() > until_s:
                raise ModelError(f"it took more than {bounds.most_s / 60:.0f} minutes; what came is kept")
            file.write(chunk)
            progress(done, bounds.size_bytes or total)


def _tag_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


@contextlib.contextmanager
def _foreign_errors(url: str) -> Iterator[None]:
    """What urllib, http and ssl raise, as ours."""
    host = urlsplit(url).hostname
    try:
        yield
    except urllib.error.HTTPError as exc:
        if exc.code == _NOTHING_LEFT:
            return  # all of it is there; whether it is the right file, its hash will tell
        if exc.code >= 500:
            raise _InterruptedError(f"HTTP {exc.code}") from exc
        raise ModelError(f"{host} answers {exc.code} {exc.reason} for {url}") from exc
    except (http.client.HTTPException, TimeoutError, ConnectionError) as exc:
        raise _InterruptedError(str(exc) or type(exc).__name__) from exc
    except urllib.error.URLError as exc:
        reason = exc.reason.strerror if isinstance(exc.reason, OSError) else exc.reason
        raise ModelError(
            f"{host} cannot be reached ({reason or exc.reason}); without a network here, fetch {url} elsewhere "
            "and give the file to videodisco models add"
        ) from exc
    except ssl.SSLError as exc:
        raise _InterruptedError(str(exc)) from exc
    except OSError as exc:
        raise OutputError(f"what comes from {host} cannot be written: {exc.strerror or exc}") from exc
