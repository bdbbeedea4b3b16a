"""The client's side of the signalling connection as a state machine without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from edge_node.errors import (
    AckTimeoutError,
    DisconnectedError,
    MeteredPeerOversizedError,
    NotConnectedError,
    ServerRequestError,
    SignallingConnectError,
)
from edge_node.protocol.backoff import Backoff, BackoffPolicy
from edge_node.protocol.codec import decode_server, encode
from edge_node.protocol.frames import (
    Ack,
    DirectFrame,
    ErrorFrame,
    GoingAwayFrame,
    Malformed,
    MessageFrame,
    Ping,
    Pong,
    PresenceFrame,
    Publish,
    Send,
    ServerFrame,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from edge_node.protocol.names import MAX_MESSAGE_BYTES, ErrorCode, WsCloseCode
from edge_node.protocol.secrets import scrub
from edge_node.protocol.session_events import (
    Close,
    CloseSocket,
    Connect,
    ConnectFailed,
    Delivered,
    Dropped,
    Effect,
    Lost,
    Opened,
    OpenSocket,
    Received,
    Rejected,
    Request,
    Resolved,
    SendText,
    SessionEvent,
    SessionPolicy,
    SessionState,
    Skipped,
    StateChanged,
    TokenFailed,
    TokenTrouble,
    Welcomed,
)

WELCOME_TIMEOUT_S = 10.0
ACK_TIMEOUT_S = 15.0
REPLAY_RETRY_S = 2.0
REPLAY_RETRIES = 3
OVER_LIMIT_FLOOR_S = 30.0
GOING_AWAY_SPREAD = 0.2
TOKEN_FAILURES_TO_TELL = 3
# A subscription refused for one of these will be refused again: it is not replayed any more.
REFUSED_FOR_GOOD = frozenset(
    {
        ErrorCode.CHANNEL_NOT_AUTHORIZED,
        ErrorCode.CHANNEL_RESERVED,
        ErrorCode.INVALID_CHANNEL,
        ErrorCode.ACTION_NOT_PERMITTED,
    }
)


@dataclass(slots=True)
class _Pending:
    deadline: float
    channel: str | None = None
    replay: bool = False
    fresh: bool = False


@dataclass(slots=True)
class _Channel:
    wants_metadata: bool
    retries: int = 0
    retry_at: float | None = None


class Session:
    """`handle(event, now)` and `tick(now)` return what the shell has to do, in order; `deadline` says when to tick."""

    def __init__(self, policy: SessionPolicy, id_prefix: str = "r") -> None:
        self._policy = policy
        self._prefix = id_prefix
        self._ids = 0
        self._backoff = Backoff(policy.reconnect or BackoffPolicy())
        self._wire = 0
        self._wire_up = False
        self._ever_connected = False
        self._token_failures = 0
        self._floor_s = 0.0
        self._retry_after_s: float | None = None
        self._welcome_due: float | None = None
        self._reconnect_at: float | None = None
        self._heard_at = 0.0
        self._ping_at: float | None = None
        self._pending: dict[str, _Pending] = {}
        self._channels: dict[str, _Channel] = {}
        self.state: SessionState = "idle"
        self.max_message_bytes = MAX_MESSAGE_BYTES
        self.reconnects = 0

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that are subscribed again after a reconnect."""
        return tuple(self._channels)

    def new_id(self) -> str:
        """A request id that this session has not used."""
        self._ids += 1
        return f"{self._prefix}-{self._ids}"

    @property
    def deadline(self) -> float | None:
        """When tick() has to be called next, or None."""
        times = [self._welcome_due, self._reconnect_at]
        if self.state == "connected":
            times += [self._ping_at, self._watchdog_at]
            times += [p.deadline for p in self._pending.values()]
            times += [c.retry_at for c in self._channels.values()]
        return min((t for t in times if t is not None), default=None)

    @property
    def _watchdog_at(self) -> float | None:
        return self._heard_at + self._policy.inactivity_s if self._policy.inactivity_s > 0 else None

    def handle(self, event: SessionEvent, now: float) -> list[Effect]:
        """What to do about `event`. A Request whose data is not JSON raises ValueError or TypeError."""
        match event:
            case Connect():
                return self._connect()
            case Request(frame):
                return self._request(frame, now)
            case Close(code, reason):
                return self._close(code, reason)
            case Opened() | Lost() | TokenFailed() | Received():
                return self._on_wire(event, now) if event.wire == self._wire and self._wire_up else []
            case _ as never:  # pragma: no cover
                assert_never(never)

    def _on_wire(self, event: Opened | Lost | TokenFailed | Received, now: float) -> list[Effect]:
        match event:
            case Opened():
                self._welcome_due = now + WELCOME_TIMEOUT_S
                return []
            case Lost(_, code, reason, jitter):
                return self._lost(code, reason, now, jitter)
            case TokenFailed(_, error, jitter):
                return self._token_failed(error, now, jitter)
            case Received(_, text):
                return self._received(text, now)
            case _ as never:  # pragma: no cover
                assert_never(never)

    def tick(self, now: float, jitter: float = 0.5) -> list[Effect]:
        """What became due by `now`."""
        if self._reconnect_at is not None and now >= self._reconnect_at:
            return self._open()
        if self._welcome_due is not None and now >= self._welcome_due:
            return self._cut(WsCloseCode.POLICY_VIOLATION, "no welcome in time", now, jitter)
        if self.state != "connected":
            return []
        watchdog = self._watchdog_at
        if watchdog is not None and now >= watchdog:
            return self._cut(WsCloseCode.CLIENT_INACTIVITY, "nothing heard from the server", now, jitter)
        effects = self._expire_requests(now)
        effects += self._retry_replays(now)
        if self._ping_at is not None and now >= self._ping_at:
            self._ping_at = now + self._ping_every_s
            effects.append(SendText(encode(Ping())))
        return effects

    # Connecting

    @property
    def _ping_every_s(self) -> float:
        return max(1.0, self._policy.inactivity_s / 3)

    def _connect(self) -> list[Effect]:
        if self.state not in ("idle", "closed"):
            return []
        self._ever_connected = False
        self._token_failures = 0
        self._floor_s = 0.0
        self._retry_after_s = None
        self._backoff.reset()
        return [*self._enter("connecting"), *self._open()]

    def _open(self) -> list[Effect]:
        self._reconnect_at = None
        self._wire += 1
        self._wire_up = True
        return [OpenSocket(self._wire)]

    def _cut(self, code: int, reason: str, now: float, jitter: float) -> list[Effect]:
        wire = self._wire
        return [CloseSocket(wire, code, reason), *self._lost(code, reason, now, jitter)]

    def _end_wire(self, reason: str) -> list[Effect]:
        self._wire_up = False
        self._welcome_due = self._ping_at = None
        failed = [
            Rejected(rid, DisconnectedError(f"the connection was lost before the answer came: {reason}"))
            for rid, pending in self._pending.items()
            if not pending.replay
        ]
        self._pending.clear()
        for channel in self._channels.values():
            channel.retries, channel.retry_at = 0, None
        return list(failed)

    def _lost(self, code: int, reason: str, now: float, jitter: float) -> list[Effect]:
        reason = scrub(reason)
        effects = self._end_wire(reason or str(code))
        self._backoff.lost(now)
        if code == WsCloseCode.OVER_CONCURRENT_LIMIT:
            self._floor_s = OVER_LIMIT_FLOOR_S
        delay = self._delay(code, jitter)
        was_connected = self.state == "connected"
        if delay is None:
            return effects + self._give_up(code, reason)
        self._reconnect_at = now + delay
        if was_connected:
            effects += self._enter("reconnecting")
            effects.append(Dropped(code, reason, True))
        return effects

    def _delay(self, code: int, jitter: float) -> float | None:
        may_retry = self._ever_connected or self._policy.retry_first
        if self._policy.reconnect is None or code in self._policy.final_codes or not may_retry:
            return None
        delay = self._backoff.delay(jitter, self._floor_s)
        if delay is not None and self._retry_after_s is not None:
            # All clients of a closing server hear the same number: spread them over the time after it.
            delay = max(delay, self._retry_after_s * (1.0 + GOING_AWAY_SPREAD * jitter))
        self._floor_s, self._retry_after_s = 0.0, None
        return delay

    def _give_up(self, code: int, reason: str) -> list[Effect]:
        self._channels.clear()
        effects = self._enter("closed")
        if self._ever_connected:
            return [*effects, Dropped(code, reason, False)]
        return [*effects, ConnectFailed(SignallingConnectError(code, reason))]

    def _token_failed(self, error: Exception, now: float, jitter: float) -> list[Effect]:
        self._token_failures += 1
        effects: list[Effect] = []
        if self._token_failures >= TOKEN_FAILURES_TO_TELL:
            effects.append(TokenTrouble(self._token_failures, error))
        return effects + self._lost(1006, f"the token provider failed: {type(error).__name__}", now, jitter)

    def _close(self, code: int, reason: str) -> list[Effect]:
        if self.state == "closed":
            return []
        was = self.state
        effects = self._end_wire("closed by this side") if self._wire_up else []
        if was != "idle":
            effects.insert(0, CloseSocket(self._wire, code, reason))
        self._wire_up = False
        self._reconnect_at = None
        self._channels.clear()
        effects += self._enter("closed")
        if was == "connecting":
            effects.append(ConnectFailed(SignallingConnectError(code, reason, "closed while connecting")))
        elif was != "idle":
            effects.append(Dropped(code, reason, False))
        return effects

    def _enter(self, state: SessionState) -> list[Effect]:
        before, self.state = self.state, state
        return [StateChanged(before, state)]

    # Receiving

    def _received(self, text: str, now: float) -> list[Effect]:
        self._heard_at = now
        if self._policy.inactivity_s > 0:
            self._ping_at = now + self._ping_every_s
        frame = decode_server(text)
        if isinstance(frame, Malformed):
            return [Skipped(frame.reason)]
        if self.state != "connected":
            return self._welcome(frame, now) if isinstance(frame, Welcome) else [Skipped("a frame before welcome")]
        return self._frame(frame, now)

    def _welcome(self, welcome: Welcome, now: float) -> list[Effect]:
        again = self._ever_connected
        self._welcome_due = None
        self._ever_connected = True
        self._token_failures = 0
        self.max_message_bytes = welcome.max_message_size
        self._backoff.connected(now)
        effects = self._enter("connected")
        effects.append(Welcomed(welcome, again))
        if again:
            self.reconnects += 1
            if self._policy.auto_resubscribe:
                effects += [self._replay(name, now) for name in self._channels]
        return effects

    def _frame(self, frame: ServerFrame, now: float) -> list[Effect]:
        match frame:
            case Welcome() | Pong():
                return []
            case Ack(rid):
                pending = self._pending.pop(rid, None)
                return [Resolved(rid)] if pending is not None and not pending.replay else []
            case ErrorFrame():
                return self._error(frame, now)
            case GoingAwayFrame(ms):
                self._retry_after_s = ms / 1000
                return [Delivered(frame)]
            case MessageFrame() | DirectFrame() | PresenceFrame():
                return [Delivered(frame)]
            case _ as never:  # pragma: no cover
                assert_never(never)

    def _error(self, frame: ErrorFrame, now: float) -> list[Effect]:
        if frame.request_id is None:
            return [] if frame.code == ErrorCode.UNKNOWN_TYPE else [Delivered(frame)]
        pending = self._pending.pop(frame.request_id, None)
        if pending is None:
            return []
        if pending.replay:
            if frame.code in REFUSED_FOR_GOOD:
                self._channels.pop(pending.channel or "", None)
                return [Delivered(frame)]
            self._schedule_retry(pending.channel, now)
            return []
        if pending.fresh:
            self._channels.pop(pending.channel or "", None)
        text = f"the server refused the request: {frame.code}" + (f" ({frame.message})" if frame.message else "")
        return [Rejected(frame.request_id, ServerRequestError(frame.code, scrub(text), frame.request_id))]

    # Requests

    def _request(self, frame: Subscribe | Unsubscribe | Publish | Send, now: float) -> list[Effect]:
        rid = frame.request_id
        assert rid is not None, "a request carries an id of new_id()"
        text = encode(frame)
        if self.state != "connected":
            return [Rejected(rid, NotConnectedError(f"not connected (state {self.state}): connect() first"))]
        size = len(text.encode())
        if size > self.max_message_bytes:
            return [Rejected(rid, MeteredPeerOversizedError(size, self.max_message_bytes))]
        pending = _Pending(now + ACK_TIMEOUT_S)
        if isinstance(frame, Subscribe):
            pending.channel, pending.fresh = frame.channel, frame.channel not in self._channels
            self._channels[frame.channel] = _Channel(frame.include_sender_metadata)
        elif isinstance(frame, Unsubscribe):
            self._channels.pop(frame.channel, None)
        self._pending[rid] = pending
        return [SendText(text)]

    def _expire_requests(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for rid, pending in [(r, p) for r, p in self._pending.items() if now >= p.deadline]:
            del self._pending[rid]
            if pending.replay:
                self._schedule_retry(pending.channel, now)
            else:
                effects.append(Rejected(rid, AckTimeoutError(rid, ACK_TIMEOUT_S)))
        return effects

    # Subscribing again

    def _replay(self, name: str, now: float) -> Effect:
        channel = self._channels[name]
        channel.retry_at = None
        rid = self.new_id()
        self._pending[rid] = _Pending(now + ACK_TIMEOUT_S, name, replay=True)
        return SendText(encode(Subscribe(name, rid, channel.wants_metadata)))

    def _schedule_retry(self, name: str | None, now: float) -> None:
        channel = self._channels.get(name or "")
        if channel is not None and channel.retries < REPLAY_RETRIES:
            channel.retries += 1
            channel.retry_at = now + REPLAY_RETRY_S

    def _retry_replays(self, now: float) -> list[Effect]:
        due = [name for name, c in self._channels.items() if c.retry_at is not None and now >= c.retry_at]
        return [self._replay(name, now) for name in due]
