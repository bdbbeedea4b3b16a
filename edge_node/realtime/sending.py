"""Which local track goes out on which section of a connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiortc import RTCRtpTransceiver

from edge_node.protocol import sdp
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.aiortc_outlet import Outlet
from edge_node.realtime.feed import Outgoing

MEDIA = ("audio", "video")


def outlet_of(link: PeerLink, track_id: str) -> Outlet | None:
    """Where this track is sent on this connection."""
    return next((o for o in link.outlets if o.outgoing is not None and o.outgoing.id == track_id), None)


class Sending:
    """`tracks()` gives what is to be sent, `receive()` the kinds that are taken; `on_refused(track)` hears of a track
    that the other side cannot take, once per connection."""

    def __init__(
        self,
        tracks: Callable[[], Sequence[Outgoing]],
        receive: Callable[[], frozenset[str]],
        on_refused: Callable[[Outgoing], None],
    ) -> None:
        self._tracks = tracks
        self._receive = receive
        self._on_refused = on_refused
        self._refused: set[str] = set()

    def forget_refusals(self) -> None:
        """A new connection: what was refused is offered again."""
        self._refused.clear()

    def attach_for_offer(self, link: PeerLink, earlier: Sequence[str] = ()) -> None:
        """Finds or makes a section for each track; `earlier`: the descriptions of the connection this one replaces."""
        receive = self._receive()
        missing = self._detach_removed(link)
        if earlier:
            taken = self._rebuild_sections(link, sdp.read(earlier[0]))
        else:
            taking = {s.mid for text in link.described()[:1] for s in sdp.read(text) if s.receives}
            accepted = [o.transceiver for o in link.outlets if o.accepted]
            taken = [t for t in link.pc.getTransceivers() if t.mid is None or t.mid in taking or t in accepted]
        for track in missing:
            free = (t for t in taken if _is_free(link, t, track.kind) and _keeps_id(link, t, track))
            usable = (t for t in free if link.fits(track, t) and link.can_send(track, t))
            link.add(track, next(usable, None), receive=track.kind in receive)

    def _rebuild_sections(self, link: PeerLink, sections: Sequence[sdp.Section]) -> list[RTCRtpTransceiver]:
        """The sections of the connection before, in their order: a browser that kept its own takes no others.

        Returns those on which the other side takes media.
        """
        taken = []
        for section in sections:
            if section.kind in MEDIA:
                wanted = section.sends and section.kind in self._receive()
                transceiver = link.pc.addTransceiver(section.kind, direction="recvonly" if wanted else "inactive")
                if section.receives:
                    taken.append(transceiver)
            elif link.pc.sctp is None:
                link.reserve_data_section()
        return taken

    def attach_for_answer(self, link: PeerLink, sections: Sequence[sdp.Section]) -> None:
        """Puts the tracks on the sections of the offer that take them; tracks with metadata wait for our own offer."""
        missing = self._detach_removed(link)
        by_mid = {t.mid: t for t in link.pc.getTransceivers()}
        for section in sections:
            transceiver = by_mid.get(section.mid)
            if transceiver is not None and _is_free(link, transceiver, section.kind):
                self._answer_section(link, section, transceiver, missing)

    def _answer_section(
        self, link: PeerLink, section: sdp.Section, transceiver: RTCRtpTransceiver, missing: list[Outgoing]
    ) -> None:
        receives = section.kind in self._receive()
        transceiver.direction = "recvonly" if receives else "inactive"
        same_kind = (t for t in missing if t.kind == section.kind and _keeps_id(link, transceiver, t))
        fitting = (t for t in same_kind if link.fits(t, transceiver))
        track = next(fitting, None) if section.receives else None
        if track is None:
            return
        missing.remove(track)
        if link.can_send(track, transceiver):
            link.add(track, transceiver, receive=receives)
        else:
            self._refuse(track)

    def is_satisfied(self, link: PeerLink) -> bool:
        """All there is to send found its place in the last exchange, and nothing else is sent."""
        tracks = self._tracks()
        placed = [self._is_placed(link, track) for track in tracks]
        wanted = {track.id for track in tracks}
        surplus = [o for o in link.outlets if o.outgoing is not None and o.outgoing.id not in wanted]
        data_waits = link.pc.sctp is not None and link.pc.sctp.mid is None
        return all(placed) and not surplus and not data_waits

    def _is_placed(self, link: PeerLink, track: Outgoing) -> bool:
        if track.id in self._refused:
            return True
        outlet = outlet_of(link, track.id)
        if outlet is None:
            return False
        if not outlet.sends and outlet.transceiver.currentDirection is not None and track.mime_types:
            self._refuse(track)
            return True
        return outlet.sends

    def _refuse(self, track: Outgoing) -> None:
        self._refused.add(track.id)
        self._on_refused(track)

    def _detach_removed(self, link: PeerLink) -> list[Outgoing]:
        """Silences what is no longer to be sent; returns what is not sent yet."""
        wanted = {track.id: track for track in self._tracks()}
        self._refused &= set(wanted)
        for outlet in link.outlets:
            if outlet.outgoing is not None and outlet.outgoing.id not in wanted:
                link.remove(outlet, receive=outlet.transceiver.kind in self._receive())
        return [t for t in wanted.values() if t.id not in self._refused and outlet_of(link, t.id) is None]


def _is_free(link: PeerLink, transceiver: RTCRtpTransceiver, kind: str) -> bool:
    outlet = link.outlet(transceiver)
    return transceiver.kind == kind and not transceiver.stopped and (outlet is None or outlet.outgoing is None)


def _keeps_id(link: PeerLink, transceiver: RTCRtpTransceiver, track: Outgoing) -> bool:
    """Browsers give a track the id its sender gave it in sections that the sender began only, and the JS SDK looks up
    metadata by that id."""
    return not track.has_metadata or transceiver.mid is None or link.outlet(transceiver) is not None
