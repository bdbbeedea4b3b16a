"""The WebSocket endpoint `/v1`."""

from __future__ import annotations

import asyncio
import itertools
import logging

from aiohttp import web

from edge_node.hub.config import LimitsConfig
from edge_node.hub.connection import Connection, new_socket
from edge_node.hub.keys import KeyRing
from edge_node.hub.limiter import AddressLimiter
from edge_node.hub.replies import address, is_loopback, refusal
from edge_node.hub.switchboard import Switchboard
from edge_node.ports import Clock
from edge_node.protocol.grants import Refusal

log = logging.getLogger(__name__)


class Sockets:
    """Lets clients in: the per-address limit before the upgrade, the credential after it, then frames."""

    def __init__(self, keys: KeyRing, switchboard: Switchboard, limits: LimitsConfig, clock: Clock) -> None:
        self._keys = keys
        self._switchboard = switchboard
        self._limits = limits
        self._clock = clock
        self._connects = AddressLimiter(limits.connects_per_minute)
        self._numbers = itertools.count(1)
        self._serving: set[asyncio.Task[object]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1", self.serve)]

    async def drained(self, timeout_s: float) -> None:
        """Waits until every connection has said goodbye, at most timeout_s."""
        if self._serving:
            await asyncio.wait(self._serving, timeout=timeout_s)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One client from upgrade to close."""
        totals = self._switchboard.totals
        if not self._may_connect(request):
            totals.refused[429] += 1
            return refusal(429, "rate_limited", "too many connections from this address: wait a minute")
        socket = new_socket()
        if not socket.can_prepare(request):
            return refusal(426, "invalid_request", "this address speaks WebSocket", {"Upgrade": "websocket"})
        try:
            writer = await socket.prepare(request)
        except ConnectionResetError:  # gone before the upgrade was answered
            return socket
        connection = Connection(next(self._numbers), socket, request.transport, writer.drain, self._limits)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        found = self._keys.admit(request.query, request.headers.get("Origin"), self._clock.wall())
        if isinstance(found, Refusal):
            totals.refused[found.code] += 1
            log.info("refused a client at %s with %d: %s", address(request), found.code, found.reason)
            connection.close(found.code, found.reason)
            await connection.serve(lambda data: None)
            return socket
        self._switchboard.connect(connection, found)
        try:
            await connection.serve(lambda data: self._switchboard.received(connection.conn, data))
        finally:
            self._switchboard.disconnect(connection)
        return socket

    def _may_connect(self, request: web.Request) -> bool:
        if is_loopback(request) and not self._limits.limit_loopback:
            return True
        return self._connects.take(address(request), self._clock.monotonic())
