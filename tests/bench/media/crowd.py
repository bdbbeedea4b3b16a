"""`python -m tests.bench.media.crowd`: viewers that decrypt and check sequence numbers, and decode nothing.

Commands on standard input, one JSON object per line: `{"do": "view", "sdp"}` is answered with `{"sdp"}`, `{"do":
"counts"}` with `packets`, `bytes`, `gaps` and `pictures`, a number for each viewer, and empties the counters.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import is_rtx
from aiortc.rtcrtpreceiver import StreamStatistics


@dataclass
class Counts:
    """What one viewer got; `gaps` are packets that did not come in their place."""

    packets: int = 0
    bytes: int = 0
    gaps: int = 0
    pictures: int = 0


class LightViewer:
    """An aiortc peer that reports what it receives as any other, but looks no further than the header."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.counts = Counts()
        self._next: int | None = None

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
            self.counts.pictures += packet.marker

        receiver._handle_rtp_packet = handle


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    viewers: list[LightViewer] = []
    print(json.dumps({"ready": True}), flush=True)
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] == "view":
            viewer = LightViewer()
            viewers.append(viewer)
            print(json.dumps({"sdp": await viewer.answer(command["sdp"])}), flush=True)
        else:
            found = [asdict(viewer.counts) for viewer in viewers]
            for viewer in viewers:
                viewer.counts = Counts()
            print(json.dumps({"counts": found}), flush=True)
    await asyncio.gather(*(viewer.pc.close() for viewer in viewers))
    pipe.close()


if __name__ == "__main__":
    asyncio.run(main())
