"""What aiortc, aioice and pylibsrtp promise in private: each handle that edge_node.realtime.aiortc_sender, aiortc_wire
take hold of."""

from __future__ import annotations

import asyncio
import inspect
import socket
from typing import Any

import aioice.turn
import pylibsrtp
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection
from aiortc.rtcdtlstransport import RTCDtlsTransport, State
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import HeaderExtensionsMap
from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi, lib

from edge_node.realtime.aiortc_hooks import missing_hooks
from edge_node.realtime.aiortc_wire import _socket_of

BUNDLED = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)


def test_nothing_is_missing() -> None:
    assert missing_hooks() == ()


async def test_a_sender_starts_what_is_replaced_and_waits_for_its_events() -> None:
    send, stop = inspect.getsource(RTCRtpSender.send), inspect.getsource(RTCRtpSender.stop)
    assert "self._run_rtp(parameters.codecs[0])" in send and "self._run_rtcp()" in send
    for name in ("rtp_started", "rtcp_started", "rtp_exited", "rtcp_exited"):
        assert f"self.__{name}.wait()" in stop
    pc = RTCPeerConnection(BUNDLED)
    sender: Any = pc.addTransceiver("video").sender
    for name in ("rtp_started", "rtcp_started", "rtp_exited", "rtcp_exited"):
        assert isinstance(getattr(sender, f"_RTCRtpSender__{name}"), asyncio.Event)
    assert 0 <= sender._RTCRtpSender__rtx_sequence_number < 65536 and sender._rtx_ssrc != sender._ssrc
    await pc.close()


def test_feedback_comes_where_it_is_awaited() -> None:
    source = inspect.getsource(RTCRtpSender._handle_rtcp_packet)
    assert "for seq in packet.lost:" in source and "await self._retransmit(seq)" in source
    assert "self.__lsr == report.lsr" in source and "time.time() - self.__lsr_time" in source
    assert inspect.iscoroutinefunction(RTCRtpSender._send_rtcp)
    assert list(inspect.signature(RTCRtpSender._send_rtcp).parameters) == ["self", "packets"]


def test_extension_numbers_are_found() -> None:
    ids: Any = HeaderExtensionsMap()._HeaderExtensionsMap__ids  # type: ignore[attr-defined]
    assert (ids.mid, ids.abs_send_time, ids.audio_level) == (None, None, None)


def test_the_dtls_transport_encrypts_as_we_do() -> None:
    send = inspect.getsource(RTCDtlsTransport._send_rtp)
    assert "if self._state != State.CONNECTED" in send and "self._tx_srtp.protect(data)" in send
    assert "self.__tx_bytes += len(data)" in send and "self.__tx_packets += 1" in send
    assert State.CONNECTED.name == "CONNECTED"
    setup = inspect.getsource(RTCDtlsTransport._setup_srtp)
    assert "tx_policy.allow_repeat_tx = True" in setup and "tx_policy.window_size = 1024" in setup


def test_packets_are_encrypted_in_place_as_pylibsrtp_does() -> None:
    def session() -> Session:
        policy = Policy(bytes(range(44)), Policy.SSRC_ANY_OUTBOUND, 0, Policy.SRTP_PROFILE_AEAD_AES_256_GCM)
        policy.allow_repeat_tx = True
        return Session(policy)

    packet = b"\x80\x60\0\1" + bytes(8) + b"payload"
    ours: Any = session()
    memory = bytearray(100)
    memory[: len(packet)] = packet
    length = ffi.new("int *", len(packet))
    for _ in range(2):  # the same packet again gives the same bytes
        memory[: len(packet)] = packet
        length[0] = len(packet)
        assert lib.srtp_protect(ours._srtp[0], ffi.cast("char *", ffi.from_buffer(memory)), length) == 0
        assert bytes(memory[: length[0]]) == session().protect(packet)
    assert pylibsrtp.__version__.split(".")[0] == "1"


async def test_asyncio_shows_its_socket() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    found = _socket_of(transport)
    assert found is not None and found.type == socket.SOCK_DGRAM and hasattr(found, "sendmsg")
    transport.close()
    await asyncio.sleep(0)


def test_a_relay_shows_its_channels() -> None:
    for owner in (aioice.turn.TurnClientUdpProtocol, aioice.turn.TurnClientTcpProtocol):
        client: Any = owner(("127.0.0.1", 1), "user", "password", 600, 500)
        assert client.peer_to_channel == {} and callable(client._send)
    transport: Any = aioice.turn.TurnTransport(client)
    assert transport._TurnTransport__inner_protocol is client
    source = inspect.getsource(aioice.turn.TurnClientMixin.send_data)
    assert 'struct.pack("!HH", channel, len(data))' in source and "self._send(header + data)" in source


async def test_the_selected_pair_is_found() -> None:
    from aioice.ice import CandidatePair, Connection

    connection: Any = Connection(ice_controlling=True)
    assert connection._nominated == {}
    for name in ("remote_addr", "local_addr", "local_candidate"):
        assert isinstance(getattr(CandidatePair, name), property)
    await connection.close()
