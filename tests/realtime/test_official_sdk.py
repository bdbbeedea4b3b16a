"""Calls with the official SDK, in both orders of ids."""

from __future__ import annotations

import asyncio
from typing import Any

import metered_realtime as official
import pytest
from aiortc.mediastreams import MediaStreamTrack

from edge_node.realtime.streams import MediaStream
from tests.support.hub_client import running_hub
from tests.support.peers import CodedVideo, Tone, Watcher, hears, peer_of, token
from tests.support.waiting import eventually

ORDERS = [("aaa-node", "zzz-viewer"), ("zzz-node", "aaa-viewer")]


class Viewer:
    """A program of the official SDK that keeps what it gets."""

    def __init__(self, url: str, peer_id: str) -> None:
        async def provide() -> str:
            return token(peer_id)

        self.peer = official.MeteredPeer(token_provider=provide, url=url)
        self.tracks: list[official.Track] = []
        self.streams: list[Any] = []
        self.data: list[official.Data] = []
        self.peer.on(official.PeerJoined, self._joined)
        self.peer.on(official.Data, self.data.append)

    def _joined(self, event: official.PeerJoined) -> None:
        event.peer.on(official.Track, self.tracks.append)
        event.peer.on(official.StreamAdded, lambda e: self.streams.append(e.stream.id))

    async def track(self, kind: str) -> MediaStreamTrack:
        await eventually(lambda: any(t.track.kind == kind for t in self.tracks), 30)
        found: MediaStreamTrack = next(t.track for t in self.tracks if t.track.kind == kind)
        return found


async def pictures(track: Any, count: int, timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        for _ in range(count):
            await track.recv()


@pytest.mark.parametrize(("node_id", "viewer_id"), ORDERS)
@pytest.mark.parametrize("viewer_first", [True, False])
async def test_sound_both_ways_and_coded_pictures(node_id: str, viewer_id: str, viewer_first: bool) -> None:
    async with running_hub() as hub, CodedVideo() as video:
        node, viewer = peer_of(hub, node_id), Viewer(hub.url, viewer_id)
        watcher = Watcher(node)
        stream = MediaStream(id="node:front")
        node.add_track(video, stream, {"role": "camera", "node": "front"})
        node.add_track(Tone(440), stream, {"role": "microphone", "node": "front"})
        viewer.peer.add_track(Tone(1000), official.MediaStream(id="person"), {"role": "voice"})
        for one in (viewer.peer, node) if viewer_first else (node, viewer.peer):
            await one.join("room")
        await hears(await viewer.track("audio"), 440)
        await pictures(await viewer.track("video"), 20)
        await hears(await watcher.track("audio"), 1000)
        roles = {t.track.kind: (t.metadata or {}).get("role") for t in viewer.tracks}
        assert roles == {"video": "camera", "audio": "microphone"}
        assert viewer.streams == ["node:front"]
        assert watcher.added == ["person"] and watcher.tracks[0].metadata == {"role": "voice"}
        assert video.subscribed == 1
        await viewer.peer.close()
        await eventually(lambda: not node.remote_peers)
        assert not video.views
        await node.close()


async def test_messages_and_data_channels() -> None:
    async with running_hub() as hub:
        node, viewer = peer_of(hub, "node"), Viewer(hub.url, "viewer")
        watcher = Watcher(node)
        await viewer.peer.join("room")
        await node.join("room")
        await eventually(lambda: "viewer" in watcher.remotes and viewer.peer.remote_peers)
        await node.send({"type": "call.ring"})
        await node.send_to("viewer", {"n": 2})
        await eventually(lambda: len(viewer.data) == 2)
        assert [(d.kind, d.data) for d in viewer.data] == [("broadcast", {"type": "call.ring"}), ("direct", {"n": 2})]
        channel = watcher.remotes["viewer"].create_data_channel("chat")
        opened: list[Any] = []
        viewer.peer.remote_peers[0].on(official.DataChannelOpened, lambda e: opened.append(e.channel))
        heard: list[Any] = []
        await eventually(lambda: opened and channel.readyState == "open")
        opened[0].on("message", heard.append)
        channel.send("hello")
        await eventually(lambda: heard == ["hello"])
        await node.close()
        await viewer.peer.close()
