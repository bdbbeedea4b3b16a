"""Defects of the reference's peer: tracks that are removed, ended, muted, added again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiortc.mediastreams import MediaStreamError

from edge_node.hub.server import Hub
from edge_node.realtime.local_tracks import relay_of
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.relay import QUEUE_CODED
from edge_node.realtime.streams import MediaStream
from tests.support.hub_client import running_hub
from tests.support.peers import ORDERS, CodedVideo, Tone, Watcher, close, hears, peer_of
from tests.support.waiting import eventually


async def pair(hub: Hub, sender_id: str, receiver_id: str) -> tuple[MeteredPeer, MeteredPeer, Watcher]:
    """Two that know each other, and what the second hears of the first."""
    sender, receiver = peer_of(hub, sender_id), peer_of(hub, receiver_id)
    watcher = Watcher(receiver)
    await sender.join("room")
    await receiver.join("room")
    await eventually(lambda: sender.remote_peers and receiver.remote_peers)
    return sender, receiver, watcher


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_d07_d08_each_utterance_is_a_track_of_its_own(sender_id: str, receiver_id: str) -> None:
    async with running_hub() as hub:
        sender, receiver, watcher = await pair(hub, sender_id, receiver_id)
        for number in range(4):
            voice = Tone(400 + 100 * number)
            sender.add_track(voice, MediaStream(id="agent"), {"utterance": number})
            track = await watcher.track("audio", number)
            await hears(track, 400 + 100 * number)
            assert watcher.tracks[number].metadata == {"utterance": number}
            if number % 2:
                sender.remove_track(voice)
            else:
                voice.stop()
            await eventually(lambda: len(watcher.removed) > number)  # noqa: B023
            with pytest.raises(MediaStreamError):
                while True:
                    await track.recv()
        assert watcher.added == watcher.removed == ["agent"] * 4
        sections = receiver.remote_peers[0].pc.getTransceivers()
        assert len(sections) == 1, "the section is used again"
        await close(sender, receiver)


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_d08_removed_and_added_in_one_go(sender_id: str, receiver_id: str) -> None:
    async with running_hub() as hub:
        sender, receiver, watcher = await pair(hub, sender_id, receiver_id)
        old, new = Tone(400), Tone(800)
        sender.add_track(old, MediaStream(id="s"), {"n": 1})
        first = await watcher.track("audio")
        await hears(first, 400)
        sender.remove_track(old)
        sender.add_track(new, MediaStream(id="s"), {"n": 2})
        second = await watcher.track("audio", 1)
        await hears(second, 800)
        assert first.readyState == "ended" and [t.metadata for t in watcher.tracks] == [{"n": 1}, {"n": 2}]
        await close(sender, receiver)


async def test_d14_an_ended_track_is_not_offered_to_newcomers() -> None:
    async with running_hub() as hub:
        sender, receiver, watcher = await pair(hub, "aa", "zz")
        gone, stays = Tone(400), Tone(700)
        sender.add_track(gone, MediaStream(id="gone"), {"a": 1})
        sender.add_track(stays, MediaStream(id="stays"))
        await eventually(lambda: watcher.added == ["gone", "stays"])
        gone.stop()
        await eventually(lambda: watcher.removed == ["gone"])
        assert sender.get_track_metadata(gone) is None and [e.track for e in sender._tracks] == [stays]
        newcomer = peer_of(hub, "mm")
        second = Watcher(newcomer)
        await newcomer.join("room")
        await hears(await second.track("audio"), 700)
        assert second.added == ["stays"] and len(second.tracks) == 1
        await close(sender, receiver, newcomer)


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_d15_a_track_is_muted_and_comes_back(sender_id: str, receiver_id: str) -> None:
    async with running_hub() as hub:
        sender, receiver, watcher = await pair(hub, sender_id, receiver_id)
        old, new = Tone(400), Tone(800)
        sender.add_track(old, MediaStream(id="s"), {"role": "voice"})
        track = await watcher.track("audio")
        await hears(track, 400)
        await sender.replace_track(old, None)
        await eventually(lambda: not relay_of(old)._listeners)
        count = old.frames_read
        late = peer_of(hub, "mm")
        late_watcher = Watcher(late)
        await late.join("room")
        late_track = await late_watcher.track("audio")
        assert old.frames_read == count and sender.get_track_metadata(old) == {"role": "voice"}
        await sender.replace_track(old, old)
        await hears(track, 400)
        await hears(late_track, 400)
        await sender.replace_track(old, None)
        await sender.replace_track(old, new)
        await hears(track, 800)
        await sender.replace_track(old, Tone(600))  # of a track that is not sent any more
        await sender.replace_track(new, old)
        await hears(track, 400)
        assert len(watcher.tracks) == 1 and watcher.removed == []
        await close(sender, receiver, late)


async def test_d03_d31_views_of_what_is_encoded_elsewhere() -> None:
    async with running_hub() as hub, CodedVideo() as video:
        sender = peer_of(hub, "m")
        viewers = [peer_of(hub, "a"), peer_of(hub, "z")]
        watchers = [Watcher(viewer) for viewer in viewers]
        sender.add_track(video)
        await sender.join("room")
        for viewer in viewers:
            await viewer.join("room")
        for watcher in watchers:
            async with asyncio.timeout(30):
                await (await watcher.track("video")).recv()
            assert watcher.tracks[0].streams == () and watcher.added == []
        assert video.subscribed == len(video.views) == 2
        await viewers[0].close()
        await eventually(lambda: len(video.views) == 1)
        await close(sender, viewers[1])


async def test_d12_one_track_in_two_channels_is_read_and_encoded_once() -> None:
    async with running_hub() as hub:
        tone = Tone(440)
        senders, receivers = [peer_of(hub, f"s{n}") for n in (0, 1)], [peer_of(hub, f"r{n}") for n in (0, 1)]
        watchers = [Watcher(receiver) for receiver in receivers]
        for number, sender in enumerate(senders):
            sender.add_track(tone)
            await sender.join(f"room-{number}")
            await receivers[number].join(f"room-{number}")
        for watcher in watchers:
            await hears(await watcher.track("audio"), 440)
        relay = relay_of(tone)
        assert relay.encoders == 1 and len(relay._listeners) == 1
        await close(senders[0])
        await hears(watchers[1].tracks[0].track, 440)
        await close(senders[1])
        await eventually(lambda: not relay._listeners)
        count = tone.frames_read
        await asyncio.sleep(0.1)
        assert tone.frames_read == count and tone.readyState == "live"
        await close(*receivers)


async def test_d35_sound_that_a_busy_program_reads_late_is_complete_within_bounds() -> None:
    """The reference keeps the newest frame only: whoever looks away for 20 ms loses sound without a word."""
    async with running_hub() as hub:
        sender, receiver, watcher = await pair(hub, "aa", "zz")
        tone = Tone(440)
        sender.add_track(tone)
        track: Any = await watcher.track("audio")
        first = await track.recv()
        read = tone.frames_read
        await eventually(lambda: tone.frames_read > read + 25)
        frames = [await track.recv() for _ in range(25)]
        steps = {b.pts - a.pts for a, b in zip([first, *frames], frames, strict=False)}
        assert steps == {960} and track.dropped == 0 and QUEUE_CODED["audio"] >= 10
        await close(sender, receiver)
