"""One aiortc peer connection, with the parts of aiortc that have no public handle (tests/contract pins them)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.codecs import CODECS
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.rtcpeerconnection import find_common_codecs
from aiortc.sdp import SessionDescription

from edge_node.protocol import sdp as text
from edge_node.protocol.payloads import IceServerConfig
from edge_node.realtime.aioice_adapter import IceLink
from edge_node.realtime.aiortc_outlet import Outlet, only, preferences
from edge_node.realtime.aiortc_receiver import bind_receiver, release_receiver
from edge_node.realtime.feed import Outgoing
from edge_node.realtime.received import Router

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0


def _readable(server: IceServerConfig) -> list[str]:
    """Its addresses but those that aiortc cannot read, such as [IPv6]: over one of them it makes no connection."""
    urls, read = [server.urls] if isinstance(server.urls, str) else server.urls, []
    for scheme, _, place in (url.partition(":") for url in urls):
        url = f"{scheme.lower()}:{place}"
        try:
            parse_stun_turn_uri(url)
        except ValueError:
            log.warning("an ICE server is left out: write it as turn:HOST:PORT or stun:HOST:PORT, by name or IPv4")
        else:
            read.append(url)
    return read


class PeerLink:
    """One RTCPeerConnection on one shared transport (max-bundle); ICE servers always explicit.

    `on_state` hears the connection state, `on_channel` each data channel the other side opens, `on_candidate` each
    candidate found after a description was made, and None after the last one.
    """

    def __init__(
        self,
        ice_servers: Sequence[IceServerConfig],
        relay_only: bool,
        on_state: Callable[[PeerLink, str], None],
        on_channel: Callable[[Any], None],
        on_candidate: Callable[[PeerLink, str | None], None],
    ) -> None:
        # Without explicit servers aiortc asks a public STUN server and waits 5 s for it.
        servers = [RTCIceServer(urls=_readable(s), username=s.username, credential=s.credential) for s in ice_servers]
        policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
        self.pc = RTCPeerConnection(
            RTCConfiguration(iceServers=servers, iceTransportPolicy=policy, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        self.outlets: list[Outlet] = []
        self._rejected: set[str] = set()
        self.foreign: frozenset[str] = frozenset()
        """The kinds of media that the last offer had in no codec that is known here."""
        self._before_offer: list[tuple[Any, ...]] = []
        self._local_before_offer: Any = None
        self._relay_only = relay_only
        self._on_candidate = on_candidate
        self._link: IceLink | None = None
        self.pc.on("connectionstatechange", lambda: on_state(self, self.pc.connectionState))
        self.pc.on("datachannel", on_channel)

    # Sending

    def outlet(self, transceiver: RTCRtpTransceiver) -> Outlet | None:
        return next((o for o in self.outlets if o.transceiver is transceiver), None)

    def _outlet_for(self, transceiver: RTCRtpTransceiver) -> Outlet:
        outlet = self.outlet(transceiver)
        if outlet is None:
            outlet = Outlet(transceiver)
            self.outlets.append(outlet)
        return outlet

    def add(self, outgoing: Outgoing, transceiver: RTCRtpTransceiver | None, *, receive: bool) -> Outlet:
        """Sends a track, on this transceiver or on a new one; takes effect with the next offer or answer."""
        if transceiver is None:
            transceiver = self.pc.addTransceiver(outgoing.kind)
        outlet = self._outlet_for(transceiver)
        transceiver.direction = "sendrecv" if receive else "sendonly"
        transceiver.setCodecPreferences(preferences(outgoing))
        if outgoing.mime_types:
            transceiver._codecs = only(transceiver._codecs, outgoing.mime_types) or transceiver._codecs
        elif outgoing.prefers is not None and outlet.feed.codec is None:
            first = only(transceiver._codecs, (outgoing.prefers,))
            transceiver._codecs = first + [c for c in transceiver._codecs if c not in first]
        outlet.plug(outgoing)
        return outlet

    def fits(self, outgoing: Outgoing, transceiver: RTCRtpTransceiver) -> bool:
        """This transceiver is not bound to another codec."""
        outlet = self.outlet(transceiver)
        return outlet is None or outlet.fits(outgoing)

    def can_send(self, outgoing: Outgoing, transceiver: RTCRtpTransceiver) -> bool:
        """A codec of this track is among those the other side takes there."""
        mimes = outgoing.mime_types
        return not mimes or not transceiver._codecs or bool(only(transceiver._codecs, mimes))

    def reserve_data_section(self) -> None:
        """A section for data channels, without a channel yet."""
        pc: Any = self.pc
        pc._RTCPeerConnection__createSctpTransport()

    def adopt(self, old: PeerLink) -> None:
        """Takes over the data channels of a connection that ends before they could open."""
        for channel in old._unopened():
            left: Any = old.pc.sctp
            left._data_channel_queue = deque(item for item in left._data_channel_queue if item[0] is not channel)
            left._data_channels.pop(channel.id, None)
            if self.pc.sctp is None:
                self.reserve_data_section()
            sctp: Any = self.pc.sctp
            channel._RTCDataChannel__transport = sctp
            if channel.negotiated:
                sctp._data_channel_add_negotiated(channel)
            else:
                channel._RTCDataChannel__id = channel._RTCDataChannel__parameters.id
                sctp._data_channel_open(channel)

    def _unopened(self) -> list[Any]:
        sctp: Any = self.pc.sctp
        if sctp is None:
            return []
        known = dict.fromkeys([*(item[0] for item in sctp._data_channel_queue), *sctp._data_channels.values()])
        return [channel for channel in known if channel.readyState == "connecting"]

    def remove(self, outlet: Outlet, *, receive: bool) -> None:
        outlet.plug(None)
        outlet.transceiver.direction = "recvonly" if receive else "inactive"

    # Descriptions

    def described(self) -> list[str]:
        """The descriptions in force, the other side's first."""
        both = (self.pc.remoteDescription, self.pc.localDescription)
        return [d.sdp for d in both if d is not None]

    async def offer(self, earlier: Sequence[str] = ()) -> str:
        """Makes an offer and returns it with all candidates; `earlier`: descriptions whose numbers it has to keep."""
        self._before_offer = [
            (t, t._codecs, t._headerExtensions, t.mid, t._get_mline_index()) for t in self.pc.getTransceivers()
        ]
        # An offer that was answered stays aiortc's "pending" description.
        self._local_before_offer = self.pc._RTCPeerConnection__pendingLocalDescription  # type: ignore[attr-defined]
        offer = await self.pc.createOffer()
        # createOffer resets these to a fixed table; a sender that starts meanwhile would use numbers nobody agreed on.
        for transceiver, codecs, extensions, mid, _ in self._before_offer:
            if mid is not None:
                transceiver._codecs, transceiver._headerExtensions = codecs, extensions
        pinned = text.pin(offer.sdp, [*self.described(), *earlier])
        return await self._set_local("offer", pinned)

    async def answer(self) -> str:
        """Answers the offer applied last."""
        for transceiver in self.pc.getTransceivers():
            if transceiver._offerDirection is None:  # not in the offer: aiortc would fail on it
                transceiver._offerDirection = "inactive"
        answer = await self.pc.createAnswer()
        return text.reject(await self._set_local("answer", answer.sdp), self._rejected)

    async def _set_local(self, kind: str, sdp: str) -> str:
        self._ice()
        sdp = text.with_level(sdp, max((o.outgoing.level() for o in self.outlets if o.outgoing is not None), default=0))
        await self.pc.setLocalDescription(RTCSessionDescription(sdp=sdp, type=kind))
        local = self.pc.localDescription.sdp
        return text.more_to_come(local) if self.gathering else local

    async def apply_offer(self, sdp: str) -> list[text.Section]:
        """Applies the other side's offer and returns its sections.

        Raises ValueError, leaving all as it was, unless it goes on with the session's sections (RFC 9429, 5.2.2).
        """
        self._check_sections(sdp)
        for transceiver in self.pc.getTransceivers():
            if transceiver.mid is None:
                transceiver.setCodecPreferences([])
        clean = text.for_one_transport(sdp)
        foreign = self._without_common_codec(clean)
        sections = [s for s in text.read(clean) if s.mid not in foreign]
        self.foreign = frozenset(s.kind for s in text.read(clean) if s.mid in foreign and s.sends)
        self._rejected = {s.mid for s in text.read(clean) if s.rejected} | foreign
        return await self._apply("offer", text.stand_in(clean, foreign, self._own()), sections)

    def _check_sections(self, sdp: str) -> None:
        now = [(s.kind, s.mid) for described in self.described()[-1:] for s in text.read(described)]
        new = [(s.kind, s.mid) for s in text.read(sdp)]
        if not new or new[: len(now)] != now:
            raise ValueError("an offer that does not go on with the sections of the session")

    async def apply_answer(self, sdp: str) -> list[text.Section]:
        """Applies the other side's answer and returns its sections."""
        clean = text.for_one_transport(sdp)
        return await self._apply("answer", text.stand_in(clean, (), self._own()), text.read(clean))

    def refused(self, answer: str) -> bool:
        """Whether this answer rejects all that was offered; then the offer is taken back, and nothing flows."""
        if self.pc.signalingState != "have-local-offer" or not text.refuses(answer, self.pc.localDescription.sdp):
            return False
        self.rollback()
        for transceiver in self.pc.getTransceivers():
            if transceiver.mid is not None:
                transceiver._setCurrentDirection("inactive")
        return True

    def _own(self) -> str | None:
        return None if self.pc.localDescription is None else self.pc.localDescription.sdp

    def _without_common_codec(self, sdp: str) -> set[str]:
        parsed = SessionDescription.parse(text.stand_in(sdp, (), self._own()))
        return {
            media.rtp.muxId
            for media in parsed.media
            if media.kind in CODECS and not find_common_codecs(CODECS[media.kind], media.rtp.codecs)
        }

    async def _apply(self, kind: str, sdp: str, sections: list[text.Section]) -> list[text.Section]:
        # aiortc, when bundling, stops the transport of every section but the first, even if it is the shared one.
        for holder in (*self.pc.getTransceivers(), self.pc.sctp):
            if holder is not None:
                holder._bundled = True
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type=kind))
        for transceiver in self.pc.getTransceivers():
            bind_receiver(transceiver)
        return sections

    def router(self, mid: str) -> Router | None:
        """Where the frames of this section arrive."""
        for transceiver in self.pc.getTransceivers():
            if transceiver.mid == mid and transceiver.receiver.track is not None:
                queue: Any = transceiver.receiver.track._queue  # type: ignore[attr-defined]
                return queue if isinstance(queue, Router) else None
        return None

    def rollback(self) -> None:
        """Takes the offer made last back: aiortc has no rollback (RFC 9429 section 4.1.10.2)."""
        pc: Any = self.pc
        pc._RTCPeerConnection__setSignalingState("stable")
        pc._RTCPeerConnection__pendingLocalDescription = self._local_before_offer
        for transceiver, codecs, extensions, mid, index in self._before_offer:
            transceiver._codecs, transceiver._headerExtensions = codecs, extensions
            if mid is None:
                # The next offer gives the same name: the other side may have taken the one that is taken back.
                pc._RTCPeerConnection__seenMids.discard(transceiver.mid)
                transceiver._set_mid(None)
                transceiver._set_mline_index(index)
        described = [s.mid for sdp in self.described() for s in text.read(sdp)]
        if pc.sctp is not None and pc.sctp.mid not in described:
            pc._RTCPeerConnection__seenMids.discard(pc.sctp.mid)
            pc.sctp.mid = None

    # ICE

    def _ice(self) -> IceLink | None:
        """Hooked before anything is gathered; all sections share one transport."""
        holders = [t.receiver.transport for t in self.pc.getTransceivers()[:1]]
        if not holders and self.pc.sctp is not None:
            holders = [self.pc.sctp.transport]
        if self._link is None and holders:
            self._link = IceLink(holders[0].transport, self._relay_only, lambda line: self._on_candidate(self, line))
        return self._link

    @property
    def gathering(self) -> bool:
        """More candidates may come after the description."""
        return self._link is not None and self._link.gathering

    async def add_candidate(self, line: str) -> None:
        """Adds a trickled candidate (the attribute's value). Raises ValueError when it cannot be read."""
        ice = self._ice()
        if ice is not None:
            await ice.add_candidate(line)

    async def ping(self, timeout_s: float) -> float | None:
        """Asks the far end for a sign of life: seconds it took, None without one."""
        if self._link is None or self.pc.connectionState != "connected":
            return None
        return await self._link.ping(timeout_s)

    # The end

    async def close(self) -> None:
        """Closes within CLOSE_TIMEOUT_S, also when the other side is silent."""
        for outlet in self.outlets:
            outlet.feed.stop()
        try:
            if self._link is not None:
                await self._link.close()
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.pc.close()
        except TimeoutError:
            log.warning("a peer connection did not close within %g s", CLOSE_TIMEOUT_S)
        except Exception:
            log.warning("a peer connection closed badly", exc_info=True)
        for transceiver in self.pc.getTransceivers():
            await release_receiver(transceiver)
        for channel in self._unopened():  # aiortc closes only those that have a number
            channel._setReadyState("closed")
        self.pc.remove_all_listeners()
