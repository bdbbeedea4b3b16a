"""The hub as a pure machine: who is connected, what each credential lets them say, to whom it goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from edge_node.bucket import Bucket
from edge_node.protocol.codec import decode_client
from edge_node.protocol.frames import (
    Ack,
    ClientFrame,
    DirectFrame,
    ErrorFrame,
    GoingAwayFrame,
    Malformed,
    MessageFrame,
    Missing,
    Ping,
    Pong,
    PresencePeer,
    Publish,
    Send,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from edge_node.protocol.grants import Grant
from edge_node.protocol.hub_events import (
    Close,
    Connected,
    Disconnected,
    HubEffect,
    HubEvent,
    HubLimits,
    Inject,
    Kick,
    Received,
    Revoke,
    SendText,
    Shutdown,
)
from edge_node.protocol.hub_meters import HubCounters, Quota, return_delays_ms
from edge_node.protocol.names import ErrorCode, WsCloseCode, is_reserved
from edge_node.protocol.patterns import Pattern, parse_pattern
from edge_node.protocol.presence import Presence


@dataclass(slots=True)
class _Member:
    """One open connection."""

    conn: int
    grant: Grant
    expires_at: float
    bucket: Bucket
    channels: dict[str, Pattern] = field(default_factory=dict)
    """Its subscriptions: the channel as it was written → the same, compiled."""


class HubMachine:
    """Decides what every connection is sent; the shell only writes bytes and calls `tick` at `deadline`.

    `now` is monotonic seconds. After a Close effect the machine has forgotten the connection: whatever still comes
    from it is ignored.
    """

    def __init__(self, limits: HubLimits | None = None) -> None:
        self._limits = limits or HubLimits()
        self._members: dict[int, _Member] = {}
        self._by_peer: dict[str, list[int]] = {}
        self._next_end = math.inf
        self.presence = Presence(lambda conn: self._members[conn].grant)
        self.counters = HubCounters()
        self.quota = Quota(self._limits.quota, self._limits.period_s)

    @property
    def deadline(self) -> float | None:
        """When tick() is due, or None."""
        due = min(self._next_end, self.presence.deadline)
        return due if due < math.inf else None

    @property
    def connections(self) -> int:
        return len(self._members)

    @property
    def max_connections(self) -> int:
        return self._limits.max_connections

    @property
    def channels(self) -> int:
        return len(self.presence.roster)

    def connections_of(self, peer_id: str) -> int:
        """How many connections this peer has open."""
        return len(self._by_peer.get(peer_id, ()))

    def peers(self, channel: str) -> list[PresencePeer]:
        """Who is present in a channel, with metadata; those in their leave grace included."""
        return self.presence.peers(channel)

    def handle(self, event: HubEvent, now: float) -> list[HubEffect]:
        """What follows from an event. Never raises."""
        match event:
            case Connected():
                return self._connected(event, now)
            case Received(conn, data):
                member = self._members.get(conn)
                return self._received(member, data, now) if member else []
            case Disconnected(conn):
                gone = self._members.get(conn)
                return self._forget(gone, now, self._limits.leave_grace_s) if gone else []
            case Inject(channel, data, sender, metadata):
                return self._inject(channel, data, sender, metadata, now)
            case Kick(peer_id):
                return self._kick(peer_id, now)
            case Revoke(key_ids):
                return self._revoke(key_ids, now)
            case Shutdown(spread_s):
                return self._shutdown(spread_s)
        assert_never(event)  # pragma: no cover

    def tick(self, now: float) -> list[HubEffect]:
        """What is due: tokens that end, peers whose leave grace is over. Sets the next `deadline`."""
        effects: list[HubEffect] = []
        for member in [m for m in self._members.values() if m.expires_at <= now]:
            effects += self._drop(member, WsCloseCode.TOKEN_EXPIRED, "the token has expired", now)
        self._next_end = min((m.expires_at for m in self._members.values()), default=math.inf)
        return [*effects, *self.presence.tick(now)]

    # Coming

    def _connected(self, event: Connected, now: float) -> list[HubEffect]:
        limits, grant, conn = self._limits, event.grant, event.conn
        lead_s = limits.expiry_lead_s
        expires_at = math.inf if event.expires_in_s is None else now + event.expires_in_s - lead_s
        if expires_at <= now:
            return [Close(conn, WsCloseCode.TOKEN_EXPIRED, "the token has expired")]
        if len(self._members) >= limits.max_connections:
            return [Close(conn, WsCloseCode.OVER_CONCURRENT_LIMIT, "this hub has no room for another connection")]
        effects: list[HubEffect] = []
        if limits.duplicate_peer == "replace":
            effects += self._close_all(
                grant.peer_id, WsCloseCode.POLICY_VIOLATION, "replaced by a newer connection of this peer", now
            )
        self._members[conn] = _Member(
            conn, grant, expires_at, Bucket(limits.rate_per_s, limits.burst, limits.burst, now)
        )
        self._by_peer.setdefault(grant.peer_id, []).append(conn)
        self._next_end = min(self._next_end, expires_at)
        welcome = Welcome(
            grant.peer_id, grant.expires_at, event.server_time, limits.max_message_bytes, grant.metadata or None
        )
        return [*effects, SendText.of((conn,), welcome)]

    # Frames

    def _received(self, member: _Member, data: str | bytes, now: float) -> list[HubEffect]:
        self.counters.frames += 1
        limit = self._limits.max_message_bytes
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode("utf-8", "surrogatepass"))
        self.counters.received_bytes += size
        if size > limit:
            return self._drop(member, WsCloseCode.MESSAGE_TOO_BIG, f"a frame has at most {limit} bytes", now)
        if not member.bucket.take(now):
            reason = f"more than {self._limits.rate_per_s:g} frames per second"
            return self._drop(member, WsCloseCode.OVER_MESSAGE_RATE, reason, now)
        frame = decode_client(data) if isinstance(data, str) else Malformed("a frame is a text message")
        self.counters.received[type(frame).__name__.lower()] += 1
        return self._frame(member, frame, now)

    def _frame(self, member: _Member, frame: ClientFrame | Malformed, now: float) -> list[HubEffect]:
        match frame:
            case Malformed(reason, code, request_id):
                return self._error(member, request_id, code, reason)
            case Subscribe():
                return self._subscribe(member, frame)
            case Unsubscribe(channel, request_id):
                return [*self._ack(member, request_id), *self._unsubscribe(member, channel, now)]
            case Publish():
                return self._publish(member, frame, now)
            case Send():
                return self._send(member, frame, now)
            case Ping(request_id):
                return [SendText.of((member.conn,), Pong(request_id))]
        assert_never(frame)  # pragma: no cover

    def _ack(self, member: _Member, request_id: str | None) -> list[HubEffect]:
        return [] if request_id is None else [SendText.of((member.conn,), Ack(request_id))]

    def _error(self, member: _Member, request_id: str | None, code: str, message: str) -> list[HubEffect]:
        self.counters.errors += 1
        return [SendText.of((member.conn,), ErrorFrame(code, request_id, message))]

    def _refusal(self, grant: Grant, action: str, channel: str, allowed: bool) -> tuple[str, str] | None:
        if is_reserved(channel):
            return ErrorCode.CHANNEL_RESERVED, "this prefix belongs to the service"
        if not grant.permits(action):
            return ErrorCode.ACTION_NOT_PERMITTED, f"this credential may not {action}"
        if not allowed:
            return ErrorCode.CHANNEL_NOT_AUTHORIZED, "this credential does not open this channel"
        return None

    def _subscribe(self, member: _Member, frame: Subscribe) -> list[HubEffect]:
        channel, grant = frame.channel, member.grant
        pattern = parse_pattern(channel)
        allowed = grant.allows(channel) if pattern.is_name else grant.allows_pattern(pattern)
        if refused := self._refusal(grant, "subscribe", channel, allowed):
            return self._error(member, frame.request_id, *refused)
        cap = self._limits.max_channels
        if channel not in member.channels and len(member.channels) >= cap:
            return self._error(
                member, frame.request_id, ErrorCode.CHANNEL_LIMIT_EXCEEDED, f"a connection has at most {cap} channels"
            )
        member.channels[channel] = pattern
        told = self.presence.subscribe(member.conn, pattern, frame.include_sender_metadata)
        return [*self._ack(member, frame.request_id), *told]

    def _unsubscribe(self, member: _Member, channel: str, now: float) -> list[SendText]:
        pattern = member.channels.pop(channel, None)
        return self.presence.unsubscribe(member.conn, member.grant, pattern, now) if pattern else []

    def _over_quota(self, member: _Member, request_id: str | None, now: float) -> list[HubEffect] | None:
        """Counts a message; the error when the period's are used up: it is dropped, the connection stays."""
        if self.quota.take(now):
            return None
        self.counters.dropped["over_quota"] += 1
        return self._error(member, request_id, ErrorCode.OVER_MESSAGE_QUOTA, "this period's messages are used up")

    def _publish(self, member: _Member, frame: Publish, now: float) -> list[HubEffect]:
        if isinstance(frame.data, Missing):
            return self._error(member, frame.request_id, ErrorCode.MISSING_DATA, "publish needs data")
        grant = member.grant
        if refused := self._refusal(grant, "publish", frame.channel, grant.allows(frame.channel)):
            return self._error(member, frame.request_id, *refused)
        if over := self._over_quota(member, frame.request_id, now):
            return over
        routed = self._route(frame.channel, frame.data, grant.peer_id, grant.peer_metadata, member.conn)
        if routed is None:
            return self._error(member, frame.request_id, ErrorCode.MALFORMED_MESSAGE, "data is not JSON")
        return [*self._ack(member, frame.request_id), *routed]

    def _inject(
        self, channel: str, data: object, sender: str, metadata: Mapping[str, object] | None, now: float
    ) -> list[HubEffect]:
        if not self.quota.take(now):
            self.counters.dropped["over_quota"] += 1
            return []
        return self._route(channel, data, sender, metadata, None) or []

    def _route(
        self, channel: str, data: object, sender: str, metadata: Mapping[str, object] | None, own: int | None
    ) -> list[HubEffect] | None:
        """The message for all receivers, serialized once (twice when some want metadata); None: not serializable."""
        receivers = self.presence.roster.receivers(channel)
        if own is not None:
            receivers.pop(own, None)
        rich = tuple(conn for conn, wants in receivers.items() if wants and metadata)
        plain = tuple(conn for conn, wants in receivers.items() if not (wants and metadata))
        try:
            effects = [
                SendText.of(conns, MessageFrame(channel, sender, data, meta))
                for conns, meta in ((plain, None), (rich, metadata))
                if conns or meta is None
            ]
        except (ValueError, TypeError, RecursionError):
            return None
        self.counters.accepted("inject" if own is None else "publish", len(receivers))
        return [e for e in effects if e.to]

    def _send(self, member: _Member, frame: Send, now: float) -> list[HubEffect]:
        rid, grant = frame.request_id, member.grant
        if isinstance(frame.data, Missing):
            return self._error(member, rid, ErrorCode.MISSING_DATA, "send needs data")
        if not grant.permits("send"):
            return self._error(member, rid, ErrorCode.ACTION_NOT_PERMITTED, "this credential may not send")
        if over := self._over_quota(member, rid, now):
            return over
        to = tuple(conn for conn in self._by_peer.get(frame.to, ()) if conn != member.conn)
        if not to:
            self.counters.dropped["peer_not_found"] += 1
            return self._error(member, rid, ErrorCode.PEER_NOT_FOUND, "no such peer is connected")
        try:
            direct = SendText.of(to, DirectFrame(grant.peer_id, frame.data, grant.peer_metadata))
        except (ValueError, TypeError, RecursionError):
            return self._error(member, rid, ErrorCode.MALFORMED_MESSAGE, "data is not JSON")
        self.counters.accepted("send", len(to))
        return [*self._ack(member, rid), direct]

    # Going

    def _forget(self, member: _Member, now: float, grace_s: float) -> list[HubEffect]:
        del self._members[member.conn]
        conns = self._by_peer[member.grant.peer_id]
        conns.remove(member.conn)
        if not conns:
            del self._by_peer[member.grant.peer_id]
        effects: list[HubEffect] = []
        for pattern in member.channels.values():
            effects += self.presence.unsubscribe(member.conn, member.grant, pattern, now, grace_s)
        return effects

    def _drop(self, member: _Member, code: int, reason: str, now: float) -> list[HubEffect]:
        return [Close(member.conn, code, reason), *self._forget(member, now, self._limits.leave_grace_s)]

    def _close_all(self, peer_id: str, code: int, reason: str, now: float) -> list[HubEffect]:
        effects: list[HubEffect] = []
        for conn in list(self._by_peer.get(peer_id, ())):
            effects += self._drop(self._members[conn], code, reason, now)
        return effects

    def _kick(self, peer_id: str, now: float) -> list[HubEffect]:
        """Closes every connection of a peer; the others learn at once that it is gone."""
        effects: list[HubEffect] = []
        for conn in list(self._by_peer.get(peer_id, ())):
            effects.append(Close(conn, WsCloseCode.ADMIN_DISCONNECT, "disconnected by the administrator"))
            effects += self._forget(self._members[conn], now, 0)
        return [*effects, *self.presence.end_grace(peer_id)]

    def _revoke(self, key_ids: frozenset[str], now: float) -> list[HubEffect]:
        """As a kick, with the code of a credential that is none any more."""
        effects: list[HubEffect] = []
        for member in [m for m in self._members.values() if m.grant.key_id in key_ids]:
            effects.append(Close(member.conn, WsCloseCode.INVALID_TOKEN, "this key was revoked"))
            effects += self._forget(member, now, 0)
        return effects

    def _shutdown(self, spread_s: float | None) -> list[HubEffect]:
        conns = tuple(self._members)
        self._members.clear()
        self._by_peer.clear()
        self._next_end = math.inf
        self.presence = Presence(lambda conn: self._members[conn].grant)
        effects: list[HubEffect] = []
        for conn, delay_ms in zip(conns, return_delays_ms(len(conns), spread_s), strict=True):
            effects.append(SendText.of((conn,), GoingAwayFrame(delay_ms)))
            effects.append(Close(conn, WsCloseCode.GOING_AWAY, "the hub is shutting down"))
        return effects
