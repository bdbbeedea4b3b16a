"""Who is subscribed to what, counted per peer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edge_node.protocol.patterns import Pattern


@dataclass(slots=True)
class _Channel:
    wants: dict[int, bool] = field(default_factory=dict)
    """Connection → wants the sender's metadata with messages; in the order of joining."""
    peers: dict[str, list[int]] = field(default_factory=dict)
    """Peer id → its connections here, oldest first."""


class Roster:
    """Subscriptions of connections to channel names, where peers are present, and to patterns, where nobody is."""

    def __init__(self) -> None:
        self._channels: dict[str, _Channel] = {}
        self._patterns: dict[str, tuple[Pattern, dict[int, bool]]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    @property
    def patterns(self) -> int:
        """How many different patterns are subscribed to."""
        return len(self._patterns)

    def add(self, channel: str, conn: int, peer_id: str, wants_metadata: bool) -> bool:
        """Subscribes; a repeat updates the wish. True when the peer was not present before."""
        entry = self._channels.setdefault(channel, _Channel())
        known = conn in entry.wants
        entry.wants[conn] = wants_metadata
        if known:
            return False
        conns = entry.peers.setdefault(peer_id, [])
        conns.append(conn)
        return len(conns) == 1

    def remove(self, channel: str, conn: int, peer_id: str) -> bool:
        """Unsubscribes. True when that was the peer's last connection in the channel."""
        entry = self._channels.get(channel)
        if entry is None or entry.wants.pop(conn, None) is None:
            return False
        entry.peers[peer_id].remove(conn)
        last = not entry.peers[peer_id]
        if last:
            del entry.peers[peer_id]
        if not entry.wants:
            del self._channels[channel]
        return last

    def add_pattern(self, pattern: Pattern, conn: int, wants_metadata: bool) -> None:
        self._patterns.setdefault(pattern.text, (pattern, {}))[1][conn] = wants_metadata

    def remove_pattern(self, text: str, conn: int) -> None:
        if entry := self._patterns.get(text):
            entry[1].pop(conn, None)
            if not entry[1]:
                del self._patterns[text]

    def conns(self, channel: str) -> Iterator[int]:
        """The connections subscribed to exactly this channel."""
        entry = self._channels.get(channel)
        return iter(entry.wants if entry else ())

    def peers(self, channel: str) -> dict[str, int]:
        """The peers present in a channel, each with its newest connection there."""
        entry = self._channels.get(channel)
        return {peer_id: conns[-1] for peer_id, conns in entry.peers.items()} if entry else {}

    def receivers(self, channel: str) -> dict[int, bool]:
        """Every connection that gets a message on this channel, each once, with its wish for metadata."""
        entry = self._channels.get(channel)
        found = dict(entry.wants) if entry else {}
        for pattern, wants in self._patterns.values():
            if pattern.matches(channel):
                for conn, wish in wants.items():
                    found[conn] = wish or found.get(conn, False)
        return found
