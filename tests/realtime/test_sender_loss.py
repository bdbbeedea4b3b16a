"""What receiver reports say of the path: the loss until the viewer's own estimate comes, what waits once that falls."""

from __future__ import annotations

from typing import Any

from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket

from edge_node.encode_plan.bitrate import LossEstimate
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
        heard: list[tuple[int, int]] = []

        class Halving(LossEstimate):
            def heard(self, sent_kbps: float, highest: int, lost: int, now: float) -> int | None:
                heard.append((highest, lost))
                return int(sent_kbps / 2) if lost == 77 else None

        own._loss = Halving(0, 0.0)

        async def report(lost: int, ssrc: int | None = None) -> None:
            info = RtcpReceiverInfo(
                ssrc=inner._ssrc if ssrc is None else ssrc, fraction_lost=0, packets_lost=lost,
                highest_sequence=0x1_2345, jitter=0, lsr=0, dlsr=0,
            )  # fmt: skip
            await inner._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[info]))

        own._clock._bitrate = 0  # no estimate has come yet
        demand.rates.clear()
        await report(0)
        await report(77, ssrc=inner._ssrc ^ 1)
        assert demand.rates == [] and (0x1_2345, 0) in heard
        sent_kbps = own._meter.kbps
        await report(77)
        assert demand.rates == [int(sent_kbps / 2)]
        own._clock._bitrate = 1_000_000  # now one has: it alone counts
        await report(77)
        assert len(demand.rates) == 1


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
