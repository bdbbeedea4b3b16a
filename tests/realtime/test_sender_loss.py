"""What receiver reports say of the path: the loss until the viewer's own estimate comes, what waits once that falls."""

from __future__ import annotations

from typing import Any

from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket

from edge_node.media.views import FanoutTrack
from edge_node.rtp.flight import Flight
from tests.support.sent import Player, small_clip, viewing
from tests.support.video_sink import CountingDemand
from tests.support.waiting import eventually


async def test_heavy_loss_lowers_the_rate_before_any_estimate_does() -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    async with viewing(track) as viewed, Player(track, small_clip()):
        own = viewed.outlet.own
        assert own is not None
        await eventually(lambda: own._meter.kbps > 0)
        inner: Any = own._inner

        async def report(fraction_lost: int, ssrc: int | None = None) -> None:
            info = RtcpReceiverInfo(
                ssrc=inner._ssrc if ssrc is None else ssrc, fraction_lost=fraction_lost, packets_lost=0,
                highest_sequence=0, jitter=0, lsr=0, dlsr=0,
            )  # fmt: skip
            await inner._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[info]))

        own._clock._bitrate = 0  # no estimate has come yet
        demand.rates.clear()
        await report(0)
        await report(128, ssrc=inner._ssrc ^ 1)
        assert demand.rates == []
        sent_kbps = own._meter.kbps
        await report(128)
        assert len(demand.rates) == 1 and demand.rates[0] <= sent_kbps * 0.5
        await report(0)
        assert demand.rates[1] >= demand.rates[0]
        own._clock._bitrate = 1_000_000  # now one has: it alone counts
        await report(255)
        assert len(demand.rates) == 2


async def test_an_estimate_is_told_less_what_waits_on_the_way_as_the_reports_confirm_it() -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    async with viewing(track) as viewed, Player(track, small_clip()):
        own = viewed.outlet.own
        assert own is not None
        await eventually(lambda: own._meter.kbps > 0)
        inner: Any = own._inner
        heard: list[int] = []

        class Queueing(Flight):
            def heard(self, highest: int, sent_bytes: int, now: float) -> None:
                heard.append(highest)

            def carries(self, kbps: int) -> int:
                return kbps // 2

        own._flight = Queueing(own._history)
        assert own._clock.cap.__self__.__class__ is Flight  # type: ignore[attr-defined]
        own._clock.cap = own._flight.carries
        info = RtcpReceiverInfo(
            ssrc=inner._ssrc, fraction_lost=0, packets_lost=0, highest_sequence=0x1_2345, jitter=0, lsr=0, dlsr=0
        )
        await inner._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[info]))
        assert 0x2345 in heard
        own._clock.target_bitrate = 3_000_000
        assert demand.rates[-1] == 1500 and own._clock.target_bitrate == 3_000_000
