"""The console's files, served under a strict policy."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from edge_node.hub.replies import HOST

FOLDER = Path(__file__).parent / "console"
# The system's own table of types may call a module script text/plain, which browsers refuse.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}


def policy(host: str, secure: bool = False) -> str:
    """The Content-Security-Policy: everything from here, nothing from elsewhere, no inline code or style.

    The WebSocket is named because older Safari does not count ws: as 'self' (CSP 3 section 6.7.2.8).
    """
    sockets = (f" wss://{host}" if secure else f" ws://{host} wss://{host}") if HOST.fullmatch(host) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        f"media-src 'self' blob: mediastream:; font-src 'self'; connect-src 'self'{sockets}; manifest-src 'self'; "
        "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class Pages:
    """`/` and the files beside it."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder.resolve()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self.file), web.get("/{name:[^/].*}", self.file)]

    async def file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "index.html")
        path = (self._folder / name).resolve() if "\0" not in name else self._folder
        content_type = TYPES.get(path.suffix)
        hidden = any(part.startswith(".") for part in name.split("/"))
        if hidden or content_type is None or not path.is_relative_to(self._folder) or not path.is_file():
            raise web.HTTPNotFound
        headers = {
            "Content-Type": content_type,
            "Cache-Control": "no-cache",
            "Content-Security-Policy": policy(request.headers.get("Host", ""), request.secure),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
            "X-Frame-Options": "DENY",
        }
        return web.FileResponse(path, headers=headers)
