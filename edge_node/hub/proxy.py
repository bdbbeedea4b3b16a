"""Who asks, when a trusted proxy asks for somebody."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_HOPS = 32


class TrustedProxies:
    """A middleware: a request through a trusted proxy gets the client's address and scheme.

    X-Forwarded-For is read from its end, where our own proxy wrote: what a client put in front of that is not
    believed. Without trust the headers mean nothing.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in trusted]
        self._warned = False

    def trusts(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)

    def client(self, remote: str, forwarded_for: Sequence[str]) -> str:
        """The nearest address that is not a trusted proxy's."""
        hops = [hop.strip() for line in forwarded_for for hop in line.split(",")][-MAX_HOPS:]
        client = remote
        while hops and self.trusts(client):
            address = _address(hops.pop())
            if address is None:
                break  # a proxy that writes "unknown" knows no more than this
            client = str(address)
        return client

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        remote = request.remote or ""
        forwarded_for = request.headers.getall("X-Forwarded-For", [])
        if not self.trusts(remote):
            self._hint(remote, bool(forwarded_for))
            return await handler(request)
        scheme = request.headers.get("X-Forwarded-Proto", "").split(",")[-1].strip().lower()
        return await handler(
            request.clone(
                remote=self.client(remote, forwarded_for),
                scheme="https" if scheme in ("https", "wss") else "http",
            )
        )

    def _hint(self, remote: str, forwarded: bool) -> None:
        address = _address(remote)
        if forwarded and not self._warned and address is not None and address.is_loopback:
            self._warned = True
            log.warning(
                "a proxy on this machine seems to be in front of the hub: add it under [proxy] trusted, or all its "
                "clients count as one"
            )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
