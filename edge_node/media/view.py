"""One peer's view of a coded track."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from edge_node.media.packet_queue import Coded, PacketQueue
from edge_node.ports import SAMPLE_RATE, VIDEO_CLOCK, UnitSink
from edge_node.rtp.ceiling import Ceiling
from edge_node.rtp.thinning import Thinner

if TYPE_CHECKING:
    from edge_node.media.packet_queue import Packet
    from edge_node.media.views import FanoutTrack

VIDEO_TIME_BASE = Fraction(1, VIDEO_CLOCK)
AUDIO_TIME_BASE = Fraction(1, SAMPLE_RATE)
ASK_AGAIN_S = 1.0
# A viewer that is left behind (encode_plan.bitrate) goes on with the next keyframe; it asks for one this seldom.
CATCH_UP_S = 3.0
# A remembered group of pictures is shown at once: its pictures get timestamps 1 ms apart, so that the receiver does not
# play them at the pace at which they were taken and stay that late for ever.
BURST_STEP_TICKS = VIDEO_CLOCK // 1000


class View(MediaStreamTrack):
    """One peer's view of a FanoutTrack: recv() gives av.Packet objects with growing timestamps; itself a Demand.

    With attach() it is a ports.DirectView: units go to the sink the moment they come, without a task in between.
    """

    def __init__(self, track: FanoutTrack, max_queue_s: float) -> None:
        super().__init__()
        self.kind = track.kind
        self._track = track
        self._queue = PacketQueue[Coded](track.kind == "video", max_queue_s)
        self._wake = asyncio.Event()
        self._sink: UnitSink | None = None
        self._thinner = Thinner() if self.kind == "video" else None
        self._ask_at = 0.0
        self._left_out = False
        self._last_pts = -1
        self._ceiling: Ceiling | None = None
        self.refusal: str | None = None
        """Why this viewer gets nothing now, as a sentence."""
        self.kbps: int | None = None
        self.behind = False

    @property
    def id(self) -> str:
        """The id of the track: the same for all its viewers."""
        return self._track.id

    @property
    def mime_type(self) -> str:
        """What the sender must negotiate."""
        return self._track.mime_type

    @property
    def dropped(self) -> int:
        """Packets that this view did not get in time, or that its path is too narrow for."""
        return self._queue.dropped + sum(part.skipped for part in (self._thinner, self._ceiling) if part is not None)

    @property
    def thinned(self) -> bool:
        """Pictures are left out because this viewer's path carries too little for all."""
        return self._thinner is not None and self._thinner.active

    def request_keyframe(self) -> None:
        """This viewer cannot decode until the next keyframe."""
        if self._track.demand is not None and self.refusal is None:
            self._track.demand.request_keyframe()

    def set_bitrate(self, kbps: int) -> None:
        """The path to this viewer carries about this much; the track takes what suits all its viewers."""
        if self._thinner is not None:
            self._thinner.set_path(kbps)
        self._track.view_wants(self, kbps)

    def attach(self, sink: UnitSink) -> None:
        """Gives everything to this sink from now on, what waits first; recv() is not used then."""
        self._sink = sink
        self.pump()

    def pump(self) -> None:
        """Called by the sink when it is no longer behind: gives it what waits."""
        while self._queue and self._give(self._queue.peek()):
            self._queue.pop()
        self._ask_if_starved()

    async def recv(self) -> Packet:
        """The next packet. Raises MediaStreamError once the view has ended."""
        while self.readyState == "live" and not self._queue:
            # The viewer has eaten all it had: only now a missing keyframe is worth asking for, so that a viewer that
            # stands still costs the others nothing.
            if self._queue.needs_keyframe and not self._track.paused:
                self.request_keyframe()
            self._wake.clear()
            try:
                async with asyncio.timeout(ASK_AGAIN_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
        if self.readyState != "live":
            raise MediaStreamError("this view has ended")
        return self._packet(self._queue.pop())

    def stop(self) -> None:
        """Ends the view; recv() raises from now on."""
        if self.readyState == "live":
            super().stop()
            self._queue.clear()
            self._wake.set()
            self._track.view_ended(self)
            if self._sink is not None:
                self._sink.ended()

    def push(self, item: Coded) -> None:
        """For the track only: one more packet."""
        if self._sink is None:
            self._queue.put(item)
            if self._queue:
                self._wake.set()
        elif not self._queue.passes(item) or not self._give(item):
            self._queue.put(item)
            self._ask_if_starved()

    def admits(self, item: Coded, now: float) -> bool:
        """For the track only, of a camera that cannot be asked for fewer bits: this picture fits this view's path."""
        size, keyframe = len(item.unit.data), item.unit.keyframe
        if self._ceiling is not None and not self._ceiling.admits(size, keyframe, now):
            return False
        return self._thinner is None or self._thinner.admits(size, keyframe, now)

    def set_ceiling(self, kbps: int | None) -> None:
        """For the track only: what admits() lets through at most."""
        if kbps is None or self._ceiling is None:
            self._ceiling = None if kbps is None else Ceiling(kbps)
        else:
            self._ceiling.kbps = kbps

    def below_ceiling(self, now: float) -> bool:
        """Whether the ceiling leaves out no pictures."""
        return self._ceiling is None or not self._ceiling.limits(now)

    def seat(self) -> None:
        """For the seats only."""
        self.refusal = None
        self._track.view_seated(self)

    def unseat(self, reason: str) -> None:
        """For the seats only."""
        self.refusal = reason
        self._track.view_unseated(self)

    def keep_up(self, item: Coded, now: float) -> bool:
        """For the track only, of an encoder that runs at what others carry: whether this picture fits this view's path.

        A view whose pictures are left out asks for a keyframe to go on with, every CATCH_UP_S.
        """
        if self._thinner is None or not (self.behind or self._left_out):
            return True
        admitted = self._thinner.admits(len(item.unit.data), item.keyframe, now)
        self._left_out = not admitted
        if self._left_out and now >= self._ask_at:
            self._ask_at = now + CATCH_UP_S
            self.request_keyframe()
        return admitted

    def begin(self, group: tuple[Coded, ...]) -> None:
        """For the track only: starts over with a remembered group of pictures, or by asking for a keyframe."""
        self._queue.preload(_burst(group))
        if group:
            self._wake.set()
            if self._sink is not None:
                self.pump()
        elif self.kind == "video":
            self._ask()

    def hold(self) -> None:
        """For the track only: forgets what waits until begin()."""
        self._queue.clear()

    def _give(self, item: Coded) -> bool:
        assert self._sink is not None
        pts = item.pts if item.pts > self._last_pts else self._last_pts + 1
        if not self._sink.take(item.unit, pts):
            return False
        self._last_pts = pts
        return True

    def _ask(self) -> None:
        self._ask_at = self._track.now() + ASK_AGAIN_S
        self.request_keyframe()

    def _ask_if_starved(self) -> None:
        """The sink has had all there was: only now a missing keyframe is worth asking for."""
        starved = self._queue.needs_keyframe and not self._queue and not self._track.paused
        if starved and self._track.now() >= self._ask_at:
            self._ask()

    def _packet(self, item: Coded) -> Packet:
        packet: Packet = av.Packet(item.unit.data)
        packet.time_base = VIDEO_TIME_BASE if self.kind == "video" else AUDIO_TIME_BASE
        packet.is_keyframe = item.keyframe
        self._last_pts = max(item.pts, self._last_pts + 1)
        packet.pts = packet.dts = self._last_pts
        return packet


def _burst(group: tuple[Coded, ...]) -> tuple[Coded, ...]:
    """The group with timestamps BURST_STEP_TICKS apart, ending at that of its newest picture; it fills no queue."""
    if not group:
        return ()
    newest, steps = group[-1].pts, range(len(group) - 1, -1, -1)
    return tuple(
        Coded(item.unit, newest - step * BURST_STEP_TICKS, 0.0) for item, step in zip(group, steps, strict=True)
    )
