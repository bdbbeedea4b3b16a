"""The tracks this peer sends to everyone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from edge_node.errors import MeteredPeerStateError
from edge_node.ports import DirectView, ViewableTrack
from edge_node.protocol.payloads import TrackMeta
from edge_node.realtime.encoding import Coded, EncodePolicy, FrameEncoder
from edge_node.realtime.feed import Outgoing
from edge_node.realtime.relay import Relay
from edge_node.realtime.streams import MediaStream, StreamMetadata


@dataclass(frozen=True, slots=True)
class LocalTrack:
    """A track with what is said about it."""

    track: Any
    stream: MediaStream | None
    metadata: StreamMetadata | None
    outgoing: Outgoing

    @property
    def meta(self) -> TrackMeta:
        """What the others are told about it."""
        out = self.outgoing
        return TrackMeta(out.id, self.metadata, out.stream_id, out.kind)

    @property
    def cleared(self) -> TrackMeta:
        return TrackMeta(self.outgoing.id)


class Silence:
    """An upstream that has nothing to say."""

    def __init__(self, codec: RTCRtpCodecParameters) -> None:
        self._ended = asyncio.Event()

    async def recv(self) -> Coded:
        await self._ended.wait()
        raise MediaStreamError

    def stop(self) -> None:
        self._ended.set()


class Packed:
    """An upstream of a ViewableTrack: one view of what is encoded elsewhere, packed for RTP.

    `direct` is the view itself when it can give its units to the sender without recv(); `refusal` says why this viewer
    gets nothing for now.
    """

    def __init__(self, track: ViewableTrack, codec: RTCRtpCodecParameters) -> None:
        wanted = codec.mimeType.lower()
        self._view = track.subscribe(next(mime for mime in track.mime_types if mime.lower() == wanted))
        self.direct = self._view if isinstance(self._view, DirectView) else None
        self._packer = FrameEncoder(codec)
        self._ready: deque[Coded] = deque()
        self.request_keyframe = self._view.request_keyframe
        self.set_bitrate = self._view.set_bitrate
        self.refusal: str | None = getattr(self._view, "refusal", None)

    async def recv(self) -> Coded:
        while not self._ready:
            self._ready.extend(await self._packer.coded(await self._view.recv()))
        return self._ready.popleft()

    def stop(self) -> None:
        self._view.stop()


def relay_of(track: MediaStreamTrack) -> Relay:
    """The one relay of a track, whoever sends it: two that read it would each get a part."""
    relay: Relay | None = getattr(track, "_edge_node_relay", None)
    if relay is None:
        relay = Relay(track)
        track._edge_node_relay = relay  # type: ignore[attr-defined]
    return relay


class LocalTracks:
    """Ordered; `on_ended(track)` is called when a track ends by itself."""

    def __init__(self, on_ended: Callable[[Any], None], policy: EncodePolicy) -> None:
        self._on_ended = on_ended
        self._policy = policy
        self._tracks: list[LocalTrack] = []

    def __iter__(self) -> Iterator[LocalTrack]:
        return iter(list(self._tracks))

    def outgoing(self) -> list[Outgoing]:
        return [t.outgoing for t in self._tracks]

    def find(self, track: Any) -> LocalTrack | None:
        return next((t for t in self._tracks if t.track is track), None)

    def add(
        self, track: Any, stream: MediaStream | None, metadata: Mapping[str, Any] | None, state: str
    ) -> LocalTrack | None:
        """The new entry, or None when it is there already. Raises MeteredPeerStateError for another stream."""
        known = self.find(track)
        if known is not None:
            if known.stream is not stream:
                text = f"track {track.id} is sent in another stream: remove it there first"
                raise MeteredPeerStateError("track_already_attached", "add_track", text, state)
            return None
        entry = self._entry(track, stream, None if metadata is None else dict(metadata))
        self._tracks.append(entry)
        return entry

    def remove(self, track: Any) -> LocalTrack | None:
        """The entry that went, or None."""
        known = self.find(track)
        if known is not None:
            self._tracks.remove(known)
        return known

    def replace(self, old: LocalTrack, track: Any) -> LocalTrack:
        """Puts another track in the place of one, with its stream and metadata."""
        entry = self._entry(track, old.stream, old.metadata)
        self._tracks[self._tracks.index(old)] = entry
        return entry

    def pause(self, old: LocalTrack) -> LocalTrack:
        """Keeps a track's place but sends nothing of it."""
        entry = replace(old, outgoing=replace(old.outgoing, open=Silence))
        self._tracks[self._tracks.index(old)] = entry
        return entry

    def clear(self) -> None:
        self._tracks.clear()

    def _entry(self, track: Any, stream: MediaStream | None, metadata: StreamMetadata | None) -> LocalTrack:
        stream_id, told = None if stream is None else stream.id, metadata is not None
        if isinstance(track, ViewableTrack):
            out = Outgoing(
                track.id, track.kind, partial(Packed, track), stream_id, tuple(track.mime_types), told,
                level=lambda: getattr(track, "level_idc", 0),
            )  # fmt: skip
        elif isinstance(track, MediaStreamTrack):
            view = partial(relay_of(track).view, max_kbps=self._policy.max_kbps(track.kind))
            prefers = self._policy.prefers(track.kind)
            out = Outgoing(track.id, track.kind, view, stream_id, has_metadata=told, prefers=prefers)
        else:
            raise TypeError(f"a track is an aiortc MediaStreamTrack or a ViewableTrack, not {type(track).__name__}")
        entry = LocalTrack(track, stream, metadata, out)
        if isinstance(track, MediaStreamTrack):
            track.on("ended", self._ended_of(track))
        return entry

    def _ended_of(self, track: MediaStreamTrack) -> Callable[[], None]:
        def ended() -> None:
            if self.find(track) is not None:
                self._on_ended(track)

        return ended
