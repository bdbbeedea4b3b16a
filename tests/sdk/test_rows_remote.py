"""Rows 79 to 88: one other member of the channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edge_node.errors import MeteredRealtimeError
from edge_node.hub.server import Hub
from edge_node.protocol import negotiation, payloads
from edge_node.protocol.frames import DirectFrame
from edge_node.protocol.payloads import TrackMeta
from edge_node.realtime import remote as remote_module
from edge_node.realtime.events import NegotiationError, PeerJoined, StateChange, StreamAdded, StreamRemoved, Track
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.remote import TRACK_METADATA_ENTRIES, RemotePeer
from edge_node.realtime.streams import MediaStream
from tests.support.fake_server import FakeServer
from tests.support.hub_client import running_hub
from tests.support.members import with_company
from tests.support.peers import ORDERS, Tone, hears, peer_of
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import eventually


class Notes:
    """What a remote peer tells, in order."""

    def __init__(self, peer: MeteredPeer) -> None:
        self.events: list[Any] = []
        self.remote: RemotePeer | None = None
        peer.on(PeerJoined, lambda event: self._watch(event.peer))

    def _watch(self, remote: RemotePeer) -> None:
        self.remote = remote
        for kind in (StateChange, Track, StreamAdded, StreamRemoved, NegotiationError):
            remote.on(kind, self.events.append)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

    @property
    def media(self) -> list[str]:
        return [type(e).__name__ for e in self.events if type(e) in (Track, StreamAdded, StreamRemoved)]

    @property
    def states(self) -> list[str]:
        return [event.to for event in self.of(StateChange)]


@asynccontextmanager
async def pair(hub: Hub, sender_id: str, receiver_id: str) -> AsyncIterator[tuple[MeteredPeer, MeteredPeer, Notes]]:
    """Two that know each other, and what the second hears of the first."""
    sender, receiver = peer_of(hub, sender_id), peer_of(hub, receiver_id)
    notes = Notes(receiver)
    await sender.join("room")
    await receiver.join("room")
    await eventually(lambda: sender.remote_peers and receiver.remote_peers)
    yield sender, receiver, notes
    await sender.close()
    await receiver.close()


@in_virtual_time
async def test_row_079_the_smaller_id_is_polite() -> None:
    peer = await with_company(FakeServer(), "Zz", "la", "me2", "zz")
    assert {r.id: r.polite for r in peer.remote_peers} == {"Zz": False, "la": False, "me2": True, "zz": True}
    assert {r.state for r in peer.remote_peers} == {"idle"} and {r.pc for r in peer.remote_peers} == {None}
    await peer.close()


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_row_080_081_082_tracks_streams_and_their_order(sender_id: str, receiver_id: str) -> None:
    async with running_hub() as hub, pair(hub, sender_id, receiver_id) as (sender, receiver, notes):
        heard_back = Notes(sender)
        heard_back._watch(sender.remote_peers[0])
        voice = MediaStream(id="agent-voice")
        sender.add_track(Tone(400), voice)
        await eventually(lambda: len(notes.media) == 2)
        sender.add_track(Tone(600), voice)
        await eventually(lambda: len(notes.media) == 3)
        sender.add_track(Tone(800))
        await eventually(lambda: len(notes.media) == 4)
        receiver.add_track(Tone(500), MediaStream(id="person"))
        await eventually(lambda: len(heard_back.media) == 2)
        assert notes.media == ["Track", "StreamAdded", "Track", "Track"] and heard_back.media == notes.media[:2]
        first, second, alone = notes.of(Track)
        (added,) = notes.of(StreamAdded)
        assert added.stream.id == "agent-voice" and heard_back.of(StreamAdded)[0].stream.id == "person"
        assert first.streams == second.streams == (added.stream,) and alone.streams == ()
        assert added.stream.get_tracks() == [first.track, second.track]
        await hears(alone.track, 800)


@pytest.mark.parametrize(("sender_id", "receiver_id"), ORDERS)
async def test_row_083_084_a_rebuild_looks_like_a_pause(sender_id: str, receiver_id: str) -> None:
    async with running_hub() as hub, pair(hub, sender_id, receiver_id) as (sender, receiver, notes):
        sender.add_track(Tone(400), MediaStream(id="s"), {"role": "voice"})
        await eventually(lambda: notes.states == ["connecting", "connected"])
        for number, side in enumerate((sender, receiver), 1):
            side.remote_peers[0].connection.renew()
            await eventually(lambda: len(notes.of(StreamAdded)) == 1 + number, 30)  # noqa: B023
            await hears(notes.of(Track)[-1].track, 400)
        assert notes.states == ["connecting", *["connected", "reconnecting"] * 2, "connected"]
        streams = [event.stream for event in notes.of(StreamAdded)]
        assert [s.id for s in streams] == ["s"] * 3 and len({id(s) for s in streams}) == 3
        assert [event.metadata for event in notes.of(Track)] == [{"role": "voice"}] * 3
        assert notes.of(StreamRemoved) == [] and receiver.remote_peers == [notes.remote]


async def test_row_084_a_stream_that_does_not_come_back_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "STREAM_RETURN_S", 0.2)
    async with running_hub() as hub, pair(hub, "zz", "aa") as (sender, _, notes):
        stays, goes = Tone(400), Tone(700)
        sender.add_track(stays, MediaStream(id="stays"))
        sender.add_track(goes, MediaStream(id="goes"))
        await eventually(lambda: len(notes.of(StreamAdded)) == 2)
        connection = sender.remote_peers[0].connection
        await eventually(lambda: connection.is_up and connection._negotiation.deadline is None)
        sender._tracks.remove(goes)  # while the description that says so cannot be sent
        connection.renew()
        await eventually(lambda: notes.of(StreamRemoved), 30)
        assert [event.stream.id for event in notes.of(StreamRemoved)] == ["goes"]
        assert [event.stream.id for event in notes.of(StreamAdded)][2:] == ["stays"]
        await hears(notes.of(Track)[-1].track, 400)


@pytest.mark.parametrize("ending", ["remove", "stop"])
async def test_row_085_a_stream_goes_with_its_last_track(ending: str) -> None:
    async with running_hub() as hub, pair(hub, "aa", "zz") as (sender, _, notes):
        stream, tones = MediaStream(id="s"), [Tone(400), Tone(700)]
        for tone in tones:
            sender.add_track(tone, stream)
        await eventually(lambda: len(notes.of(Track)) == 2)
        (added,) = notes.of(StreamAdded)
        first, second = (event.track for event in notes.of(Track))
        end(sender, tones[0], ending)
        await eventually(lambda: first.readyState == "ended")
        assert added.stream.get_tracks() == [second] and notes.of(StreamRemoved) == []
        await hears(second, 700)
        end(sender, tones[1], ending)
        await eventually(lambda: second.readyState == "ended" and notes.of(StreamRemoved))
        assert [event.stream for event in notes.of(StreamRemoved)] == [added.stream]


def end(peer: MeteredPeer, tone: Tone, how: str) -> None:
    if how == "remove":
        peer.remove_track(tone)
    else:
        tone.stop()


async def test_row_086_who_left_is_not_sent_to() -> None:
    async with running_hub() as hub, pair(hub, "aa", "zz") as (sender, _, notes):
        assert notes.remote is not None
        await notes.remote.send("fine")
        await sender.close()
        await eventually(lambda: notes.states[-1:] == ["closed"])
        with pytest.raises(MeteredRealtimeError):
            await notes.remote.send("late")
        with pytest.raises(MeteredRealtimeError):
            notes.remote.create_data_channel("late")
        assert notes.remote.listener_count(Track) == 0


@in_virtual_time
async def test_row_087_metadata_of_tracks_is_kept_within_bounds() -> None:
    server = FakeServer()
    peer = await with_company(server, "a")
    kept = peer.remote_peers[0]._track_metadata

    def tell(number: int, metadata: Any) -> None:
        server.wire.hear(DirectFrame("a", payloads.track_meta(TrackMeta(f"t{number}", metadata))))

    for number in range(TRACK_METADATA_ENTRIES + 10):
        tell(number, {"n": number})
    await eventually(lambda: f"t{TRACK_METADATA_ENTRIES + 9}" in kept)
    assert TRACK_METADATA_ENTRIES == 512 and list(kept) == [f"t{n}" for n in range(10, 522)]
    tell(0, {"x": "x" * 70_000})
    tell(1, {"n": 1})
    await eventually(lambda: "t1" in kept)
    assert "t0" not in kept and len(kept) == 512
    tell(1, None)
    await eventually(lambda: "t1" not in kept)
    await peer.close()


async def test_row_088_giving_up_is_said_once_and_armed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negotiation, "LADDER_S", (0.0, 0.01, 0.01))
    async with running_hub() as hub, pair(hub, "zz", "aa") as (sender, receiver, notes):
        told: list[NegotiationError] = []
        sender.remote_peers[0].on(NegotiationError, told.append)
        links = [sender.remote_peers[0].connection, receiver.remote_peers[0].connection]
        link, real_sends = links[0], [each._exchange._send for each in links]

        async def lose(payload: Any) -> None:
            """The signals do not arrive, of the other side neither: it begins to repair this after a second."""

        sender.add_track(Tone(400))
        for round_number in (1, 2):
            for each in links:
                each._exchange._send = lose
            with monkeypatch.context() as impatient:
                impatient.setattr(negotiation, "ANSWER_TIMEOUT_S", 0.02)
                link.renew()
                await eventually(lambda: told)
                assert "3 attempts" in str(told[0].err)
                await asyncio.sleep(0.1)
                assert len(told) == 1 and link._negotiation.deadline is None, "it goes on after it gave up"
            told.clear()
            for each, real_send in zip(links, real_sends, strict=True):
                each._exchange._send = real_send
            receiver.add_track(Tone(700))  # the other side's offer brings the recovery
            await eventually(lambda: len(notes.of(Track)) >= round_number, 60)  # noqa: B023
            await hears(notes.of(Track)[-1].track, 400)
        assert told == []
