"""What a viewer may send back, right or wrong, over a real connection: RTCP of every kind."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpRtpfbPacket,
    pack_remb_fci,
)

from edge_node.media.views import FanoutTrack
from tests.support.h264_clip import Clip
from tests.support.sent import FPS, Player, Viewing, small_clip, viewing
from tests.support.video_sink import CountingDemand
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def clip() -> Clip:
    return small_clip()


def ssrc(viewed: Viewing) -> int:
    sender: Any = viewed.outlet.transceiver.sender
    found: int = sender._ssrc
    return found


async def say(viewed: Viewing, packet: RtcpPsfbPacket | RtcpRtpfbPacket) -> None:
    transport: Any = viewed.pc.getTransceivers()[0].receiver.transport
    await transport._send_rtp(bytes(packet))


def remb(bits: int, *ssrcs: int) -> RtcpPsfbPacket:
    return RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, pack_remb_fci(bits, list(ssrcs)))


async def test_a_full_intra_request_names_its_stream_in_its_entry(clip: Clip) -> None:
    """RFC 5104 section 4.3.1.2: the media source of the packet itself is 0."""
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    async with viewing(track) as viewed, Player(track, clip):
        await viewed.counters(5)
        before = demand.keyframes
        for entries in ([], [ssrc(viewed) ^ 1], [ssrc(viewed) ^ 1, ssrc(viewed)]):
            fci = b"".join(struct.pack("!IB3x", entry, 1) for entry in entries)
            await say(viewed, RtcpPsfbPacket(RTCP_PSFB_FIR, 1, 0, fci))
        await eventually(lambda: demand.keyframes == before + 1)


async def test_nonsense_costs_the_viewer_that_sends_it_nothing_but_repairs(clip: Clip) -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    async with viewing(track) as viewed, Player(track, clip):
        await viewed.counters(5)
        here = ssrc(viewed)
        nonsense: list[RtcpPsfbPacket | RtcpRtpfbPacket] = [
            RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, b"REMB\xff\0\0\0"),  # says that 255 streams follow
            RtcpPsfbPacket(RTCP_PSFB_APP, 1, here, b"R\0\0\0"),
            RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, b"REMB\x01\xff\xff\xff" + struct.pack("!I", here)),  # 2^81 bit/s
            remb(0, here),
            RtcpPsfbPacket(RTCP_PSFB_FIR, 1, 0, b"\0\0\0\0"),
            RtcpPsfbPacket(31, 1, here, b""),
            RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, here, []),
            *(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, here, list(range(n, n + 4000))) for n in range(0, 64_000, 4000)),
            *(RtcpPsfbPacket(RTCP_PSFB_PLI, 1, here) for _ in range(200)),
            remb(2_000_000, here),
        ]
        for packet in nonsense:
            await say(viewed, packet)
        counters = await viewed.counters(45)
        assert all(b == (a + 1) % (2 * FPS) for a, b in pairwise(counters))
        assert viewed.pc.connectionState == "connected"
        assert demand.keyframes < 15 and max(demand.rates) < 2**82
