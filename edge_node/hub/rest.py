"""The control plane: REST under `/v1`, for holders of a secret pair."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web

from edge_node.hub.config import MAX_KEYS, LimitsConfig
from edge_node.hub.keys import KeyRing
from edge_node.hub.limiter import AddressLimiter
from edge_node.hub.replies import BadRequest, address, bearer, body_object
from edge_node.hub.switchboard import Switchboard
from edge_node.ports import Clock
from edge_node.protocol.codec import dumps
from edge_node.protocol.grants import (
    MAX_LIFETIME_S,
    MAX_PEER_METADATA_BYTES,
    Refusal,
    Scope,
    grant_from_claims,
)
from edge_node.protocol.hub_events import Inject, Kick
from edge_node.protocol.names import channel_problem, is_reserved, peer_id_problem

log = logging.getLogger(__name__)

DEFAULT_TOKEN_S = 3600
WRONG_PER_MINUTE = 30
_CLAIMS = ("sub", "channels", "permissions", "metadata", "peerMetadata", "iss")


class Rest:
    """The five endpoints."""

    def __init__(
        self, keys: KeyRing, switchboard: Switchboard, limits: LimitsConfig, clock: Clock, app_id: str
    ) -> None:
        self._keys = keys
        self._switchboard = switchboard
        self._clock = clock
        self._app_id = app_id
        self._wrong = AddressLimiter(WRONG_PER_MINUTE)
        self._requests = AddressLimiter(limits.rest_per_minute, size=MAX_KEYS)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/tokens", self.tokens),
            web.get("/v1/channels/{id}/peers", self.peers),
            web.post("/v1/channels/{id}/publish", self.publish),
            web.delete("/v1/peers/{id}", self.kick),
            web.get("/v1/usage", self.usage),
        ]

    def _authorized(self, request: web.Request) -> tuple[str, Scope]:
        who, now = address(request), self._clock.monotonic()
        if self._wrong.full(who, now):
            raise BadRequest(429, "rate_limited", "too many wrong credentials from this address: wait a minute")
        found = self._keys.scope_of_secret(bearer(request))
        if found is None:
            self._wrong.hit(who, now)
            raise BadRequest(401, "unauthorized", "send Authorization: Bearer SECRET_ID:SECRET")
        if not self._requests.take(found[0], now):
            raise BadRequest(429, "rate_limited", "too many requests with this key: wait a minute")
        return found

    def _channel(self, request: web.Request, scope: Scope, action: str) -> str:
        channel = request.match_info["id"]
        if problem := channel_problem(channel):
            raise BadRequest(400, "invalid_request", problem)
        if is_reserved(channel):
            raise BadRequest(400, "channel_reserved", "this prefix belongs to the service")
        if action not in scope.permissions:
            raise BadRequest(403, "action_not_permitted", f"this key may not {action}")
        if not scope.matches(channel):
            raise BadRequest(403, "channel_not_authorized", "this key does not open this channel")
        return channel

    async def tokens(self, request: web.Request) -> web.Response:
        """Mints a token: claims as in the token, and `expiresIn` seconds or `exp`."""
        kid, scope = self._authorized(request)
        body = await body_object(request)
        now = self._clock.wall()
        expires_in = body.get("expiresIn", DEFAULT_TOKEN_S)
        if isinstance(expires_in, bool) or not isinstance(expires_in, int) or not 1 <= expires_in <= MAX_LIFETIME_S:
            raise BadRequest(400, "invalid_request", f"expiresIn is a whole number of seconds up to {MAX_LIFETIME_S}")
        claims: dict[str, Any] = {name: body[name] for name in _CLAIMS if body.get(name) is not None}
        claims |= {"iat": int(now), "exp": body.get("exp", int(now) + expires_in)}
        grant = grant_from_claims(claims, now, scope)
        if isinstance(grant, Refusal):
            raise BadRequest(400, "invalid_request", grant.reason)
        return web.json_response({"token": self._keys.mint(kid, claims), "expiresAt": grant.expires_at})

    async def peers(self, request: web.Request) -> web.Response:
        _, scope = self._authorized(request)
        channel = self._channel(request, scope, "presence")
        rows = [
            {"peerId": row.peer_id} | ({} if row.metadata is None else {"metadata": dict(row.metadata)})
            for row in self._switchboard.machine.peers(channel)
        ]
        return web.json_response({"channel": channel, "peers": rows}, dumps=dumps)

    async def publish(self, request: web.Request) -> web.Response:
        _, scope = self._authorized(request)
        channel = self._channel(request, scope, "publish")
        body = await body_object(request)
        if "data" not in body:
            raise BadRequest(400, "invalid_request", "data is missing")
        sender, metadata = body.get("from", "server"), body.get("peerMetadata")
        if not isinstance(sender, str) or peer_id_problem(sender):
            raise BadRequest(400, "invalid_request", "from is no peer id")
        try:
            dumps(body["data"])
            too_large = metadata is not None and len(dumps(metadata).encode()) > MAX_PEER_METADATA_BYTES
        except (ValueError, RecursionError):
            raise BadRequest(400, "invalid_request", "the body is no JSON") from None
        if too_large or not isinstance(metadata, dict | None):
            raise BadRequest(400, "invalid_request", f"peerMetadata is an object of {MAX_PEER_METADATA_BYTES} bytes")
        quota = self._switchboard.machine.quota
        over = quota.over
        delivered = self._switchboard.dispatch(Inject(channel, body["data"], sender, metadata))
        if quota.over > over:
            raise BadRequest(429, "over_message_quota", "this period's messages are used up")
        return web.json_response({"channel": channel, "delivered": delivered})

    async def kick(self, request: web.Request) -> web.Response:
        kid, _ = self._authorized(request)
        peer_id = request.match_info["id"]
        if problem := peer_id_problem(peer_id):
            raise BadRequest(400, "invalid_request", problem)
        closed = self._switchboard.machine.connections_of(peer_id)
        self._switchboard.dispatch(Kick(peer_id))
        log.info("%s disconnected %r (%d connections)", kid, peer_id, closed)
        return web.json_response({"peerId": peer_id, "closed": closed})

    async def usage(self, request: web.Request) -> web.Response:
        """Since the hub's start: counts are kept in memory. Nothing may go over a hub's own limits, or is charged."""
        self._authorized(request)
        machine, clock = self._switchboard.machine, self._clock
        quota, now = machine.quota, clock.monotonic()
        quota.roll(now)
        started_at = int(clock.wall() - (now - (quota.started_at or now)))
        plan = {
            "name": "self-hosted",
            "maxConcurrentConnections": machine.max_connections,
            "maxMessagesPerPeriod": quota.limit,
            "overagesAllowed": False,
            "overagesEnabled": False,
        }
        usage = {
            "appId": self._app_id,
            "periodStartUnix": started_at,
            "periodEndUnix": started_at + int(quota.period_s),
            "concurrentNow": machine.connections,
            "peakConcurrent": self._switchboard.totals.peak,
            "messagesUsed": quota.used,
            "overageMessages": quota.over,
            "overageConnections": 0,
            "plan": plan,
        }
        return web.json_response(usage)
