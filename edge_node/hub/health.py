"""What a watcher of the hub reads: `/healthz`, `/metrics`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping

from aiohttp import web

from edge_node.hub.keys import KeyRing
from edge_node.hub.switchboard import Switchboard
from edge_node.hub.tls import Certificates
from edge_node.ports import Clock
from edge_node.protocol.hub_meters import Histogram
from edge_node.version import __version__

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Health:
    """Counts only: no names, no ids, so it needs no credential."""

    def __init__(
        self, switchboard: Switchboard, keys: KeyRing, certificates: Certificates | None, clock: Clock
    ) -> None:
        self._switchboard = switchboard
        self._keys = keys
        self._certificates = certificates
        self._clock = clock
        self._started_at = clock.monotonic()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/healthz", self.healthz), web.get("/metrics", self.metrics)]

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Middleware: counts the control plane's replies."""
        response = await handler(request)
        if request.path.startswith("/v1/"):
            self._switchboard.totals.rest[response.status] += 1
        return response

    def _uptime_s(self) -> float:
        return self._clock.monotonic() - self._started_at

    async def healthz(self, request: web.Request) -> web.Response:
        status = {
            "status": "ok",
            "version": __version__,
            "uptime_s": round(self._uptime_s(), 1),
            "connections": self._switchboard.machine.connections,
        }
        return web.json_response(status, headers={"Cache-Control": "no-store"})

    async def metrics(self, request: web.Request) -> web.Response:
        text = "".join(self._lines())
        return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _lines(self) -> Iterator[str]:
        yield from self._gauges()
        yield from self._messages()
        yield from self._connections()

    def _gauges(self) -> Iterator[str]:
        board, machine = self._switchboard, self._switchboard.machine
        yield from _one("uptime_seconds", "gauge", "Seconds since the start.", round(self._uptime_s(), 3))
        yield from _one("connections", "gauge", "Clients with a welcome.", machine.connections)
        yield from _one("connections_peak", "gauge", "The most clients at once since the start.", board.totals.peak)
        yield from _one("connections_limit", "gauge", "Clients it takes.", machine.max_connections)
        yield from _one("channels", "gauge", "Channels with somebody in them.", machine.channels)
        yield from _one("keys", "gauge", "Keys and secret pairs that are valid.", len(self._keys))
        yield from _one("queue_messages", "gauge", "The most messages that wait for one client.", board.depth)
        yield from _one("queue_messages_peak", "gauge", "The same, since the start.", board.totals.deepest)
        if (limit := machine.quota.limit) is not None:
            yield from _one("quota_messages", "gauge", "Messages a period may have.", limit)
            yield from _one("quota_used_messages", "gauge", "Messages of this period.", machine.quota.used)
        if self._certificates is not None:
            ends = int(self._certificates.expires_at)
            yield from _one("certificate_expiry_timestamp_seconds", "gauge", "When the certificate ends.", ends)

    def _messages(self) -> Iterator[str]:
        totals, counters = self._switchboard.totals, self._switchboard.machine.counters
        dropped = dict(counters.dropped) | {"slow_client": totals.thrown_away}
        yield from _many("frames_received_total", "type", "Frames from clients, by type.", counters.received)
        yield from _one("frames_refused_total", "counter", "Frames answered with an error.", counters.errors)
        yield from _one("received_bytes_total", "counter", "Bytes of frames from clients.", counters.received_bytes)
        yield from _one("sent_bytes_total", "counter", "Bytes of frames for clients.", totals.sent_bytes)
        yield from _many("messages_total", "kind", "Messages accepted, by kind.", counters.messages)
        yield from _many("messages_delivered_total", "kind", "Copies handed to receivers, by kind.", counters.copies)
        yield from _many("messages_dropped_total", "reason", "Messages that did not arrive, by reason.", dropped)
        yield from _histogram("publish_fanout", "Receivers of a published message.", counters.fanout)

    def _connections(self) -> Iterator[str]:
        totals = self._switchboard.totals
        yield from _one("connections_opened_total", "counter", "Clients let in.", totals.opened)
        yield from _one("slow_clients_total", "counter", "Clients closed for reading too slowly.", totals.too_slow)
        yield from _many("refused_total", "code", "Clients not let in, by close code or status.", totals.refused)
        yield from _many("closed_total", "code", "Connections ended by the hub, by close code.", totals.closed)
        yield from _many("left_total", "code", "Connections ended by the client, by close code.", totals.left)
        yield from _many("rest_replies_total", "status", "Replies of the control plane, by status.", totals.rest)


def _one(name: str, kind: str, text: str, value: float) -> Iterator[str]:
    yield f"# HELP edge_node_hub_{name} {text}\n# TYPE edge_node_hub_{name} {kind}\nedge_node_hub_{name} {value}\n"


def _many(name: str, label: str, text: str, values: Mapping[int, int] | Mapping[str, int]) -> Iterator[str]:
    yield f"# HELP edge_node_hub_{name} {text}\n# TYPE edge_node_hub_{name} counter\n"
    for key, value in sorted((str(key), value) for key, value in values.items()):
        yield f'edge_node_hub_{name}{{{label}="{key}"}} {value}\n'


def _histogram(name: str, text: str, values: Histogram) -> Iterator[str]:
    name = f"edge_node_hub_{name}"
    yield f"# HELP {name} {text}\n# TYPE {name} histogram\n"
    below = 0
    for bound, count in zip([*map(str, values.bounds), "+Inf"], values.counts, strict=True):
        below += count
        yield f'{name}_bucket{{le="{bound}"}} {below}\n'
    yield f"{name}_sum {values.total}\n{name}_count {below}\n"
