"""What a watcher of the hub reads: `/healthz`, `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aiohttp import web

from edge_node.hub.switchboard import Switchboard
from edge_node.ports import Clock
from edge_node.version import __version__


class Health:
    """Counts only: no names, no ids, so it needs no credential."""

    def __init__(self, switchboard: Switchboard, clock: Clock) -> None:
        self._switchboard = switchboard
        self._clock = clock
        self._started_at = clock.monotonic()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/healthz", self.healthz), web.get("/metrics", self.metrics)]

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
        machine, totals = self._switchboard.machine, self._switchboard.totals
        counters = machine.counters
        yield from _one("uptime_seconds", "gauge", "Seconds since the start.", round(self._uptime_s(), 3))
        yield from _one("connections", "gauge", "Clients with a welcome.", machine.connections)
        yield from _one("channels", "gauge", "Channels with somebody in them.", machine.channels)
        yield from _one("connections_opened_total", "counter", "Clients let in.", totals.opened)
        yield from _one("frames_received_total", "counter", "Frames from clients.", counters.frames)
        yield from _one("frames_refused_total", "counter", "Frames answered with an error.", counters.errors)
        yield from _one("messages_total", "counter", "Messages accepted.", counters.messages)
        yield from _one("messages_delivered_total", "counter", "Copies handed to receivers.", counters.delivered)
        yield from _one("sent_bytes_total", "counter", "Bytes queued for clients.", totals.sent_bytes)
        yield from _one("slow_clients_total", "counter", "Clients closed for reading too slowly.", totals.too_slow)
        yield from _many("refused_total", "Clients not let in, by close code or status.", totals.refused)
        yield from _many("closed_total", "Connections ended by the hub, by close code.", totals.closed)


def _one(name: str, kind: str, text: str, value: float) -> Iterator[str]:
    yield f"# HELP edge_node_hub_{name} {text}\n# TYPE edge_node_hub_{name} {kind}\nedge_node_hub_{name} {value}\n"


def _many(name: str, text: str, values: Mapping[int, int]) -> Iterator[str]:
    yield f"# HELP edge_node_hub_{name} {text}\n# TYPE edge_node_hub_{name} counter\n"
    for code, value in sorted(values.items()):
        yield f'edge_node_hub_{name}{{code="{int(code)}"}} {value}\n'
