"""The Data messages of the channel: what a node understands of them, what it says in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

Json = Any
Data = dict[str, Json]

MAX_ID_CHARS = 128
MAX_NAME_CHARS = 64
MAX_SIGNATURE_CHARS = 1024
MAX_REASON_CHARS = 256

T = TypeVar("T")


class State(Enum):
    """What call.state reports."""

    RINGING = "ringing"
    ACTIVE = "active"
    ENDED = "ended"


class Reason(Enum):
    """Why a call got into its state."""

    ANSWERED = "answered"
    DECLINED = "declined"
    TIMEOUT = "timeout"
    HANGUP = "hangup"
    PEER_LEFT = "peer_left"
    BUSY = "busy"
    CANCELLED = "cancelled"
    LIMIT = "limit"


# Person to node


@dataclass(frozen=True, slots=True)
class Answer:
    call: str


@dataclass(frozen=True, slots=True)
class Decline:
    call: str


@dataclass(frozen=True, slots=True)
class Hangup:
    call: str


@dataclass(frozen=True, slots=True)
class Start:
    call: str


@dataclass(frozen=True, slots=True)
class DoorOpen:
    """`at` in unix seconds by the sender's clock; `key` names the key that made `signature`."""

    door: str
    nonce: str
    at: float
    call: str | None = None
    key: str | None = None
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeNode:
    pass


@dataclass(frozen=True, slots=True)
class SnapshotGet:
    """`nonce` comes back in the answer."""

    nonce: str | None = None


# Node to node: what the one that rings says to the one that is rung


@dataclass(frozen=True, slots=True)
class Ring:
    """`at` is when the button was pressed, in unix seconds."""

    call: str
    at: float


@dataclass(frozen=True, slots=True)
class CallState:
    """`by` is the id of the person in the call."""

    call: str
    state: State
    by: str | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class DoorResult:
    nonce: str
    ok: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """Of a node; `challenge` is there when its door requests must be signed."""

    node: str
    challenge: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """`of` is the type of this node's own message."""

    of: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Data that is no message to a node: answered with nothing."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message of a known type that lacks something; `nonce` is kept so that a door request can be answered."""

    of: str
    reason: str
    nonce: str | None = None


Request = Answer | Decline | Hangup | Start | DoorOpen | DescribeNode | SnapshotGet
News = Ring | CallState | DoorResult | Description | Refused
Message = Request | News | Unknown | Malformed

TYPES: Mapping[type[Request], str] = {
    Answer: "call.answer",
    Decline: "call.decline",
    Hangup: "call.hangup",
    Start: "call.start",
    DoorOpen: "door.open",
    DescribeNode: "node.describe",
    SnapshotGet: "snapshot.get",
}


class _Bad(Exception):
    pass


def _text(data: Mapping[str, Json], field: str, limit: int) -> str:
    value = data.get(field)
    # isprintable() also refuses lone surrogates, which no UTF-8 frame could carry back.
    if not isinstance(value, str) or not value or len(value) > limit or not value.isprintable():
        raise _Bad(f"{field} must be 1 to {limit} printable characters")
    return value


def _optional(data: Mapping[str, Json], field: str, limit: int) -> str | None:
    return None if data.get(field) is None else _text(data, field, limit)


def _seconds(data: Mapping[str, Json], field: str) -> float:
    value = data.get(field)
    # Compared, not converted: a JSON integer may be too large for a float.
    if not isinstance(value, int | float) or isinstance(value, bool) or not -1e12 < value < 1e12 or math.isnan(value):
        raise _Bad(f"{field} must be a number of unix seconds")
    return float(value)


def _call(make: Callable[[str], T]) -> Callable[[Mapping[str, Json]], T]:
    return lambda data: make(_text(data, "call", MAX_ID_CHARS))


def _door(data: Mapping[str, Json]) -> DoorOpen:
    return DoorOpen(
        door=_text(data, "door", MAX_NAME_CHARS),
        nonce=_text(data, "nonce", MAX_ID_CHARS),
        at=_seconds(data, "at"),
        call=_optional(data, "call", MAX_ID_CHARS),
        key=_optional(data, "key", MAX_ID_CHARS),
        signature=_optional(data, "signature", MAX_SIGNATURE_CHARS),
    )


_READERS: Mapping[str, Callable[[Mapping[str, Json]], Message]] = {
    "call.answer": _call(Answer),
    "call.decline": _call(Decline),
    "call.hangup": _call(Hangup),
    "call.start": _call(Start),
    "door.open": _door,
    "node.describe": lambda _: DescribeNode(),
    "snapshot.get": lambda data: SnapshotGet(_optional(data, "nonce", MAX_ID_CHARS)),
}


def _reason(data: Mapping[str, Json]) -> Reason | None:
    value = data.get("reason")
    return Reason(value) if value in _REASONS else None


def _call_state(data: Mapping[str, Json]) -> CallState:
    if data.get("state") not in _STATES:
        raise _Bad(f"state must be one of {', '.join(_STATES)}")
    by = _optional(data, "by", MAX_ID_CHARS)
    return CallState(_text(data, "call", MAX_ID_CHARS), State(data["state"]), by, _reason(data))


def _door_result(data: Mapping[str, Json]) -> DoorResult:
    return DoorResult(
        _text(data, "nonce", MAX_ID_CHARS), data.get("ok") is True, _optional(data, "reason", MAX_REASON_CHARS)
    )


_STATES = tuple(state.value for state in State)
_REASONS = tuple(reason.value for reason in Reason)
_ANNOUNCED: Mapping[str, Callable[[Mapping[str, Json]], News]] = {
    "call.ring": lambda data: Ring(_text(data, "call", MAX_ID_CHARS), _seconds(data, "at")),
    "call.state": _call_state,
}
_NEWS: Mapping[str, Callable[[Mapping[str, Json]], News]] = {
    **_ANNOUNCED,
    "door.result": _door_result,
    "node.description": lambda data: Description(
        _text(data, "id", MAX_ID_CHARS), _optional(data, "challenge", MAX_ID_CHARS)
    ),
    "error": lambda data: Refused(_text(data, "of", MAX_ID_CHARS)),
}


def parse(data: Json) -> Message:
    """What a piece of Data says to this node; never raises."""
    if not isinstance(data, dict):
        return Unknown()
    kind = data.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or reader is None:
        return _news(data, _NEWS)
    try:
        return reader(data)
    except _Bad as err:
        return Malformed(kind, str(err), _nonce(data))


def overheard(data: Json) -> Message:
    """What a piece of Data to the whole channel says to this node: rings, and what becomes of calls; never raises."""
    return _news(data, _ANNOUNCED) if isinstance(data, dict) else Unknown()


def _news(data: Mapping[str, Json], readers: Mapping[str, Callable[[Mapping[str, Json]], News]]) -> Message:
    """News that lacks something is answered with nothing, like what is unknown: two nodes would quarrel for ever."""
    kind = data.get("type")
    reader = readers.get(kind) if isinstance(kind, str) else None
    try:
        return Unknown() if reader is None else reader(data)
    except _Bad:
        return Unknown()


def _nonce(data: Mapping[str, Json]) -> str | None:
    try:
        return _text(data, "nonce", MAX_ID_CHARS)
    except _Bad:
        return None


# What a node says


def _object(kind: str, **fields: Json) -> Data:
    return {"type": kind} | {name: value for name, value in fields.items() if value is not None}


def ring(call: str, node: str, name: str, at: float) -> Data:
    """`at` is when the button was pressed, in unix seconds."""
    return _object("call.ring", call=call, node=node, name=name, at=at)


def answer(call: str) -> Data:
    return _object("call.answer", call=call)


def decline(call: str) -> Data:
    return _object("call.decline", call=call)


def hangup(call: str) -> Data:
    return _object("call.hangup", call=call)


def describe() -> Data:
    return _object("node.describe")


def door_open(request: DoorOpen) -> Data:
    return _object(
        "door.open", door=request.door, nonce=request.nonce, at=request.at, call=request.call, key=request.key,
        signature=request.signature,
    )  # fmt: skip


def state(call: str, state: State, *, by: str | None = None, reason: Reason | None = None, agent: bool = False) -> Data:
    """`by` is the id of the person in the call, or the node's own with `agent`: its voice agent talks."""
    told = reason.value if reason else None
    return _object("call.state", call=call, state=state.value, by=by, reason=told, agent=agent or None)


def door_result(nonce: str, ok: bool, reason: str | None = None) -> Data:
    return _object("door.result", nonce=nonce, ok=ok, reason=reason)


def snapshot(jpeg: str, width_px: int, height_px: int, at: float, nonce: str | None = None) -> Data:
    """`jpeg` in base64; `at` is when the picture was taken, in unix seconds."""
    return _object("snapshot", nonce=nonce, at=round(at, 3), width_px=width_px, height_px=height_px, jpeg=jpeg)


def agent_message(call: str, node: str, text: str, at: float) -> Data:
    """What a visitor told the node's voice agent; `at` in unix seconds."""
    return _object("agent.message", call=call, node=node, text=text, at=round(at, 3))


def error(of: str, reason: str) -> Data:
    """`of` is the type of the message that was refused."""
    return _object("error", of=of, reason=reason)


def description(
    *,
    node: str,
    name: str,
    role: str,
    version: str,
    media: Mapping[str, Json],
    doors: Sequence[str],
    buttons: Sequence[str],
    capabilities: Mapping[str, Json],
    challenge: str | None = None,
) -> Data:
    """The answer to node.describe; `media` and `capabilities` are JSON objects of the caller's design.

    `challenge` is there when door requests must be signed.
    """
    return _object(
        "node.description",
        id=node,
        name=name,
        role=role,
        version=version,
        media=dict(media),
        doors=list(doors),
        buttons=list(buttons),
        capabilities=dict(capabilities),
        challenge=challenge,
    )
