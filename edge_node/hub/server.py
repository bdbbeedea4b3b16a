"""The hub: signalling, control plane, console on one port."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from aiohttp import web

from edge_node.errors import Bug, RetryLater
from edge_node.hub.config import HubConfig
from edge_node.hub.health import Health
from edge_node.hub.keys import MAX_TOKEN_CHARS, KeyRing
from edge_node.hub.pages import Pages
from edge_node.hub.replies import MAX_BODY_BYTES, errors_as_json
from edge_node.hub.rest import Rest
from edge_node.hub.session import ConsoleSession
from edge_node.hub.sockets import Sockets
from edge_node.hub.switchboard import Switchboard
from edge_node.ports import Clock
from edge_node.protocol.hub_events import Shutdown

log = logging.getLogger(__name__)

RETRY_AFTER_MS = 1000


class SystemClock:
    """ports.Clock of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class Hub:
    """Starts, stops and starts again on the same port; keys, access code and totals live as long as the object."""

    def __init__(self, config: HubConfig | None = None, clock: Clock | None = None, simulator: bool = False) -> None:
        self._config = config = config or HubConfig()
        clock = clock or SystemClock()
        self.keys = KeyRing(config)
        self._switchboard = Switchboard(config.limits, clock)
        self._session = ConsoleSession(config.console, self.keys, clock, simulator)
        self._sockets = Sockets(self.keys, self._switchboard, config.limits, clock)
        self._parts = (
            self._sockets,
            Rest(self.keys, self._switchboard, clock, "edge-node"),
            Health(self._switchboard, clock),
        )
        self._extra: list[web.RouteDef] = []
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._port = config.port

    @property
    def port(self) -> int:
        """Where it listens, or will again; 0 before the first start on a free port."""
        return self._port

    @property
    def dev_key(self) -> str | None:
        """The publishable key that opens everything, if there is one."""
        return self.keys.dev_key

    @property
    def code(self) -> str:
        """The console's access code."""
        return self._session.code

    @property
    def connections(self) -> int:
        """Clients with a welcome."""
        return self._switchboard.machine.connections

    @property
    def _authority(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._config.host, self._config.host)
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    @property
    def url(self) -> str:
        """The origin for clients, as in the setting channel.url."""
        return f"ws://{self._authority}"

    @property
    def http_url(self) -> str:
        return f"http://{self._authority}"

    @property
    def console_url(self) -> str:
        """The page with the access code in its fragment, which no server ever sees."""
        return f"{self.http_url}/#code={self.code}"

    def add_routes(self, routes: Sequence[web.RouteDef]) -> None:
        """More routes on the same server, before start(). Guard them with check_code()."""
        if self._runner is not None:
            raise Bug("add routes before the hub starts")
        self._extra += routes

    def check_code(self, request: web.BaseRequest) -> bool:
        """True when the request carries the console's code as a Bearer credential."""
        return self._session.check(request)

    async def start(self) -> None:
        """Binds and serves. Raises RetryLater when the address is taken."""
        if self._runner is not None:
            raise Bug("the hub is running already")
        app = web.Application(middlewares=[errors_as_json], client_max_size=MAX_BODY_BYTES)
        for part in self._parts:
            app.add_routes(part.routes())
        app.add_routes(self._extra)
        if self._config.console.enabled:
            app.add_routes([*self._session.routes(), *Pages().routes()])
        # No access log: query strings carry credentials. A token has its place in the request line.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, max_line_size=MAX_TOKEN_CHARS + 1024)
        await runner.setup()
        assert runner.server is not None
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                runner.server, self._config.host, self._port, reuse_address=True, backlog=256
            )
        except OSError as err:
            await runner.cleanup()
            raise RetryLater(
                f"the hub cannot listen on {self._config.host} port {self._port} ({err.strerror}): "
                "stop what holds it, or choose another port"
            ) from None
        self._runner = runner
        self._port = self._listener.sockets[0].getsockname()[1]
        log.info("hub listens on %s", self.url)

    async def stop(self, grace_s: float = 3.0) -> None:
        """Takes nobody new, says going_away, closes everybody with 1001 within grace_s. Harmless when stopped."""
        if self._listener is not None:
            self._listener.close()
            self._switchboard.dispatch(Shutdown(RETRY_AFTER_MS))
            await self._sockets.drained(grace_s)
        await self._cleanup()

    async def abort(self) -> None:
        """Cuts every socket at once and without a word, as a crash would."""
        if self._listener is not None:
            self._listener.close()
        await self._cleanup()

    async def _cleanup(self) -> None:
        runner, self._runner = self._runner, None
        self._listener = None
        if runner is None:
            return
        assert runner.server is not None
        for protocol in runner.server.connections:
            if protocol.transport is not None:
                protocol.transport.abort()
        await runner.cleanup()
        self._switchboard.stop_timer()
