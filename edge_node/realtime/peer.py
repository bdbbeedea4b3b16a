"""A member of one channel: messages to all, and a call with each of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Literal

from edge_node.aio.emitter import Emitter
from edge_node.aio.tasks import TaskGroup
from edge_node.errors import (
    AckTimeoutError,
    DisconnectedError,
    MeteredPeerOversizedError,
    MeteredPeerReplaceTrackError,
    MeteredPeerSendError,
    MeteredPeerStateError,
    MeteredRealtimeError,
    NotConnectedError,
    ReconcileTimeoutError,
    ReplaceTrackFailure,
    ServerRequestError,
)
from edge_node.ports import Connect as ConnectFn
from edge_node.protocol import payloads
from edge_node.protocol.codec import dumps
from edge_node.protocol.frames import PresencePeer, Send
from edge_node.protocol.names import MAX_PEERS_PER_CHANNEL, WsCloseCode, is_reserved
from edge_node.protocol.negotiation import is_polite
from edge_node.protocol.payloads import IceServerConfig, TrackMeta
from edge_node.protocol.secrets import scrub
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.connection import Connection, ConnectionListener, RtcOptions
from edge_node.realtime.credential import TokenProviderFn
from edge_node.realtime.encoding import EncodePolicy
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
from edge_node.realtime.local_tracks import LocalTracks
from edge_node.realtime.logger import Logger, logger_of
from edge_node.realtime.options import (
    IceTransportPolicy,
    ReconnectOptions,
    SignallingClientOptions,
    SubscribeOptions,
)
from edge_node.realtime.remote import RemotePeer
from edge_node.realtime.roster import Roster
from edge_node.realtime.streams import MediaStream, StreamMetadata

RECONCILE_TIMEOUT_S = 10.0
RECONCILE_RESUBSCRIBES = 2
HELD_EVENTS = 256
# A hello each to a large audience would exceed the server's rate (200 frames at once); so many calls nobody has.
GREETED_PEERS = 64
FATAL_ERRORS = frozenset(
    {"account_suspended", "channel_not_authorized", "action_not_permitted", "invalid_token", "token_expired"}
)
FATAL_CODES = frozenset(
    {
        WsCloseCode.INVALID_TOKEN,
        WsCloseCode.TOKEN_EXPIRED,
        WsCloseCode.CHANNEL_NOT_AUTHORIZED,
        WsCloseCode.ACCOUNT_SUSPENDED,
        WsCloseCode.ADMIN_DISCONNECT,
    }
)


class MeteredPeer(Emitter):
    """A member of one channel. Events: Joined, Left, StateChange, PeerJoined, PeerLeft, Data, FatalError.

    Takes one SignallingClientOptions or its fields as keywords. Beyond the reference SDK: `ice_servers` (None: those of
    the server's welcome; a public STUN server is never asked unbidden), `ice_transport_policy`, `receive` (the kinds of
    media taken from others; what is not in it is not even decoded), `encode` (codecs and bitrates of tracks of frames),
    `max_peers` (calls at a time; who comes then waits for a place) and `connect` (ports.Connect).
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
        ice_servers: Sequence[IceServerConfig] | None = None,
        ice_transport_policy: IceTransportPolicy = "all",
        receive: Collection[str] = ("audio", "video"),
        encode: EncodePolicy | None = None,
        max_peers: int = MAX_PEERS_PER_CHANNEL,
    ) -> None:
        super().__init__("MeteredPeer")
        self._options = options or SignallingClientOptions(
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
        if not self._options.auto_resubscribe:
            raise ValueError("a MeteredPeer needs auto_resubscribe: it would not find its channel after a reconnect")
        self._connect_fn = connect
        self._log = logger_of(self._options.logger)
        self._ice_given = None if ice_servers is None else tuple(ice_servers)
        self._ice_welcome: tuple[IceServerConfig, ...] = ()
        self._relay_only = ice_transport_policy == "relay"
        self._receive = frozenset(receive)
        self._client = self._new_client()
        self._work = TaskGroup("MeteredPeer")
        self._tracks = LocalTracks(self.remove_track, encode or EncodePolicy())
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

    def __repr__(self) -> str:
        return f"MeteredPeer(state={self._state!r}, channel={self._channel!r})"

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

    async def __aenter__(self) -> MeteredPeer:
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

    def joined(self, channel: str, *, include_sender_metadata: bool = False) -> _JoinedContext:
        """`async with peer.joined("room"):` joins, and closes at the end."""
        return _JoinedContext(self, channel, include_sender_metadata)

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
        self._going = asyncio.get_running_loop().create_task(work, name="MeteredPeer:going")
        await asyncio.shield(self._going)

    async def _close(self, reason: str | None, caller: asyncio.Task[Any] | None) -> None:
        await self._go("closed", reason)
        self._tracks.clear()
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

    # Tracks

    def add_track(self, track: Any, stream: MediaStream | None = None, metadata: StreamMetadata | None = None) -> None:
        """Sends a track (an aiortc MediaStreamTrack or a ports.ViewableTrack) to everyone, now and later.

        Raises MeteredPeerStateError when closed or when it is sent in another stream, MeteredPeerOversizedError for
        large metadata.
        """
        self._require("add_track", {"idle", "joining", "joined", "reconnecting"})
        if metadata is not None:
            self._check_size(payloads.track_meta(TrackMeta(track.id, metadata, stream.id if stream else None)))
        entry = self._tracks.add(track, stream, metadata, self._state)
        if entry is None:
            return
        for remote in self._roster.all():
            self._tell_metadata(remote.id, [entry.meta] if entry.metadata is not None else [])
            remote.connection.changed()

    def remove_track(self, track: Any) -> None:
        """Stops sending a track; the track itself goes on. Unknown tracks are fine."""
        entry = self._tracks.remove(track)
        if entry is None:
            return
        for remote in self._roster.all():
            self._tell_metadata(remote.id, [entry.cleared] if entry.metadata is not None else [])
            remote.connection.changed()

    def add_stream(self, stream: MediaStream, metadata: StreamMetadata | None = None) -> None:
        """Sends all tracks of a stream, each with its own copy of the metadata."""
        for track in stream.get_tracks():
            self.add_track(track, stream, metadata)

    def remove_stream(self, stream: MediaStream) -> None:
        for entry in self._tracks:
            if entry.stream is stream:
                self.remove_track(entry.track)

    async def replace_track(self, old_track: Any, new_track: Any | None) -> None:
        """Sends another track in place of one, without a new negotiation; None pauses it.

        Raises MeteredPeerStateError, TypeError, MeteredPeerReplaceTrackError when it worked for some peers only.
        """
        self._require("replace_track", {"idle", "joining", "joined"})
        if old_track is None:
            raise TypeError("replace_track(old, new) needs the track that is to be replaced")
        entry = self._tracks.find(old_track)
        if entry is None:
            return
        new = self._tracks.pause(entry) if new_track is None else self._tracks.replace(entry, new_track)
        succeeded: list[str] = []
        failed: list[ReplaceTrackFailure] = []
        for remote in self._roster.all():
            if new.outgoing.id != entry.outgoing.id and entry.metadata is not None:
                self._tell_metadata(remote.id, [entry.cleared, new.meta])
            try:
                remote.connection.replace(entry.outgoing.id, new.outgoing)
                succeeded.append(remote.id)
            except Exception as err:
                failed.append(ReplaceTrackFailure(remote.id, MeteredRealtimeError(scrub(str(err)))))
        if failed:
            raise MeteredPeerReplaceTrackError(succeeded, failed)

    def get_track_metadata(self, track: Any) -> StreamMetadata | None:
        entry = self._tracks.find(track)
        return None if entry is None else entry.metadata

    def get_stream_metadata(self, stream: MediaStream) -> StreamMetadata | None:
        """What is said about the stream's first track."""
        return next((entry.metadata for entry in self._tracks if entry.stream is stream), None)

    def _tell_metadata(self, peer_id: str, metas: Iterable[TrackMeta]) -> None:
        for meta in metas:
            self._tell(peer_id, payloads.track_meta(meta))

    def _tell(self, peer_id: str, payload: Mapping[str, Any]) -> None:
        if self._client.state == "connected":
            self._client.request(Send(peer_id, payload))

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

    # The roster

    def _on_presence(self, event: Presence) -> None:
        if event.channel != self._channel or self._hold(event):
            return
        if self._awaits_snapshot:
            self._stop_reconciling()
            self._roster.reconcile(event.joined, self._peer_id)
            self._enter("joined")
        else:
            self._roster.update(event, self._peer_id)

    def _introduce(self, remote: RemotePeer) -> None:
        if len(self._roster) <= GREETED_PEERS:
            self._tell(remote.id, remote.connection.hello())
        self._tell_metadata(remote.id, [entry.meta for entry in self._tracks if entry.metadata is not None])

    def _begin(self, remote: RemotePeer) -> None:
        self._introduce(remote)
        if remote.connection.pc is None and self._tracks.outgoing():
            remote.connection.changed()

    def _new_remote(self, peer: PresencePeer) -> RemotePeer:
        async def send_signal(payload: Mapping[str, Any]) -> None:
            await self._client.request(Send(peer.peer_id, payload))

        async def send_data(data: Any) -> None:
            await self.send_to(peer.peer_id, data)

        def connect(listener: ConnectionListener) -> Connection:
            return Connection(
                polite=is_polite(self._peer_id or "", peer.peer_id),
                options=self._rtc_options,
                tracks=self._tracks.outgoing,
                send=send_signal,
                listener=listener,
                name=peer.peer_id,
            )

        return RemotePeer(
            id=peer.peer_id,
            metadata=peer.metadata,
            connect=connect,
            send=send_data,
            moved=self._roster.moved,
            introduce=self._introduce,
        )

    def _rtc_options(self) -> RtcOptions:
        servers = self._ice_welcome if self._ice_given is None else self._ice_given
        return RtcOptions(servers, self._relay_only, self._receive)

    # What the others say

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

    def _from_peer(self, remote: RemotePeer, data: Any, metadata: Mapping[str, Any] | None) -> None:
        match payloads.read(data):
            case None:
                self.emit(Data(remote.id, data, "direct", metadata))
            case TrackMeta() as meta:
                if meta.metadata is None or len(dumps(meta.metadata).encode()) <= self._client.max_message_size:
                    remote.set_track_metadata(meta)
            case payloads.Unusable(reason):
                self._log.debug("dropped a signal", {"peer": remote.id, "reason": reason})
            case signal:
                remote.connection.signal(signal)

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


class _JoinedContext:
    """Joins on enter, closes on exit."""

    def __init__(self, peer: MeteredPeer, channel: str, include_sender_metadata: bool) -> None:
        self._peer = peer
        self._channel = channel
        self._include = include_sender_metadata

    async def __aenter__(self) -> MeteredPeer:
        try:
            await self._peer.join(self._channel, include_sender_metadata=self._include)
        except BaseException:
            await self._peer.close()
            raise
        return self._peer

    async def __aexit__(self, *exc: object) -> None:
        await self._peer.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
