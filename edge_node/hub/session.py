"""How a person at the console becomes a `resident-…` peer."""

from __future__ import annotations

import secrets
from typing import Any

from aiohttp import web

from edge_node.hub.config import ConsoleConfig
from edge_node.hub.keys import KeyRing, same
from edge_node.hub.limiter import AddressLimiter
from edge_node.hub.replies import BadRequest, address, bearer, body_object
from edge_node.ports import Clock
from edge_node.protocol.names import PERMISSIONS
from edge_node.protocol.patterns import escape

SESSION_S = 3600
PREFIX = "resident-"
MAX_NAME_CHARS = 40
WRONG_PER_MINUTE = 10
_ID_CHARS = "abcdefghijkmnpqrstuvwxyz23456789"


class ConsoleSession:
    """`POST /console/session`: the access code for a short-lived token."""

    def __init__(
        self, config: ConsoleConfig, keys: KeyRing, clock: Clock, simulator: bool, ca_path: str | None
    ) -> None:
        self._config = config
        self._keys = keys
        self._clock = clock
        self._simulator = simulator
        self._ca_path = ca_path
        self._wrong = AddressLimiter(WRONG_PER_MINUTE)
        self.code = config.code.get_secret_value() if config.code else secrets.token_urlsafe(18)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/console/session", self.open)]

    def check(self, request: web.BaseRequest) -> bool:
        """True when the request carries the code as `Authorization: Bearer CODE`; wrong ones count as guesses."""
        return self._is_code(request, bearer(request)) is True

    def _is_code(self, request: web.BaseRequest, given: object) -> bool | None:
        """None: too many wrong guesses from this address."""
        who, now = address(request), self._clock.monotonic()
        if self._wrong.full(who, now):
            return None
        if not given or not isinstance(given, str):
            return False  # forgotten, not guessed
        if same(given, self.code):
            return True
        self._wrong.hit(who, now)
        return False

    async def open(self, request: web.Request) -> web.Response:
        body = await body_object(request)
        good = self._is_code(request, body.get("code"))
        if good is None:
            raise BadRequest(429, "rate_limited", "Too many wrong codes from here: wait a minute.")
        if not good:
            raise BadRequest(401, "wrong_code", "This access code is wrong: open the address that the hub printed.")
        name = body.get("name", "")
        if not isinstance(name, str) or len(name) > MAX_NAME_CHARS:
            raise BadRequest(400, "invalid_request", f"A name has at most {MAX_NAME_CHARS} characters.")
        return web.json_response(self._session(name.strip(), body.get("renew")), headers={"Cache-Control": "no-store"})

    def _session(self, name: str, renew: object) -> dict[str, Any]:
        known = self._keys.resident(renew) if isinstance(renew, str) else None
        peer_id = known or PREFIX + "".join(secrets.choice(_ID_CHARS) for _ in range(8))
        now = int(self._clock.wall())
        config = self._config
        claims: dict[str, Any] = {
            "sub": peer_id,
            "iat": now,
            "exp": now + SESSION_S,
            "channels": [escape(config.channel), escape(config.telemetry_channel), "telemetry/*"],
            "permissions": list(PERMISSIONS),
        }
        if name:
            claims["peerMetadata"] = {"name": name}
        return {
            "token": self._keys.mint_for_console(claims),
            "expires_at": now + SESSION_S,
            "peer_id": peer_id,
            "name": name,
            "channel": config.channel,
            "telemetry_channel": config.telemetry_channel,
            "ws_path": "/v1",
            "ca_path": self._ca_path,
            "simulator": self._simulator,
        }
