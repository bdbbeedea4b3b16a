"""One other member of the channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from edge_node.aio.emitter import Emitter
from edge_node.errors import MeteredRealtimeError
from edge_node.protocol import payloads, sdp
from edge_node.realtime.connection import Connection, ConnectionListener
from edge_node.realtime.events import (
    ConnectionReset,
    DataChannelOpened,
    IceCandidateError,
    MetadataChanged,
    NegotiationError,
    PeerConnectionState,
    StateChange,
    StreamAdded,
    StreamRemoved,
    Track,
)
from edge_node.realtime.received import ReceivedTrack
from edge_node.realtime.streams import MediaStream, StreamMetadata

TRACK_METADATA_ENTRIES = 512
# A connection built anew brings the streams back with its first descriptions; a follow-up offer takes a moment more.
STREAM_RETURN_S = 2.0


class RemotePeer(Emitter):
    """A member of the channel and the connection to it; made by MeteredPeer. It survives reconnects, its `pc` does not.

    Events: StateChange, Track, StreamAdded, StreamRemoved, DataChannelOpened, ConnectionReset, MetadataChanged,
    NegotiationError, IceCandidateError.
    """

    def __init__(
        self,
        *,
        id: str,
        metadata: Mapping[str, Any] | None,
        connect: Callable[[ConnectionListener], Connection],
        send: Callable[[Any], Awaitable[None]],
        moved: Callable[[RemotePeer], None],
        introduce: Callable[[RemotePeer], None],
    ) -> None:
        super().__init__(f"RemotePeer {id}")
        self.id = id
        self._metadata = metadata
        self._connect = connect
        self._send = send
        self._moved = moved
        self._introduce = introduce
        self._state: PeerConnectionState = "idle"
        self._track_metadata: dict[str, payloads.TrackMeta] = {}
        self._streams: dict[str, MediaStream] = {}
        self._missing: dict[str, MediaStream] = {}
        self._missing_timer: asyncio.TimerHandle | None = None
        self._last_bytes: tuple[float, int] | None = None
        self._connection = connect(_Ear(self))

    def __repr__(self) -> str:
        return f"RemotePeer(id={self.id!r}, state={self._state!r})"

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """What its token says about it; None without."""
        return self._metadata

    @property
    def state(self) -> PeerConnectionState:
        return self._state

    @property
    def polite(self) -> bool:
        """This side gives way when both offer at once."""
        return self._connection.polite

    @property
    def pc(self) -> Any:
        """The RTCPeerConnection of now; read it again after each StateChange to `connected`."""
        return self._connection.pc

    @property
    def connection(self) -> Connection:
        return self._connection

    async def send(self, data: Any) -> None:
        """Sends `data` (any JSON) through the server to this peer. Raises MeteredRealtimeError once it left."""
        if self._state == "closed":
            raise MeteredRealtimeError(f"peer {self.id} has left: it cannot be sent to")
        await self._send(data)

    def create_data_channel(self, label: str, **kwargs: Any) -> Any:
        """Opens a data channel; wrap the raw channel this returns in a DataChannel."""
        if self._state == "closed":
            raise MeteredRealtimeError(f"peer {self.id} has left: no data channel can be opened")
        return self._connection.create_data_channel(label, **kwargs)

    async def stats(self) -> dict[str, Any]:
        """id, rtt_ms, loss_percent, jitter_ms, kbps (sent since the last call); None for what is not known."""
        figures = await self._connection.stats()
        kbps = None
        if figures:
            now, sent = time.monotonic(), figures["sent_bytes"]
            if self._last_bytes is not None and now > self._last_bytes[0] and sent >= self._last_bytes[1]:
                kbps = round((sent - self._last_bytes[1]) * 8 / 1000 / (now - self._last_bytes[0]), 1)
            self._last_bytes = (now, sent)
        known = {name: figures.get(name) for name in ("rtt_ms", "loss_percent", "jitter_ms")}
        return {"id": self.id, **known, "kbps": kbps}

    # For MeteredPeer

    def refresh(self, metadata: Mapping[str, Any] | None) -> None:
        """What its token says now."""
        if metadata != self._metadata:
            self._metadata = metadata
            self.emit(MetadataChanged(metadata))

    def set_track_metadata(self, meta: payloads.TrackMeta) -> None:
        """Remembers, or forgets, what the other side says about a track; the oldest entry goes first."""
        self._track_metadata.pop(meta.track_id, None)
        if meta.metadata is None:
            return
        if len(self._track_metadata) >= TRACK_METADATA_ENTRIES:
            del self._track_metadata[next(iter(self._track_metadata))]
        self._track_metadata[meta.track_id] = meta

    def swap(self) -> Coroutine[Any, Any, None]:
        """Starts over with a new connection; returns the closing of the old one."""
        old = self._connection
        self._begin_again()
        self._connection = self._connect(_Ear(self))
        self._enter("reconnecting" if self._state in ("connected", "reconnecting") else "idle")
        if old.pc is not None:
            self.emit(ConnectionReset())
        return old.close()

    def leave(self) -> Coroutine[Any, Any, None]:
        """It left: says so to its handlers and forgets them; returns the closing of the connection."""
        self._enter("closed")
        self._streams.clear()
        self._missing.clear()
        self._watch_for_missing()
        self._track_metadata.clear()
        self.release()
        connection = self._connection

        async def finish() -> None:
            await connection.close()
            await self.drain()

        return finish()

    def _enter(self, state: PeerConnectionState) -> None:
        hidden = self._state == "reconnecting" and state == "connecting"
        if state == self._state or self._state == "closed" or hidden:
            return
        before, self._state = self._state, state
        if state == "connected":
            self._watch_for_missing()
        self.emit(StateChange(before, state))
        self._moved(self)

    # Received tracks

    def _on_track(self, track: ReceivedTrack, section: sdp.Section, sections: Sequence[sdp.Section]) -> None:
        metadata = self._metadata_of(track, section, sections)
        stream: MediaStream | None = None
        first = False
        if section.stream_id is not None:
            stream = self._streams.get(section.stream_id)
            first = stream is None
            if stream is None:
                self._missing.pop(section.stream_id, None)
                stream = self._streams[section.stream_id] = MediaStream(id=section.stream_id)
            stream.add_track(track)
        self.emit(Track(track, () if stream is None else (stream,), metadata))
        if first and stream is not None:
            self.emit(StreamAdded(stream, metadata))

    def _metadata_of(
        self, track: ReceivedTrack, section: sdp.Section, sections: Sequence[sdp.Section]
    ) -> StreamMetadata | None:
        """By track id; else by stream and kind, as browsers may name a track differently from its sender.

        That second way skips what belongs to other tracks of the description, and gives nothing when it is ambiguous.
        """
        for track_id in (section.track_id, track.id):
            known = self._track_metadata.get(track_id or "")
            if known is not None and known.metadata is not None:
                return dict(known.metadata)
        if section.stream_id is None:
            return None
        described = {s.track_id for s in sections}
        candidates = [
            dict(meta.metadata or {})
            for meta in self._track_metadata.values()
            if (meta.stream_id, meta.kind) == (section.stream_id, track.kind) and meta.track_id not in described
        ]
        same = all(c == candidates[0] for c in candidates)
        return candidates[0] if candidates and same else None

    def _on_track_gone(self, track: ReceivedTrack) -> None:
        for stream_id, stream in list(self._streams.items()):
            if track in stream.get_tracks():
                stream.remove_track(track)
                if not stream.get_tracks():
                    del self._streams[stream_id]
                    self.emit(StreamRemoved(stream))

    def _on_rebuilt(self, was_up: bool) -> None:
        self._begin_again()
        if was_up:
            self.emit(ConnectionReset())

    def _begin_again(self) -> None:
        """The new connection's tracks announce their streams again; those that do not come back are gone."""
        self._missing |= self._streams
        self._streams.clear()

    def _watch_for_missing(self) -> None:
        if self._missing_timer is not None:
            self._missing_timer.cancel()
        if self._missing:
            loop = asyncio.get_running_loop()
            self._missing_timer = loop.call_later(STREAM_RETURN_S, self._give_up_missing)

    def _give_up_missing(self) -> None:
        missing, self._missing = self._missing, {}
        if self._state != "closed":
            for stream in missing.values():
                self.emit(StreamRemoved(stream))


class _Ear:
    """Hears one connection of a remote peer; deaf once another took its place."""

    def __init__(self, remote: RemotePeer) -> None:
        self._remote = remote

    @property
    def _hears(self) -> bool:
        connection = getattr(self._remote, "_connection", None)
        return connection is not None and connection.listener is self and self._remote.state != "closed"

    def on_state(self, state: PeerConnectionState) -> None:
        if self._hears and state != "closed":
            self._remote._enter(state)

    def on_track(self, track: ReceivedTrack, section: sdp.Section, sections: Sequence[sdp.Section]) -> None:
        if self._hears:
            self._remote._on_track(track, section, sections)

    def on_track_gone(self, track: ReceivedTrack) -> None:
        if self._hears:
            self._remote._on_track_gone(track)

    def on_rebuilt(self, was_up: bool) -> None:
        if self._hears:
            self._remote._on_rebuilt(was_up)

    def on_stranger(self) -> None:
        if self._hears:
            self._remote._introduce(self._remote)

    def on_data_channel(self, channel: Any) -> None:
        if self._hears:
            self._remote.emit(DataChannelOpened(channel))

    def on_negotiation_error(self, error: Exception) -> None:
        if self._hears:
            self._remote.emit(NegotiationError(error))

    def on_candidate_error(self, error: Exception) -> None:
        if self._hears:
            self._remote.emit(IceCandidateError(error))
