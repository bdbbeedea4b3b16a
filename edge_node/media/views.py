"""One coded track that many peers watch at the price of one encode."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from edge_node.encode_plan.bitrate import shared_rate
from edge_node.media.packet_queue import Coded, GopCache, PacketQueue
from edge_node.ports import SAMPLE_RATE, VIDEO_CLOCK, Demand, UnitSink
from edge_node.rtp.packetize import Unit
from edge_node.rtp.thinning import Thinner

if TYPE_CHECKING:
    from edge_node.media.packet_queue import Packet

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
        self._queue = PacketQueue(track.kind == "video", max_queue_s)
        self._wake = asyncio.Event()
        self._sink: UnitSink | None = None
        self._thinner = Thinner() if self.kind == "video" else None
        self._ask_at = 0.0
        self._left_out = False
        self._last_pts: int | None = None
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
        return self._queue.dropped + (self._thinner.skipped if self._thinner is not None else 0)

    @property
    def thinned(self) -> bool:
        """Pictures are left out because this viewer's path carries too little for all."""
        return self._thinner is not None and self._thinner.active

    def request_keyframe(self) -> None:
        """This viewer cannot decode until the next keyframe."""
        if self._track.demand is not None:
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
        return self._in_order(self._queue.pop().packet)

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
        return self._thinner is None or self._thinner.admits(item.packet.size, item.keyframe, now)

    def keep_up(self, item: Coded, now: float) -> bool:
        """For the track only, of an encoder that runs at what others carry: whether this picture fits this view's path.

        A view whose pictures are left out asks for a keyframe to go on with, every CATCH_UP_S.
        """
        if self._thinner is None or not (self.behind or self._left_out):
            return True
        admitted = self._thinner.admits(item.packet.size, item.keyframe, now)
        self._left_out = not admitted
        if self._left_out and now >= self._ask_at:
            self._ask_at = now + CATCH_UP_S
            self.request_keyframe()
        return admitted

    def begin(self, group: tuple[Coded, ...]) -> None:
        """For the track only: starts over with a remembered group of pictures, or by asking for a keyframe."""
        self._queue.preload(tuple(_burst(group)))
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
        assert self._sink is not None and item.unit is not None
        pts = item.packet.pts or 0
        if self._last_pts is not None and pts <= self._last_pts:
            pts = self._last_pts + 1
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

    def _in_order(self, packet: Packet) -> Packet:
        assert packet.pts is not None
        if self._last_pts is not None and packet.pts <= self._last_pts:
            packet = _with_pts(packet, self._last_pts + 1)
        self._last_pts = packet.pts
        return packet


class FanoutTrack:
    """A ViewableTrack: give it coded packets, hand its views to peers.

    Packets carry pts in 1/90000 s (video) or 1/48000 s (audio) and are shared by all views: nobody may change them.
    Made on the event loop; all but deliver_threadsafe() and keep_group() is called there. A packet from another thread
    waits in an inbox with the overflow rule of PacketQueue.
    """

    def __init__(
        self,
        kind: str,
        mime_type: str,
        *,
        max_queue_s: float = 0.5,
        demand: Demand | None = None,
        on_viewers_changed: Callable[[int], None] | None = None,
    ) -> None:
        self.kind = kind
        self.id = str(uuid.uuid4())
        self.alternatives: tuple[FanoutTrack, ...] = ()
        """The same pictures in other codecs, for the viewers that cannot take this one."""
        self.level_idc = 0
        """Of H.264, 31 for level 3.1; 0 while it is not known."""
        self.demand = demand
        self.on_viewers_changed = on_viewers_changed
        self.on_keyframe: Callable[[], None] | None = None
        self.paused = False
        self._mime_type = mime_type
        self._max_queue_s = max_queue_s
        self._views: list[View] = []
        self._dropped_by_ended = 0
        self._cache: GopCache | None = None
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._loop_thread = threading.get_ident()
        self._inbox = PacketQueue(kind == "video", max_queue_s)
        self._inbox_lock = threading.Lock()
        self._drain_due = False

    @property
    def mime_type(self) -> str:
        """`video/H264`, `video/VP8` or `audio/opus`."""
        return self._mime_type

    @property
    def mime_types(self) -> tuple[str, ...]:
        """What it can be had as, the best first."""
        return (self._mime_type, *(other.mime_type for other in self.alternatives))

    @property
    def viewers(self) -> int:
        """How many views are open."""
        return len(self._views)

    @property
    def dropped(self) -> int:
        """Packets dropped by any overflow rule since the start."""
        return self._dropped_by_ended + self._inbox.dropped + sum(view.dropped for view in self._views)

    def keep_group(self, keep: bool) -> None:
        """Whether to remember the pictures since the last keyframe: for encoders that cannot be asked for one.

        Neither can they be asked for fewer bits: views on narrow paths then get fewer pictures. Callable from any
        thread.
        """
        with self._inbox_lock:
            if keep != (self._cache is not None):
                self._cache = GopCache() if keep else None

    def subscribe(self, mime_type: str | None = None) -> View:
        """One more view, of this codec unless an alternative is named; a picture view starts with a keyframe."""
        for other in self.alternatives:
            if mime_type == other.mime_type:
                return other.subscribe()
        view = View(self, self._max_queue_s)
        self._views.append(view)
        self._viewers_changed()
        if not self.paused:
            view.begin(self._group())
        return view

    def deliver(self, packet: Packet, keyframe: bool, duration_s: float, level_dbov: int | None = None) -> None:
        """Gives a packet to every view. Sound has only keyframes, and a level (RFC 6464)."""
        item = self._item(packet, keyframe, duration_s, level_dbov)
        with self._inbox_lock:
            self._inbox.put(item)
        self._drain()

    def deliver_threadsafe(self, packet: Packet, keyframe: bool, duration_s: float) -> None:
        """Like deliver(), from any thread; silently nothing once the loop is closed."""
        if threading.get_ident() == self._loop_thread:
            self.deliver(packet, keyframe, duration_s)
            return
        item = self._item(packet, keyframe, duration_s, None)
        with self._inbox_lock:
            self._inbox.put(item)
            if self._drain_due:
                return
            self._drain_due = True
        try:
            self._loop.call_soon_threadsafe(self._drain)
        except RuntimeError:  # the loop is closed: nobody is left to watch
            return

    def _item(self, packet: Packet, keyframe: bool, duration_s: float, level_dbov: int | None) -> Coded:
        unit = Unit(packet, self._mime_type, keyframe=keyframe, level_dbov=level_dbov)
        return Coded(packet, keyframe, duration_s, unit)

    def pause(self) -> None:
        """Nothing flows to the views until resume(); they stay open."""
        self.paused = True
        for view in self._views:
            view.hold()

    def resume(self) -> None:
        """Every view starts over with a keyframe."""
        self.paused = False
        group = self._group()
        for view in self._views:
            view.begin(group)

    def close(self) -> None:
        """Ends all views."""
        for view in tuple(self._views):
            view.stop()

    def view_ended(self, view: View) -> None:
        """For views only."""
        self._views.remove(view)
        self._dropped_by_ended += view.dropped
        self._viewers_changed()
        self._forward_bitrate()

    def view_wants(self, view: View, kbps: int) -> None:
        """For views only."""
        view.kbps = kbps
        self._forward_bitrate()

    def _forward_bitrate(self) -> None:
        told = [(view, view.kbps) for view in self._views if view.kbps is not None]
        if not told or self.demand is None:
            return
        shared = shared_rate([kbps for _, kbps in told])
        for index, (view, _) in enumerate(told):
            view.behind = index in shared.behind
        self.demand.set_bitrate(shared.kbps)

    def _viewers_changed(self) -> None:
        if self.on_viewers_changed is not None:
            self.on_viewers_changed(len(self._views))

    def _group(self) -> tuple[Coded, ...]:
        cache = self._cache
        return cache.group() if cache is not None else ()

    def _drain(self) -> None:
        with self._inbox_lock:
            self._drain_due = False
            items = [self._inbox.pop() for _ in range(len(self._inbox))]
            starved = self._inbox.starved
            cache = self._cache
        for item in items:
            if cache is not None:
                cache.put(item)
            if self.paused:
                continue
            now = self.now()
            for view in self._views:
                if view.admits(item, now) if cache is not None else view.keep_up(item, now):
                    view.push(item)
            if item.keyframe and self.on_keyframe is not None:
                self.on_keyframe()
        if starved and self._views and not self.paused and self.demand is not None:
            self.demand.request_keyframe()  # the views cannot see that pictures are missing before they reach them


def _burst(group: tuple[Coded, ...]) -> list[Coded]:
    """The group with timestamps BURST_STEP_TICKS apart, ending at that of its newest picture."""
    if not group:
        return []
    newest = group[-1].packet.pts
    assert newest is not None
    steps = range(len(group) - 1, 0, -1)
    older = [
        Coded(_with_pts(item.packet, newest - step * BURST_STEP_TICKS), item.keyframe, 0.0, item.unit)
        for item, step in zip(group, steps, strict=False)
    ]
    return [*older, group[-1]]


def _with_pts(packet: Packet, pts: int) -> Packet:
    copy = av.Packet(bytes(packet))
    copy.time_base = packet.time_base
    copy.is_keyframe = packet.is_keyframe
    copy.pts = copy.dts = pts
    return copy
