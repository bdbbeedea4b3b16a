"""A member of one channel, with a call with each of the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from edge_node.errors import MeteredPeerReplaceTrackError, MeteredRealtimeError, ReplaceTrackFailure
from edge_node.ports import Connect as ConnectFn
from edge_node.protocol import payloads
from edge_node.protocol.codec import dumps
from edge_node.protocol.frames import PresencePeer, Send
from edge_node.protocol.names import MAX_PEERS_PER_CHANNEL
from edge_node.protocol.negotiation import is_polite
from edge_node.protocol.payloads import IceServerConfig, TrackMeta
from edge_node.protocol.secrets import scrub
from edge_node.realtime.connection import Connection, ConnectionListener, RtcOptions
from edge_node.realtime.credential import TokenProviderFn
from edge_node.realtime.encoding import EncodePolicy
from edge_node.realtime.events import Data
from edge_node.realtime.local_tracks import LocalTracks
from edge_node.realtime.logger import Logger
from edge_node.realtime.membership import Membership
from edge_node.realtime.options import IceTransportPolicy, ReconnectOptions, SignallingClientOptions
from edge_node.realtime.remote import RemotePeer
from edge_node.realtime.streams import MediaStream, StreamMetadata

# A hello each to a large audience would exceed the server's rate (200 frames at once); so many calls nobody has.
GREETED_PEERS = 64


class MeteredPeer(Membership):
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
        super().__init__("MeteredPeer", chosen, connect, max_peers)
        self._ice_given = None if ice_servers is None else tuple(ice_servers)
        self._relay_only = ice_transport_policy == "relay"
        self._receive = frozenset(receive)
        self._tracks = LocalTracks(self.remove_track, encode or EncodePolicy())

    def __repr__(self) -> str:
        return f"MeteredPeer(state={self._state!r}, channel={self._channel!r})"

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

    # The calls

    def _introduce(self, remote: RemotePeer) -> None:
        """Who this peer is, and what it sends."""
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

    def _end_media(self) -> None:
        self._tracks.clear()

    def _tell_metadata(self, peer_id: str, metas: Iterable[TrackMeta]) -> None:
        for meta in metas:
            self._tell(peer_id, payloads.track_meta(meta))

    def _tell(self, peer_id: str, payload: Mapping[str, Any]) -> None:
        if self._client.state == "connected":
            self._client.request(Send(peer_id, payload))
