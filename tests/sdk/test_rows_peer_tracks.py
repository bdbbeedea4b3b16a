"""Rows 64 to 71: what a peer sends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edge_node.errors import (
    MeteredPeerOversizedError,
    MeteredPeerReplaceTrackError,
    MeteredPeerStateError,
    MeteredRealtimeError,
    ReplaceTrackFailure,
)
from edge_node.ports import WireClosed
from edge_node.protocol import payloads
from edge_node.realtime.options import ReconnectOptions
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.streams import MediaStream
from tests.support.fake_server import FakeServer
from tests.support.hub_client import running_hub
from tests.support.members import is_in, joined, member, presence, with_company
from tests.support.peers import ORDERS, Tone, Watcher, hears, peer_of
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import eventually
from tests.support.wires import Network

FAST = ReconnectOptions(initial_delay=0.05, max_delay=0.2, max_attempts=float("inf"))


async def refused(call: Any, method: str, state: str) -> None:
    with pytest.raises(MeteredPeerStateError) as caught:
        result = call()
        if asyncio.iscoroutine(result):
            await result
    assert (caught.value.code, caught.value.method, caught.value.current_state) == ("invalid_state", method, state)


@in_virtual_time
async def test_row_064_tracks_are_added_in_any_state_but_the_last_two() -> None:
    server = FakeServer()
    peer = member(server)
    tones = [Tone() for _ in range(4)]
    peer.add_track(tones[0])
    joining = asyncio.create_task(peer.join("room"))
    await eventually(lambda: is_in(peer, "joining"), every_s=0)
    peer.add_track(tones[1])
    await joining
    peer.add_track(tones[2])
    server.refusal = WireClosed(1006)
    server.wire.hear(WireClosed(1006))
    await eventually(lambda: is_in(peer, "reconnecting"))
    peer.add_track(tones[3])
    assert [entry.track for entry in peer._tracks] == tones
    closing = asyncio.create_task(peer.close())
    await eventually(lambda: is_in(peer, "leaving"), every_s=0)
    await refused(lambda: peer.add_track(Tone()), "add_track", "leaving")
    await closing
    await refused(lambda: peer.add_track(Tone()), "add_track", "closed")


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_row_064_what_was_added_offline_is_sent_once_it_can_be(sender_id: str, receiver_id: str) -> None:
    network = Network()
    async with running_hub() as hub:
        sender = peer_of(hub, sender_id, connect=network.connect, reconnect=FAST)
        receiver = peer_of(hub, receiver_id)
        watcher = Watcher(receiver)
        sender.add_track(Tone(400))
        await sender.join("room")
        await receiver.join("room")
        await hears(await watcher.track("audio"), 400)
        pc = receiver.remote_peers[0].pc
        network.is_down = True
        network.cut()
        await eventually(lambda: is_in(sender, "reconnecting"))
        sender.add_track(Tone(700))
        await hears(await watcher.track("audio"), 400)
        assert len(watcher.tracks) == 1
        network.is_down = False
        await hears(await watcher.track("audio", 1), 700)
        assert receiver.remote_peers[0].pc is pc, "the call was not touched"
        await sender.close()
        await receiver.close()


@in_virtual_time
async def test_row_065_the_same_again_is_nothing_and_another_stream_an_error() -> None:
    peer = member(FakeServer())
    stream, tone = MediaStream(), Tone()
    peer.add_track(tone, stream, {"role": "x"})
    peer.add_track(tone, stream, {"role": "y"})
    assert peer.get_track_metadata(tone) == {"role": "x"}
    for other in (MediaStream(), None):
        with pytest.raises(MeteredPeerStateError) as caught:
            peer.add_track(tone, other)
        assert caught.value.code == "track_already_attached" and caught.value.method == "add_track"
    with pytest.raises(TypeError):
        peer.add_track(type("T", (), {"id": "t", "kind": "audio"})())
    await peer.close()


@in_virtual_time
async def test_row_066_metadata_that_is_too_large_is_said_at_the_call() -> None:
    peer = await joined(FakeServer())
    tone = Tone()
    with pytest.raises(MeteredPeerOversizedError) as caught:
        peer.add_track(tone, MediaStream(), {"x": "x" * 66_000})
    assert (caught.value.cap, caught.value.size > 66_000) == (65536, True)
    assert peer.get_track_metadata(tone) is None and list(peer._tracks) == []
    await peer.close()


async def test_row_067_everybody_gets_every_track() -> None:
    async with running_hub() as hub:
        sender = peer_of(hub, "m")
        sender.add_track(Tone(400))
        await sender.join("room")
        viewers: list[tuple[MeteredPeer, Watcher]] = []
        for peer_id in ("a", "z"):
            viewer = peer_of(hub, peer_id)
            viewers.append((viewer, Watcher(viewer)))
            await viewer.join("room")
        await eventually(lambda: len(sender.remote_peers) == 2)
        sender.add_track(Tone(800))
        late = peer_of(hub, "late")
        viewers.append((late, Watcher(late)))
        await late.join("room")
        for _, watcher in viewers:
            await hears(await watcher.track("audio", 0), 400)
            await hears(await watcher.track("audio", 1), 800)
        for viewer, _ in viewers:
            await viewer.close()
        await sender.close()


@pytest.mark.parametrize("other", ["aa", "zz"])
async def test_row_068_metadata_is_said_before_the_description(other: str) -> None:
    server = FakeServer()
    peer = member(server)
    tone = Tone()
    peer.add_track(tone, MediaStream(id="s"), {"role": "voice"})
    await peer.join("room")
    server.wire.hear(presence("me", other))

    def kinds() -> list[str]:
        return [next(iter(frame["data"])) for frame in server.wire.asked("send")]

    await eventually(lambda: "type" in kinds())
    assert kinds()[:2] == [payloads.TRACK_META_KEY] * 2, "a hello first, then what it sends"
    body = server.wire.asked("send")[1]["data"][payloads.TRACK_META_KEY]
    assert body == {"trackId": tone.id, "metadata": {"role": "voice"}, "streamId": "s", "kind": "audio"}
    await peer.close()


@in_virtual_time
async def test_row_069_what_is_not_sent_is_not_known() -> None:
    peer = member(FakeServer())
    peer.remove_track(Tone())
    peer.remove_stream(MediaStream([Tone()]))
    assert peer.get_track_metadata(Tone()) is None and peer.get_stream_metadata(MediaStream()) is None
    tone, stream = Tone(), MediaStream()
    peer.add_track(tone, stream, {"a": 1})
    assert peer.get_track_metadata(tone) == peer.get_stream_metadata(stream) == {"a": 1}
    peer.remove_track(tone)
    assert peer.get_track_metadata(tone) is None and peer.get_stream_metadata(stream) is None
    await peer.close()


@in_virtual_time
async def test_row_070_the_tracks_of_a_stream_have_copies_of_its_metadata() -> None:
    peer = member(FakeServer())
    first, second = Tone(), Tone()
    group, metadata = MediaStream([first, second]), {"a": 1}
    peer.add_stream(group, metadata)
    metadata["a"] = 2
    copies = [peer.get_track_metadata(track) for track in (first, second)]
    assert copies == [{"a": 1}, {"a": 1}] and copies[0] is not copies[1]
    peer.remove_stream(group)
    assert [peer.get_track_metadata(track) for track in (first, second)] == [None, None]
    await peer.close()


@in_virtual_time
async def test_row_071_replacing_is_for_a_peer_that_is_there() -> None:
    server = FakeServer()
    peer = await with_company(server, "a")
    tone = Tone()
    peer._tracks.add(tone, None, None, "joined")
    with pytest.raises(TypeError):
        await peer.replace_track(None, tone)
    await peer.replace_track(Tone(), tone)  # of nothing that is sent
    server.refusal = WireClosed(1006)
    server.wire.hear(WireClosed(1006))
    await eventually(lambda: is_in(peer, "reconnecting"))
    await refused(lambda: peer.replace_track(tone, Tone()), "replace_track", "reconnecting")
    closing = asyncio.create_task(peer.close())
    await eventually(lambda: is_in(peer, "leaving"), every_s=0)
    await refused(lambda: peer.replace_track(tone, Tone()), "replace_track", "leaving")
    await closing
    await refused(lambda: peer.replace_track(tone, Tone()), "replace_track", "closed")


@in_virtual_time
async def test_row_071_a_partial_failure_names_both_and_no_secret() -> None:
    server = FakeServer()
    peer = await with_company(server, "a", "b", "c")
    by_id = {remote.id: remote for remote in peer.remote_peers}
    errors = {"a": MeteredRealtimeError("token=SECRET is bad"), "c": RuntimeError("a=ice-pwd:SECRET")}
    replaced: list[str] = []

    def replace(peer_id: str) -> Any:
        def run(*_: Any) -> None:
            if peer_id in errors:
                raise errors[peer_id]
            replaced.append(peer_id)

        return run

    for peer_id, remote in by_id.items():
        remote.connection.replace = replace(peer_id)  # type: ignore[method-assign]
    tone, new = Tone(), Tone()
    peer._tracks.add(tone, None, None, "joined")
    with pytest.raises(MeteredPeerReplaceTrackError) as caught:
        await peer.replace_track(tone, new)
    assert list(caught.value.succeeded) == replaced == ["b"]
    assert [failure.peer_id for failure in caught.value.failed] == ["a", "c"]
    for failure in caught.value.failed:
        assert isinstance(failure, ReplaceTrackFailure) and isinstance(failure.err, MeteredRealtimeError)
        assert "SECRET" not in repr(failure) and "SECRET" not in str(caught.value)
    await peer.close()


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_row_071_no_description_is_exchanged(sender_id: str, receiver_id: str) -> None:
    async with running_hub() as hub:
        sender, receiver = peer_of(hub, sender_id), peer_of(hub, receiver_id)
        watcher = Watcher(receiver)
        old, new = Tone(400), Tone(900)
        sender.add_track(old, MediaStream(id="s"), {"role": "old"})
        await sender.join("room")
        await receiver.join("room")
        track = await watcher.track("audio")
        await hears(track, 400)
        pcs = [peer.remote_peers[0].pc for peer in (sender, receiver)]
        before = [pc.localDescription.sdp for pc in pcs]
        await sender.replace_track(old, new)
        await hears(track, 900)
        assert [pc.localDescription.sdp for pc in pcs] == before and len(watcher.tracks) == 1
        told = watcher.remotes[sender_id]._track_metadata
        assert list(told) == [new.id] and told[new.id].metadata == {"role": "old"}
        await sender.close()
        await receiver.close()
