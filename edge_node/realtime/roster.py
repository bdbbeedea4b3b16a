"""Who else is in the channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from edge_node.aio.tasks import TaskGroup
from edge_node.protocol.frames import PresencePeer
from edge_node.protocol.names import MAX_PEERS_PER_CHANNEL
from edge_node.realtime.early import EarlySignals
from edge_node.realtime.events import Event, PeerJoined, PeerLeft, Presence
from edge_node.realtime.logger import Logger
from edge_node.realtime.remote import RemotePeer

# A peer whose socket dropped is not given up while it answers: most come back within seconds. Not for ever, either: one
# that the server threw out may keep its side of the connection.
DEPARTURE_LIMIT_S = 15.0
DEPARTURE_CHECK_S = 0.5
SILENT_CHECKS = 2
SETTLE_TIMEOUT_S = 5.0


class Roster:
    """The remote peers by id, at most `limit`; who comes then waits until somebody leaves.

    `make(peer)` makes a RemotePeer; `begin(remote)` tells it what is sent and starts the call; `emit` takes PeerJoined
    and PeerLeft; `hear(remote, data)` takes what a peer said before it was known.
    """

    def __init__(
        self,
        *,
        make: Callable[[PresencePeer], RemotePeer],
        begin: Callable[[RemotePeer], None],
        emit: Callable[[Event], None],
        hear: Callable[[RemotePeer, Any], None],
        log: Logger,
        limit: int = MAX_PEERS_PER_CHANNEL,
    ) -> None:
        self._make = make
        self._begin = begin
        self._emit = emit
        self._hear = hear
        self._log = log
        self._limit = limit
        self._turned_away: dict[str, PresencePeer] = {}
        self._remotes: dict[str, RemotePeer] = {}
        self._departing: dict[str, asyncio.Task[None]] = {}
        self._work = TaskGroup("roster")
        self._closings: set[asyncio.Task[None]] = set()
        self.early = EarlySignals()

    def __len__(self) -> int:
        return len(self._remotes)

    def all(self) -> list[RemotePeer]:
        return list(self._remotes.values())

    def find(self, peer_id: str) -> RemotePeer | None:
        return self._remotes.get(peer_id)

    # What the server says

    def update(self, presence: Presence, own_id: str | None) -> None:
        """Some joined, some left."""
        for peer in presence.left:
            self._left(peer.peer_id)
        for peer in presence.joined:
            if peer.peer_id != own_id:
                self._joined(peer)

    def reconcile(self, present: Sequence[PresencePeer], own_id: str | None) -> None:
        """After a reconnect: these are all who are there. Departures first."""
        self._turned_away.clear()
        ids = {peer.peer_id for peer in present}
        for remote in self.all():
            if remote.id not in ids:
                self._left(remote.id)
        for peer in present:
            known = self._remotes.get(peer.peer_id)
            if known is not None:
                self._back(known, peer)
            elif peer.peer_id != own_id:
                self._joined(peer)

    def _joined(self, peer: PresencePeer) -> None:
        known = self._remotes.get(peer.peer_id)
        if known is not None:
            if peer.peer_id in self._departing:
                self._back(known, peer)
            else:
                known.refresh(peer.metadata)
            return
        if len(self._remotes) >= self._limit:
            self._turn_away(peer)
            return
        remote = self._make(peer)
        self._remotes[peer.peer_id] = remote
        self._emit(PeerJoined(remote))
        self._begin(remote)
        for data in self.early.take(remote.id, asyncio.get_running_loop().time()):
            self._hear(remote, data)

    def _turn_away(self, peer: PresencePeer) -> None:
        if peer.peer_id not in self._turned_away:
            self._log.warning("the channel is full: a peer is left out", {"peer": peer.peer_id})
        if len(self._turned_away) < MAX_PEERS_PER_CHANNEL:
            self._turned_away[peer.peer_id] = peer

    def _admit(self) -> None:
        """The place that became free goes to who waited longest."""
        if self._turned_away and len(self._remotes) < self._limit:
            self._joined(self._turned_away.pop(next(iter(self._turned_away))))

    def _back(self, remote: RemotePeer, peer: PresencePeer) -> None:
        """It, or this peer, was away for a while: what still works goes on, the rest is built anew."""
        self._stay(remote.id)
        remote.refresh(peer.metadata)
        if remote.connection.pc is not None:
            remote.connection.check()
        self._begin(remote)

    def _left(self, peer_id: str) -> None:
        remote = self._remotes.get(peer_id)
        self._turned_away.pop(peer_id, None)
        if remote is None:
            self.early.forget(peer_id)
        elif peer_id not in self._departing:
            if remote.connection.is_up:
                self._departing[peer_id] = self._work.spawn(self._watch_departure(remote), "departure")
            else:
                self._gone(remote)

    async def _watch_departure(self, remote: RemotePeer) -> None:
        loop = asyncio.get_running_loop()
        until, silent = loop.time() + DEPARTURE_LIMIT_S, 0
        while silent < SILENT_CHECKS and loop.time() < until:
            silent = 0 if await remote.connection.is_alive() else silent + 1
            await asyncio.sleep(DEPARTURE_CHECK_S)
        del self._departing[remote.id]
        self._gone(remote)

    def _stay(self, peer_id: str) -> None:
        watch = self._departing.pop(peer_id, None)
        if watch is not None:
            watch.cancel()

    # What happens to the peers

    def moved(self, remote: RemotePeer) -> None:
        """A remote's state changed: one that is leaving, and whose media stopped, has left."""
        if remote.id in self._departing and remote.state != "connected":
            self._gone(remote)

    def restart(self) -> None:
        """To the others this peer is a stranger now: the old connections end, so that nobody hears it twice."""
        for remote in self.all():
            self._later(remote.swap())

    def _gone(self, remote: RemotePeer) -> None:
        if self._remotes.get(remote.id) is remote:
            self._later(self._drop(remote))
            self._admit()

    def _drop(self, remote: RemotePeer) -> Coroutine[Any, Any, None]:
        self._stay(remote.id)
        self._remotes.pop(remote.id, None)
        closing = remote.leave()
        self._emit(PeerLeft(remote))
        return closing

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._work.spawn(work, "close-peer")
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)

    def clear(self) -> None:
        """Everybody is gone at once."""
        self.early.clear()
        self._turned_away.clear()
        for remote in self.all():
            self._later(self._drop(remote))

    async def settle(self) -> None:
        """Waits for the connections of those who left; each bounds itself."""
        if self._closings:
            await asyncio.wait(self._closings, timeout=SETTLE_TIMEOUT_S)
        await self._work.close()
