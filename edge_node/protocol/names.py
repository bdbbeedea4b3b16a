"""What names, identifiers and limits the wire protocol allows."""

from __future__ import annotations

from enum import IntEnum

DEFAULT_URL = "wss://rms.metered.ca"
MAX_MESSAGE_BYTES = 65536
MAX_CHANNELS_PER_CONNECTION = 100
MAX_CHANNEL_CHARS = 256
MAX_PEER_ID_CHARS = 128
MAX_REQUEST_ID_CHARS = 128
MAX_PEERS_PER_CHANNEL = 256
MAX_INBOUND_CLIENT_BYTES = 1 << 20
RETRY_AFTER_CAP_MS = 300_000
RETRY_AFTER_DEFAULT_MS = 1000
RESERVED_PREFIXES = ("_metered/", "_internal/", "_system/")
PERMISSIONS = ("publish", "subscribe", "presence", "send")


class WsCloseCode(IntEnum):
    """WebSocket close codes (RFC 6455 section 7.4 and the service's own)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    CLIENT_INACTIVITY = 4000
    INVALID_TOKEN = 4001
    TOKEN_EXPIRED = 4002
    CHANNEL_NOT_AUTHORIZED = 4003
    OVER_CONCURRENT_LIMIT = 4010
    OVER_MESSAGE_RATE = 4011
    ACCOUNT_SUSPENDED = 4012
    ADMIN_DISCONNECT = 4020


FATAL_CODES = frozenset(
    {
        WsCloseCode.INVALID_TOKEN,
        WsCloseCode.TOKEN_EXPIRED,
        WsCloseCode.CHANNEL_NOT_AUTHORIZED,
        WsCloseCode.ACCOUNT_SUSPENDED,
        WsCloseCode.ADMIN_DISCONNECT,
    }
)
"""After these the same credential is refused again."""


class ErrorCode:
    """Codes of the `error` frame."""

    MALFORMED_MESSAGE = "malformed_message"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_CHANNEL = "invalid_channel"
    INVALID_PEER_ID = "invalid_peer_id"
    CHANNEL_NOT_AUTHORIZED = "channel_not_authorized"
    CHANNEL_RESERVED = "channel_reserved"
    CHANNEL_LIMIT_EXCEEDED = "channel_limit_exceeded"
    PEER_NOT_FOUND = "peer_not_found"
    MISSING_DATA = "missing_data"
    ACTION_NOT_PERMITTED = "action_not_permitted"
    OVER_MESSAGE_QUOTA = "over_message_quota"
    BACKEND_ERROR = "backend_error"
    INTERNAL_ERROR = "internal_error"


def _has_control(text: str) -> bool:
    return any(c < " " or "\x7f" <= c <= "\x9f" for c in text)


def channel_problem(channel: str) -> str | None:
    """Why this is no channel name, or None."""
    if not channel or len(channel) > MAX_CHANNEL_CHARS or len(channel.encode("utf-8", "replace")) > MAX_CHANNEL_CHARS:
        return f"a channel name has 1 to {MAX_CHANNEL_CHARS} bytes"
    if _has_control(channel) or not channel.isprintable():
        return "a channel name has printable characters only"
    return None


def is_reserved(channel: str) -> bool:
    """True for channels that only the service itself may use (case-insensitive)."""
    return channel.lower().startswith(RESERVED_PREFIXES)


def peer_id_problem(peer_id: str) -> str | None:
    """Why this is no peer id, or None."""
    if not 1 <= len(peer_id) <= MAX_PEER_ID_CHARS:
        return f"a peer id has 1 to {MAX_PEER_ID_CHARS} characters"
    if _has_control(peer_id):
        return "a peer id has no control characters"
    return None
