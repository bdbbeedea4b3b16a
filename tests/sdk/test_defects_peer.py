"""Defects of the reference's peer: drops, rebuilds, rejoining, figures, limits."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from aiortc.mediastreams import VideoStreamTrack

from edge_node import EncodePolicy
from edge_node.errors import SignallingConnectError
from edge_node.hub.config import hub_config
from edge_node.hub.server import Hub
from edge_node.ports import WireClosed
from edge_node.protocol import sdp
from edge_node.protocol.frames import PresenceFrame, PresencePeer
from edge_node.protocol.payloads import TrackMeta
from edge_node.realtime import roster as roster_module
from edge_node.realtime.events import (
    ConnectionReset,
    Left,
    MetadataChanged,
    PeerJoined,
    PeerLeft,
    StreamRemoved,
    Track,
)
from edge_node.realtime.options import ReconnectOptions
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.received import ReceivedTrack
from edge_node.realtime.streams import MediaStream
from tests.support.fake_server import FakeServer
from tests.support.hub_client import running_hub
from tests.support.members import Diary, is_in, joined, presence, with_company
from tests.support.peers import ORDERS, Gaps, Tone, Watcher, close, hears, peer_of
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import eventually
from tests.support.wires import Network

FAST = ReconnectOptions(initial_delay=0.1, max_delay=0.3, max_attempts=float("inf"))


async def call(hub: Hub, sender_id: str, receiver_id: str, **options: Any) -> tuple[MeteredPeer, MeteredPeer, Watcher]:
    """A sender, a receiver that hears its 440 Hz, and what the receiver notes."""
    sender, receiver = peer_of(hub, sender_id, **options), peer_of(hub, receiver_id, **options)
    watcher = Watcher(receiver)
    sender.add_track(Tone(440), MediaStream(id="s"), {"role": "voice"})
    await sender.join("room")
    await receiver.join("room")
    await hears(await watcher.track("audio"), 440)
    return sender, receiver, watcher


# D2: drops


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_d02_both_sides_may_lose_the_server(sender_id: str, receiver_id: str) -> None:
    network = Network()
    async with running_hub() as hub:
        sender, receiver, watcher = await call(hub, sender_id, receiver_id, connect=network.connect, reconnect=FAST)
        pc, events = receiver.remote_peers[0].pc, list[Any]()
        for peer in (sender, receiver):
            peer.on(PeerLeft, events.append)
        gaps = Gaps(watcher.tracks[0].track)
        await eventually(lambda: gaps.frames > 10)
        gaps.longest = 0.0
        network.is_down = True
        network.cut()
        await eventually(lambda: is_in(sender, "reconnecting") and is_in(receiver, "reconnecting"))
        seen = gaps.frames
        await eventually(lambda: gaps.frames > seen + 25)
        network.is_down = False
        await eventually(lambda: is_in(sender, "joined") and is_in(receiver, "joined"))
        await eventually(lambda: not sender._roster._departing and not receiver._roster._departing)
        await eventually(lambda: gaps.frames > seen + 50)
        assert gaps.longest < 5.0 and events == [] and receiver.remote_peers[0].pc is pc
        await gaps.stop()
        await close(sender, receiver)


@pytest.mark.parametrize(("answers", "kept_s"), [(True, 15.0), (False, 1.5)])
@in_virtual_time
async def test_d02_who_is_away_is_kept_while_it_answers(answers: bool, kept_s: float) -> None:
    server = FakeServer()
    peer = await with_company(server, "a", "b")
    diary, loop = Diary(peer), asyncio.get_running_loop()
    remote = peer.remote_peers[0]

    class Link:
        """A connection that is up; its other side answers, or not."""

        is_up = True
        pc = None
        closed = False

        async def is_alive(self) -> bool:
            await asyncio.sleep(0 if answers else 0.25)
            return answers

        async def close(self) -> None:
            self.closed = True

    link: Any = Link()
    remote._connection = link
    began = loop.time()
    server.wire.hear(presence(left=("a",)))
    await eventually(lambda: peer._roster._departing)
    server.wire.hear(presence(left=("a",)))  # told twice
    await eventually(lambda: diary.of(PeerLeft), 60)
    assert loop.time() - began == pytest.approx(kept_s, abs=0.6)
    await eventually(lambda: link.closed)
    assert roster_module.DEPARTURE_LIMIT_S == 15.0
    await peer.close()


# D6, D28: rebuilds


def numbers(text: str) -> tuple[list[str], set[str], set[str]]:
    """What a browser insists on in a later offer: sections, payload types, header extension ids."""
    formats, extensions = re.findall(r"a=rtpmap:(\d+ \S+)", text), re.findall(r"a=extmap:(\d+\S* \S+)", text)
    return [section.mid for section in sdp.read(text)], set(formats), set(extensions)


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_d06_d28_a_rebuild_keeps_the_numbers_and_is_told(sender_id: str, receiver_id: str) -> None:
    async with running_hub() as hub:
        sender, receiver, watcher = await call(hub, sender_id, receiver_id)
        sender.add_track(VideoStreamTrack(), MediaStream(id="v"))
        await watcher.track("video")
        remote, resets, removed = sender.remote_peers[0], list[Any](), list[Any]()
        for one in (remote, receiver.remote_peers[0]):
            one.on(ConnectionReset, resets.append)
            one.on(StreamRemoved, removed.append)
        remote.create_data_channel("x")
        await eventually(lambda: remote.pc.signalingState == "stable" and len(numbers(local(remote))[0]) == 3)
        before, pc = numbers(local(remote)), remote.pc
        remote.connection.renew()
        await eventually(lambda: remote.pc is not pc and len(watcher.tracks) == 4, 30)
        assert numbers(local(remote)) == before
        await hears(next(t.track for t in watcher.tracks[2:] if t.track.kind == "audio"), 440)
        assert len(resets) == 2 and removed == []
        await close(sender, receiver)


def local(remote: Any) -> str:
    return str(remote.pc.localDescription.sdp)


# D9: the first connection


async def test_d09_the_same_peer_joins_after_a_failure() -> None:
    hub = Hub(hub_config({"port": 0, "dev_key": "pk_dev_test"}))
    await hub.start()
    await hub.stop(1)
    patient = MeteredPeer(api_key=hub.dev_key, url=hub.url, reconnect=FAST, connect_retry=True)
    hasty = MeteredPeer(api_key=hub.dev_key, url=hub.url)
    joining = asyncio.create_task(patient.join("room"))
    for _ in range(2):
        with pytest.raises(SignallingConnectError, match="1006"):
            await hasty.join("room")
        assert hasty.state == "idle" and hasty.channel is None and not joining.done()
    await hub.start()
    async with asyncio.timeout(30):
        await joining
        await hasty.join("room")
    await eventually(lambda: patient.remote_peers and hasty.remote_peers)
    await close(hasty, patient)
    await hub.stop(1)


# D16: early signals


@in_virtual_time
async def test_d16_early_signals_are_bounded_and_forgotten() -> None:
    from edge_node.protocol import payloads
    from edge_node.protocol.frames import DirectFrame
    from edge_node.realtime import early

    server = FakeServer()
    peer = await joined(server)
    box, mark = peer._roster.early, payloads.end_of_candidates()
    for number in range(early.PEERS + 3):
        server.wire.hear(*[DirectFrame(f"p{number}", mark)] * (early.SIGNALS_PER_PEER + 2))
    server.wire.hear(DirectFrame("p0", "no signal"))
    await eventually(lambda: box.dropped)
    await asyncio.sleep(0.1)
    assert len(box._waiting) == early.PEERS and {len(q) for q in box._waiting.values()} == {early.SIGNALS_PER_PEER}
    assert box.dropped == 2 * early.PEERS + 3 * (early.SIGNALS_PER_PEER + 2)
    await asyncio.sleep(early.KEEP_S)
    server.wire.hear(DirectFrame("new", mark))
    await eventually(lambda: list(box._waiting) == ["new"])
    server.wire.hear(presence(left=("new",)))
    await eventually(lambda: not box._waiting)
    await peer.close()


# D29: what is known of a peer, and how it is sent to


@in_virtual_time
async def test_d29_a_change_of_metadata_is_told() -> None:
    server = FakeServer()
    peer = await with_company(server, "a")
    told: list[MetadataChanged] = []
    peer.remote_peers[0].on(MetadataChanged, told.append)
    for metadata in ({"n": 1}, {"n": 1}, {"n": 2}, None):
        server.wire.hear(PresenceFrame("room", (PresencePeer("a", metadata),)))
    await eventually(lambda: len(told) == 3)
    assert told == [MetadataChanged({"n": 1}), MetadataChanged({"n": 2}), MetadataChanged(None)]
    assert peer.remote_peers[0].metadata is None
    await peer.close()


async def test_d29_figures_of_a_call() -> None:
    async with running_hub() as hub:
        sender, receiver, watcher = await call(hub, "zz", "aa")
        remote = sender.remote_peers[0]
        first = await remote.stats()
        assert first["id"] == "aa" and first["kbps"] is None and first["rtt_ms"] >= 0
        await hears(watcher.tracks[0].track, 440)
        assert (await remote.stats())["kbps"] > 5
        await close(sender, receiver)
        assert (await remote.stats())["rtt_ms"] is None


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_d29_codecs_are_chosen_and_bitrates_capped(sender_id: str, receiver_id: str) -> None:
    policy = EncodePolicy(video_codec="H264", audio_codec="PCMU", max_video_kbps=700)
    async with running_hub() as hub:
        sender, receiver = peer_of(hub, sender_id, encode=policy), peer_of(hub, receiver_id)
        watcher, picture = Watcher(receiver), VideoStreamTrack()
        sender.add_track(picture)
        sender.add_track(Tone(440))
        receiver.add_track(VideoStreamTrack())  # an offer of its own, in the usual order of codecs
        await sender.join("room")
        await receiver.join("room")
        async with asyncio.timeout(30):
            await (await watcher.track("video")).recv()
            assert (await (await watcher.track("audio")).recv()).sample_rate == 8000
        outlets = sender.remote_peers[0].connection._link.outlets  # type: ignore[union-attr]
        codecs = [outlet.feed.codec.mimeType for outlet in outlets if outlet.feed.codec is not None]
        assert sorted(codecs) == ["audio/PCMU", "video/H264"]
        view: Any = next(o.feed._upstream for o in outlets if o.feed.kind == "video")
        encoder = view._encoding._encoder
        assert encoder._inner.target_bitrate == 700_000
        view.set_bitrate(5000)
        assert encoder._inner.target_bitrate == 700_000
        view.set_bitrate(600)
        await eventually(lambda: encoder._inner.target_bitrate == 600_000)
        await close(sender, receiver)


def test_d29_policies_that_make_no_sense() -> None:
    for wrong in ({"video_codec": "VP7"}, {"audio_codec": "mp3"}, {"max_video_kbps": -1}, {"max_audio_kbps": 0}):
        with pytest.raises(ValueError):
            EncodePolicy(**wrong)
    policy = EncodePolicy(video_codec="VP8", max_audio_kbps=32)
    assert (policy.prefers("video"), policy.prefers("audio")) == ("video/VP8", None)
    assert (policy.max_kbps("video"), policy.max_kbps("audio")) == (None, 32)


async def test_d29_sound_is_capped_too() -> None:
    async def bytes_per_s(policy: EncodePolicy, peer_id: str) -> float:
        sender, receiver = peer_of(hub, f"{peer_id}-s", encode=policy), peer_of(hub, f"{peer_id}-r")
        watcher = Watcher(receiver)
        sender.add_track(Tone(440))
        await sender.join(peer_id)
        await receiver.join(peer_id)
        await hears(await watcher.track("audio"), 440)
        outlets = sender.remote_peers[0].connection._link.outlets  # type: ignore[union-attr]
        view: Any = outlets[0].feed._upstream
        rate = float(view._encoding._encoder._inner.codec.bit_rate)
        await close(sender, receiver)
        return rate

    async with running_hub() as hub:
        assert await bytes_per_s(EncodePolicy(), "usual") == 96_000
        assert await bytes_per_s(EncodePolicy(max_audio_kbps=24), "capped") == 24_000


async def test_d29_a_peer_may_take_nothing() -> None:
    async with running_hub() as hub:
        sender, receiver = peer_of(hub, "aa"), peer_of(hub, "zz", receive=())
        watcher, heard = Watcher(receiver), Watcher(sender)
        sender.add_track(Tone(440))
        receiver.add_track(Tone(700))
        await sender.join("room")
        await receiver.join("room")
        await hears(await heard.track("audio"), 700)
        assert watcher.tracks == []
        await close(sender, receiver)


# D31: limits


@in_virtual_time
async def test_d31_a_small_board_takes_as_many_as_it_can_and_the_next_in_turn() -> None:
    server = FakeServer()
    peer = await joined(server, max_peers=2)
    diary = Diary(peer)
    server.wire.hear(presence("me", "a", "b", "c", "d"))
    await eventually(lambda: len(peer.remote_peers) == 2)
    server.wire.hear(presence(left=("c",)))  # it gave up waiting
    server.wire.hear(presence("e"))
    server.wire.hear(presence(left=("a", "b")))
    await eventually(lambda: [r.id for r in peer.remote_peers] == ["d", "e"])
    assert [e.peer.id for e in diary.of(PeerJoined)] == ["a", "b", "d", "e"]
    server.wire.hear(presence("f"))
    server.wire.hear(WireClosed(1006))
    await eventually(lambda: len(server.wires) == 2 and server.wire.asked("subscribe"))
    server.wire.hear(presence("me", "e", "g"))
    await eventually(lambda: [r.id for r in peer.remote_peers] == ["e", "g"])
    await peer.close()


# D32: the same object again


async def test_d32_a_peer_leaves_and_joins_again() -> None:
    async with running_hub() as hub:
        other = peer_of(hub, "other")
        watcher = Watcher(other)
        peer = peer_of(hub, "peer")
        diary = Diary(peer)
        peer.add_track(Tone(440), MediaStream(id="s"))
        await other.join("b")
        for channel in ("a", "b"):
            await peer.join(channel)
            assert (peer.channel, peer.state) == (channel, "joined")
            if channel == "b":
                await hears(await watcher.track("audio"), 440)
            await peer.leave("on")
            assert (peer.state, peer.channel, peer.peer_id, peer.remote_peers) == ("idle", None, None, [])
        await peer.leave()
        await peer.join("b")
        await hears(await watcher.track("audio", 1), 440)
        assert diary.of(Left) == [Left("peer", "a", "on"), Left("peer", "b", "on")]
        assert watcher.joined == ["peer", "peer"]
        await close(peer, other)


# D34: metadata of tracks that have another name here


@in_virtual_time
async def test_d34_metadata_is_found_by_stream_and_kind() -> None:
    server = FakeServer()
    peer = await with_company(server, "a")
    remote = peer.remote_peers[0]
    told: list[Track] = []
    remote.on(Track, told.append)

    def section(mid: str, kind: str, stream_id: str | None, track_id: str | None) -> sdp.Section:
        return sdp.Section(mid, kind, "sendrecv", False, stream_id, track_id)

    def metadata_of(*sections: sdp.Section) -> list[Any]:
        told.clear()
        for one in sections:
            remote._on_track(ReceivedTrack(one.kind, one.track_id), one, sections)
        return [event.metadata for event in told]

    for track_id, stream_id, kind in (("t1", "s", "audio"), ("t2", "s", "video"), ("t3", "other", "audio")):
        remote.set_track_metadata(TrackMeta(track_id, {"is": track_id}, stream_id, kind))
    assert metadata_of(section("0", "audio", "s", "t1")) == [{"is": "t1"}], "by its name"
    browser = (section("0", "audio", "s", "{new-1}"), section("1", "video", "s", "{new-2}"))
    assert metadata_of(*browser) == [{"is": "t1"}, {"is": "t2"}], "by stream and kind"
    assert metadata_of(section("0", "audio", "s", "t1"), section("1", "audio", "s", "t9"))[1] is None, "not another's"
    remote.set_track_metadata(TrackMeta("t4", {"is": "t4"}, "s", "audio"))
    assert metadata_of(section("0", "audio", "s", "{new}")) == [None], "two that could be meant"
    assert metadata_of(section("0", "audio", None, "{new}")) == [None]
    await peer.close()


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_d34_metadata_goes_with_the_track_whoever_offers(sender_id: str, receiver_id: str) -> None:
    async with running_hub() as hub:
        sender, receiver = peer_of(hub, sender_id), peer_of(hub, receiver_id)
        watcher = Watcher(receiver)
        receiver.add_track(Tone(700))
        sender.add_track(Tone(440), MediaStream(id="s"), {"role": "voice"})
        await sender.join("room")
        await receiver.join("room")
        await hears(await watcher.track("audio"), 440)
        assert watcher.tracks[0].metadata == {"role": "voice"}
        await close(sender, receiver)
