"""`python -m tests.bench.media.crowd [KBPS]`: viewers that decrypt and check sequence numbers, and decode nothing.

With KBPS they say once a second that their paths carry that much.

Commands on standard input, one JSON object per line: `{"do": "view", "sdp"}` is answered with `{"sdp"}`, `{"do":
"counts"}` with the Counts of each viewer, which begin anew, `{"do": "storm", "seconds"}` with `{"plis"}`: the first
viewer asks for keyframes STORM_HZ times a second. `{"do": "keep", "count"}`: the viewers beyond so many leave.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import is_rtx
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, pack_remb_fci

STORM_HZ = 50


@dataclass
class Counts:
    """What one viewer got; `gaps` are packets that did not come in their place, `longest_ms` is the longest pause
    between two pictures."""

    packets: int = 0
    bytes: int = 0
    gaps: int = 0
    pictures: int = 0
    longest_ms: float = 0.0


class LightViewer:
    """An aiortc peer that reports what it receives as any other, but looks no further than the header."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.counts = Counts()
        self._next: int | None = None
        self._picture_at: float | None = None
        self._ssrc = 0

    async def answer(self, sdp: str) -> str:
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
        for transceiver in self.pc.getTransceivers():
            self._watch(transceiver.receiver)
        await self.pc.setLocalDescription(await self.pc.createAnswer())
        return self.pc.localDescription.sdp

    def _watch(self, receiver: Any) -> None:
        streams: dict[int, StreamStatistics] = receiver._RTCRtpReceiver__remote_streams

        async def handle(packet: Any, arrival_time_ms: int) -> None:
            codec = receiver._RTCRtpReceiver__codecs.get(packet.payload_type)
            if codec is None or is_rtx(codec):
                return
            if packet.ssrc not in streams:
                streams[packet.ssrc] = StreamStatistics(codec.clockRate)
            streams[packet.ssrc].add(packet)
            number = packet.sequence_number
            if self._next is not None and number != self._next:
                self.counts.gaps += 1
            self._next = number + 1 & 0xFFFF
            self.counts.packets += 1
            self.counts.bytes += len(packet.payload)
            self._ssrc = packet.ssrc
            if packet.marker:
                self._picture()

        receiver._handle_rtp_packet = handle

    def _picture(self) -> None:
        now = time.monotonic()
        if self._picture_at is not None:
            self.counts.longest_ms = max(self.counts.longest_ms, (now - self._picture_at) * 1000)
        self._picture_at = now
        self.counts.pictures += 1

    async def estimate(self, kbps: int) -> None:
        """Says once a second that the path carries this much, as browsers do, until cancelled."""
        receiver: Any = self.pc.getTransceivers()[0].receiver
        while True:
            await asyncio.sleep(1)
            if self._ssrc:
                fci = pack_remb_fci(kbps * 1000, [self._ssrc])
                own: int = receiver._RTCRtpReceiver__rtcp_ssrc
                await receiver._send_rtcp(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=own, media_ssrc=0, fci=fci))

    async def storm(self, seconds: float) -> int:
        """How many keyframes were asked for."""
        receiver: Any = self.pc.getTransceivers()[0].receiver
        count = round(seconds * STORM_HZ)
        for _ in range(count):
            await receiver._send_rtcp_pli(self._ssrc)
            await asyncio.sleep(1 / STORM_HZ)
        return count


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    viewers: list[LightViewer] = []
    work: list[asyncio.Task[None]] = []
    print(json.dumps({"ready": True}), flush=True)
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] == "view":
            viewer = LightViewer()
            viewers.append(viewer)
            print(json.dumps({"sdp": await viewer.answer(command["sdp"])}), flush=True)
            if len(sys.argv) > 1:
                work.append(loop.create_task(viewer.estimate(int(sys.argv[1]))))
        elif command["do"] == "keep":
            gone, viewers = viewers[command["count"] :], viewers[: command["count"]]
            await asyncio.gather(*(viewer.pc.close() for viewer in gone))
            print(json.dumps({"kept": len(viewers)}), flush=True)
        elif command["do"] == "storm":
            print(json.dumps({"plis": await viewers[0].storm(command["seconds"])}), flush=True)
        else:
            found = [asdict(viewer.counts) for viewer in viewers]
            for viewer in viewers:
                viewer.counts = Counts()
            print(json.dumps({"counts": found}), flush=True)
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    await asyncio.gather(*(viewer.pc.close() for viewer in viewers))
    pipe.close()


if __name__ == "__main__":
    asyncio.run(main())
