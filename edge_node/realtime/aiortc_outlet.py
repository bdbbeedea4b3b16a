"""The sending half of an aiortc transceiver, with the codecs it may be given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiortc import RTCRtpSender, RTCRtpTransceiver
from aiortc.codecs import is_rtx
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpsender import RTCEncodedFrame

from edge_node.realtime.aiortc_hooks import own_sender_wanted
from edge_node.realtime.aiortc_sender import OwnSender
from edge_node.realtime.feed import Feed, Outgoing, SenderClock

NO_STREAM = "-"  # RFC 8830 section 2


class Outlet:
    """The sending half of one transceiver: its sender lives as long as the connection, its source changes."""

    def __init__(self, transceiver: RTCRtpTransceiver) -> None:
        self.transceiver = transceiver
        self.outgoing: Outgoing | None = None
        self.feed = Feed(transceiver.kind)
        self.clock = SenderClock(self.feed)
        self.accepted = False
        """The other side once took media here: it will again."""
        self.own = self._hook(transceiver.sender)
        """None: aiortc's own sender sends."""

    def plug(self, outgoing: Outgoing | None) -> None:
        """Sends something else; the description that says so is the caller's duty."""
        self.outgoing = outgoing
        self.feed.plug(outgoing)
        self.name(outgoing)

    def name(self, outgoing: Outgoing | None) -> None:
        sender = self.transceiver.sender
        if outgoing is not None:
            sender._track_id = outgoing.id
            sender._stream_id = outgoing.stream_id or NO_STREAM

    def _hook(self, sender: RTCRtpSender) -> OwnSender | None:
        sender.replaceTrack(self.feed)
        # Stock aiortc takes PLI and FIR for frames only and REMB for its own encoder only: coded tracks never hear it.
        sender._send_keyframe = self.clock.ask_keyframe  # type: ignore[method-assign]
        sender._RTCRtpSender__encoder = self.clock  # type: ignore[attr-defined]
        if own_sender_wanted():
            return OwnSender(sender, self.feed, self.clock)

        async def next_frame(codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
            self.feed.codec = codec
            coded = await self.feed.recv()
            if not sender._enabled:
                return None
            timestamp = self.clock.timestamp(coded, codec)
            return RTCEncodedFrame(coded.payloads, timestamp, coded.level_dbov)  # type: ignore[arg-type]

        sender._next_encoded_frame = next_frame  # type: ignore[method-assign]
        return None

    def fits(self, outgoing: Outgoing) -> bool:
        """A sender that runs keeps its codec for good; frames can be encoded for any, coded packets for theirs only."""
        mimes, codec = outgoing.mime_types, self.feed.codec
        return not mimes or codec is None or any(_same_codec(mime, codec) for mime in mimes)

    @property
    def sends(self) -> bool:
        """Sending here has been negotiated."""
        return self.transceiver.currentDirection in ("sendrecv", "sendonly")

    def negotiated(self) -> None:
        """An offer and its answer were exchanged."""
        self.accepted |= self.sends
        self.feed.gate(self.sends)


def _same_codec(mime_type: str, codec: RTCRtpCodecParameters) -> bool:
    return codec.mimeType.lower() == mime_type.lower()


def only(codecs: Sequence[RTCRtpCodecParameters], mime_types: Sequence[str]) -> list[RTCRtpCodecParameters]:
    """Of these, some codecs' in the order of preference, with their retransmission formats."""
    wanted = [c for mime_type in mime_types for c in codecs if _same_codec(mime_type, c)]
    types = {c.payloadType for c in wanted}
    return wanted + [c for c in codecs if is_rtx(c) and c.parameters.get("apt") in types]


def preferences(outgoing: Outgoing) -> list[Any]:
    """What to offer for a track: its own codecs for coded packets, all with the preferred one first for frames."""
    mimes = outgoing.mime_types or ((outgoing.prefers,) if outgoing.prefers is not None else ())
    if not mimes:
        return []
    capabilities: list[Any] = RTCRtpSender.getCapabilities(outgoing.kind).codecs
    wanted = [c for mime in mimes for c in capabilities if _same_codec(mime, c)] + [
        c for c in capabilities if is_rtx(c)
    ]
    return wanted if outgoing.mime_types else wanted + [c for c in capabilities if c not in wanted]
