"""Signalling that drops, hubs that restart: the call goes on."""

from __future__ import annotations

from typing import Any

from edge_node.hub.config import hub_config
from edge_node.hub.server import Hub
from edge_node.realtime.events import PeerLeft
from edge_node.realtime.options import ReconnectOptions
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.streams import MediaStream
from tests.support.hub_client import running_hub
from tests.support.peers import Tone, Watcher, hears, peer_of
from tests.support.waiting import eventually
from tests.support.wires import Network


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
            track = await watcher.track("audio", round_number)
            await hears(track, 440)
            assert old.state == "closed" and len(left) == round_number
            assert len(viewer.remote_peers) == len(node.remote_peers) == 1
            assert watcher.tracks[-1].metadata == {"role": "microphone"}
    finally:
        await viewer.close()
        await node.close()
        await hub.stop(1)
