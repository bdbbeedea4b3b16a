"""The microphone as a track that peers can watch, encoded once for all of them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from edge_node.dsp.announcements import Announcements
from edge_node.dsp.blocks import Blocks
from edge_node.dsp.level import Meter, dbfs
from edge_node.dsp.mixer import Mixer, gain_of, gained
from edge_node.dsp.pacing import Pacer
from edge_node.dsp.pcm import Pcm, silence
from edge_node.media.opus_encoder import PACKET_FRAMES, OpusEncoder
from edge_node.media.opus_packet import OpusPacket
from edge_node.media.views import FanoutTrack
from edge_node.ports import SAMPLE_RATE, Clock

PACKET_S = PACKET_FRAMES / SAMPLE_RATE
MAX_WAITING = 5
"""100 ms of packets; overflow rule: the oldest goes."""
PATIENCE_S = 0.06
"""A microphone that gave nothing for so long is taken for dead, and silence is sent in its place."""
MIXED_PACKETS = 100
"""2 s: by then the mixer lets go of what it ducked."""
HEARD_S = 1.0
"""The level is unknown when the microphone gave nothing for so long."""


@dataclass(frozen=True, slots=True)
class PublicationStats:
    """Counts since the start: packets given to viewers, those of them that replace a dead microphone, packets lost."""

    packets: int
    silent: int
    dropped: int
    level_dbfs: float | None


class AudioPublication:
    """Takes blocks from the microphone's thread, gives 20 ms Opus packets to `track` as long as run() runs.

    The track never falls silent in the sense of RTP: while the gate is shut, the microphone muted or dead, packets of
    silence go out and the timestamps go on.
    """

    def __init__(self, clock: Clock, *, kbps: int = 64, gain_db: float = 0.0) -> None:
        """On the event loop. `gain_db`: how much louder or softer block() goes out; what comes coded is not changed."""
        self._gain = gain_of(gain_db)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._encoder = OpusEncoder(kbps)
        self._track = FanoutTrack("audio", "audio/opus")
        self._blocks = Blocks(PACKET_FRAMES)
        self._announcements = Announcements()
        self._mixer = Mixer()
        self._mixing = 0
        """Packets to be mixed yet: the microphone comes back gently after an announcement."""
        self._meter = Meter()
        self._heard_at: float | None = None
        self._coded_at: float | None = None
        self._lock = threading.Lock()
        self._waiting: deque[Pcm | OpusPacket] = deque()
        self._lost = 0
        """Frames dropped and not yet accounted for in the timestamps."""
        self._wake = asyncio.Event()
        self._open = True
        self._muted = False
        self._pts = 0
        self._packets = self._silent = self._dropped = 0

    @property
    def track(self) -> FanoutTrack:
        return self._track

    @property
    def muted(self) -> bool:
        return self._muted

    @property
    def level_dbfs(self) -> float | None:
        """What the microphone hears, whether or not anybody else does; None while it is dead."""
        if self._heard_at is None or self._clock.monotonic() - self._heard_at > HEARD_S:
            return None
        return self._meter.dbfs

    @property
    def heard(self) -> bool:
        """The microphone gives sound; what comes coded has no level."""
        now, times = self._clock.monotonic(), (self._heard_at, self._coded_at)
        return any(at is not None and now - at <= HEARD_S for at in times)

    def set_open(self, is_open: bool) -> None:
        """Shut, the track carries silence (publish = "call", outside a call)."""
        self._open = is_open

    def set_muted(self, muted: bool) -> None:
        """Somebody wants not to be heard."""
        self._muted = muted

    def say(self, pcm: Pcm) -> None:
        """Lets everybody who listens hear a sound of the node's own, muted or not; on the event loop."""
        self._announcements.say(pcm)

    def quiet(self) -> None:
        """Breaks off what say() began."""
        self._announcements.stop()

    def stats(self) -> PublicationStats:
        return PublicationStats(self._packets, self._silent, self._dropped, self.level_dbfs)

    def block(self, pcm: Pcm) -> None:
        """The microphone's next block; from any one thread, never waits."""
        self._heard_at = self._clock.monotonic()
        pcm = gained(pcm, self._gain)
        self._meter.feed(pcm)
        packets = self._blocks.push(pcm)
        if packets:
            self._queue(packets)

    def opus(self, packet: OpusPacket) -> None:
        """The next packet of a microphone that encodes by itself; goes out untouched. Otherwise like block()."""
        self._coded_at = self._clock.monotonic()
        self._queue([packet])

    def _queue(self, packets: Sequence[Pcm | OpusPacket]) -> None:
        with self._lock:
            self._waiting.extend(packets)
            while len(self._waiting) > MAX_WAITING:
                self._lost += frames_of(self._waiting.popleft())
                self._dropped += 1
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the loop is closed: nobody is left to listen
            return

    async def run(self) -> None:
        """Sends until cancelled."""
        alive = False
        pacer = Pacer(PACKET_S)
        while True:
            taken = self._take()
            if taken is not None:
                alive = True
                self._send(taken)
                if self._waiting:  # a machine that is too slow must get to everything else, too: sound is dropped
                    await asyncio.sleep(0)
            elif alive:
                if not await self._woken(PATIENCE_S):
                    alive = False
                    pacer = Pacer(PACKET_S)
                    # The time spent in patience has passed for the receivers, too.
                    self._pts += round(PATIENCE_S / PACKET_S - 1) * PACKET_FRAMES
                    self._send(None)
            elif not await self._woken(pacer.wait_s(self._loop.time())):
                self._send(None)

    def close(self) -> None:
        """Ends the track for everybody."""
        self._track.close()

    async def _woken(self, limit_s: float) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    def _take(self) -> Pcm | OpusPacket | None:
        with self._lock:
            self._pts += self._lost
            self._lost = 0
            return self._waiting.popleft() if self._waiting else None

    def _send(self, taken: Pcm | OpusPacket | None) -> None:
        self._packets += 1
        self._silent += taken is None
        frames = PACKET_FRAMES if taken is None else frames_of(taken)
        if taken is None or self._muted or not self._open:
            taken = silence(PACKET_FRAMES)
        announcement = self._announcements.pull(frames) if frames == PACKET_FRAMES else None
        if announcement is not None:  # what came coded gives way: to mix it would mean to decode it
            taken = silence(frames) if isinstance(taken, OpusPacket) else taken
            self._mixing = MIXED_PACKETS
        if self._mixing and not isinstance(taken, OpusPacket):
            self._mixing -= 1
            taken = self._mixer.mix([(taken, 1.0)], announcement, frames)
        if self._track.viewers:
            if isinstance(taken, OpusPacket):
                self._track.deliver(taken.data, self._pts, frames / SAMPLE_RATE)
            else:
                data = bytes(self._encoder.encode(taken, self._pts))
                self._track.deliver(data, self._pts, PACKET_S, level_dbov=round(dbfs(taken)))
        self._pts += frames


def frames_of(taken: Pcm | OpusPacket) -> int:
    """How long it lasts, in samples at SAMPLE_RATE."""
    return taken.frames if isinstance(taken, OpusPacket) else len(taken)
