"""Members of a channel whose server is the test."""

from __future__ import annotations

from typing import Any, TypeVar

from edge_node.protocol.frames import PresenceFrame, PresencePeer
from edge_node.realtime.events import Data, Event, FatalError, Joined, Left, PeerJoined, PeerLeft, StateChange
from edge_node.realtime.peer import MeteredPeer
from tests.support.fake_server import FakeServer
from tests.support.waiting import eventually

E = TypeVar("E", bound=Event)
KINDS = (StateChange, Joined, Left, PeerJoined, PeerLeft, Data, FatalError)


class Diary:
    """What a peer tells, in order."""

    def __init__(self, peer: MeteredPeer) -> None:
        self.events: list[Any] = []
        for kind in KINDS:
            peer.on(kind, self.events.append)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if type(event) is kind]

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    @property
    def states(self) -> list[str]:
        return [event.to for event in self.of(StateChange)]


def member(server: FakeServer, **options: Any) -> MeteredPeer:
    """A peer of this server; the server calls it `me`."""
    if "token_provider" not in options:
        options.setdefault("api_key", "pk_secret")
    return MeteredPeer(url="ws://localhost", connect=server.connect, **options)


async def joined(server: FakeServer, **options: Any) -> MeteredPeer:
    """One that is in the channel `room`."""
    peer = member(server, **options)
    await peer.join("room")
    return peer


def presence(*joined_ids: str, left: tuple[str, ...] = (), channel: str = "room") -> PresenceFrame:
    """What the server says about who is there."""
    return PresenceFrame(channel, tuple(map(PresencePeer, joined_ids)), tuple(map(PresencePeer, left)))


async def with_company(server: FakeServer, *ids: str, **options: Any) -> MeteredPeer:
    """One that is in the channel with these."""
    peer = await joined(server, **options)
    server.wire.hear(presence("me", *ids))
    await eventually(lambda: len(peer.remote_peers) == len(ids))
    return peer


def is_in(peer: MeteredPeer, state: str) -> bool:
    """The peer's state, asked anew each time."""
    return peer.state == state
