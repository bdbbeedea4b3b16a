"""The total codec between frames and JSON text: it never raises on what it is given to read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, assert_never

from edge_node.protocol.frames import (
    MISSING,
    Ack,
    ClientFrame,
    DirectFrame,
    ErrorFrame,
    GoingAwayFrame,
    Json,
    Malformed,
    MessageFrame,
    Missing,
    Ping,
    Pong,
    PresenceFrame,
    PresencePeer,
    Publish,
    Send,
    ServerFrame,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from edge_node.protocol.names import (
    MAX_REQUEST_ID_CHARS,
    RETRY_AFTER_CAP_MS,
    RETRY_AFTER_DEFAULT_MS,
    ErrorCode,
    channel_problem,
    peer_id_problem,
)

_Object = dict[str, Any]
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Made once: json.dumps() and json.loads() with options make new ones for every call, a quarter of a frame's cost.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _reject(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_reject)


class _Bad(Exception):
    def __init__(self, reason: str, code: str = ErrorCode.MALFORMED_MESSAGE) -> None:
        super().__init__(reason)
        self.code = code


def dumps(value: Json) -> str:
    """Compact JSON in raw UTF-8 (not \\u-escaped: frames stay small). Raises ValueError for NaN and Infinity."""
    text = _ENCODER.encode(value)
    # A lone surrogate is legal in JSON as an escape only (RFC 8259 section 8.2): UTF-8 cannot carry it.
    if text.isascii() or not _LONE_SURROGATE.search(text):
        return text
    return json.dumps(value, separators=(",", ":"))


def encode(frame: ClientFrame | ServerFrame) -> str:
    """The text of one frame. Raises ValueError or TypeError when its data is not JSON."""
    body = _body(frame)
    return dumps({k: v for k, v in body.items() if v is not MISSING})


def _opt(value: Any) -> Any:
    return MISSING if value is None else value


def _peer(peer: PresencePeer) -> _Object:
    return {"peerId": peer.peer_id} | ({} if peer.metadata is None else {"metadata": dict(peer.metadata)})


def _body(frame: ClientFrame | ServerFrame) -> _Object:
    match frame:
        case Welcome(peer_id, expires_at, server_time, size, metadata):
            return {
                "type": "welcome",
                "peerId": peer_id,
                "expiresAt": expires_at,
                "serverTime": server_time,
                "maxMessageSize": size,
                "metadata": _opt(metadata),
            }
        case Ack(rid):
            return {"type": "ack", "requestId": rid}
        case ErrorFrame(code, rid, message):
            return {"type": "error", "code": code, "requestId": _opt(rid), "message": message or MISSING}
        case MessageFrame(channel, sender, data, metadata):
            return {
                "type": "message",
                "channel": channel,
                "from": sender,
                "data": data,
                "fromMetadata": _opt(metadata),
            }
        case DirectFrame(sender, data, metadata):
            return {"type": "direct", "from": sender, "data": data, "fromMetadata": _opt(metadata)}
        case PresenceFrame(channel, joined, left):
            return {
                "type": "presence",
                "channel": channel,
                "joined": [_peer(p) for p in joined],
                "left": [_peer(p) for p in left],
            }
        case GoingAwayFrame(ms):
            return {"type": "going_away", "retryAfterMs": ms}
        case Pong(rid):
            return {"type": "pong", "requestId": _opt(rid)}
        case _:
            return _client_body(frame)


def _client_body(frame: ClientFrame) -> _Object:
    match frame:
        case Subscribe(channel, rid, wants):
            return {
                "type": "subscribe",
                "channel": channel,
                "requestId": _opt(rid),
                "includeSenderMetadata": True if wants else MISSING,
            }
        case Unsubscribe(channel, rid):
            return {"type": "unsubscribe", "channel": channel, "requestId": _opt(rid)}
        case Publish(channel, data, rid):
            return {"type": "publish", "channel": channel, "data": data, "requestId": _opt(rid)}
        case Send(to, data, rid):
            return {"type": "send", "to": to, "data": data, "requestId": _opt(rid)}
        case Ping(rid):
            return {"type": "ping", "requestId": _opt(rid)}
        case _ as never:  # pragma: no cover
            assert_never(never)


def _load(text: str) -> _Object:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as err:
        raise _Bad(f"not JSON: {err}") from None
    if not isinstance(value, dict):
        raise _Bad("a frame is a JSON object")
    return value


def _str(body: _Object, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise _Bad(f"{key} must be a string")
    return value


def _int(body: _Object, key: str, *, minimum: int = 0) -> int:
    value: Any = body.get(key)
    # Only a float can be infinite, and an integer can be too large to become one.
    number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if not number or isinstance(value, bool) or value != int(value) or value < minimum:
        raise _Bad(f"{key} must be a whole number of at least {minimum}")
    return int(value)


def _mapping(body: _Object, key: str) -> Mapping[str, Json] | None:
    value = body.get(key)
    if value is not None and not isinstance(value, dict):
        raise _Bad(f"{key} must be an object")
    return value


def _request_id(body: _Object) -> str | None:
    value = body.get("requestId")
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_REQUEST_ID_CHARS:
        raise _Bad(f"requestId must be a string of 1 to {MAX_REQUEST_ID_CHARS} characters")
    return value


def _channel(body: _Object) -> str:
    channel = _str(body, "channel")
    if problem := channel_problem(channel):
        raise _Bad(problem, ErrorCode.INVALID_CHANNEL)
    return channel


_F = TypeVar("_F")
_Parsers = Mapping[str, Callable[[_Object], _F]]


def _decode(text: str, parsers: _Parsers[_F]) -> _F | Malformed:
    request_id: str | None = None
    try:
        body = _load(text)
        request_id = _request_id(body)
        kind = _str(body, "type")
        parser = parsers.get(kind)
        if parser is None:
            raise _Bad(f"unknown type {kind[:40]!r}", ErrorCode.UNKNOWN_TYPE)
        return parser(body)
    except _Bad as bad:
        return Malformed(str(bad), bad.code, request_id)


def _subscribe(body: _Object) -> Subscribe:
    wants = body.get("includeSenderMetadata", False)
    if not isinstance(wants, bool):
        raise _Bad("includeSenderMetadata must be true or false")
    return Subscribe(_channel(body), _request_id(body), wants)


def _data(body: _Object) -> Json | Missing:
    return body.get("data", MISSING)


def _send(body: _Object) -> Send:
    to = _str(body, "to")
    if problem := peer_id_problem(to):
        raise _Bad(problem, ErrorCode.INVALID_PEER_ID)
    return Send(to, _data(body), _request_id(body))


_CLIENT: _Parsers[ClientFrame] = {
    "subscribe": _subscribe,
    "unsubscribe": lambda b: Unsubscribe(_channel(b), _request_id(b)),
    "publish": lambda b: Publish(_channel(b), _data(b), _request_id(b)),
    "send": _send,
    "ping": lambda b: Ping(_request_id(b)),
}


def _welcome(body: _Object) -> Welcome:
    expires = None if body.get("expiresAt") is None else _int(body, "expiresAt")
    peer_id = _str(body, "peerId")
    if problem := peer_id_problem(peer_id):
        raise _Bad(problem)
    size = _int(body, "maxMessageSize", minimum=1)
    return Welcome(peer_id, expires, _int(body, "serverTime"), size, _mapping(body, "metadata"))


def _ack(body: _Object) -> Ack:
    return Ack(_str(body, "requestId"))


def _error(body: _Object) -> ErrorFrame:
    message = body.get("message")
    return ErrorFrame(_str(body, "code"), _request_id(body), message if isinstance(message, str) else "")


def _received(body: _Object) -> Json:
    if "data" not in body:
        raise _Bad("data is missing")
    return body["data"]


def _peers(body: _Object, key: str) -> tuple[PresencePeer, ...]:
    rows = body.get(key)
    if not isinstance(rows, list):
        raise _Bad(f"{key} must be a list")
    peers = []
    for row in rows:
        if not isinstance(row, dict):
            raise _Bad(f"{key} must hold objects")
        peers.append(PresencePeer(_str(row, "peerId"), _mapping(row, "metadata")))
    return tuple(peers)


def _going_away(body: _Object) -> GoingAwayFrame:
    try:
        return GoingAwayFrame(min(_int(body, "retryAfterMs"), RETRY_AFTER_CAP_MS))
    except _Bad:
        return GoingAwayFrame(RETRY_AFTER_DEFAULT_MS)


_SERVER: _Parsers[ServerFrame] = {
    "welcome": _welcome,
    "ack": _ack,
    "error": _error,
    "message": lambda b: MessageFrame(_str(b, "channel"), _str(b, "from"), _received(b), _mapping(b, "fromMetadata")),
    "direct": lambda b: DirectFrame(_str(b, "from"), _received(b), _mapping(b, "fromMetadata")),
    "presence": lambda b: PresenceFrame(_str(b, "channel"), _peers(b, "joined"), _peers(b, "left")),
    "going_away": _going_away,
    "pong": lambda b: Pong(_request_id(b)),
}


def decode_client(text: str) -> ClientFrame | Malformed:
    """What a client said (read by a server). Total: a bad frame becomes Malformed."""
    return _decode(text, _CLIENT)


def decode_server(text: str) -> ServerFrame | Malformed:
    """What a server said (read by a client). Total: a bad frame becomes Malformed."""
    return _decode(text, _SERVER)
