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
from edge_node.protocol.secrets import scrub
from edge_node.realtime.aiortc_adapter import PeerLink, stats_of
from edge_node.realtime.candidates import Candidates
from edge_node.realtime.events import PeerConnectionState
from edge_node.realtime.feed import Outgoing
from edge_node.realtime.receiving import Receiving, TrackListener
from edge_node.realtime.sending import Sending, outlet_of

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


class ConnectionListener(TrackListener, Protocol):
    """Who hears what a connection does; called from its worker, must not block."""

    def on_state(self, state: PeerConnectionState) -> None: ...
    def on_rebuilt(self, was_up: bool) -> None: ...
    def on_stranger(self) -> None: ...
    def on_data_channel(self, channel: Any) -> None: ...
    def on_negotiation_error(self, error: Exception) -> None: ...
    def on_candidate_error(self, error: Exception) -> None: ...


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
        self._send = send
        self.listener = listener
        self._name = name
        self._negotiation = n.Negotiation(polite=polite)
        self._epoch = epoch.Epoch(uuid.uuid4().hex)
        self._sending = Sending(tracks, lambda: options().receive, self._refused)
        self._link: PeerLink | None = None
        self._inbox: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._work = TaskGroup(f"connection {name}")
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._state: PeerConnectionState = "idle"
        self._been_up = False
        self._link_was_up = False
        self._receiving = Receiving(lambda: options().receive, listener)
        self._candidates = Candidates(listener.on_candidate_error)
        self._earlier: list[str] = []
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
        """The figures of aiortc_adapter.stats_of, or an empty mapping while there is no connection."""
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
        self._receiving.end()
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
                    await self._trickle(link, line)
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
        if not self._sending.is_satisfied(link):
            await self._handle(n.Changed())

    async def _handle(self, event: n.NegotiationEvent) -> None:
        await self._carry_out(self._negotiation.handle(event, _now()))

    async def _carry_out(self, effects: list[n.NegotiationEffect], taken: str = "") -> None:
        for effect in effects:
            match effect:
                case n.MakeOffer(fresh, again):
                    await self._make_offer(fresh, again)
                case n.TakeOffer(fresh, rollback):
                    await self._take_offer(taken, fresh, rollback)
                case n.TakeAnswer():
                    await self._take_answer(taken)
                case n.Ignore(reason):
                    log.debug("%s: ignored a description: %s", self._name, reason)
                    self._candidates.waiting = True
                case n.StartOver():
                    self._renew_link()
                    self._earlier = []  # who is there now was promised nothing
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

    # Offers and answers

    async def _make_offer(self, fresh: bool, again: bool) -> None:
        link = self._renew_link() if fresh else self._ensure_link()
        try:
            if again:
                link.rollback()
            self._sending.attach_for_offer(link, self._earlier if fresh else ())
            if not link.pc.getTransceivers() and link.pc.sctp is None:
                await self._handle(n.OfferSkipped())
                return
            text = await link.offer(self._earlier)
            await self._describe("offer", text)
        except MeteredRealtimeError:  # the signalling is away or the peer gone: what works goes on
            await self._take_back(link)
            return
        except Exception as err:
            await self._failed(err, n.OfferFailed())
            return
        self._enter("connecting")
        await self._handle(n.OfferSent())

    async def _describe(self, kind: str, text: str) -> None:
        await self._send(payloads.description(kind, text))
        if sdp.names_all_candidates(text):
            await self._send(payloads.end_of_candidates())

    async def _trickle(self, link: PeerLink, line: str | None) -> None:
        text = link.described()[-1]
        mid, fragment = sdp.primary_mid(text), sdp.ufrag(text)
        payload = payloads.end_of_candidates() if line is None else payloads.candidate(line, mid, fragment)
        try:
            await self._send(payload)
        except MeteredRealtimeError as err:
            log.debug("%s: a candidate did not go out: %r", self._name, err)

    async def _take_back(self, link: PeerLink) -> None:
        if self._negotiation.settled:
            link.rollback()
            await self._handle(n.OfferUnsent())
        else:
            await self._handle(n.OfferFailed())

    async def _take_offer(self, text: str, fresh: bool, rollback: bool) -> None:
        link = self._renew_link() if fresh else self._ensure_link()
        try:
            if rollback:
                link.rollback()
            sections = await link.apply_offer(text)
            self._candidates.described(text)
            self._enter("connecting")
            self._receiving.described(link, sections)
            self._sending.attach_for_answer(link, sections)
            answer = await link.answer()
            await self._candidates.flush(link)
            await self._describe("answer", answer)
        except Exception as err:
            await self._failed(err, n.AnswerFailed(usable=link.pc.signalingState == "stable"))
            return
        await self._exchanged(link, n.Answered)

    async def _take_answer(self, text: str) -> None:
        link = self._ensure_link()
        try:
            sections = await link.apply_answer(text)
            self._candidates.described(text)
            self._receiving.described(link, sections)
            await self._candidates.flush(link)
        except Exception as err:
            await self._failed(err, n.OfferFailed())
            return
        await self._exchanged(link, n.Accepted)

    async def _exchanged(self, link: PeerLink, event: type[n.Answered] | type[n.Accepted]) -> None:
        for outlet in link.outlets:
            outlet.feed.on_refused = self._no_room
            outlet.negotiated()
        await self._handle(event(satisfied=self._sending.is_satisfied(link)))

    async def _failed(self, err: Exception, event: n.OfferFailed | n.AnswerFailed) -> None:
        if not isinstance(err, MeteredRealtimeError):  # the signalling is away or the peer gone: retried, not news
            log.warning("%s: negotiation failed: %s", self._name, scrub(repr(err)))
            self.listener.on_negotiation_error(err)
        await self._handle(event)

    def _refused(self, track: Outgoing) -> None:
        text = f"peer {self._name} cannot take {' or '.join(track.mime_types)}: it does not get this {track.kind} track"
        self.listener.on_negotiation_error(MeteredRealtimeError(text))

    def _no_room(self, reason: str) -> None:
        self.listener.on_negotiation_error(MeteredRealtimeError(reason))

    # The peer connection

    def _ensure_link(self) -> PeerLink:
        if self._link is None:
            options = self._options()
            self._link = PeerLink(
                options.ice_servers, options.relay_only, self._on_link_state, self._on_channel, self._on_found
            )
        return self._link

    def _renew_link(self) -> PeerLink:
        old, self._link = self._link, None
        self._candidates.forget()
        self._sending.forget_refusals()
        if old is not None:
            if old.pc.remoteDescription is not None:
                self._earlier = old.described()
            was_up, self._link_was_up = self._link_was_up, False
            self.listener.on_rebuilt(was_up)
            self._receiving.end()
            if self._been_up:
                self._enter("reconnecting")
            self._ensure_link().adopt(old)
            self._work.spawn(old.close(), "close-old")
        return self._ensure_link()

    def _on_link_state(self, link: PeerLink, state: str) -> None:
        self._post(_LinkState(link, state))

    def _on_found(self, link: PeerLink, line: str | None) -> None:
        self._post(_Found(link, line))

    def _on_channel(self, channel: Any) -> None:
        if not self._closed:
            self.listener.on_data_channel(channel)


def _now() -> float:
    return asyncio.get_running_loop().time()
