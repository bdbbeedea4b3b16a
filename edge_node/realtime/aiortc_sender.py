"""A sender of our own in the place of aiortc's: each unit is packetised once, and leaves at once for every viewer.

It takes the place of four coroutines of an RTCRtpSender (tests/contract pins them) and keeps its counters.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import Any

from aiortc import RTCRtpSender
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtcpByePacket, RtcpRrPacket, RtcpSdesPacket, RtcpSenderInfo, RtcpSourceInfo, RtcpSrPacket

from edge_node.encode_plan.bitrate import LossEstimate
from edge_node.realtime.aiortc_wire import Wire
from edge_node.realtime.feed import Feed, SenderClock
from edge_node.rtp.budget import Budget, Repeats, is_wanted
from edge_node.rtp.flight import Flight
from edge_node.rtp.header import ExtensionIds, Template, abs_send_time, ntp
from edge_node.rtp.history import MAX_PACKETS, MAX_PACKETS_PLAIN, Burst, History
from edge_node.rtp.pacer import BURST_BYTES, DEPTH_BYTES, Meter, Pacer, pace_kbps
from edge_node.rtp.packetize import Cut, Unit

log = logging.getLogger(__name__)

RETRY_S = 0.005
QUIET_S = 5.0


@dataclass(slots=True)
class Job:
    """A unit on its way: packets from `next` on have not left."""

    cut: Cut
    first: int
    timestamp: int
    level_dbov: int | None
    next: int = 0


@dataclass(slots=True)
class SendCounts:
    """Since the start: packets answered to NACKs, requests for packets no longer kept or of a picture before the last
    keyframe, times the socket was full, pictures lost to errors."""

    resent: int = 0
    too_old: int = 0
    blocked: int = 0
    failed: int = 0


class OwnSender:
    """Sends what `feed` gives over the transport of an RTCRtpSender.

    Overflow rule: while the pacer or the socket is behind, take() refuses, and the view's queue drops by its own rule.
    """

    def __init__(self, sender: RTCRtpSender, feed: Feed, clock: SenderClock) -> None:
        inner: Any = sender
        self._inner = inner
        self._feed = feed
        self._clock = clock
        self._video = sender.kind == "video"
        self._wire = Wire()
        self._codec: RTCRtpCodecParameters | None = None
        self._template: Template | None = None
        self._header: tuple[Any, ...] = ()
        # In the lower half: a number that wraps before the first report breaks SRTP (RFC 3711 section 3.3.1).
        self._number = random.getrandbits(15)
        self._origin = random.getrandbits(32)
        self._placed = (0.0, 0)
        """When the newest unit was given, in seconds since 1970, with its RTP timestamp."""
        self._group = 0
        self._keyframe_at = 0.0
        self._job: Job | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()
        self._pacer = Pacer()
        self._shared = self._wire.pacer
        self._meter = Meter()
        self._path_kbps: int | None = None
        self._history = History()
        self._flight = Flight(self._history)
        self._budget = Budget()
        self._repeats = Repeats()
        self._report_at = 0.0
        self.counts = SendCounts()
        self.reports = 0
        feed.flow_to(self.take)
        inner._run_rtp = self._run
        inner._run_rtcp = self._run_rtcp
        inner._retransmit = self._retransmit
        self._loss = LossEstimate(self._number, 0.0)
        self._heard = inner._handle_rtcp_packet
        inner._handle_rtcp_packet = self._hear

    # From the viewer

    async def _hear(self, packet: Any) -> None:
        """What aiortc does with it; what it confirms; the loss while no estimate of the path (REMB) has come yet."""
        await self._heard(packet)
        if not self._video or not isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            return
        for report in packet.reports:
            if report.ssrc != self._inner._ssrc:
                continue
            sent, now = self._inner._RTCRtpSender__octet_count, time.monotonic()
            self._flight.heard(report.highest_sequence & 0xFFFF, sent, now)
            if not self._clock.target_bitrate:
                kbps = self._loss.heard(self._meter.kbps, report.highest_sequence, report.packets_lost, now)
                if kbps is not None:
                    self._feed.set_bitrate(kbps)

    # From the feed

    async def _run(self, codec: RTCRtpCodecParameters) -> None:
        inner = self._inner
        inner._RTCRtpSender__rtp_started.set()
        try:
            self._begin(codec)
            while True:
                coded = await self._feed.recv()
                cut = Cut(coded.payloads)
                while not self._take(cut, coded.timestamp, coded.timeline, coded.keyframe, coded.level_dbov):
                    self._ready.clear()
                    await self._ready.wait()
        except (asyncio.CancelledError, MediaStreamError):
            pass
        except Exception:
            log.exception("a %s sender failed", self._inner.kind)
        self._end()
        self._feed.stop()
        inner._RTCRtpSender__track = None
        inner._RTCRtpSender__rtp_exited.set()

    def _begin(self, codec: RTCRtpCodecParameters) -> None:
        inner = self._inner
        ids: Any = inner._RTCRtpSender__rtp_header_extensions_map._HeaderExtensionsMap__ids
        known = ExtensionIds(ids.abs_send_time, ids.mid, ids.audio_level)
        self._template = Template(known, inner._RTCRtpSender__mid, has_level=not self._video)
        if inner._RTCRtpSender__rtx_payload_type is None:
            self._history = History(MAX_PACKETS_PLAIN)
        else:
            self._history = History(MAX_PACKETS)
        self._flight = Flight(self._history)
        self._clock.cap = self._flight.carries
        now = time.monotonic()
        self._loss = LossEstimate(self._number - 1, now)
        self._report_at = now + 0.5 + random.random()
        self._codec = self._feed.codec = codec

    def _end(self) -> None:
        self._job = None
        if self._timer is not None:
            self._timer.cancel()
        self._shared.set_stream(self, 0)

    def take(self, unit: Unit, timestamp: int, timeline: int) -> bool:
        """The next picture or sound; False while an earlier one has not left."""
        return self._job is None and self._take(unit.cut, timestamp, timeline, unit.keyframe, unit.level_dbov)

    def _take(self, cut: Cut, ticks: int, timeline: int, keyframe: bool, level_dbov: int | None) -> bool:
        inner, codec = self._inner, self._codec
        if self._job is not None:
            return False
        if codec is None or not cut.payloads or not inner._enabled or not self._wire.is_open(inner.transport):
            return True
        now = time.monotonic()
        timestamp = self._origin + self._clock.place(ticks, timeline, codec.clockRate, now) & 0xFFFFFFFF
        self._placed = (time.time(), timestamp)
        if keyframe and self._video:
            self._group += 1
            self._keyframe_at = now
        self._job = Job(cut, self._number, timestamp, level_dbov)
        self._number += len(cut.payloads)
        self._meet_path(cut.size, now)
        self._advance(now)
        return True

    def _meet_path(self, size: int, now: float) -> None:
        path_kbps = self._clock.target_bitrate // 1000 or None
        moved = self._shared is not self._wire.pacer
        if self._meter.add(size, now) or path_kbps != self._path_kbps or moved:
            self._path_kbps = path_kbps
            self._pacer.set_pace(pace_kbps(self._meter.kbps, path_kbps, thinned=self._feed.thinned))
            if moved:
                self._shared.set_stream(self, 0)
                self._shared = self._wire.pacer
            self._shared.set_stream(self, self._pacer.kbps)

    # To the wire

    def _advance(self, now: float) -> None:
        """Sends what may leave now of the unit, and comes back for the rest."""
        job = self._job
        assert job is not None
        may = self._pacer.allowance(now)
        if job.cut.size > DEPTH_BYTES:
            may = min(may, self._shared.allowance(now))
        if job.next == 0 and job.cut.size <= may:
            stop = len(job.cut.payloads)
        else:
            stop = job.next
            while stop < len(job.cut.payloads) and may >= (size := len(job.cut.payloads[stop])):
                may -= size
                stop += 1
        try:
            blocked = stop > job.next and not self._burst(job, stop, now)
        except Exception:
            self.counts.failed += 1
            if self.counts.failed == 1:
                log.exception("a %s packet could not be sent", self._inner.kind)
            job.next, blocked = len(job.cut.payloads), False
        if job.next == len(job.cut.payloads):
            self._job = None
            if now >= self._report_at:
                self._report(now)
            return
        wait_s = RETRY_S
        if blocked:
            self.counts.blocked += 1
        else:
            rest = min(BURST_BYTES, sum(map(len, job.cut.payloads[job.next : job.next + 5])))
            wait_s = self._pacer.wait_s(rest, now)
            if job.cut.size > DEPTH_BYTES:
                wait_s = max(wait_s, self._shared.wait_s(rest, now))
        self._timer = asyncio.get_running_loop().call_later(max(wait_s, 0.001), self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        if self._job is None:
            return
        if not self._wire.is_open(self._inner.transport):
            self._job = None
        else:
            self._advance(time.monotonic())
        if self._job is None:
            self._ready.set()
            self._feed.pump()

    def _burst(self, job: Job, stop: int, now: float) -> bool:
        """Sends packets up to `stop`; False when the socket was full before that."""
        inner, cut, template = self._inner, job.cut, self._template
        assert template is not None and self._codec is not None
        start = job.next
        # Headers are authenticated, so the time of sending is known when the packet is made: now.
        extension = template.block(abs_send_time(time.time()), job.level_dbov)
        header = (
            template.packer, template.first_byte, self._codec.payloadType, job.timestamp, inner._ssrc, extension,
            template.length,
        )  # fmt: skip
        last = len(cut.payloads) - 1
        for _, end in cut.runs:
            if end <= job.next:
                continue
            upto = min(end, stop)
            if job.next >= upto:
                break
            job.next += self._wire.send(header, job.first, cut.payloads, job.next, upto, last)
            if job.next < upto:
                break
        if job.next > start:
            self._sent(Burst(job.first, start, job.next, cut, job.timestamp, extension, now, self._group))
        return job.next == stop

    def _sent(self, burst: Burst) -> None:
        inner, count = self._inner, burst.stop - burst.start
        whole = count == len(burst.cut.payloads)
        size = burst.cut.size if whole else sum(map(len, burst.cut.payloads[burst.start : burst.stop]))
        self._history.add(burst)
        self._pacer.spend(size, burst.sent_at)
        self._shared.spend(size, burst.sent_at)
        self._budget.earn(size, self._meter.kbps, self._path_kbps)
        inner._RTCRtpSender__octet_count += size
        inner._RTCRtpSender__packet_count += count

    # Repairs

    async def _retransmit(self, number: int) -> None:
        """aiortc's answer to each sequence number in a NACK (RFC 4585 section 6.2.1)."""
        found = self._history.find(number)
        now, rtt_s = time.monotonic(), self._inner._RTCRtpSender__rtt
        if found is None or not is_wanted(now - self._keyframe_at if found[0].group < self._group else None, rtt_s):
            self.counts.too_old += 1
            return
        burst, index = found
        if not self._repeats.is_new(burst.first + index, now, rtt_s):
            return
        size = len(burst.cut.payloads[index])
        if not self._budget.spend(size) or not self._wire.is_open(self._inner.transport):
            return
        self._pacer.spend(size, now)
        self.counts.resent += 1
        if self._inner._RTCRtpSender__rtx_payload_type is None:
            self._resend_plain(burst, index)
        else:
            self._resend_rtx(burst, index)

    def _resend_plain(self, burst: Burst, index: int) -> None:
        """The same packet, to the bit: another header under the same number would break the encryption (AES-GCM)."""
        template, codec = self._template, self._codec
        assert template is not None and codec is not None
        ssrc = self._inner._ssrc
        header = (
            template.packer, template.first_byte, codec.payloadType, burst.timestamp, ssrc, burst.extension,
            template.length,
        )  # fmt: skip
        self._wire.send(header, burst.first, burst.cut.payloads, index, index + 1, len(burst.cut.payloads) - 1)

    def _resend_rtx(self, burst: Burst, index: int) -> None:
        """In the repair stream (RFC 4588): the original number in front of the payload."""
        inner, template = self._inner, self._template
        assert template is not None
        rtx_number = inner._RTCRtpSender__rtx_sequence_number
        inner._RTCRtpSender__rtx_sequence_number = rtx_number + 1 & 0xFFFF
        extension = template.block(abs_send_time(time.time()))
        header = (
            template.packer, template.first_byte, inner._RTCRtpSender__rtx_payload_type, burst.timestamp,
            inner._rtx_ssrc, extension, template.length,
        )  # fmt: skip
        payload = (burst.first + index & 0xFFFF).to_bytes(2, "big") + burst.cut.payloads[index]
        marked = index == len(burst.cut.payloads) - 1
        self._wire.send(header, rtx_number, (payload,), 0, 1, 0 if marked else -1)

    # Reports

    async def _run_rtcp(self) -> None:
        """Sender reports leave together with media, without a wake-up of their own; this is for the silence between."""
        inner = self._inner
        inner._RTCRtpSender__rtcp_started.set()
        try:
            while True:
                seen = self.reports
                await asyncio.sleep(QUIET_S)
                if seen == self.reports and self._wire.is_open(inner.transport):
                    self._report(time.monotonic())
        except asyncio.CancelledError:
            pass
        await inner._send_rtcp([RtcpByePacket(sources=[inner._ssrc])])
        inner._RTCRtpSender__rtcp_exited.set()

    def _report(self, now: float) -> None:
        """SR and SDES (RFC 3550 section 6.4.1); the interval is drawn from 0.5 to 1.5 s (section 6.3.1)."""
        inner = self._inner
        self._report_at = now + 0.5 + random.random()
        if not inner._RTCRtpSender__packet_count:
            return
        wall, timestamp = self._placed
        inner._RTCRtpSender__ntp_timestamp, inner._RTCRtpSender__rtp_timestamp = ntp(wall), timestamp
        info = RtcpSenderInfo(
            ntp_timestamp=inner._RTCRtpSender__ntp_timestamp,
            rtp_timestamp=inner._RTCRtpSender__rtp_timestamp,
            packet_count=inner._RTCRtpSender__packet_count & 0xFFFFFFFF,
            octet_count=inner._RTCRtpSender__octet_count & 0xFFFFFFFF,
        )
        inner._RTCRtpSender__lsr = inner._RTCRtpSender__ntp_timestamp >> 16 & 0xFFFFFFFF
        inner._RTCRtpSender__lsr_time = time.time()
        packets = bytes(RtcpSrPacket(ssrc=inner._ssrc, sender_info=info))
        if inner._RTCRtpSender__cname is not None:
            name = (1, inner._RTCRtpSender__cname.encode())
            packets += bytes(RtcpSdesPacket(chunks=[RtcpSourceInfo(ssrc=inner._ssrc, items=[name])]))
        self._wire.report(packets)
        self.reports += 1
