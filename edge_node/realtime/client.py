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
from edge_node.aio.tasks import TaskGroup, cancel_and_wait
from edge_node.errors import NotConnectedError, SignallingError
from edge_node.ports import Connect as ConnectFn
from edge_node.ports import Wire, WireClosed
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
    backoff_of,
    connect_url,
    final_codes_of,
    origin,
)

OUTBOX_FRAMES = 1024
CLOSE_STAGE_S = 1.0
BROKEN = 1006


class SignallingClient(Emitter):
    """The low-level client. Events: Connected, Disconnected, StateChange, Message, Direct, Presence, ServerError,
    GoingAway, TokenProviderError.

    Takes one SignallingClientOptions or its fields as keywords. `connect` opens the socket (ports.Connect); the default
    speaks WebSocket. Frames wait in a queue of OUTBOX_FRAMES; overflow rule: the connection counts as broken.
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
        self._credential = Credential(chosen.api_key, chosen.token_provider)
        self._origin = origin(chosen.url, allow_insecure_lan=chosen.allow_insecure_lan)
        self._token_timeout_s = chosen.token_provider_timeout
        self._log = logger_of(chosen.logger)
        self._open_wire = connect or websocket_wire.connect
        self._session = Session(
            s.SessionPolicy(
                reconnect=backoff_of(chosen.reconnect, for_ever=chosen.connect_retry),
                inactivity_s=chosen.inactivity_timeout or 0.0,
                auto_resubscribe=chosen.auto_resubscribe,
                retry_first=chosen.connect_retry,
                final_codes=final_codes_of(chosen.reconnect, self._credential),
            ),
            id_prefix=uuid.uuid4().hex,
        )
        self._effects: deque[s.Effect] = deque()
        self._applying = False
        self._work = TaskGroup("SignallingClient")
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._connecting: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wire_task: asyncio.Task[None] | None = None
        self._close_as = (1000, "")
        self._outbox: deque[str] = deque()
        self._outbox_wake = asyncio.Event()
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
        if self._wire_task is not None and self._wire_task is not asyncio.current_task():
            await asyncio.wait([self._wire_task], timeout=CLOSE_STAGE_S)
            await cancel_and_wait(self._wire_task, CLOSE_STAGE_S)
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

    def require_connected(self) -> None:
        """Raises NotConnectedError unless connected."""
        if self.state != "connected":
            raise NotConnectedError(f"not connected (state {self.state}): connect() first")

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
            case s.OpenSocket(wire):
                self._outbox.clear()
                self._close_as = (1000, "")
                self._wire_task = self._work.spawn(self._run_wire(wire), f"wire-{wire}")
            case s.SendText(text):
                self._queue(text)
            case s.CloseSocket(_, code, reason):
                self._close_wire(code, reason)
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

    # The socket

    def _queue(self, text: str) -> None:
        if len(self._outbox) >= OUTBOX_FRAMES:
            self._log.warning("the server takes nothing any more: reconnecting", {"frames": len(self._outbox)})
            if self._wire_task is not None:
                self._wire_task.cancel()
            return
        self._outbox.append(text)
        self._outbox_wake.set()

    def _close_wire(self, code: int, reason: str) -> None:
        if self._wire_task is not None:
            self._close_as = (code, reason)
            self._wire_task.cancel()

    async def _run_wire(self, number: int) -> None:
        """One attempt: credential, socket, frames; ends in exactly one Lost or TokenFailed."""
        socket: Wire | None = None
        lost = s.Lost(number, BROKEN, "cancelled", random.random())
        try:
            try:
                async with asyncio.timeout(self._token_timeout_s):
                    value = await self._credential.value()
            except Exception as err:
                self._handle(s.TokenFailed(number, err, random.random()))
                return
            async with asyncio.timeout(websocket_wire.OPEN_TIMEOUT_S):
                socket = await self._open_wire(connect_url(self._origin, self._credential, value))
            self._handle(s.Opened(number))
            await self._pump(number, socket)
        except WireClosed as err:
            lost = s.Lost(number, err.code, err.reason, random.random())
        except TimeoutError:
            lost = s.Lost(number, BROKEN, "no connection in time", random.random())
        except asyncio.CancelledError:
            pass  # the session, or close(), ended this attempt
        except Exception as err:
            self._log.error("the signalling connection failed", {"error": repr(err)})
            lost = s.Lost(number, BROKEN, type(err).__name__, random.random())
        finally:
            if socket is not None:
                await self._close_quietly(socket, *self._close_as)
        self._handle(lost)

    async def _pump(self, number: int, socket: Wire) -> None:
        writer = self._work.spawn(self._write(socket), "writer")
        try:
            while True:
                text = await socket.recv()
                if isinstance(text, str):
                    self._handle(s.Received(number, text))
        finally:
            await cancel_and_wait(writer, CLOSE_STAGE_S)

    async def _write(self, socket: Wire) -> None:
        try:
            while True:
                self._outbox_wake.clear()
                while self._outbox:
                    await socket.send(self._outbox.popleft())
                await self._outbox_wake.wait()
        except WireClosed:
            return  # the reader hears of it as well, with the code

    async def _close_quietly(self, socket: Wire, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_STAGE_S):
                await socket.close(code, reason)
        except (WireClosed, TimeoutError, OSError):
            return


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
