"""Files of a package as pages: read once at the start, each at an address of its own, nothing else reachable."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from aiohttp import web

from stream.errors import UsageError
from stream.http.endpoints import Call, Endpoint, Media
from stream.http.headers import API_HEADERS, PAGE_HEADERS

# Not the machine's own table: on some it calls scripts text/plain, which browsers then refuse.
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/vnd.microsoft.icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
}
_INDEX = "index.html"


@dataclass(frozen=True, slots=True)
class Pages:
    """The files below ``folder`` inside a package, served below ``prefix``; an ``index.html`` is also its folder.

    Everybody may read them: they hold no data, and somebody has to be shown where to log in.
    """

    package: str
    folder: str = "static"
    prefix: str = "/"


def page_endpoints(pages: Pages) -> list[Endpoint]:
    """An endpoint for each file.

    Raises:
        UsageError: the package has no such folder, or a file of a type that is not known here.
    """
    root = resources.files(pages.package).joinpath(pages.folder)
    if not root.is_dir():
        raise UsageError(f"the package {pages.package} lacks its folder {pages.folder}; install videodisco again")
    bare = pages.prefix.rstrip("/")
    found = [_page(bare, _redirect_to(f"{bare}/"), "text/plain")] if bare else []
    for name, file in sorted(_files(root, "")):
        suffix = name[name.rfind(".") :]
        if suffix not in _TYPES:
            raise UsageError(f"{pages.folder}/{name} is of a type that pages cannot have")
        address = f"{bare}/{name}"
        handler = _server_of(file.read_bytes(), _TYPES[suffix])
        found.append(_page(address, handler, _TYPES[suffix]))
        if name.rpartition("/")[2] == _INDEX:
            found.append(_page(address.removesuffix(_INDEX), handler, _TYPES[suffix]))
    return found


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _files(each, f"{prefix}{each.name}/")
        else:
            yield prefix + each.name, each


def _page(address: str, handler: Callable[[Call], Awaitable[web.Response]], content_type: str) -> Endpoint:
    answers = {200: Media(content_type), 304: None}
    summary = "A file of the page"
    return Endpoint("GET", address, handler, summary, role=None, answers=answers, documented=False, any_query=True)


def _redirect_to(address: str) -> Callable[[Call], Awaitable[web.Response]]:
    async def redirect(_: Call) -> web.Response:
        return web.Response(status=308, headers={"Location": address})

    return redirect


def _server_of(data: bytes, content_type: str) -> Callable[[Call], Awaitable[web.Response]]:
    etag = hashlib.sha256(data).hexdigest()[:32]
    charset = "utf-8" if content_type.startswith("text/") else None
    # asked for again each time, which costs one small answer, so that an update is seen at once
    # said with a 304 as well: browsers lay its headers over what they have kept
    always = PAGE_HEADERS if content_type == "text/html" else API_HEADERS
    headers = {**always, "ETag": f'"{etag}"', "Cache-Control": "no-cache"}

    async def serve(call: Call) -> web.Response:
        known = call.request.if_none_match or ()
        if any(each.value in {etag, "*"} for each in known):
            return web.Response(status=304, headers=headers)
        return web.Response(body=data, content_type=content_type, charset=charset, headers=headers)

    return serve
