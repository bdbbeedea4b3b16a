"""The hub: signalling, control plane, console on one port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from aiohttp import web

from edge_node.aio.clock import SystemClock
from edge_node.aio.tasks import cancel_and_wait
from edge_node.errors import Bug
from edge_node.hub.ca_site import CA_PATH, CaFile, PlainSite
from edge_node.hub.config import HubConfig
from edge_node.hub.enrol import Enrolment
from edge_node.hub.enrol_file import ENROL_FILE
from edge_node.hub.health import Health
from edge_node.hub.key_file import StoredKey, read_keys
from edge_node.hub.keys import KeyRing
from edge_node.hub.listener import Listener
from edge_node.hub.pages import Pages
from edge_node.hub.proxy import TrustedProxies
from edge_node.hub.reload import Reloader
from edge_node.hub.replies import MAX_BODY_BYTES, errors_as_json
from edge_node.hub.rest import Rest
from edge_node.hub.session import ConsoleSession
from edge_node.hub.sockets import Sockets
from edge_node.hub.switchboard import Switchboard
from edge_node.hub.tls import Certificates
from edge_node.ports import Clock
from edge_node.protocol.hub_events import Revoke, Shutdown

log = logging.getLogger(__name__)


class Hub:
    """Starts, stops and starts again on the same port; keys, access code and totals live as long as the object.

    Raises SettingsError when its key file or its certificate cannot be used.
    """

    def __init__(self, config: HubConfig | None = None, clock: Clock | None = None, simulator: bool = False) -> None:
        self._config = config = config or HubConfig()
        clock = clock or SystemClock()
        limits, key_file = config.limits, config.keys.file
        self.keys = KeyRing(config, read_keys(key_file) if key_file else ())
        self._certificates = Certificates(config.tls, config.state_dir, clock) if config.tls.enabled else None
        self._switchboard = Switchboard(limits, clock)
        self._enrolment = Enrolment(
            key_file.with_name(ENROL_FILE) if key_file else None, self.keys, clock, self._revoke_devices
        )
        self._reloader = Reloader(key_file, self._adopt, self._certificates, self._enrolment.look)
        self._session = ConsoleSession(config.console, self.keys, clock, simulator, self.ca_path)
        self._sockets = Sockets(self.keys, self._switchboard, limits, clock)
        self._health = Health(self._switchboard, self.keys, self._certificates, clock)
        self._rest = Rest(self.keys, self._switchboard, limits, clock, "edge-node")
        self._proxies = TrustedProxies(config.proxy.trusted)
        self._extra: list[web.RouteDef] = []
        self._listener: Listener | None = None
        self._plain: Listener | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._port = config.port
        self._plain_port = config.tls.http_port

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
    def ca_path(self) -> str | None:
        """Where a device finds what it installs to trust this hub; None: there is nothing to install."""
        return CA_PATH if self._config.tls.self_made else None

    @property
    def ca_url(self) -> str | None:
        """The same as an address that needs no trust yet; None without it, or without a plain port."""
        if self.ca_path is None or not self._plain_port:
            return None
        return f"http://{self._host}:{self._plain_port}{self.ca_path}"

    @property
    def _host(self) -> str:
        """Under which name to reach it: the certificate's, when it was not bound to one address."""
        certificates, given = self._certificates, self._config.host
        wildcard = given in ("0.0.0.0", "::")
        if certificates is not None and (wildcard or self.ca_path is None) and certificates.address:
            return certificates.address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(given, given)
        return f"[{host}]" if ":" in host else host

    @property
    def _s(self) -> str:
        return "s" if self._config.tls.enabled else ""

    @property
    def url(self) -> str:
        """The origin for clients, as in the setting channel.url."""
        return f"ws{self._s}://{self._host}:{self._port}"

    @property
    def http_url(self) -> str:
        return f"http{self._s}://{self._host}:{self._port}"

    @property
    def console_url(self) -> str:
        """The page with the access code in its fragment, which no server ever sees."""
        return f"{self.http_url}/#code={self.code}"

    def add_routes(self, routes: Sequence[web.RouteDef]) -> None:
        """More routes on the same server, before start(). Guard them with check_code()."""
        if self._listener is not None:
            raise Bug("add routes before the hub starts")
        self._extra += routes

    def check_code(self, request: web.BaseRequest) -> bool:
        """True when the request carries the console's code as a Bearer credential."""
        return self._session.check(request)

    def reload(self) -> None:
        """Reads the key file and the certificate again, at once (SIGHUP); otherwise both are looked at every second."""
        self._reloader.look(at_once=True)

    def _adopt(self, stored: Sequence[StoredKey]) -> None:
        gone = self.keys.adopt(stored)
        log.info("the key file has %d keys now", len(stored))
        if gone:
            self._switchboard.dispatch(Revoke(gone))

    def _revoke_devices(self, key_ids: frozenset[str]) -> None:
        self._switchboard.dispatch(Revoke(key_ids))

    async def start(self) -> None:
        """Binds and serves. Raises RetryLater when an address is taken."""
        if self._listener is not None:
            raise Bug("the hub is running already")
        config, limits, certificates = self._config, self._config.limits, self._certificates
        context = certificates.context if certificates else None
        self._listener = await Listener.open(self._app(), config.host, self._port, limits, context)
        self._port = self._listener.port
        if certificates is not None and self._plain_port is not None:
            site = web.Application(middlewares=[errors_as_json], client_max_size=0)
            site.add_routes(PlainSite(certificates, lambda: self._port).routes())
            try:
                self._plain = await Listener.open(site, config.host, self._plain_port, limits)
            except BaseException:
                await self._cleanup()
                raise
            self._plain_port = self._plain.port
        self._reloading = asyncio.create_task(self._reloader.run(), name="hub:reload")
        log.info("hub listens on %s", self.url)

    def _app(self) -> web.Application:
        app = web.Application(
            middlewares=[self._proxies.middleware, self._health.count, errors_as_json], client_max_size=MAX_BODY_BYTES
        )
        for part in (self._sockets, self._rest, self._enrolment, self._health):
            app.add_routes(part.routes())
        app.add_routes(self._extra)
        if self._certificates is not None:
            app.add_routes(CaFile(self._certificates).routes())
        if self._config.console.enabled:
            app.add_routes([*self._session.routes(), *Pages().routes()])
        return app

    async def stop(self, grace_s: float = 3.0) -> None:
        """Takes nobody new, says going_away, closes everybody with 1001 within grace_s. Harmless when stopped."""
        if self._listener is not None:
            self._listener.refuse()
            self._switchboard.dispatch(Shutdown(self._config.limits.return_spread_s))
            await self._sockets.drained(grace_s)
        await self._cleanup()

    async def abort(self) -> None:
        """Cuts every socket at once and without a word, as a crash would."""
        await self._cleanup()

    async def _cleanup(self) -> None:
        await cancel_and_wait(self._reloading)
        listeners = [it for it in (self._plain, self._listener) if it is not None]
        self._plain = self._listener = self._reloading = None
        for listener in listeners:
            await listener.close()
        self._switchboard.stop_timer()
