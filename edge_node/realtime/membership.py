"""A member of one channel: joining, messages, coming back, leaving."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

from edge_node.aio.emitter import Emitter
from edge_node.aio.tasks import TaskGroup
from edge_node.errors import (
    AckTimeoutError,
    DisconnectedError,
    MeteredPeerOversizedError,
    MeteredPeerSendError,
    MeteredPeerStateError,
    MeteredRealtimeError,
    NotConnectedError,
    ReconcileTimeoutError,
    ServerRequestError,
)
from edge_node.ports import Connect as ConnectFn
from edge_node.protocol import payloads
from edge_node.protocol.codec import dumps
from edge_node.protocol.frames import PresencePeer
from edge_node.protocol.names import FATAL_CODES, is_reserved
from edge_node.protocol.payloads import IceServerConfig
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.events import (
    Connected,
    Data,
    Direct,
    Disconnected,
    FatalError,
    Joined,
    Left,
    Message,
    MeteredPeerState,
    Presence,
    ServerError,
    StateChange,
    TokenProviderError,
)
from edge_node.realtime.logger import logger_of
from edge_node.realtime.options import (
    SignallingClientOptions,
    SubscribeOptions,
)
from edge_node.realtime.remote import RemotePeer
from edge_node.realtime.roster import Roster

RECONCILE_TIMEOUT_S = 10.0
RECONCILE_RESUBSCRIBES = 2
HELD_EVENTS = 256
FATAL_ERRORS = frozenset(
    {"account_suspended", "channel_not_authorized", "action_not_permitted", "invalid_token", "token_expired"}
)


class Membership(Emitter):
    """What MeteredPeer is without its media: the signalling connection, the state, who else is there."""

    def __init__(self, name: str, options: SignallingClientOptions, connect: ConnectFn | None, max_peers: int) -> None:
        super().__init__(name)
        self._options = options
        if not options.auto_resubscribe:
            raise ValueError("a MeteredPeer needs auto_resubscribe: it would not find its channel after a reconnect")
        self._connect_fn = connect
        self._log = logger_of(options.logger)
        self._ice_welcome: tuple[IceServerConfig, ...] = ()
        self._client = self._new_client()
        self._work = TaskGroup(name)
        self._roster = Roster(
            make=self._new_remote,
            begin=self._begin,
            emit=self.emit,
            hear=lambda remote, data: self._from_peer(remote, data, None),
            log=self._log,
            limit=max_peers,
        )
        self._held: list[Presence | Direct | Message] = []
        self._state: MeteredPeerState = "idle"
        self._channel: str | None = None
        self._subscription = SubscribeOptions()
        self._peer_id: str | None = None
        self._online = asyncio.Event()
        self._awaits_snapshot = False
        self._reconcile: asyncio.Task[None] | None = None
        self._going: asyncio.Task[None] | None = None

    # What the media need

    @abstractmethod
    def _new_remote(self, peer: PresencePeer) -> RemotePeer:
        """The remote peer of somebody who came."""

    @abstractmethod
    def _begin(self, remote: RemotePeer) -> None:
        """Tells it what is sent, and starts the call."""

    @abstractmethod
    def _from_peer(self, remote: RemotePeer, data: Any, metadata: Mapping[str, Any] | None) -> None:
        """It said this to this peer alone."""

    @abstractmethod
    def _end_media(self) -> None:
        """Nothing is sent any more, for good."""

    def _new_client(self) -> SignallingClient:
        client = SignallingClient(self._options, connect=self._connect_fn)
        client.on(Connected, self._on_connected)
        client.on(Disconnected, self._on_disconnected)
        client.on(Presence, self._on_presence)
        client.on(Direct, self._on_direct)
        client.on(Message, self._on_message)
        client.on(ServerError, self._on_server_error)
        client.on(TokenProviderError, self._on_token_error)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def state(self) -> MeteredPeerState:
        return self._state

    @property
    def peer_id(self) -> str | None:
        """The id the server gave; with a publishable key another one after each reconnect."""
        return self._peer_id

    @property
    def channel(self) -> str | None:
        return self._channel

    @property
    def remote_peers(self) -> list[RemotePeer]:
        return self._roster.all()

    @property
    def reconnects(self) -> int:
        """How often the signalling connection was made anew."""
        return self._client.reconnects

    # Joining and leaving

    async def join(self, channel: str, *, include_sender_metadata: bool = False) -> None:
        """Connects and subscribes; the others come as PeerJoined. After a failure it is idle and may join again.

        Raises MeteredPeerStateError outside idle, MeteredPeerSendError for a reserved channel, SignallingError.
        """
        self._require("join", {"idle"})
        if is_reserved(channel):
            raise MeteredPeerSendError("reserved_channel", f"channel {channel!r} is reserved: choose another name")
        self._enter("joining")
        if self._client.state == "closed":
            self._client = self._new_client()
        self._channel = channel  # before the ack: the roster may come in the same read
        self._subscription = SubscribeOptions(include_sender_metadata=include_sender_metadata)
        try:
            if self._client.state == "idle":
                await self._client.connect()
            await self._subscribe(channel)
        except BaseException:
            if self._state == "joining":
                await self._client.close()
                self._channel = self._peer_id = None
                self._held.clear()
                self._enter("idle")
            raise
        if self._state == "joining":
            self._enter("joined")
            self.emit(Joined(self._peer_id or "", channel))
            self._release_held()

    async def _subscribe(self, channel: str) -> None:
        while True:
            try:
                await self._client.subscribe(channel, self._subscription)
                return
            except (DisconnectedError, NotConnectedError, AckTimeoutError):
                if not self._options.connect_retry or self._client.state in ("idle", "closed"):
                    raise
            await self._online.wait()

    @asynccontextmanager
    async def joined(self, channel: str, *, include_sender_metadata: bool = False) -> AsyncIterator[Self]:
        """`async with peer.joined("room"):` joins, and closes at the end."""
        try:
            await self.join(channel, include_sender_metadata=include_sender_metadata)
            yield self
        finally:
            await self.close()

    async def leave(self, reason: str | None = None) -> None:
        """Leaves the channel and is idle again: it may join another one. Tracks and handlers stay."""
        if self._state in ("joined", "reconnecting"):
            await self._in_own_task(self._go("idle", reason))

    async def close(self, reason: str | None = None) -> None:
        """Leaves and closes for good. Idempotent."""
        if self._state not in ("closed", "leaving"):
            await self._in_own_task(self._close(reason, asyncio.current_task()))

    async def _in_own_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Closing ends the handlers of this peer; one of them may be the caller, and what it began goes on."""
        self._going = asyncio.get_running_loop().create_task(work, name=f"{type(self).__name__}:going")
        await asyncio.shield(self._going)

    async def _close(self, reason: str | None, caller: asyncio.Task[Any] | None) -> None:
        await self._go("closed", reason)
        self._end_media()
        await self._work.close()
        await self.drain(spare=caller)
        self.release()

    async def _go(self, state: Literal["idle", "closed"], reason: str | None) -> None:
        was, peer_id, channel = self._state, self._peer_id, self._channel
        self._enter("leaving")
        self._stop_reconciling()
        self._roster.clear()
        await self._roster.settle()
        await self._client.close()
        self._channel = self._peer_id = None
        self._held.clear()
        self._enter(state)
        if was != "idle":
            self.emit(Left(peer_id, channel, reason))

    # Messages

    async def send(self, data: Any) -> None:
        """Broadcasts `data` (any JSON) to the channel. Raises MeteredPeerSendError, MeteredPeerOversizedError."""
        if self._state != "joined" or self._channel is None:
            raise MeteredPeerSendError("not_joined", f"not in a channel (state {self._state}): join() first")
        self._check_size(data)
        await self._client.publish(self._channel, data)

    async def send_to(self, peer_id: str, data: Any) -> None:
        """Sends `data` (any JSON) to one peer. Raises as send() does."""
        if self._state != "joined":
            raise MeteredPeerSendError("not_joined", f"not in a channel (state {self._state}): join() first")
        if not isinstance(peer_id, str) or not peer_id:
            raise MeteredPeerSendError("invalid_args", "peer_id must be a non-empty string")
        if peer_id == self._peer_id:
            raise MeteredPeerSendError("self_send", "peer_id is this peer itself")
        if isinstance(data, dict) and payloads.TRACK_META_KEY in data:
            self._log.warning(f"{payloads.TRACK_META_KEY} is reserved: the receiver takes this for track metadata")
        self._check_size(data)
        await self._client.send(peer_id, data)

    def _check_size(self, data: Any) -> None:
        size, cap = len(dumps(data).encode()), self._client.max_message_size
        if size > cap:
            raise MeteredPeerOversizedError(size, cap)

    # The signalling connection

    def _on_connected(self, event: Connected) -> None:
        self._online.set()
        is_stranger = self._peer_id is not None and self._peer_id != event.peer_id
        self._peer_id = event.peer_id
        if event.ice_servers is not None:
            self._ice_welcome = event.ice_servers
        if self._state != "reconnecting":
            return
        self._roster.early.clear()
        self._awaits_snapshot = True
        if not len(self._roster):
            self._enter("joined")
            return
        if is_stranger:
            self._roster.restart()
        self._reconcile = self._work.spawn(self._await_snapshot(), "reconcile")

    def _on_disconnected(self, event: Disconnected) -> None:
        if event.will_reconnect:
            self._online.clear()
        else:
            self._online.set()  # nothing is to be waited for any more
        if self._state not in ("joined", "reconnecting"):
            return
        self._stop_reconciling()
        if event.will_reconnect:
            self._enter("reconnecting")
            return
        if event.code in FATAL_CODES:
            text = f"the server ended the connection for good ({event.code} {event.reason})".rstrip()
            self.emit(FatalError(MeteredRealtimeError(text)))
        peer_id, channel = self._peer_id, self._channel
        self._roster.clear()
        self._channel = self._peer_id = None
        self._enter("closed")
        self.emit(Left(peer_id, channel, event.reason or str(event.code)))
        self.release()

    def _on_server_error(self, event: ServerError) -> None:
        if event.code in FATAL_ERRORS:
            text = f"the server refuses this client: {event.code} {event.message or ''}".rstrip()
            self.emit(FatalError(ServerRequestError(event.code, text, event.request_id)))

    def _on_token_error(self, event: TokenProviderError) -> None:
        self.emit(FatalError(event.err))

    async def _await_snapshot(self) -> None:
        await asyncio.sleep(RECONCILE_TIMEOUT_S)
        for _ in range(RECONCILE_RESUBSCRIBES):
            try:
                await self._client.subscribe(self._channel or "", self._subscription)
            except MeteredRealtimeError as err:
                self._log.warning("the roster did not come", {"error": repr(err)})
            await asyncio.sleep(RECONCILE_TIMEOUT_S)
        self.emit(FatalError(ReconcileTimeoutError()))

    def _stop_reconciling(self) -> None:
        self._awaits_snapshot = False
        if self._reconcile is not None:
            self._reconcile.cancel()
            self._reconcile = None

    # The roster, and what the others say

    def _on_presence(self, event: Presence) -> None:
        if event.channel != self._channel or self._hold(event):
            return
        if self._awaits_snapshot:
            self._stop_reconciling()
            self._roster.reconcile(event.joined, self._peer_id)
            self._enter("joined")
        else:
            self._roster.update(event, self._peer_id)

    def _hold(self, event: Presence | Direct | Message) -> bool:
        """While joining, what comes waits until Joined was told; beyond HELD_EVENTS the newest is dropped."""
        if self._state != "joining":
            return False
        if len(self._held) < HELD_EVENTS:
            self._held.append(event)
        return True

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for event in held:
            match event:
                case Presence():
                    self._on_presence(event)
                case Direct():
                    self._on_direct(event)
                case Message():
                    self._on_message(event)

    def _on_direct(self, event: Direct) -> None:
        if self._hold(event):
            return
        remote = self._roster.find(event.sender_peer_id)
        if remote is None:
            if payloads.read(event.data) is not None:
                self._roster.early.keep(event.sender_peer_id, event.data, _now())
            return
        self._from_peer(remote, event.data, event.sender_metadata)

    def _on_message(self, event: Message) -> None:
        if event.channel != self._channel or event.sender_peer_id == self._peer_id or self._hold(event):
            return
        self.emit(Data(event.sender_peer_id, event.data, "broadcast", event.sender_metadata))

    # States

    def _require(self, method: str, states: set[MeteredPeerState]) -> None:
        if self._state not in states:
            text = f"{method}() is not possible in state {self._state}"
            raise MeteredPeerStateError("invalid_state", method, text, self._state)

    def _enter(self, state: MeteredPeerState) -> None:
        if state != self._state:
            before, self._state = self._state, state
            self.emit(StateChange(before, state))


def _now() -> float:
    return asyncio.get_running_loop().time()
