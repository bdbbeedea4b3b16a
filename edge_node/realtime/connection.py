"""The peer connection to one remote peer, negotiated, kept and built anew by one worker."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from edge_node.aio.tasks import TaskGroup, cancel_and_wait
from edge_node.errors import MeteredRealtimeError
from edge_node.protocol import epoch, payloads, sdp
from edge_node.protocol import negotiation as n
from edge_node.protocol.payloads import IceServerConfig
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.events import PeerConnectionState
from edge_node.realtime.exchange import Exchange, ExchangeListener
from edge_node.realtime.feed import Outgoing
from edge_node.realtime.sending import outlet_of
from edge_node.realtime.stats import stats_of

log = logging.getLogger(__name__)

INBOX_SIZE = 512
ALIVE_TIMEOUT_S = 1.0
RTT_TIMEOUT_S = 0.3


@dataclass(frozen=True, slots=True)
class RtcOptions:
    """How connections are made; `receive` names the kinds of media that are taken."""

    ice_servers: tuple[IceServerConfig, ...] = ()
    relay_only: bool = False
    receive: frozenset[str] = frozenset({"audio", "video"})


class ConnectionListener(ExchangeListener, Protocol):
    """Who hears what a connection does; called from its worker, must not block."""

    def on_state(self, state: PeerConnectionState) -> None: ...
    def on_rebuilt(self, was_up: bool) -> None: ...
    def on_stranger(self) -> None: ...
    def on_data_channel(self, channel: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class _LinkState:
    link: PeerLink
    state: str


@dataclass(frozen=True, slots=True)
class _Found:
    """A candidate of this side's, or None after the last one."""

    link: PeerLink
    line: str | None


@dataclass(frozen=True, slots=True)
class _Check:
    """See whether the connection still works, and build it anew if not."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """What came of a check of this link."""

    link: PeerLink
    alive: bool


_Signal = payloads.Description | payloads.Candidate | payloads.EndOfCandidates | payloads.Hello
_Item = _Signal | _LinkState | _Found | _Check | _Checked | n.Changed | n.Renew


class Connection:
    """Everything that touches the peer connection happens in one worker, one thing after the other.

    `tracks()` gives what is to be sent now; `send(payload)` carries a signal to the other side and raises
    MeteredRealtimeError when it cannot. The inbox holds INBOX_SIZE items; overflow rule: the newest is dropped and
    counted in `dropped`.
    """

    def __init__(
        self,
        *,
        polite: bool,
        options: Callable[[], RtcOptions],
        tracks: Callable[[], Sequence[Outgoing]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
        listener: ConnectionListener,
        name: str,
    ) -> None:
        self.polite = polite
        self._options = options
        self._tracks = tracks
        self.listener = listener
        self._name = name
        self._negotiation = n.Negotiation(polite=polite)
        self._epoch = epoch.Epoch(uuid.uuid4().hex)
        self._exchange = Exchange(
            tracks=tracks,
            receive=lambda: options().receive,
            send=send,
            begun=lambda: self._enter("connecting"),
            listener=listener,
            name=name,
        )
        self._candidates = self._exchange.candidates
        self._link: PeerLink | None = None
        self._inbox: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._work = TaskGroup(f"connection {name}")
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._state: PeerConnectionState = "idle"
        self._been_up = False
        self._link_was_up = False
        self.dropped = 0

    @property
    def state(self) -> PeerConnectionState:
        return self._state

    @property
    def pc(self) -> Any:
        """The RTCPeerConnection of now; another one after a rebuild. None before there is any."""
        return None if self._link is None else self._link.pc

    @property
    def is_up(self) -> bool:
        return self._link is not None and self._link.pc.connectionState == "connected"

    async def is_alive(self) -> bool:
        """The other side answers over the connection itself."""
        return self._link is not None and await self._link.ping(ALIVE_TIMEOUT_S) is not None

    # From outside

    def hello(self) -> Mapping[str, Any]:
        """What tells the other side whether this one is still who it was; goes out before anything else."""
        return payloads.hello(self._epoch.hello())

    def changed(self) -> None:
        """The tracks to send changed."""
        self._post(n.Changed())

    def signal(self, payload: _Signal) -> None:
        """The other side said this."""
        self._post(payload)

    def check(self) -> None:
        """The signalling was away: goes on if the connection still works, else builds it anew."""
        self._post(_Check())

    def renew(self) -> None:
        """Builds the connection anew."""
        self._post(n.Renew())

    def create_data_channel(self, label: str, **kwargs: Any) -> Any:
        """A raw data channel on the connection of now."""
        channel = self._ensure_link().pc.createDataChannel(label, **kwargs)
        self.changed()
        return channel

    def replace(self, old_id: str, new: Outgoing) -> None:
        """Sends another track in place of one, without a new description. Raises MeteredRealtimeError if it cannot."""
        link = self._link
        outlet = None if link is None else outlet_of(link, old_id)
        if link is None or outlet is None:
            self.changed()
            return
        if not link.can_send(new, outlet.transceiver) or not outlet.fits(new):
            raise MeteredRealtimeError(
                f"this connection sends another codec than {' or '.join(new.mime_types)}: remove and add it"
            )
        outlet.plug(new)

    async def stats(self) -> dict[str, Any]:
        """The figures of stats.stats_of, or an empty mapping while there is no connection."""
        link = self._link
        if link is None or not self.is_up:
            return {}
        found = stats_of(list((await link.pc.getStats()).values()))
        if found["rtt_ms"] is None:
            rtt_s = await link.ping(RTT_TIMEOUT_S)
            found["rtt_ms"] = None if rtt_s is None else round(rtt_s * 1000, 2)
        return found

    async def close(self) -> None:
        """Ends it; idempotent."""
        if self._closed:
            return
        self._closed = True
        await cancel_and_wait(self._worker)
        self._exchange.close()
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        await self._work.close()
        self._enter("closed")

    # The worker

    def _post(self, item: _Item) -> None:
        if self._closed:
            return
        if isinstance(item, n.Changed | _Check) and item in self._inbox:
            return
        if len(self._inbox) >= INBOX_SIZE:
            self.dropped += 1
            return
        self._inbox.append(item)
        self._wake.set()
        if self._worker is None:
            self._worker = self._work.spawn(self._run(), "worker")

    async def _run(self) -> None:
        while True:
            item = await self._next()
            try:
                if item is None:
                    await self._carry_out(self._negotiation.tick(_now()))
                else:
                    await self._take(item)
            except Exception:
                log.exception("%s: the connection is built anew after this", self._name)
                await self._handle(n.Down())

    async def _next(self) -> _Item | None:
        """The next item; None when the negotiation's deadline passed first."""
        deadline = self._negotiation.deadline
        while not self._inbox:
            self._wake.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wake.wait()
            except TimeoutError:
                return None
        return self._inbox.popleft()

    async def _take(self, item: _Item) -> None:
        match item:
            case payloads.Description():
                await self._description(item)
            case payloads.Candidate():
                await self._candidates.take(self._link, item)
            case payloads.EndOfCandidates():
                pass
            case payloads.Hello():
                await self._hello(item)
            case _LinkState(link, state):
                if link is self._link:
                    await self._link_state(state)
            case _Found(link, line):
                if link is self._link:
                    await self._exchange.trickle(link, line)
            case _Check():
                await self._check()
            case _Checked(link, alive):
                if link is self._link:
                    await self._checked(link, alive)
            case n.Changed() | n.Renew():
                await self._handle(item)
            case _ as never:
                assert_never(never)

    async def _hello(self, hello: payloads.Hello) -> None:
        await self._handle(n.Kin())
        for effect in self._epoch.heard(hello, settled=self._negotiation.settled):
            match effect:
                case epoch.Introduce():
                    self.listener.on_stranger()
                case epoch.StartOver():
                    log.info("%s: began anew, and so does the connection", self._name)
                    await self._handle(n.Replaced())
                case epoch.Verify():
                    self.check()
                case _ as never:
                    assert_never(never)

    async def _check(self) -> None:
        if self._link is not None and self._negotiation.settled:
            self._work.spawn(self._ask(self._link), "check")  # meanwhile a hello may say more
        elif self._link is not None or self._tracks():
            await self._handle(n.Renew())  # nothing was ever exchanged: there is nothing to lose

    async def _ask(self, link: PeerLink) -> None:
        self._post(_Checked(link, await link.ping(ALIVE_TIMEOUT_S) is not None))

    async def _checked(self, link: PeerLink, alive: bool) -> None:
        if not alive:
            await self._handle(n.Renew())
            return
        await self._handle(n.Resumed())
        if not self._exchange.is_satisfied(link):
            await self._handle(n.Changed())

    async def _handle(self, event: n.NegotiationEvent) -> None:
        await self._carry_out(self._negotiation.handle(event, _now()))

    async def _carry_out(self, effects: list[n.NegotiationEffect], taken: str = "") -> None:
        for effect in effects:
            match effect:
                case n.MakeOffer(fresh, again):
                    link, settled = self._link_for(fresh), self._negotiation.settled
                    done = self._exchange.make_offer(link, fresh=fresh, again=again, settled=settled)
                    await self._handle(await done)
                case n.TakeOffer(fresh, rollback):
                    await self._handle(await self._exchange.take_offer(self._link_for(fresh), taken, rollback))
                case n.TakeAnswer():
                    came = await self._exchange.take_answer(self._ensure_link(), taken)
                    if isinstance(came, n.Refused) and not self._negotiation.settled:
                        self._enter("idle")  # nothing is on its way
                    await self._handle(came)
                case n.Ignore(reason):
                    log.debug("%s: ignored a description: %s", self._name, reason)
                    self._candidates.waiting = True
                case n.StartOver():
                    self._renew_link()
                    self._exchange.forget_earlier()
                case n.GiveUp(attempts):
                    text = f"no connection to peer {self._name} came about in {attempts} attempts"
                    self.listener.on_negotiation_error(MeteredRealtimeError(text))
                case _ as never:
                    assert_never(never)

    async def _description(self, description: payloads.Description) -> None:
        self._candidates.waiting = False
        fragment = sdp.ufrag(description.sdp)
        event = n.OfferReceived(fragment) if description.type == "offer" else n.AnswerReceived(fragment)
        await self._carry_out(self._negotiation.handle(event, _now()), description.sdp)

    async def _link_state(self, state: str) -> None:
        if state == "connected":
            self._been_up = self._link_was_up = True
            self._enter("connected")
            await self._handle(n.Up())
        elif state in ("failed", "closed"):
            self._enter("reconnecting" if self._been_up else "connecting")
            await self._handle(n.Down())
        elif state == "connecting" and self._state == "idle":
            self._enter("connecting")

    def _enter(self, state: PeerConnectionState) -> None:
        hidden = state == "connecting" and (self._state == "reconnecting" or self.is_up)
        if state == self._state or hidden:
            return
        self._state = state
        self.listener.on_state(state)

    # The peer connection

    def _ensure_link(self) -> PeerLink:
        if self._link is None:
            options = self._options()
            self._link = PeerLink(
                options.ice_servers, options.relay_only, self._on_link_state, self._on_channel, self._on_found
            )
        return self._link

    def _link_for(self, fresh: bool) -> PeerLink:
        return self._renew_link() if fresh else self._ensure_link()

    def _renew_link(self) -> PeerLink:
        old, self._link = self._link, None
        if old is None:
            self._exchange.over(None)
            return self._ensure_link()
        was_up, self._link_was_up = self._link_was_up, False
        self.listener.on_rebuilt(was_up)
        self._exchange.over(old)
        if self._been_up:
            self._enter("reconnecting")
        link = self._ensure_link()
        link.adopt(old)
        self._work.spawn(old.close(), "close-old")
        return link

    def _on_link_state(self, link: PeerLink, state: str) -> None:
        self._post(_LinkState(link, state))

    def _on_found(self, link: PeerLink, line: str | None) -> None:
        self._post(_Found(link, line))

    def _on_channel(self, channel: Any) -> None:
        if not self._closed:
            self.listener.on_data_channel(channel)


def _now() -> float:
    return asyncio.get_running_loop().time()
