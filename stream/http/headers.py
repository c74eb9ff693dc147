"""Headers that tell browsers to trust nothing but what we send."""

from __future__ import annotations

from aiohttp import web

from stream.http.client import REQUEST_ID

SERVER = "videodisco"

# Everything from ourselves; pictures and clips also from what the page made itself. No inline script or style.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
# What is no page runs nothing; a picture or a clip opened by itself is shown.
_API_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"

# Not Strict-Transport-Security: it counts for every port of the host, and other services live there.
_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # our own requests must carry their origin
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
API_HEADERS = {**_COMMON, "Content-Security-Policy": _API_POLICY, "Cache-Control": "no-store", "Server": SERVER}
PAGE_HEADERS = {**API_HEADERS, "Content-Security-Policy": _PAGE_POLICY}


async def add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """A signal of aiohttp's: before every answer. What a handler set itself stays, but for the name of the server."""
    for name, value in (PAGE_HEADERS if response.content_type == "text/html" else API_HEADERS).items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER
    if REQUEST_ID in request:
        response.headers.setdefault("X-Request-Id", request[REQUEST_ID])
