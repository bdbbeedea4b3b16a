"""Publish, subscribe and direct messages over one signalling connection."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never

from edge_node.aio.emitter import Emitter
from edge_node.aio.tasks import TaskGroup
from edge_node.errors import SignallingError
from edge_node.ports import Connect as ConnectFn
from edge_node.protocol import session_events as s
from edge_node.protocol.frames import (
    DirectFrame,
    ErrorFrame,
    GoingAwayFrame,
    MessageFrame,
    PresenceFrame,
    Publish,
    Send,
    Subscribe,
    Unsubscribe,
)
from edge_node.protocol.names import channel_problem, peer_id_problem
from edge_node.protocol.payloads import ice_servers
from edge_node.protocol.session import Session
from edge_node.realtime import wire as websocket_wire
from edge_node.realtime.attempt import CLOSE_STAGE_S, Attempt, Server
from edge_node.realtime.credential import Credential, TokenProviderFn
from edge_node.realtime.events import (
    Connected,
    Direct,
    Disconnected,
    Event,
    GoingAway,
    Message,
    Presence,
    ServerError,
    SignallingClientState,
    StateChange,
    TokenProviderError,
)
from edge_node.realtime.logger import Logger, logger_of
from edge_node.realtime.options import (
    ReconnectOptions,
    SignallingClientOptions,
    SubscribeOptions,
    origin,
    session_policy,
)


class SignallingClient(Emitter):
    """The low-level client. Events: Connected, Disconnected, StateChange, Message, Direct, Presence, ServerError,
    GoingAway, TokenProviderError.

    Takes one SignallingClientOptions or its fields as keywords. `connect` opens the socket (ports.Connect); the default
    speaks WebSocket.
    """

    def __init__(
        self,
        options: SignallingClientOptions | None = None,
        *,
        api_key: str | None = None,
        token_provider: TokenProviderFn | None = None,
        url: str | None = None,
        token_provider_timeout: float = 10.0,
        logger: Logger | None = None,
        reconnect: ReconnectOptions | bool = True,
        inactivity_timeout: float = 60.0,
        auto_resubscribe: bool = True,
        connect_retry: bool = False,
        allow_insecure_lan: bool = False,
        connect: ConnectFn | None = None,
    ) -> None:
        super().__init__("SignallingClient")
        chosen = options or SignallingClientOptions(
            api_key=api_key,
            token_provider=token_provider,
            url=url,
            token_provider_timeout=token_provider_timeout,
            logger=logger,
            reconnect=reconnect,
            inactivity_timeout=inactivity_timeout,
            auto_resubscribe=auto_resubscribe,
            connect_retry=connect_retry,
            allow_insecure_lan=allow_insecure_lan,
        )
        credential = Credential(chosen.api_key, chosen.token_provider)
        self._server = Server(
            origin(chosen.url, allow_insecure_lan=chosen.allow_insecure_lan),
            credential,
            chosen.token_provider_timeout,
            connect or websocket_wire.connect,
        )
        self._log = logger_of(chosen.logger)
        self._session = Session(session_policy(chosen, credential), id_prefix=uuid.uuid4().hex)
        self._effects: deque[s.Effect] = deque()
        self._applying = False
        self._work = TaskGroup("SignallingClient")
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._connecting: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._attempt: Attempt | None = None
        self.frames_skipped = 0

    def __repr__(self) -> str:
        return f"SignallingClient(state={self.state!r})"

    @property
    def state(self) -> SignallingClientState:
        return self._session.state

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest frame the server takes."""
        return self._session.max_message_bytes

    @property
    def reconnects(self) -> int:
        """How often the connection was made anew."""
        return self._session.reconnects

    async def __aenter__(self) -> SignallingClient:
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # The public calls

    async def connect(self) -> None:
        """Connects; done once the server said welcome. Raises SignallingConnectError, or SignallingError when it is
        connected, or connecting, already."""
        if self.state not in ("idle", "closed") or self._connecting is not None:
            raise SignallingError(f"connect() is for an idle client; this one is {self.state}")
        self._connecting = asyncio.get_running_loop().create_future()
        self._connecting.add_done_callback(_look)
        try:
            self._handle(s.Connect())
            await asyncio.shield(self._connecting)
        except asyncio.CancelledError:
            self._handle(s.Close(1000, "connect() was cancelled"))
            raise
        finally:
            self._connecting = None

    async def close(self, code: int = 1000, reason: str = "client requested close") -> None:
        """Closes for good. Idempotent; takes at most about CLOSE_STAGE_S per stage."""
        self._handle(s.Close(code, reason))
        if self._attempt is not None:
            await self._attempt.ended()
        await self._work.close(CLOSE_STAGE_S)
        self.release()
        await self.drain()

    async def subscribe(self, channel: str, opts: SubscribeOptions | None = None) -> None:
        """Subscribes; done when the server acknowledged. The channel is subscribed again after a reconnect."""
        _check(channel, channel_problem, "channel")
        wants = opts.include_sender_metadata if opts is not None else False
        await self.request(Subscribe(channel, include_sender_metadata=wants))

    async def unsubscribe(self, channel: str) -> None:
        _check(channel, channel_problem, "channel")
        await self.request(Unsubscribe(channel))

    async def publish(self, channel: str, data: Any) -> None:
        """Broadcasts `data` (any JSON) on a channel; done when the server took it."""
        _check(channel, channel_problem, "channel")
        await self.request(Publish(channel, data))

    async def send(self, to_peer_id: str, data: Any) -> None:
        """Sends `data` (any JSON) to one peer; done when the server took it."""
        _check(to_peer_id, peer_id_problem, "peer id")
        await self.request(Send(to_peer_id, data))

    def request(self, frame: Subscribe | Unsubscribe | Publish | Send) -> asyncio.Future[None]:
        """Queues a frame at once, in the order of the calls; the future is the server's answer.

        Raises ValueError or TypeError when the data is not JSON.
        """
        rid = self._session.new_id()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_look)
        self._answers[rid] = future
        try:
            self._handle(s.Request(replace(frame, request_id=rid)))
        except BaseException:
            self._answers.pop(rid, None)
            raise
        return future

    # The session's shell

    def _handle(self, event: s.SessionEvent) -> None:
        self._apply(self._session.handle(event, asyncio.get_running_loop().time()))

    def _tick(self) -> None:
        self._timer = None
        self._apply(self._session.tick(asyncio.get_running_loop().time(), random.random()))

    def _apply(self, effects: list[s.Effect]) -> None:
        self._effects.extend(effects)
        if self._applying:
            return  # a handler called back into the client: its effects follow those under way
        self._applying = True
        try:
            while self._effects:
                self._do(self._effects.popleft())
        finally:
            self._applying = False
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._session.deadline
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._tick)

    def _do(self, effect: s.Effect) -> None:
        match effect:
            case s.OpenSocket(number):
                self._attempt = Attempt(number, self._server, self._handle, self._work, self._log)
            case s.SendText(text):
                if self._attempt is not None:
                    self._attempt.send(text)
            case s.CloseSocket(_, code, reason):
                if self._attempt is not None:
                    self._attempt.close(code, reason)
            case s.Resolved(rid):
                _settle(self._answers.pop(rid, None), None)
            case s.Rejected(rid, error):
                _settle(self._answers.pop(rid, None), error)
            case s.ConnectFailed(error):
                _settle(self._connecting, error)
            case s.Skipped(reason):
                self.frames_skipped += 1
                self._log.debug("skipped a frame", {"reason": reason})
            case s.StateChanged(from_, to):
                self.emit(StateChange(from_, to))
            case s.Welcomed() | s.Dropped() | s.TokenTrouble() | s.Delivered():
                self._tell(effect)
            case _ as never:
                assert_never(never)

    def _tell(self, effect: s.Welcomed | s.Dropped | s.TokenTrouble | s.Delivered) -> None:
        match effect:
            case s.Welcomed(welcome, again):
                servers, problems = ice_servers(welcome.metadata)
                for problem in problems:
                    self._log.warning(problem)
                known = None if servers is None else tuple(servers)
                size = welcome.max_message_size
                self.emit(Connected(welcome.peer_id, welcome.server_time, welcome.expires_at, again, size, known))
                _settle(self._connecting, None)
            case s.Dropped(code, reason, again):
                self._log.info("disconnected", {"code": code, "reason": reason, "will_reconnect": again})
                self.emit(Disconnected(code, reason, again))
                if not again:
                    self.release()
            case s.TokenTrouble(failures, error):
                self.emit(TokenProviderError(failures, error))
            case s.Delivered(frame):
                self.emit(_event(frame))
            case _ as never:
                assert_never(never)


def _check(value: Any, problem_of: Callable[[str], str | None], what: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"a {what} is a string, not {type(value).__name__}")
    if problem := problem_of(value):
        raise ValueError(problem)


def _look(future: asyncio.Future[None]) -> None:
    """Marks a failure as seen: not everyone who asks waits for the answer."""
    if not future.cancelled():
        future.exception()


def _settle(future: asyncio.Future[None] | None, error: Exception | None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _event(frame: MessageFrame | DirectFrame | PresenceFrame | ErrorFrame | GoingAwayFrame) -> Event:
    match frame:
        case MessageFrame(channel, sender, data, metadata):
            return Message(channel, sender, data, metadata)
        case DirectFrame(sender, data, metadata):
            return Direct(sender, data, metadata)
        case PresenceFrame(channel, joined, left):
            return Presence(channel, joined, left)
        case ErrorFrame(code, rid, message):
            return ServerError(code, message or None, rid)
        case GoingAwayFrame(ms):
            return GoingAway(ms)
        case _ as never:
            assert_never(never)
