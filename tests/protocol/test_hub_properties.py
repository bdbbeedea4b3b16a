"""Whatever happens in whatever order, what clients believe is what is true, and nothing piles up."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_node.protocol.hub_events import Disconnected, HubLimits, Kick, Received, Revoke, Shutdown
from tests.support.hub_world import HubWorld

PEERS = st.sampled_from(["anna", "ben", "door"])
CHANNELS = st.sampled_from(["home", "work", "a/b"])
PATTERNS = st.sampled_from(["*", "a/*", "**", r"a\*"])
LIMITS = HubLimits(max_connections=6, max_channels=4, leave_grace_s=0)


class HubStory(RuleBasedStateMachine):
    """The model: which connection is which peer and holds which channels."""

    limits = LIMITS

    def __init__(self) -> None:
        super().__init__()
        self.world = HubWorld(self.limits)
        self.peer: dict[int, str] = {}
        self.held: dict[int, set[str]] = {}
        self.view: dict[tuple[int, str], set[str]] = {}

    def conn(self, index: int) -> int:
        return sorted(self.peer)[index % len(self.peer)]

    @rule(peer=PEERS, lifetime_s=st.sampled_from([None, 0.1, 5.0]))
    def connect(self, peer: str, lifetime_s: float | None) -> None:
        conn = self.world.connect(peer, expires_in_s=lifetime_s, key_id=f"key of {peer}")
        self.peer[conn], self.held[conn] = peer, set()

    @precondition(lambda self: self.peer)
    @rule(index=st.integers(0, 9), channel=CHANNELS | PATTERNS)
    def subscribe(self, index: int, channel: str) -> None:
        conn = self.conn(index)
        self.world.say(conn, type="subscribe", channel=channel)
        if channel in self.held[conn] or len(self.held[conn]) < self.limits.max_channels:
            self.held[conn].add(channel)

    @precondition(lambda self: self.peer)
    @rule(index=st.integers(0, 9), channel=CHANNELS | PATTERNS)
    def unsubscribe(self, index: int, channel: str) -> None:
        conn = self.conn(index)
        self.world.say(conn, type="unsubscribe", channel=channel)
        self.held[conn].discard(channel)
        self.collect()
        self.view.pop((conn, channel), None)

    @precondition(lambda self: self.peer)
    @rule(index=st.integers(0, 9), channel=CHANNELS)
    def publish(self, index: int, channel: str) -> None:
        self.world.say(self.conn(index), type="publish", channel=channel, data={"x": 1})

    @precondition(lambda self: self.peer)
    @rule(index=st.integers(0, 9), to=PEERS)
    def send(self, index: int, to: str) -> None:
        self.world.say(self.conn(index), type="send", to=to, data=None)

    @precondition(lambda self: self.peer)
    @rule(index=st.integers(0, 9), raw=st.text(max_size=20) | st.binary(max_size=20))
    def garbage(self, index: int, raw: str | bytes) -> None:
        self.world.handle(Received(self.conn(index), raw))

    @rule(conn=st.integers(0, 30))
    def disconnect(self, conn: int) -> None:
        self.world.handle(Disconnected(conn))  # known, unknown or already gone
        self.forget(conn)

    @rule(peer=PEERS)
    def kick(self, peer: str) -> None:
        self.world.handle(Kick(peer))

    @rule(seconds=st.sampled_from([0.0, 0.3, 6.0]))
    def tick(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule()
    def shutdown(self) -> None:
        self.world.handle(Shutdown(1))

    @rule(peer=PEERS)
    def revoke(self, peer: str) -> None:
        self.world.handle(Revoke(frozenset({f"key of {peer}"})))

    def forget(self, conn: int) -> None:
        self.peer.pop(conn, None)
        self.held.pop(conn, None)
        self.world.inbox.setdefault(conn, []).clear()
        for key in [k for k in self.view if k[0] == conn]:
            del self.view[key]

    def collect(self) -> None:
        """Lets every client read its mail and believe it."""
        for conn in list(self.peer):
            for frame in self.world.take(conn):
                if frame["type"] == "presence":
                    self.believe(conn, frame)
        for conn in set(self.world.closed) & set(self.peer):
            self.forget(conn)

    def believe(self, conn: int, frame: dict[str, Any]) -> None:
        view = self.view.setdefault((conn, frame["channel"]), set())
        joined = {row["peerId"] for row in frame["joined"]}
        left = {row["peerId"] for row in frame["left"]}
        assert self.peer[conn] not in joined | left, "nobody is told about itself"
        assert left <= view, "only who was there can leave"
        view |= joined
        view -= left

    @invariant()
    def all_is_well(self) -> None:
        self.collect()
        self.views_are_true()
        self.nothing_piles_up()

    def views_are_true(self) -> None:
        lingering = self.world.machine.presence.leaving
        for (conn, channel), view in self.view.items():
            present = {self.peer[c] for c, held in self.held.items() if channel in held}
            present |= {peer for where, peer in lingering if where == channel}
            assert view == present - {self.peer[conn]}, (conn, channel)

    def nothing_piles_up(self) -> None:
        machine = self.world.machine
        assert machine.connections == len(self.peer) <= self.limits.max_connections
        names = {c for held in self.held.values() for c in held if "*" not in c}
        assert machine.channels == len(names)
        assert machine.presence.roster.patterns == len({c for held in self.held.values() for c in held if "*" in c})
        assert set(machine._by_peer) == set(self.peer.values())
        assert len(machine.presence.leaving) <= (9 if self.limits.leave_grace_s else 0)


class GraceStory(HubStory):
    """The same with peers that linger."""

    limits = HubLimits(max_connections=6, max_channels=4, leave_grace_s=1, duplicate_peer="replace")


TestHubStory = HubStory.TestCase
TestHubStory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestGraceStory = GraceStory.TestCase
TestGraceStory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
