"""Keeps the node on its channel, with its tracks published there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import edge_node.realtime.events as ev
from edge_node.aio.tasks import cancel_and_wait
from edge_node.errors import (
    EdgeNodeError,
    MeteredRealtimeError,
    Remedy,
    RetryLater,
    ServerRequestError,
    SignallingConnectError,
)
from edge_node.node.supervisor import Report
from edge_node.protocol.names import FATAL_CODES

if TYPE_CHECKING:
    from edge_node.node.intercom import Intercom
    from edge_node.realtime.peer import MeteredPeer
    from edge_node.realtime.remote import RemotePeer

log = logging.getLogger(__name__)

SAY_OFFLINE_AFTER_S = 2.0
CLOSE_DEADLINE_S = 1.5
STATS_DEADLINE_S = 0.5


def is_refusal(err: BaseException) -> bool:
    """Whether the server, or the hub that gives the tokens, said no; else it is away, and comes back."""
    if isinstance(err, SignallingConnectError):
        return err.close_code in FATAL_CODES
    # What the SDK calls fatal is one of these two when it comes from the server.
    return type(err) in (MeteredRealtimeError, ServerRequestError) or (
        isinstance(err, EdgeNodeError) and err.remedy is Remedy.RECONFIGURE
    )


@dataclass(frozen=True, slots=True)
class Published:
    """One track and the role it has in the node's stream: `camera` or `microphone`."""

    track: Any
    role: str


class Publishing:
    """The channel's part: joins, publishes, hands on what arrives, and joins again when it was sent away."""

    def __init__(
        self,
        make_peer: Callable[[], MeteredPeer],
        channel: str,
        node_id: str,
        tracks: Sequence[Published],
        intercom: Intercom,
        *,
        on_audio: Callable[[str, Any], None],
        on_peer_gone: Callable[[str], None],
        on_change: Callable[[], None],
        make_stream: Callable[[str], Any],
    ) -> None:
        self._make_peer = make_peer
        self._channel = channel
        self._node_id = node_id
        self._tracks = tracks
        self._intercom = intercom
        self._on_audio = on_audio
        self._on_peer_gone = on_peer_gone
        self._on_change = on_change
        self._make_stream = make_stream
        self._peer: MeteredPeer | None = None
        self._joins = 0
        self.refused = False
        """The server does not want this node: waiting does not help, somebody has to look."""
        self.peer_stats: Sequence[Mapping[str, Any]] = ()

    @property
    def online(self) -> bool:
        return self._peer is not None and self._peer.state == "joined"

    @property
    def state(self) -> str:
        return "closed" if self._peer is None else self._peer.state

    @property
    def peers(self) -> int:
        return 0 if self._peer is None else len(self._peer.remote_peers)

    @property
    def reconnects(self) -> int:
        return max(0, self._joins - 1)

    async def run(self, report: Report) -> None:
        """The part."""
        peer = self._peer = self._make_peer()
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        offline = asyncio.create_task(self._say_offline(report), name="channel:offline")
        self._listen(peer, report, ended)
        stream = self._make_stream(f"node:{self._node_id}")
        for published in self._tracks:
            peer.add_track(published.track, stream, {"role": published.role, "node": self._node_id})
        try:
            await peer.join(self._channel)
            reason = await ended
            raise RetryLater(f"{reason}; check the credential and the channel's name")
        except MeteredRealtimeError as err:
            self.refused = is_refusal(err)
            raise RetryLater(f"could not join {self._channel}: {err}") from err
        finally:
            await cancel_and_wait(offline)
            self._intercom.channel_down()
            self._peer = None
            await self._leave(peer)
            self._on_change()

    async def _leave(self, peer: MeteredPeer) -> None:
        for remote in list(peer.remote_peers):
            self._on_peer_gone(remote.id)
            self._intercom.peer_left(remote.id)
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await peer.close()
        except TimeoutError:
            log.warning("the channel did not close within %g s", CLOSE_DEADLINE_S)

    async def _say_offline(self, report: Report) -> None:
        """A drop that mends itself at once is not worth a fault."""
        while True:
            await asyncio.sleep(SAY_OFFLINE_AFTER_S)
            if not self.online:
                report.down("not on the channel; trying again")

    def _listen(self, peer: MeteredPeer, report: Report, ended: asyncio.Future[str]) -> None:
        def state(event: ev.StateChange) -> None:
            if event.to == "joined":
                self._joins += 1
                self.refused = False
                report.up()
                log.info("on %s", self._channel, extra={"event": "channel.joined", "channel": self._channel})
                self._intercom.channel_up(peer)
            elif event.from_ == "joined":
                log.info("off %s", self._channel, extra={"event": "channel.left", "channel": self._channel})
                self._intercom.channel_down()
            self._on_change()

        def end(reason: str) -> None:
            if not ended.done():
                ended.set_result(reason)

        def fatal(event: ev.FatalError) -> None:
            self.refused = is_refusal(event.err)
            end(f"the server sent this node away ({event.err})")

        peer.on(ev.StateChange, state)
        peer.on(ev.PeerJoined, lambda e: self._joined(e.peer))
        peer.on(ev.PeerLeft, lambda e: self._left(e.peer))
        peer.on(ev.Data, lambda e: self._intercom.data(e.sender_peer_id, e.data, direct=e.kind == "direct"))
        peer.on(ev.FatalError, fatal)
        peer.on(ev.Left, lambda e: end("the channel was left"))

    def _joined(self, remote: RemotePeer) -> None:
        remote.on(ev.Track, lambda e: self._on_audio(remote.id, e.track) if e.track.kind == "audio" else None)
        remote.on(ev.NegotiationError, lambda e: self._no_media(remote, e.err))
        self._tell(remote, "is here", "peer.joined")
        self._intercom.peer_joined(remote.id, remote.metadata)
        self._on_change()

    def _tell(self, remote: RemotePeer, what: str, event: str) -> None:
        log.info("%s %s", remote.id, what, extra={"event": event, "peer_id": remote.id, "channel": self._channel})

    def _no_media(self, remote: RemotePeer, err: Exception) -> None:
        log.warning("no media with %s: %s", remote.id, err)
        if isinstance(err, MeteredRealtimeError):  # a refusal, as a sentence; the rest is of no use to others
            self._intercom.tell(remote.id, {"type": "error", "of": "media", "reason": str(err)})

    def _left(self, remote: RemotePeer) -> None:
        self._tell(remote, "left", "peer.left")
        self._on_peer_gone(remote.id)
        self._intercom.peer_left(remote.id)
        self._on_change()

    async def refresh_stats(self) -> None:
        """Reads each connection's figures into `peer_stats`."""
        peers = () if self._peer is None else tuple(self._peer.remote_peers)
        found = []
        for remote in peers:
            try:
                async with asyncio.timeout(STATS_DEADLINE_S):
                    found.append(await remote.stats())
            except (MeteredRealtimeError, TimeoutError) as err:
                log.debug("no figures of %s: %s", remote.id, err)
        self.peer_stats = tuple(found)
