"""One port that an aiohttp application is served on."""

from __future__ import annotations

import asyncio
import logging
import ssl

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from edge_node.errors import RetryLater
from edge_node.hub.config import LimitsConfig
from edge_node.hub.keys import MAX_TOKEN_CHARS

SPARE_SOCKETS = 256
"""Sockets beyond max_connections: pages, the control plane, clients that are being refused."""
BACKLOG = 1024
HANDSHAKE_TIMEOUT_S = 10.0


def _is_ours(record: logging.LogRecord) -> bool:
    """False for malformed requests: aiohttp reports them with their first bytes, which may be a credential."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_http_log = logging.getLogger("edge_node.hub.http")
_http_log.addFilter(_is_ours)


class _Refused(asyncio.Protocol):
    """Cuts a connection that there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class Listener:
    """Bounded in sockets and in the time a request may take to arrive. Overflow rule: the newest socket is cut."""

    def __init__(self, runner: web.AppRunner, listening: asyncio.Server) -> None:
        self._runner = runner
        self._listening = listening

    @classmethod
    async def open(
        cls, app: web.Application, host: str, port: int, limits: LimitsConfig, tls: ssl.SSLContext | None = None
    ) -> Listener:
        """Binds and serves; port 0 is a free one. Raises RetryLater when the address is taken."""
        # No access log: query strings carry credentials. A token has its place in the request line.
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_http_log,
            shutdown_timeout=1.0,
            keepalive_timeout=limits.header_timeout_s,
            max_line_size=MAX_TOKEN_CHARS + 1024,
        )
        await runner.setup()
        server = runner.server
        assert server is not None

        def protocol() -> asyncio.Protocol:
            return server() if len(server.connections) < limits.max_connections + SPARE_SOCKETS else _Refused()

        try:
            listening = await asyncio.get_running_loop().create_server(
                protocol,
                host,
                port,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if tls else None,
                reuse_address=True,
                backlog=BACKLOG,
            )
        except OSError as err:
            await runner.cleanup()
            raise RetryLater(
                f"the hub cannot listen on {host} port {port} ({err.strerror}): "
                "stop what holds it, or choose another port"
            ) from None
        return cls(runner, listening)

    @property
    def port(self) -> int:
        number: int = self._listening.sockets[0].getsockname()[1]
        return number

    def refuse(self) -> None:
        """Takes nobody new."""
        self._listening.close()

    async def close(self) -> None:
        """Cuts every socket."""
        self._listening.close()
        assert self._runner.server is not None
        for protocol in self._runner.server.connections:
            if protocol.transport is not None:
                protocol.transport.abort()
        await self._runner.cleanup()
