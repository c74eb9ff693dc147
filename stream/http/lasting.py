"""Answers that go on: WebSockets that notice dead peers, slow readers and the end of the service."""

from __future__ import annotations

from aiohttp import web

from stream.http.endpoints import Call


async def open_websocket(call: Call, *, max_message_bytes: int = 64 << 10) -> web.WebSocketResponse:
    """Accept the WebSocket of ``call`` (an endpoint with ``websocket`` and ``lasting``): pings, no compression, closed
    with 1001 when the service stops. Return it from the handler when done. A ``send_*`` waits while the peer is slow;
    one that takes too little is left by the connection's send limit."""
    raise NotImplementedError
