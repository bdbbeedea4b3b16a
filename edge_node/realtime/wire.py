"""A signalling socket over the websockets library."""

from __future__ import annotations

import logging
import ssl
import time
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from edge_node.ports import Connect, WireClosed
from edge_node.protocol.names import MAX_INBOUND_CLIENT_BYTES
from edge_node.realtime.logger import hide_secrets

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
BROKEN = 1006  # RFC 6455 section 7.4.1: closed without a close frame
NOT_YET_VALID, EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED, verify(1)
# At level DEBUG the library logs the request line, which holds the key, as well as every frame.
_library_log = hide_secrets(logging.getLogger(__name__))


class WebSocketWire:
    """ports.Wire over one WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as err:
            raise _closed(err) from None

    async def recv(self) -> str | bytes:
        try:
            return await self._socket.recv()
        except ConnectionClosed as err:
            raise _closed(err) from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._socket.close(code, reason[:120])


def _closed(err: ConnectionClosed) -> WireClosed:
    if err.rcvd is None:
        return WireClosed(BROKEN, "the connection broke")
    return WireClosed(err.rcvd.code, err.rcvd.reason)


def trust(ca_file: Path | None) -> Connect:
    """A ports.Connect that trusts one more authority, such as a hub's own `ca.crt`; read at each connection."""

    async def connect_trusting(url: str) -> WebSocketWire:
        if ca_file is None or not url.startswith("wss://"):
            return await connect(url)
        context = ssl.create_default_context()
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as err:
            reason = f"the authority in {ca_file} cannot be read ({err}): check channel.ca_file"
            raise WireClosed(BROKEN, reason) from None
        return await connect(url, context)

    return connect_trusting


def certificate_problem(err: ssl.SSLCertVerificationError, wall: float) -> str:
    """Why a server's certificate was refused; `wall` is this machine's unix time, which may be what is wrong."""
    if err.verify_code in (NOT_YET_VALID, EXPIRED):
        what = "is not valid yet" if err.verify_code == NOT_YET_VALID else "has expired"
        today = time.strftime("%Y-%m-%d", time.gmtime(wall))
        return f"the server's certificate {what}: the clock says {today}; if that is wrong, wait for time sync"
    return f"the server's certificate is not trusted ({err.verify_message}): check channel.ca_file"


async def connect(url: str, context: ssl.SSLContext | None = None) -> WebSocketWire:
    """ports.Connect: opens a socket. Raises WireClosed; its code is the HTTP status when the upgrade was refused."""
    trusted: dict[str, Any] = {} if context is None else {"ssl": context}  # ssl=None would mean: no TLS
    try:
        socket = await open_websocket(
            url,
            **trusted,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_INBOUND_CLIENT_BYTES,
            ping_interval=None,  # the session's own ping and watchdog judge the line
            logger=_library_log,
            proxy=None if url.startswith("ws://") else True,
        )
    except InvalidStatus as err:
        raise WireClosed(err.response.status_code, "the upgrade was refused") from None
    except ssl.SSLCertVerificationError as err:
        raise WireClosed(BROKEN, certificate_problem(err, time.time())) from None
    except (OSError, InvalidHandshake, TimeoutError) as err:
        # The address holds the key and some of these texts hold the address: the type has to do.
        raise WireClosed(BROKEN, f"no connection ({type(err).__name__})") from None
    return WebSocketWire(socket)
