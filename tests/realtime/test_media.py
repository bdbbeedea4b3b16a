"""Sound and pictures between two of our own peers."""

from __future__ import annotations

import asyncio
import gc
import re
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import VideoStreamTrack
from aiortc.rtp import RTCP_PSFB_APP, RTCP_PSFB_PLI, RtcpPsfbPacket, pack_remb_fci

from edge_node.errors import MeteredPeerReplaceTrackError
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.events import ConnectionReset, NegotiationError, StateChange
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.streams import MediaStream
from tests.support.hub_client import running_hub
from tests.support.peers import CodedVideo, Tone, Watcher, close, hears, peer_of
from tests.support.waiting import eventually

ORDERS = [("zz", "aa"), ("aa", "zz")]


async def pair(hub: Any, a_id: str = "aa", b_id: str = "zz", **options: Any) -> tuple[MeteredPeer, MeteredPeer]:
    a, b = peer_of(hub, a_id, **options), peer_of(hub, b_id, **options)
    await a.join("room")
    await b.join("room")
    await eventually(lambda: a.remote_peers and b.remote_peers)
    return a, b


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_coded_pictures_keyframes_and_bitrates(sender_id: str, receiver_id: str) -> None:
    async with running_hub() as hub, CodedVideo() as video:
        sender, receiver = peer_of(hub, sender_id), peer_of(hub, receiver_id)
        watcher = Watcher(receiver)
        sender.add_track(video, MediaStream(id="node:x"), {"role": "camera", "node": "x"})
        await sender.join("room")
        await receiver.join("room")
        track = await watcher.track("video")
        async with asyncio.timeout(30):
            frames = [await track.recv() for _ in range(20)]
        assert (frames[0].width, frames[0].height) == (320, 240)
        assert watcher.tracks[0].metadata == {"role": "camera", "node": "x"} and watcher.added == ["node:x"]
        transceiver = next(t for t in watcher.remotes[sender_id].pc.getTransceivers() if t.kind == "video")
        assert transceiver._codecs[0].mimeType == "video/H264"
        # The viewer lost a picture, and knows how much its path carries.
        remote = sender.remote_peers[0]
        rtp = next(t.sender for t in remote.pc.getTransceivers() if t.kind == "video")
        asked = video.keyframes_asked
        await rtp._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=rtp._ssrc))
        assert video.keyframes_asked == asked + 1
        remb = pack_remb_fci(1_500_000, [rtp._ssrc])
        await rtp._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=remb))
        assert video.kbps_asked[-1] == 1500
        stats = await remote.stats()
        assert set(stats) == {"id", "rtt_ms", "loss_percent", "jitter_ms", "kbps"} and stats["id"] == receiver_id
        assert stats["rtt_ms"] is not None and stats["rtt_ms"] >= 0
        async with asyncio.timeout(30):
            while not (await remote.stats())["kbps"]:  # noqa: ASYNC110  (figures have no event to wait for)
                await asyncio.sleep(0.05)
        await receiver.close()
        await eventually(lambda: not video.views)  # D12: nobody watches, nothing is read
        assert video.subscribed == 1
        await sender.close()


async def test_pictures_that_are_not_wanted_are_not_taken() -> None:
    async with running_hub() as hub:
        sender, receiver = peer_of(hub, "aa"), peer_of(hub, "zz", receive=("audio",))
        watcher = Watcher(receiver)
        sender.add_track(VideoStreamTrack())
        sender.add_track(Tone(440))
        receiver.add_track(Tone(700))
        heard = Watcher(sender)
        await sender.join("room")
        await receiver.join("room")
        await hears(await watcher.track("audio"), 440)
        await hears(await heard.track("audio"), 700)
        assert [t.track.kind for t in watcher.tracks] == ["audio"]
        kinds = {t.kind: t.currentDirection for t in receiver.remote_peers[0].pc.getTransceivers()}
        assert kinds.get("video", "inactive") == "inactive"
        await close(sender, receiver)


async def test_both_offer_at_once() -> None:
    """Glare on a connection that is up: nothing is interrupted."""
    async with running_hub() as hub:
        a, b = await pair(hub)
        watchers = [Watcher(a), Watcher(b)]
        for peer, watcher in zip((a, b), watchers, strict=True):
            watcher.watch(peer.remote_peers[0])
        a.add_track(Tone(300))
        await hears(await watchers[1].track("audio"), 300)
        resets: list[Any] = []
        for number in range(3):
            for peer in (a, b):
                peer.remote_peers[0].on(ConnectionReset, resets.append)
            a.add_track(Tone(500 + 100 * number))
            b.add_track(Tone(550 + 100 * number))
            await hears(await watchers[1].track("audio", 1 + number), 500 + 100 * number)
            await hears(await watchers[0].track("audio", number), 550 + 100 * number)
        assert resets == []
        await close(a, b)


async def test_another_codec_needs_another_section() -> None:
    async with running_hub() as hub, CodedVideo() as video:
        a, b = await pair(hub)
        watcher = Watcher(b)
        watcher.watch(b.remote_peers[0])
        plain = VideoStreamTrack()
        a.add_track(plain)
        await (await watcher.track("video")).recv()
        with pytest.raises(MeteredPeerReplaceTrackError) as caught:
            await a.replace_track(plain, video)  # the sender runs with VP8
        assert caught.value.succeeded == () and caught.value.failed[0].peer_id == "zz"
        a.remove_track(video)
        a.add_track(video)
        async with asyncio.timeout(30):
            track = await watcher.track("video", 1)
            assert (await track.recv()).width == 320
        await close(a, b)


async def test_states_of_a_remote_and_errors_stay_quiet() -> None:
    async with running_hub() as hub:
        a, b = await pair(hub)
        remote = b.remote_peers[0]
        assert (remote.state, remote.polite, remote.pc) == ("idle", False, None)
        states: list[str] = []
        errors: list[Any] = []
        remote.on(StateChange, lambda e: states.append(e.to))
        remote.on(NegotiationError, errors.append)
        a.add_track(Tone())
        await eventually(lambda: "connected" in states)
        await a.close()
        await eventually(lambda: states[-1] == "closed")
        assert states[:2] == ["connecting", "connected"] and errors == []
        await b.close()


async def test_media_in_no_known_codec_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer of another make, which then offers better."""
    stock, strange = PeerLink.offer, [True]

    async def offer(link: PeerLink, *args: Any) -> str:
        text = await stock(link, *args)
        return re.sub(r"^(a=rtpmap:\d+ )\w+/", r"\1EVRC/", text, flags=re.MULTILINE) if strange[0] else text

    monkeypatch.setattr(PeerLink, "offer", offer)
    async with running_hub() as hub:
        a, b = await pair(hub)
        watcher, errors = Watcher(b), list[str]()
        watcher.watch(b.remote_peers[0])
        b.remote_peers[0].on(NegotiationError, lambda e: errors.append(str(e.err)))
        a.add_track(Tone(600))
        await eventually(lambda: errors)
        assert errors == ["peer aa offers audio in no codec that is known here: it should offer Opus"]
        strange[0] = False
        a.add_track(Tone(700))
        await hears(await watcher.track("audio"), 600)
        assert len(errors) == 1
        await close(a, b)


async def test_twenty_calls_leave_nothing_behind() -> None:
    async with running_hub() as hub, CodedVideo() as video:
        node = peer_of(hub, "node")
        node.add_track(video, MediaStream(id="n"))
        node.add_track(Tone(), MediaStream(id="n"))
        await node.join("room")
        baseline = 0
        for round_number in range(20):
            viewer = peer_of(hub, "aviewer" if round_number % 2 else "zviewer")
            watcher = Watcher(viewer)
            viewer.add_track(Tone(600))
            await viewer.join("room")
            async with asyncio.timeout(30):
                await (await watcher.track("video")).recv()
                await (await watcher.track("audio")).recv()
            await viewer.close()
            await eventually(lambda: not node.remote_peers and not video.views)
            if round_number == 2:
                await eventually(lambda: _settled())
                baseline = len(asyncio.all_tasks())
        await eventually(lambda: len(asyncio.all_tasks()) <= baseline)
        await eventually(lambda: referenced_connections() <= 2, every_s=0.1)
        await node.close()


def referenced_connections() -> int:
    """How many peer connections something still holds on to."""
    gc.collect()
    return sum(isinstance(o, RTCPeerConnection) for o in gc.get_objects())


def _settled() -> bool:
    return not [t for t in asyncio.all_tasks() if "close" in t.get_name()]
