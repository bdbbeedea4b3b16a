"""What aiortc's receiver promises in private: each handle that edge_node.realtime.aiortc_receiver takes hold of."""

from __future__ import annotations

import inspect
from typing import Any

import aiortc.rtcrtpreceiver
import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCRtpSender
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcdtlstransport import RTCDtlsTransport, RtpRouter
from aiortc.rtcrtpreceiver import RTCRtpReceiver, decoder_worker

from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.aiortc_receiver import HOOKS, DecodeQueue, Pictures, Sound, bind_receiver
from edge_node.realtime.feed import Outgoing
from edge_node.realtime.received import ReceivedTrack, Router
from edge_node.realtime.relay import Relay
from tests.support.peers import Tone
from tests.support.waiting import eventually

SOURCE = inspect.getsource(RTCRtpReceiver)
PACKET = inspect.getsource(RTCRtpReceiver._handle_rtp_packet)


async def test_every_hook_is_there() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    for kind in ("audio", "video"):
        receiver: Any = pc.addTransceiver(kind).receiver
        assert [hook for hook in HOOKS if not hasattr(receiver, hook)] == []
    await pc.close()


def test_jitter_buffer() -> None:
    """It gets each packet, unwrapped from RTX, with the depayloaded bytes in `_data`."""
    assert "self.__jitter_buffer.add(packet)" in PACKET
    assert "packet._data = depayload(codec, packet.payload)" in PACKET
    assert PACKET.index("unwrap_rtx(packet") < PACKET.index("self.__jitter_buffer.add(packet)")
    assert "pli_flag, encoded_frame = " in PACKET
    assert list(inspect.signature(JitterBuffer.add).parameters) == ["self", "packet"]


def test_nack_generator() -> None:
    """None: it asks for nothing."""
    assert "if self.__nack_generator is not None and self.__nack_generator.add(packet)" in PACKET


def test_codecs() -> None:
    assert "self.__codecs[codec.payloadType] = codec" in SOURCE
    assert "self.__codecs.get(packet.payload_type)" in PACKET


def test_decoder_queue() -> None:
    """Its thread is given the queue, and the flag of its errors, when the receiver starts."""
    started = inspect.getsource(RTCRtpReceiver.receive)
    assert "self.__decoder_queue," in started and "self.__decoder_error," in started and "self._track._queue" in started
    assert "self.__decoder_queue.put(None)" in SOURCE
    worker = inspect.getsource(decoder_worker)
    assert "task = input_q.get()" in worker and "codec, encoded_frame = task" in worker
    assert "decode_error.set()" in worker and "output_q.put(" in worker
    frame = JitterFrame(b"x", 5)
    assert (frame.data, frame.timestamp) == (b"x", 5)


def test_decoder_error() -> None:
    """Never set, as far as aiortc sees: it would ask for a keyframe per broken frame."""
    assert "if self.__decoder_error.is_set():" in PACKET
    assert "self.__decoder_error" not in SOURCE.replace(PACKET, "").replace(
        inspect.getsource(RTCRtpReceiver.receive), ""
    ).replace("self.__decoder_error = threading.Event()", "")


@pytest.mark.parametrize(
    ("method", "parameters"), [("_send_rtcp_nack", ["media_ssrc", "lost"]), ("_send_rtcp_pli", ["media_ssrc"])]
)
def test_questions(method: str, parameters: list[str]) -> None:
    found = getattr(RTCRtpReceiver, method)
    assert inspect.iscoroutinefunction(found)
    assert list(inspect.signature(found).parameters) == ["self", *parameters]


def test_feedback() -> None:
    """Routed by an attribute of the transport's router, which knows the senders by their SSRC."""
    assert "self._rtp_router.route_rtcp(packet)" in inspect.getsource(RTCDtlsTransport._handle_rtcp_data)
    assert "self.senders[ssrc] = sender" in inspect.getsource(RtpRouter)
    assert "RTCP_PSFB_FIR" in inspect.getsource(RTCRtpSender._handle_rtcp_packet)


def link() -> PeerLink:
    return PeerLink((), False, lambda *_: None, lambda _: None, lambda *_: None)


async def connected(kind: str) -> tuple[PeerLink, PeerLink, Any]:
    a, b = link(), link()
    a.add(Outgoing("track-id", kind, Relay(Tone()).view), None, receive=True)
    await b.apply_offer(await a.offer())
    receiver: Any = b.pc.getTransceivers()[0].receiver
    await a.apply_answer(await b.answer())
    await eventually(lambda: a.pc.connectionState == b.pc.connectionState == "connected")
    a.outlets[0].negotiated()
    return a, b, receiver


async def test_a_receiver_is_bound_before_it_starts() -> None:
    a, b, receiver = await connected("audio")
    mid = b.pc.getTransceivers()[0].mid
    assert mid is not None
    router = b.router(mid)
    assert isinstance(router, Router) and router is receiver.track._queue
    reception = router.reception
    assert isinstance(reception, Sound) and receiver._RTCRtpReceiver__jitter_buffer is reception
    assert isinstance(receiver._RTCRtpReceiver__decoder_queue, DecodeQueue)
    track = router.track = ReceivedTrack("audio", None)
    frames = [await track.recv() for _ in range(3)]
    assert [f.pts for f in frames] == [0, 960, 1920] and track.stats().frames >= 3
    bind_receiver(b.pc.getTransceivers()[0])  # again: nothing changes
    assert receiver.track._queue is router
    await a.close()
    await b.close()
    assert reception._closed and reception._timer is None


async def test_pictures_have_a_reception_of_their_own() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    transceiver = pc.addTransceiver("video")
    bind_receiver(transceiver)  # nothing is received yet: no track
    receiver: Any = transceiver.receiver
    receiver._track = aiortc.rtcrtpreceiver.RemoteStreamTrack("video")
    bind_receiver(transceiver)
    assert isinstance(receiver._RTCRtpReceiver__jitter_buffer, Pictures)
    assert receiver._RTCRtpReceiver__nack_generator is None
    await pc.close()


async def test_stock_reception_when_a_hook_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge_node.realtime.aiortc_receiver.HOOKS", (*HOOKS, "_of_the_future"))
    a, b, receiver = await connected("audio")
    assert "no _of_the_future" in caplog.text
    assert isinstance(receiver._RTCRtpReceiver__jitter_buffer, JitterBuffer)
    router = receiver.track._queue
    track = router.track = ReceivedTrack("audio", None)
    assert [(await track.recv()).pts for _ in range(3)] == [0, 960, 1920]
    await a.close()
    await b.close()
