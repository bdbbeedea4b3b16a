"""The virtual panel's part of the hub's HTTP server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from edge_node.errors import UsageError
from edge_node.simulator.world import World

MAX_BODY_BYTES = 4096
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(world: World, allowed: Callable[[web.Request], bool]) -> list[web.RouteDef]:
    """GET /sim/events (JSON lines), POST /sim/press, POST /sim/world; all need the console's access code."""

    def guarded(handler: Handler) -> Handler:
        async def guard(request: web.Request) -> web.StreamResponse:
            if not allowed(request):
                return _error(401, "give the console's access code as a bearer token")
            try:
                return await handler(request)
            except UsageError as err:
                return _error(400, str(err))

        return guard

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        with contextlib.suppress(ConnectionResetError):  # the page was closed
            await response.prepare(request)
            await response.write(_line({"event": "state", **world.state()}))
            async for event in world.bus.stream():
                await response.write(_line(event))
        return response

    async def press(request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        world.press(str(body.get("button", "")), str(body.get("kind", "short")))
        return web.json_response({"ok": True})

    async def change(request: web.Request) -> web.StreamResponse:
        world.change(await _body(request))
        return web.json_response({"ok": True, "world": world.switches()})

    return [
        web.get("/sim/events", guarded(events)),
        web.post("/sim/press", guarded(press)),
        web.post("/sim/world", guarded(change)),
    ]


async def _body(request: web.Request) -> Mapping[str, Any]:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise UsageError(f"send at most {MAX_BODY_BYTES} bytes")
    try:
        body = await request.json()
    except ValueError:
        raise UsageError("send a JSON object") from None
    if not isinstance(body, dict):
        raise UsageError("send a JSON object")
    return body


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _error(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
