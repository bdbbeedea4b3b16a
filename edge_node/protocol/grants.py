"""What a connection may do, and how the claims of a token become that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_node.protocol.codec import dumps
from edge_node.protocol.frames import Json
from edge_node.protocol.names import PERMISSIONS, WsCloseCode, is_reserved, peer_id_problem
from edge_node.protocol.patterns import Pattern, parse_pattern, pattern_problem

MAX_LIFETIME_S = 24 * 3600
LEEWAY_S = 60
MAX_METADATA_BYTES = 8192
MAX_PEER_METADATA_BYTES = 4096
MAX_PATTERNS = 100


@dataclass(frozen=True, slots=True)
class Scope:
    """Channel patterns and permissions: what a key, or one token, allows."""

    channels: tuple[Pattern, ...]
    permissions: frozenset[str] = frozenset(PERMISSIONS)

    def covers(self, pattern: Pattern) -> bool:
        """True when one of the channel patterns covers the whole pattern (a plain name is a pattern, too)."""
        return any(p.covers(pattern) for p in self.channels)

    def matches(self, channel: str) -> bool:
        """True when one of the channel patterns fits this name."""
        return any(p.matches(channel) for p in self.channels)


def scope(channels: Sequence[str], permissions: Sequence[str] = PERMISSIONS) -> Scope:
    """A scope from pattern texts."""
    return Scope(tuple(parse_pattern(c) for c in channels), frozenset(permissions))


EVERYTHING = scope(["**"])


@dataclass(frozen=True, slots=True)
class Grant:
    """Who a connection is and what it may do: everything that ALL its scopes allow.

    `expires_at` in unix seconds. `metadata` goes into its own welcome only, `peer_metadata` is shown to others.
    `key_id` is the key it came in with, which for a publishable key is its credential.
    """

    peer_id: str
    scopes: tuple[Scope, ...] = (EVERYTHING,)
    expires_at: int | None = None
    metadata: Mapping[str, Json] | None = field(default=None, compare=False)
    peer_metadata: Mapping[str, Json] | None = field(default=None, compare=False)
    key_id: str = field(default="", compare=False, repr=False)

    def permits(self, action: str) -> bool:
        return all(action in s.permissions for s in self.scopes)

    def allows(self, channel: str) -> bool:
        """True when this channel name lies within every scope."""
        return all(s.matches(channel) for s in self.scopes)

    def allows_pattern(self, pattern: Pattern) -> bool:
        """True when every channel of a wildcard subscription lies within every scope."""
        return all(s.covers(pattern) for s in self.scopes)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a credential is not accepted, as the close code and its reason."""

    code: int
    reason: str


class _Refused(Exception):
    def __init__(self, reason: str, code: int = WsCloseCode.INVALID_TOKEN) -> None:
        super().__init__(reason)
        self.code = code


def grant_from_claims(claims: Mapping[str, Any], now_wall: float, key: Scope = EVERYTHING) -> Grant | Refusal:
    """The grant of a token whose signature was checked; `now_wall` in unix seconds. Never raises."""
    try:
        expires_at = _times(claims, now_wall)
        peer_id = claims.get("sub")
        if not isinstance(peer_id, str) or not _is_peer_id(peer_id):
            raise _Refused("sub must be 1 to 128 printable ASCII characters")
        permissions = _strings(claims, "permissions")
        if unknown := set(permissions) - set(PERMISSIONS):
            raise _Refused(f"unknown permission {min(unknown)[:40]!r}")
        own = scope(_channels(claims), permissions)
        metadata = _object(claims, "metadata", MAX_METADATA_BYTES)
        peer_metadata = _object(claims, "peerMetadata", MAX_PEER_METADATA_BYTES)
    except _Refused as refused:
        return Refusal(refused.code, str(refused))
    return Grant(peer_id, (own, key), expires_at, metadata, peer_metadata)


def _is_peer_id(text: str) -> bool:
    return peer_id_problem(text) is None and text.isascii() and text.isprintable()


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused(f"{name} must be a number of unix seconds")
    # An integer beyond a float's range would raise in arithmetic.
    if (isinstance(value, int) and abs(value) > 1 << 53) or not math.isfinite(value):
        raise _Refused(f"{name} is no date")
    return float(value)


def _times(claims: Mapping[str, Any], now_wall: float) -> int:
    expires = _time(claims, "exp")
    if expires is None:
        raise _Refused("exp is missing")
    if expires <= now_wall:
        raise _Refused("the token has expired", WsCloseCode.TOKEN_EXPIRED)
    if expires > now_wall + MAX_LIFETIME_S + LEEWAY_S:
        raise _Refused("exp is more than 24 hours ahead")
    for name in ("nbf", "iat"):
        start = _time(claims, name)
        if start is not None and start > now_wall + LEEWAY_S:
            raise _Refused(f"{name} lies in the future")
    return int(expires)


def _strings(claims: Mapping[str, Any], name: str) -> list[str]:
    value = claims.get(name)
    if not isinstance(value, list) or len(value) > MAX_PATTERNS or not all(isinstance(v, str) for v in value):
        raise _Refused(f"{name} must be a list of at most {MAX_PATTERNS} strings")
    return value


def _channels(claims: Mapping[str, Any]) -> list[str]:
    channels = _strings(claims, "channels")
    for channel in channels:
        if problem := pattern_problem(channel):
            raise _Refused(f"channels: {problem}")
    if all(is_reserved(c) for c in channels):  # of no channel at all, too
        raise _Refused("the token opens no channel", WsCloseCode.CHANNEL_NOT_AUTHORIZED)
    return channels


def _object(claims: Mapping[str, Any], name: str, cap_bytes: int) -> Mapping[str, Json] | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _Refused(f"{name} must be an object")
    try:
        size = len(dumps(value).encode())
    except (ValueError, RecursionError):
        raise _Refused(f"{name} must be JSON") from None
    if size > cap_bytes:
        raise _Refused(f"{name} has {size} bytes and may have {cap_bytes}")
    return value
