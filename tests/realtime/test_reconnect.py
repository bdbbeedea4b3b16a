"""Signalling that drops, hubs that restart: the call goes on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from edge_node.hub.config import hub_config
from edge_node.hub.server import Hub
from edge_node.realtime.events import ConnectionReset, Disconnected, FatalError, PeerLeft, StateChange
from edge_node.realtime.options import ReconnectOptions
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.streams import MediaStream
from tests.support.hub_client import running_hub
from tests.support.peers import Tone, Watcher, hears, peer_of
from tests.support.waiting import eventually
from tests.support.wires import Network

FAST = ReconnectOptions(initial_delay=0.2, max_delay=0.5, max_attempts=float("inf"))


class Gaps:
    """Reads a track for ever and knows the longest pause between two frames, in seconds."""

    def __init__(self, track: Any) -> None:
        self.longest = 0.0
        self.frames = 0
        self._track = track
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        last = None
        while True:
            await self._track.recv()
            now = time.monotonic()
            if last is not None:
                self.longest = max(self.longest, now - last)
            last = now
            self.frames += 1

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.mark.parametrize(("sender_id", "receiver_id"), [("zz", "aa"), ("aa", "zz")])
@pytest.mark.parametrize("dropped", ["sender", "receiver", "both"])
async def test_d2_media_outlives_the_signalling(sender_id: str, receiver_id: str, dropped: str) -> None:
    networks = {"sender": Network(), "receiver": Network()}
    async with running_hub() as hub:
        sender = peer_of(hub, sender_id, connect=networks["sender"].connect, reconnect=FAST)
        receiver = peer_of(hub, receiver_id, connect=networks["receiver"].connect, reconnect=FAST)
        watcher = Watcher(receiver)
        left: list[Any] = []
        resets: list[Any] = []
        sender.on(PeerLeft, left.append)
        receiver.on(PeerLeft, left.append)
        sender.add_track(Tone(440), MediaStream(id="s"))
        await sender.join("room")
        await receiver.join("room")
        track = await watcher.track("audio")
        watcher.remotes[sender_id].on(ConnectionReset, resets.append)
        await hears(track, 440)
        pc = watcher.remotes[sender_id].pc
        gaps = Gaps(track)
        await eventually(lambda: gaps.frames > 10)
        gaps.longest = 0.0
        states = {p: p.events(StateChange) for p in (sender, receiver)}
        for name in networks if dropped == "both" else [dropped]:
            networks[name].cut()
        peers = {"sender": [sender], "receiver": [receiver], "both": [sender, receiver]}[dropped]
        for peer in peers:
            async with asyncio.timeout(10):
                moves = [(await anext(states[peer])).to for _ in range(2)]
            assert moves == ["reconnecting", "joined"]
        seen = gaps.frames
        await eventually(lambda: gaps.frames > seen + 200, 15)  # 4 s: longer than any grace
        assert gaps.longest < 1.0
        assert left == [] and resets == []
        assert watcher.remotes[sender_id].pc is pc and [r.id for r in receiver.remote_peers] == [sender_id]
        # The signalling works again as well: a new track gets through.
        sender.add_track(Tone(900), MediaStream(id="t"))
        await hears(await watcher.track("audio", 1), 900)
        await gaps.stop()
        await sender.close()
        await receiver.close()


async def test_a_new_process_with_an_old_id_gets_media() -> None:
    """The other side died without a word and came back: its old connection is dead and has to be found so."""
    async with running_hub() as hub:
        network = Network()
        node = peer_of(hub, "zz-node")
        node.add_track(Tone(440), MediaStream(id="s"))
        await node.join("room")
        first = peer_of(hub, "aa-viewer", connect=network.connect, reconnect=False)
        watcher = Watcher(first)
        await first.join("room")
        await hears(await watcher.track("audio"), 440)
        for remote in first.remote_peers:  # no farewell: the sockets are shut as a killed process leaves them
            for transceiver in remote.pc.getTransceivers():
                connection = transceiver.receiver.transport.transport._connection
                for protocol in connection._protocols:
                    protocol.transport.abort()
        second = peer_of(hub, "aa-viewer")
        again = Watcher(second)
        network.cut()
        await eventually(lambda: hub.connections == 1)  # the hub has noticed: it tells the node who left
        await second.join("room")
        await hears(await again.track("audio"), 440)
        await second.close()
        await first.close()
        await node.close()


async def restart(hub: Hub) -> None:
    await hub.stop(1)
    await hub.start()


async def test_publishable_keys_find_each_other_after_a_hub_restart() -> None:
    hub = Hub(hub_config({"port": 0, "dev_key": "pk_dev_test"}))
    await hub.start()
    key = hub.dev_key
    options = ReconnectOptions(initial_delay=0.3, max_delay=2.0, max_attempts=float("inf"))
    node = MeteredPeer(api_key=key, url=hub.url, reconnect=options, connect_retry=True)
    viewer = MeteredPeer(api_key=key, url=hub.url, reconnect=options, connect_retry=True)
    watcher = Watcher(viewer)
    left: list[Any] = []
    viewer.on(PeerLeft, left.append)
    try:
        node.add_track(Tone(440), MediaStream(id="s"), {"role": "microphone"})
        await node.join("room")
        await viewer.join("room")
        await hears(await watcher.track("audio"), 440)
        for round_number in range(1, 4):
            old = viewer.remote_peers[0]
            await hub.stop(1)
            await hub.start()
            back = time.monotonic()
            track = await watcher.track("audio", round_number)
            await hears(track, 440)
            assert time.monotonic() - back < 6  # 3 s on an idle machine
            assert old.state == "closed" and len(left) == round_number
            assert len(viewer.remote_peers) == len(node.remote_peers) == 1
            assert watcher.tracks[-1].metadata == {"role": "microphone"}
    finally:
        await viewer.close()
        await node.close()
        await hub.stop(1)


async def test_d9_start_before_the_server_and_join_after_a_failure() -> None:
    hub = Hub(hub_config({"port": 0, "dev_key": "pk_dev_test"}))
    await hub.start()
    url, key = hub.url, hub.dev_key
    await hub.stop(1)
    patient = MeteredPeer(api_key=key, url=url, reconnect=FAST, connect_retry=True)
    hasty = MeteredPeer(api_key=key, url=url)
    joining = asyncio.get_running_loop().create_task(patient.join("room"))
    with pytest.raises(Exception, match="1006"):
        await hasty.join("room")
    assert hasty.state == "idle" and hasty.channel is None
    assert not joining.done()
    await hub.start()
    try:
        await asyncio.wait_for(joining, 10)
        await hasty.join("room")
        await eventually(lambda: len(patient.remote_peers) == 1)
    finally:
        await hasty.close()
        await patient.close()
        await hub.stop(1)


async def test_d10_going_away_is_honoured() -> None:
    async with running_hub() as hub:
        peer = peer_of(hub, "a", reconnect=ReconnectOptions(initial_delay=0.01, max_delay=0.01))
        gone: list[tuple[float, Disconnected]] = []
        peer._client.on(Disconnected, lambda e: gone.append((time.monotonic(), e)))
        await peer.join("room")
        await hub.stop(1)
        await hub.start()
        await eventually(lambda: peer.state == "joined" and gone)
        assert time.monotonic() - gone[0][0] > 0.9  # this hub says 1000 ms
        assert gone[0][1].code == 1001
        await peer.close()


async def test_a_key_that_is_refused_is_fatal() -> None:
    async with running_hub() as hub:
        peer = MeteredPeer(api_key="pk_wrong", url=hub.url, connect_retry=True)
        fatal: list[Any] = []
        peer.on(FatalError, fatal.append)
        with pytest.raises(Exception, match="4001"):
            await peer.join("room")
        assert peer.state == "idle"
        await peer.close()
