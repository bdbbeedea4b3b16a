"""What aiortc and aioice promise in private: each handle that aiortc_adapter and aiortc_outlet take hold of."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import Any

import pytest
from aioice.ice import Connection
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from aiortc.rtcrtpsender import RTCEncodedFrame, RTCRtpSender

from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.feed import Outgoing
from edge_node.realtime.relay import Relay
from tests.support.waiting import eventually

BUNDLED = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)


def link() -> PeerLink:
    return PeerLink((), False, lambda *_: None, lambda _: None, lambda *_: None)


def tone() -> Outgoing:
    return Outgoing("track-id", "audio", Relay(AudioStreamTrack()).view, "stream-id")


async def connect(a: PeerLink, b: PeerLink) -> None:
    await b.apply_offer(await a.offer())
    await a.apply_answer(await b.answer())
    await eventually(lambda: a.pc.connectionState == b.pc.connectionState == "connected")


async def test_a_sender_has_what_is_replaced() -> None:
    pc = RTCPeerConnection(BUNDLED)
    sender: Any = pc.addTransceiver("video").sender
    for name in ("_RTCRtpSender__encoder", "_ssrc", "_stream_id", "_track_id", "_enabled"):
        assert hasattr(sender, name), name
    assert list(inspect.signature(sender._next_encoded_frame).parameters) == ["codec"]
    assert list(inspect.signature(sender._send_keyframe).parameters) == []
    source = inspect.getsource(RTCRtpSender)
    assert "self._send_keyframe()" in source and "await self._next_encoded_frame(codec)" in source
    assert "self.__encoder.target_bitrate = bitrate" in source
    frame = RTCEncodedFrame([b"x"], 5, -30)
    assert (frame.payloads, frame.timestamp, frame.audio_level) == ([b"x"], 5, -30)
    await pc.close()


async def test_a_transceiver_has_what_is_changed() -> None:
    pc = RTCPeerConnection(BUNDLED)
    transceiver: Any = pc.addTransceiver("audio")
    for name in ("_bundled", "_codecs", "_headerExtensions", "_offerDirection"):
        assert hasattr(transceiver, name), name
    transceiver._set_mid("x")
    assert transceiver.mid == "x"
    transceiver._set_mid(None)
    transceiver._set_mline_index(None)
    assert transceiver.mid is None and transceiver._get_mline_index() is None
    await pc.close()


async def test_a_rolled_back_offer_leaves_no_trace() -> None:
    a, b = link(), link()
    a.add(tone(), None, receive=True)
    await connect(a, b)
    before = (a.described(), [t.mid for t in a.pc.getTransceivers()])
    a.add(Outgoing("other", "audio", Relay(AudioStreamTrack()).view), None, receive=True)
    a.pc.createDataChannel("x")
    await a.offer()
    assert a.pc.signalingState == "have-local-offer"
    a.rollback()
    assert a.pc.signalingState == "stable" and a.pc.sctp is not None and a.pc.sctp.mid is None
    assert (a.described(), [t.mid for t in a.pc.getTransceivers()]) == (before[0], [*before[1], None])
    b.pc.addTransceiver("audio", direction="recvonly")
    await a.apply_offer(await b.offer())  # and the other side's offer can be taken
    await b.apply_answer(await a.answer())
    await connect(a, b)
    assert len(a.pc.getTransceivers()) == 2 and a.pc.sctp.mid is not None
    await a.close()
    await b.close()


@pytest.mark.parametrize("kinds", [("video",), ("video", "audio")])
async def test_an_offer_in_no_known_codec_is_refused_and_the_next_one_taken(kinds: tuple[str, ...]) -> None:
    a, b = link(), link()
    for kind in kinds:
        a.pc.addTransceiver(kind, direction="sendonly")
    offer = re.sub(r"^(a=rtpmap:\d+ )\w+/", r"\1EVRC/", await a.offer(), flags=re.MULTILINE)
    assert await b.apply_offer(offer) == [] and b.foreign == frozenset(kinds)
    answer = await b.answer()
    assert re.findall(r"^m=\w+ (\d+)", answer, re.MULTILINE) == ["0"] * len(kinds)
    await a.apply_answer(answer)
    a.add(tone(), None, receive=True)
    await connect(a, b)
    assert not b.foreign
    await a.close()
    await b.close()


async def test_what_was_negotiated_stays_during_an_offer() -> None:
    """createOffer resets codecs that a sender, or receiver, may be about to start with."""
    a, b = link(), link()
    b.pc.addTransceiver("audio")
    offer = (await b.offer()).replace(" 96 ", " 111 ").replace(":96 ", ":111 ")
    await a.apply_offer(offer)
    await a.answer()
    transceiver: Any = a.pc.getTransceivers()[0]
    assert transceiver._codecs[0].payloadType == 111
    await a.offer()
    assert transceiver._codecs[0].payloadType == 111
    await a.close()
    await b.close()


async def test_one_transport_survives_any_order_of_sections() -> None:
    """Stock aiortc stops the shared transport when its first holder is not the first of the other side's bundle."""
    a, b = link(), link()
    a.pc.createDataChannel("x")
    a.add(tone(), None, receive=True)
    b.pc.addTransceiver("video")
    b.pc.addTransceiver("audio")
    await a.apply_offer(await b.offer())
    await b.apply_answer(await a.answer())
    await eventually(lambda: a.pc.connectionState == b.pc.connectionState == "connected")
    await connect(a, b)
    await eventually(lambda: a.pc.sctp is not None and a.pc.sctp.state == "connected")
    await a.close()
    await b.close()


async def test_gathering_is_ours() -> None:
    parameters = inspect.signature(Connection.get_component_candidates).parameters
    assert list(parameters) == ["self", "component", "addresses", "timeout"]
    for name in ("_protocols", "_local_candidates", "_remote_candidates", "_check_list_done", "_closing", "turn_ssl"):
        assert f"self.{name} = " in inspect.getsource(Connection.__init__) or f"self.{name}: " in inspect.getsource(
            Connection.__init__
        ), name
    assert list(inspect.signature(Connection._pair_remote_candidate).parameters) == ["self", "remote_candidate"]
    a = link()
    a.pc.createDataChannel("x")
    await a.offer()
    ice = a._ice()
    assert ice is not None and ice._connection.get_component_candidates == ice._gather and not a.gathering
    await a.close()


async def test_a_sign_of_life() -> None:
    a, b = link(), link()
    assert await a.ping(0.1) is None
    a.add(tone(), None, receive=True)
    await connect(a, b)
    took = await a.ping(2)
    assert took is not None and 0 < took < 2
    for protocol in b._ice()._connection._protocols:  # type: ignore[union-attr]
        protocol.transport.abort()
    assert await a.ping(0.3) is None
    await a.close()
    await b.close()
    await asyncio.sleep(0)


async def test_stock_aiortc_still_needs_all_this() -> None:
    """When one of these fails, a work-around can go."""
    pc, other = RTCPeerConnection(BUNDLED), RTCPeerConnection(BUNDLED)
    pc.addTrack(VideoStreamTrack())
    await pc.setLocalDescription(await pc.createOffer())
    other.addTrack(AudioStreamTrack())
    offer = await other.createOffer()
    with pytest.raises(Exception, match="signaling state"):  # no rollback
        await pc.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type="offer"))
    await pc.close()
    await other.close()


async def test_a_data_channel_moves_to_another_connection() -> None:
    a, b, successor = link(), link(), link()
    channels: list[Any] = [a.pc.createDataChannel("x"), a.pc.createDataChannel("y", negotiated=True, id=9)]
    sctp: Any = a.pc.sctp
    assert [item[0] for item in sctp._data_channel_queue] == channels[:1] and sctp._data_channels == {9: channels[1]}
    successor.adopt(a)
    assert not sctp._data_channel_queue and not sctp._data_channels
    await a.close()
    assert [c.readyState for c in channels] == ["connecting", "connecting"]
    await connect(successor, b)
    await eventually(lambda: [c.readyState for c in channels] == ["open", "open"])
    left = link()
    forgotten = left.pc.createDataChannel("z")
    for one in (successor, b, left):
        await one.close()
    assert [c.readyState for c in (*channels, forgotten)] == ["closed"] * 3
