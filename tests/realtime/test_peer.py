from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from edge_node.errors import (
    MeteredPeerOversizedError,
    MeteredPeerSendError,
    MeteredPeerStateError,
    MeteredRealtimeError,
    ServerRequestError,
)
from edge_node.ports import WireClosed
from edge_node.protocol import payloads
from edge_node.protocol.codec import encode
from edge_node.protocol.frames import Ack, DirectFrame, ErrorFrame, MessageFrame, PresenceFrame, PresencePeer, Welcome
from edge_node.realtime import peer as peer_module
from edge_node.realtime.events import (
    Connected,
    Data,
    Direct,
    Disconnected,
    FatalError,
    Joined,
    Left,
    PeerJoined,
    PeerLeft,
    Presence,
    StateChange,
)
from edge_node.realtime.options import ReconnectOptions
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.streams import MediaStream
from tests.realtime.test_client import FakeWire
from tests.support.hub_client import running_hub
from tests.support.peers import Tone, Watcher, peer_of
from tests.support.waiting import eventually
from tests.support.wires import Network

KINDS = (StateChange, Joined, Left, PeerJoined, PeerLeft, Data, FatalError)


def listen(peer: MeteredPeer) -> list[Any]:
    seen: list[Any] = []
    for kind in KINDS:
        peer.on(kind, seen.append)
    return seen


def state_of(peer: MeteredPeer) -> str:
    return peer.state


class Server(FakeWire):
    """A hub that the test speaks for: acknowledges everything unless told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse: str | None = None
        self.opened = 0

    async def connect(self, url: str) -> FakeWire:
        self.opened += 1
        self.hear(Welcome("me", None, 1, 65536))
        return await super().connect(url)

    async def send(self, text: str) -> None:
        await super().send(text)
        rid = json.loads(text).get("requestId")
        if rid is not None:
            self.hear(Ack(rid) if self.refuse is None else ErrorFrame(self.refuse, rid))


def member(server: Server, **options: Any) -> MeteredPeer:
    return MeteredPeer(api_key="pk_x", url="ws://localhost", connect=server.connect, **options)


async def joined(server: Server, **options: Any) -> MeteredPeer:
    peer = member(server, **options)
    await peer.join("room")
    return peer


async def test_joining_and_leaving() -> None:
    async with running_hub() as hub:
        one, two = peer_of(hub, "one"), peer_of(hub, "two")
        seen = listen(one)
        assert (one.state, one.peer_id, one.channel, one.remote_peers) == ("idle", None, None, [])
        await one.join("room")
        assert (one.state, one.peer_id, one.channel) == ("joined", "one", "room")
        await two.join("room")
        await eventually(lambda: one.remote_peers and two.remote_peers)
        remote = one.remote_peers[0]
        assert remote.id == "two" and "two" in repr(remote) and one.remote_peers is not one.remote_peers
        await two.send({"hello": 1})
        await remote.send("direct")
        heard = two.events(Data)
        await eventually(lambda: any(isinstance(e, Data) for e in seen))
        await two.send_to("one", None)
        await eventually(lambda: sum(isinstance(e, Data) for e in seen) == 2)
        await two.close("enough")
        await eventually(lambda: any(isinstance(e, PeerLeft) for e in seen))
        with pytest.raises(MeteredRealtimeError):
            await remote.send("late")
        with pytest.raises(MeteredRealtimeError):
            remote.create_data_channel("late")
        await one.close("bye")
        await one.close()
        assert [e.data async for e in heard] in ([], ["direct"])
        kinds = [type(e).__name__ for e in seen]
        assert kinds[:4] == ["StateChange", "StateChange", "Joined", "PeerJoined"]
        assert [e.kind for e in seen if isinstance(e, Data)] == ["broadcast", "direct"]
        assert seen[-1] == Left("one", "room", "bye")
        assert one.state == "closed" and remote.state == "closed"


async def test_the_context_managers() -> None:
    async with running_hub() as hub:
        async with peer_of(hub, "one") as peer:
            assert state_of(peer) == "idle"
        assert state_of(peer) == "closed"
        async with peer_of(hub, "one").joined("room") as peer:
            assert state_of(peer) == "joined"
        assert state_of(peer) == "closed"
        with pytest.raises(MeteredPeerSendError):
            async with peer_of(hub, "one").joined("_metered/x"):
                raise AssertionError
        # D32: the same object joins again.
        again = peer_of(hub, "one")
        for channel in ("a", "b"):
            await again.join(channel)
            assert again.channel == channel
            await again.leave()
            assert again.state == "idle"
        await again.leave()
        await again.close()


async def test_joins_that_are_not_possible() -> None:
    server = Server()
    peer = member(server)
    with pytest.raises(MeteredPeerSendError) as reserved:
        await peer.join("_Metered/x")
    assert reserved.value.code == "reserved_channel" and server.opened == 0
    server.refuse = "channel_not_authorized"
    with pytest.raises(ServerRequestError):
        await peer.join("room")
    assert (peer.state, peer.channel, peer.peer_id) == ("idle", None, None)
    server.refuse = None
    await peer.join("room")
    with pytest.raises(MeteredPeerStateError) as twice:
        await peer.join("room")
    assert (twice.value.code, twice.value.method, twice.value.current_state) == ("invalid_state", "join", "joined")
    await peer.close()
    with pytest.raises(ValueError, match="auto_resubscribe"):
        member(server, auto_resubscribe=False)  # D27


async def test_sends_that_are_not_possible() -> None:
    server = Server()
    peer = member(server)
    for call in (peer.send(1), peer.send_to("x", 1)):
        with pytest.raises(MeteredPeerSendError) as early:
            await call
        assert early.value.code == "not_joined"
    await peer.join("room")
    sent = len(server.sent)
    for target, code in (("", "invalid_args"), (5, "invalid_args"), ("me", "self_send")):
        with pytest.raises(MeteredPeerSendError) as bad:
            await peer.send_to(target, 1)  # type: ignore[arg-type]
        assert bad.value.code == code
    with pytest.raises(MeteredPeerOversizedError):
        await peer.send("x" * 70_000)
    with pytest.raises(ValueError):
        await peer.send(float("nan"))
    assert len(server.sent) == sent
    await peer.send_to("x", {payloads.TRACK_META_KEY: 1})
    assert len(server.sent) == sent + 1
    await peer.close()


async def test_tracks_of_a_peer_without_company() -> None:
    server = Server()
    peer = member(server)
    stream, tone = MediaStream(), Tone()
    peer.add_track(tone, stream, {"role": "x"})
    peer.add_track(tone, stream)
    with pytest.raises(MeteredPeerStateError) as other:
        peer.add_track(tone, MediaStream())
    assert other.value.code == "track_already_attached"
    with pytest.raises(MeteredPeerOversizedError):
        peer.add_track(Tone(), stream, {"x": "x" * 70_000})
    with pytest.raises(TypeError):
        peer.add_track(type("T", (), {"id": "t", "kind": "audio"})())
    assert peer.get_track_metadata(tone) == peer.get_stream_metadata(stream) == {"role": "x"}
    assert peer.get_track_metadata(Tone()) is None and peer.get_stream_metadata(MediaStream()) is None
    peer.remove_track(Tone())
    group = MediaStream([Tone(), Tone()])
    peer.add_stream(group, {"a": 1})
    first, second = group.get_tracks()
    assert peer.get_track_metadata(first) == peer.get_track_metadata(second)
    assert peer.get_track_metadata(first) is not peer.get_track_metadata(second)
    peer.remove_stream(group)
    assert peer.get_track_metadata(first) is None
    with pytest.raises(TypeError):
        await peer.replace_track(None, tone)
    await peer.replace_track(Tone(), tone)
    await peer.close()
    with pytest.raises(MeteredPeerStateError):
        peer.add_track(tone)


async def test_what_is_shown_of_what_is_heard() -> None:
    server = Server()
    peer = await joined(server)
    seen = listen(peer)
    server.hear(PresenceFrame("room", (PresencePeer("me"), PresencePeer("a", {"n": 1}))))
    server.hear(PresenceFrame("other", (PresencePeer("b"),)))
    server.hear(MessageFrame("room", "stranger", 1))
    server.hear(MessageFrame("room", "me", 2))
    server.hear(MessageFrame("other", "a", 3))
    server.hear(DirectFrame("stranger", 4))
    server.hear(DirectFrame("a", 5, {"m": 1}))
    for signal in (payloads.end_of_candidates(), {"type": "rtc-ice", "candidate": {}}):
        server.hear(DirectFrame("a", signal))
    server.hear(DirectFrame("a", payloads.track_meta(payloads.TrackMeta("t", {"x": 1}))))
    server.hear(PresenceFrame("room", (PresencePeer("a", {"n": 2}),)))
    server.hear(PresenceFrame("room", (), (PresencePeer("a"), PresencePeer("nobody"))))
    await eventually(lambda: any(isinstance(e, PeerLeft) for e in seen))
    data = [e for e in seen if isinstance(e, Data)]
    assert data == [Data("stranger", 1, "broadcast"), Data("a", 5, "direct", {"m": 1})]
    assert seen[0].peer.metadata == {"n": 2} and [type(e) for e in seen].count(PeerJoined) == 1
    await peer.close()


async def test_d16_signals_before_presence_wait() -> None:
    async with running_hub() as hub:
        tone_sender, late = peer_of(hub, "zz"), peer_of(hub, "aa")
        watcher = Watcher(late)
        tone_sender.add_track(Tone(440), MediaStream(id="s"))
        await late.join("room")
        held: list[Any] = []
        stock = late._on_presence
        late._client._Emitter__handlers.clear()  # type: ignore[attr-defined]
        for kind, handler in (
            (Presence, held.append),
            (Direct, late._on_direct),
            (Connected, late._on_connected),
            (Disconnected, late._on_disconnected),
        ):
            late._client.on(kind, handler)
        await tone_sender.join("room")
        await eventually(lambda: late._roster.early._waiting)
        stock(held[0])
        assert await (await watcher.track("audio")).recv()
        await tone_sender.close()
        await late.close()


async def test_what_comes_while_joining_is_told_after_joined() -> None:
    class Eager(Server):
        async def send(self, text: str) -> None:
            if "subscribe" in text:
                self.hear(PresenceFrame("room", (PresencePeer("a"),)))
                self.hear(DirectFrame("a", "early"))
                self.hear(MessageFrame("room", "a", "early"))
            await super().send(text)

    server = Eager()
    peer = member(server)
    seen = listen(peer)
    await peer.join("room")
    names = [type(e).__name__ for e in seen]
    assert names == ["StateChange", "StateChange", "Joined", "PeerJoined", "Data", "Data"]
    await peer.close()


@pytest.mark.parametrize("code", [4001, 4003, 4012, 4020])
async def test_codes_that_end_everything(code: int) -> None:
    server = Server()
    peer = await joined(server)
    seen = listen(peer)
    server.hear(PresenceFrame("room", (PresencePeer("a"),)))
    server.hear(WireClosed(code, "why"))
    await eventually(lambda: peer.state == "closed")
    names = [type(e).__name__ for e in seen]
    assert names == ["PeerJoined", "FatalError", "PeerLeft", "StateChange", "Left"]
    assert peer.listener_count(Data) == 0 and peer.remote_peers == []
    await peer.close()


async def test_errors_of_the_server_that_are_fatal() -> None:
    server = Server()
    peer = await joined(server)
    seen = listen(peer)
    server.hear(ErrorFrame("over_message_quota"))
    server.hear(ErrorFrame("account_suspended"))
    await eventually(lambda: seen)
    assert isinstance(seen[0], FatalError) and len(seen) == 1 and peer.state == "joined"
    await peer.close()


async def test_a_drop_while_joining_ends_the_join() -> None:
    class Dropping(Server):
        async def send(self, text: str) -> None:
            self.hear(WireClosed(1006))

    server = Dropping()
    peer = member(server)
    with pytest.raises(MeteredRealtimeError):
        await peer.join("room")
    assert peer.state == "idle" and peer._client.state == "closed"
    await peer.close()


async def test_a_patient_join_outlives_a_drop() -> None:
    class Dropping(Server):
        async def send(self, text: str) -> None:
            if self.opened < 3:
                self.hear(WireClosed(1006))
            else:
                await super().send(text)

    server = Dropping()
    peer = member(server, connect_retry=True, reconnect=ReconnectOptions(initial_delay=0.01))
    await peer.join("room")
    assert peer.state == "joined" and server.opened == 3
    await peer.close()


async def test_closing_ends_a_patient_join() -> None:
    class Down(Server):
        async def connect(self, url: str) -> FakeWire:
            raise WireClosed(1006)

    peer = member(Down(), connect_retry=True)
    joining = asyncio.get_running_loop().create_task(peer.join("room"))
    await eventually(lambda: peer.state == "joining")
    await peer.close()
    with pytest.raises(MeteredRealtimeError):
        await joining
    assert peer.state == "closed"


async def test_alone_after_a_reconnect_is_joined_at_once() -> None:
    network = Network()
    async with running_hub() as hub:
        peer = peer_of(hub, "a", connect=network.connect, reconnect=ReconnectOptions(initial_delay=0.05))
        states = peer.events(StateChange)
        await peer.join("room")
        network.cut()
        async with asyncio.timeout(10):
            assert [(await anext(states)).to for _ in range(4)] == ["joining", "joined", "reconnecting", "joined"]
        assert peer.reconnects == 1
        await peer.close()


async def test_no_roster_after_a_reconnect_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "RECONCILE_TIMEOUT_S", 0.02)
    server = Server()
    peer = await joined(server, reconnect=ReconnectOptions(initial_delay=0.01))
    seen = listen(peer)
    server.hear(PresenceFrame("room", (PresencePeer("a"),)))
    await eventually(lambda: peer.remote_peers)
    server.hear(WireClosed(1006))
    await eventually(lambda: any(isinstance(e, FatalError) for e in seen))
    assert peer.state == "reconnecting" and sum("subscribe" in text for text in server.sent) == 4
    server.hear(PresenceFrame("room", (PresencePeer("b"),)))
    await eventually(lambda: peer.state == "joined")
    assert [r.id for r in peer.remote_peers] == ["b"]
    await peer.close()


async def test_a_closing_handler_is_safe() -> None:
    server = Server()
    peer = await joined(server)
    closed: list[Any] = []

    async def close_all(event: PeerLeft) -> None:
        await peer.close()
        closed.append(event)

    peer.on(PeerLeft, close_all)
    server.hear(PresenceFrame("room", (PresencePeer("a"),)))
    await eventually(lambda: peer.remote_peers)
    server.hear(encode(PresenceFrame("room", (), (PresencePeer("a"),))))
    await eventually(lambda: closed and peer.state == "closed")


async def test_a_handler_of_a_remote_may_close_as_well() -> None:
    server = Server()
    peer = await joined(server)

    async def close_all(event: StateChange) -> None:
        await peer.close()

    peer.on(PeerJoined, lambda e: e.peer.on(StateChange, close_all))
    server.hear(PresenceFrame("room", (PresencePeer("a"),)))
    await eventually(lambda: peer.remote_peers)
    server.hear(PresenceFrame("room", (), (PresencePeer("a"),)))
    await eventually(lambda: state_of(peer) == "closed", 20)


async def test_the_roster_is_bounded() -> None:
    server = Server()
    peer = await joined(server, max_peers=3)
    server.hear(PresenceFrame("room", tuple(PresencePeer(f"p{n}") for n in range(10))))
    await eventually(lambda: len(peer.remote_peers) == 3)
    await peer.close()
