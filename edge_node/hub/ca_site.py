"""How a device gets the hub's own authority."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from edge_node.hub.replies import HOST, refusal
from edge_node.hub.tls import Certificates

CA_PATH = "/ca.crt"


class CaFile:
    """`/ca.crt`, on https as well as on plain http: it is public, and what it is for is checked by its owner."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def routes(self) -> list[web.RouteDef]:
        return [web.get(CA_PATH, self.serve)]

    async def serve(self, request: web.Request) -> web.Response:
        pem = self._certificates.ca_pem
        if pem is None:
            raise web.HTTPNotFound
        headers = {
            "Content-Type": "application/x-x509-ca-cert",
            "Content-Disposition": 'attachment; filename="edge-node-ca.crt"',
            "Cache-Control": "no-cache",
        }
        return web.Response(body=pem, headers=headers)


class PlainSite:
    """The plain http port beside https: sends every page there."""

    def __init__(self, certificates: Certificates, https_port: Callable[[], int]) -> None:
        self._ca = CaFile(certificates)
        self._https_port = https_port

    def routes(self) -> list[web.RouteDef]:
        return [*self._ca.routes(), web.get("/{path:.*}", self.redirect)]

    async def redirect(self, request: web.Request) -> web.Response:
        host = request.headers.get("Host", "")
        if "Upgrade" in request.headers or request.query.keys() & {"key", "token"} or not HOST.fullmatch(host):
            return refusal(403, "invalid_request", "this port is for browsers: use wss:// or https:// and its port")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        port = self._https_port()
        place = f"https://{name}{'' if port == 443 else f':{port}'}{request.rel_url.raw_path_qs}"
        return web.Response(status=308, headers={"Location": place})
