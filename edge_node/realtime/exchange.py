"""Offers, answers, candidates: made, sent, taken, applied to a peer connection."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from edge_node.errors import MeteredRealtimeError
from edge_node.protocol import negotiation as n
from edge_node.protocol import payloads, sdp
from edge_node.protocol.secrets import scrub
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.candidates import Candidates
from edge_node.realtime.feed import Outgoing
from edge_node.realtime.receiving import Receiving, TrackListener
from edge_node.realtime.sending import Sending

log = logging.getLogger(__name__)

USUAL = {"audio": "Opus", "video": "H.264 or VP8"}


class ExchangeListener(TrackListener, Protocol):
    """Who hears of tracks, and of what went wrong."""

    def on_negotiation_error(self, error: Exception) -> None: ...
    def on_candidate_error(self, error: Exception) -> None: ...


class Exchange:
    """Carries out what the negotiation decides; each step gives the event that it ended with, and never raises.

    `tracks()` gives what is to be sent, `receive()` the kinds that are taken, `send(payload)` raises
    MeteredRealtimeError when it cannot; `begun()` is called once a description of ours has left, or one was applied.
    """

    def __init__(
        self,
        *,
        tracks: Callable[[], Sequence[Outgoing]],
        receive: Callable[[], frozenset[str]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
        begun: Callable[[], None],
        listener: ExchangeListener,
        name: str,
    ) -> None:
        self._send = send
        self._begun = begun
        self._on_error = listener.on_negotiation_error
        self._name = name
        self._sending = Sending(tracks, receive, self._refused)
        self._receiving = Receiving(receive, listener)
        self._earlier: list[str] = []
        self._foreign: frozenset[str] = frozenset()
        self._told_refusal = False
        self.candidates = Candidates(listener.on_candidate_error)

    def over(self, old: PeerLink | None) -> None:
        """What follows is on another connection than this one, whose sections it keeps."""
        self.candidates.forget()
        self._sending.forget_refusals()
        if old is not None:
            if old.pc.remoteDescription is not None:
                self._earlier = old.described()
            self._receiving.end()

    def forget_earlier(self) -> None:
        """Who is there now was promised nothing."""
        self._earlier = []

    def close(self) -> None:
        """The tracks that came end."""
        self._receiving.end()

    def is_satisfied(self, link: PeerLink) -> bool:
        """All there is to send found its place in the last exchange, and nothing else is sent."""
        return self._sending.is_satisfied(link)

    async def make_offer(
        self, link: PeerLink, *, fresh: bool, again: bool, settled: bool
    ) -> n.OfferSent | n.OfferSkipped | n.OfferUnsent | n.OfferFailed:
        """Offers; `settled`: something was agreed upon before, to which an unsent offer goes back."""
        try:
            if again:
                link.rollback()
            self._sending.attach_for_offer(link, self._earlier if fresh else ())
            if not link.pc.getTransceivers() and link.pc.sctp is None:
                return n.OfferSkipped()
            text = await link.offer(self._earlier)
            await self._describe("offer", text)
        except MeteredRealtimeError:  # the signalling is away or the peer gone: what works goes on
            if not settled:
                return n.OfferFailed()
            link.rollback()
            return n.OfferUnsent()
        except Exception as err:
            self._failed(err)
            return n.OfferFailed()
        self._begun()
        return n.OfferSent()

    async def take_offer(self, link: PeerLink, text: str, rollback: bool) -> n.Answered | n.AnswerFailed:
        """Applies an offer, then answers it; `rollback`: the own one is taken back first."""
        try:
            if rollback:
                link.rollback()
            sections = await link.apply_offer(text)
            self.candidates.described(text)
            self._begun()
            self._tell_foreign(link)
            self._receiving.described(link, sections)
            self._sending.attach_for_answer(link, sections)
            answer = await link.answer()
            await self.candidates.flush(link)
            await self._describe("answer", answer)
        except Exception as err:
            self._failed(err)
            return n.AnswerFailed(usable=link.pc.signalingState == "stable")
        return n.Answered(satisfied=self._agreed(link))

    async def take_answer(self, link: PeerLink, text: str) -> n.Accepted | n.Refused | n.OfferFailed:
        """Applies the answer to the own offer."""
        try:
            if link.refused(text):
                self._all_refused(link, sdp.read(text))
                return n.Refused()
            sections = await link.apply_answer(text)
            self.candidates.described(text)
            self._receiving.described(link, sections)
            await self.candidates.flush(link)
        except Exception as err:
            self._failed(err)
            return n.OfferFailed()
        self._told_refusal = False
        return n.Accepted(satisfied=self._agreed(link))

    async def trickle(self, link: PeerLink, line: str | None) -> None:
        """Sends a candidate found after the description was made; None: it was the last one."""
        if not link.described():
            return  # the offer was refused: the next one names it
        text = link.described()[-1]
        mid, fragment = sdp.primary_mid(text), sdp.ufrag(text)
        payload = payloads.end_of_candidates() if line is None else payloads.candidate(line, mid, fragment)
        try:
            await self._send(payload)
        except MeteredRealtimeError as err:
            log.debug("%s: a candidate did not go out: %r", self._name, err)

    async def _describe(self, kind: str, text: str) -> None:
        await self._send(payloads.description(kind, text))
        if sdp.names_all_candidates(text):
            await self._send(payloads.end_of_candidates())

    def _agreed(self, link: PeerLink) -> bool:
        for outlet in link.outlets:
            outlet.feed.on_refused = self._no_room
            outlet.negotiated()
        return self._sending.is_satisfied(link)

    def _failed(self, err: Exception) -> None:
        if not isinstance(err, MeteredRealtimeError):  # the signalling is away or the peer gone: retried, not news
            log.warning("%s: negotiation failed: %s", self._name, scrub(repr(err)))
            self._on_error(err)

    def _refused(self, track: Outgoing) -> None:
        text = f"peer {self._name} cannot take {' or '.join(track.mime_types)}: it does not get this {track.kind} track"
        self._on_error(MeteredRealtimeError(text))

    def _all_refused(self, link: PeerLink, sections: Sequence[sdp.Section]) -> None:
        self._receiving.described(link, sections)
        for outlet in link.outlets:
            outlet.negotiated()
        if not self._told_refusal:
            kinds = " and ".join(sorted({"data" if s.kind == "application" else s.kind for s in sections}))
            text = f"peer {self._name} takes nothing of the {kinds} it is offered: offer it other tracks or codecs"
            self._on_error(MeteredRealtimeError(text))
        self._told_refusal = True

    def _tell_foreign(self, link: PeerLink) -> None:
        for kind in sorted(link.foreign - self._foreign):
            text = f"peer {self._name} offers {kind} in no codec that is known here: it should offer {USUAL[kind]}"
            self._on_error(MeteredRealtimeError(text))
        self._foreign = link.foreign

    def _no_room(self, reason: str) -> None:
        self._on_error(MeteredRealtimeError(reason))
