"""Who is present in which channel, as far as each connection may know."""

from __future__ import annotations

import math
from collections.abc import Callable

from edge_node.protocol.frames import PresenceFrame, PresencePeer
from edge_node.protocol.grants import Grant
from edge_node.protocol.hub_events import SendText
from edge_node.protocol.patterns import Pattern
from edge_node.protocol.roster import Roster

# Half of what a client takes in one frame (MAX_INBOUND_CLIENT_BYTES): a larger roster is sent without metadata.
MAX_SNAPSHOT_BYTES = 512 * 1024
MAX_LEAVING = 10_000
"""Peers in their leave grace; beyond that a peer is announced as left at once."""


class Presence:
    """Subscriptions, and what they tell others. `grant_of` gives the grant of a connection.

    A peer is present where a connection of its own is subscribed by name, and for its grace after that one broke.
    """

    def __init__(self, grant_of: Callable[[int], Grant]) -> None:
        self._grant_of = grant_of
        self.roster = Roster()
        self.leaving: dict[tuple[str, str], tuple[float, PresencePeer]] = {}
        self.deadline = math.inf
        """When tick() is due."""

    def peers(self, channel: str) -> list[PresencePeer]:
        """Who is present in a channel, with metadata; those in their leave grace included."""
        present = {peer: _row(self._grant_of(conn)) for peer, conn in self.roster.peers(channel).items()}
        lingering = {row.peer_id: row for (where, _), (_, row) in self.leaving.items() if where == channel}
        return list((lingering | present).values())

    def tick(self, now: float) -> list[SendText]:
        """Announces whose grace is over."""
        due = [key for key, (at, _) in self.leaving.items() if at <= now]
        effects = [text for key in due for text in self._announce_left(key[0], self.leaving.pop(key)[1])]
        self.deadline = min((at for at, _ in self.leaving.values()), default=math.inf)
        return effects

    def subscribe(self, conn: int, pattern: Pattern, wants_metadata: bool) -> list[SendText]:
        """To a name: the connection is shown who is there, the others hear of its peer when that is new."""
        if not pattern.is_name:
            self.roster.add_pattern(pattern, conn, wants_metadata)
            return []
        channel, grant = pattern.text, self._grant_of(conn)
        first = self.roster.add(channel, conn, grant.peer_id, wants_metadata)
        lingered = self.leaving.pop((channel, grant.peer_id), None) is not None
        effects = [self._snapshot(conn, grant.peer_id, channel)] if grant.permits("presence") else []
        if first and not lingered:
            effects += self._announce(grant.peer_id, PresenceFrame(channel, (_row(grant),)))
        return effects

    def unsubscribe(self, conn: int, grant: Grant, pattern: Pattern, now: float, grace_s: float = 0) -> list[SendText]:
        """The others hear of it when that was the peer's last connection there, after `grace_s`."""
        if not pattern.is_name:
            self.roster.remove_pattern(pattern.text, conn)
            return []
        channel, row = pattern.text, _row(grant)
        if not self.roster.remove(channel, conn, grant.peer_id):
            return []
        if grace_s > 0 and len(self.leaving) < MAX_LEAVING:
            self.leaving[channel, grant.peer_id] = (now + grace_s, row)
            self.deadline = min(self.deadline, now + grace_s)
            return []
        return self._announce_left(channel, row)

    def end_grace(self, peer_id: str) -> list[SendText]:
        """This peer is gone for good."""
        gone = [key for key in self.leaving if key[1] == peer_id]
        return [text for key in gone for text in self._announce_left(key[0], self.leaving.pop(key)[1])]

    def _snapshot(self, conn: int, peer_id: str, channel: str) -> SendText:
        """Who is there already: always sent after a subscribe, never lists the receiver itself."""
        rows = tuple(row for row in self.peers(channel) if row.peer_id != peer_id)
        effect = SendText.of((conn,), PresenceFrame(channel, rows))
        if len(effect.text) <= MAX_SNAPSHOT_BYTES:
            return effect
        return SendText.of((conn,), PresenceFrame(channel, tuple(PresencePeer(row.peer_id) for row in rows)))

    def _announce_left(self, channel: str, row: PresencePeer) -> list[SendText]:
        return self._announce(row.peer_id, PresenceFrame(channel, left=(row,)))

    def _announce(self, peer_id: str, frame: PresenceFrame) -> list[SendText]:
        to = tuple(conn for conn in self.roster.conns(frame.channel) if self._sees(conn, peer_id))
        return [SendText.of(to, frame)] if to else []

    def _sees(self, conn: int, peer_id: str) -> bool:
        grant = self._grant_of(conn)
        return grant.peer_id != peer_id and grant.permits("presence")


def _row(grant: Grant) -> PresencePeer:
    return PresencePeer(grant.peer_id, grant.peer_metadata)
