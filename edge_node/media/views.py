"""One coded track that many peers watch at the price of one encode."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable

from edge_node.encode_plan.bitrate import shared_rate
from edge_node.media.packet_queue import Coded, GopCache, PacketQueue
from edge_node.media.seats import Seats
from edge_node.media.view import View
from edge_node.ports import Demand
from edge_node.rtp.packetize import Unit


class FanoutTrack:
    """A ViewableTrack: give it coded packets, hand its views to peers.

    They carry pts in 1/90000 s (video) or 1/48000 s (audio). Made on the event loop; all but deliver() and keep_group()
    is called there. What comes from another thread waits in an inbox with the overflow rule of PacketQueue.
    """

    def __init__(
        self,
        kind: str,
        mime_type: str,
        *,
        max_queue_s: float = 0.5,
        demand: Demand | None = None,
        seats: Seats | None = None,
        on_viewers_changed: Callable[[int], None] | None = None,
    ) -> None:
        self.kind = kind
        self.id = str(uuid.uuid4())
        self.alternatives: tuple[FanoutTrack, ...] = ()
        """The same pictures in other codecs, for the viewers that cannot take this one."""
        self.level_idc = 0
        """Of H.264, 31 for level 3.1; 0 while it is not known."""
        self.demand = demand
        self._seats = seats
        self._ceiling_kbps: int | None = None
        self.on_viewers_changed = on_viewers_changed
        self.on_keyframe: Callable[[], None] | None = None
        self.paused = False
        self._mime_type = mime_type
        self._max_queue_s = max_queue_s
        self._views: list[View] = []
        self._guests: list[View] = []
        """Views of viewers, with a seat or without."""
        self._dropped_by_ended = 0
        self._cache: GopCache | None = None
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._loop_thread = threading.get_ident()
        self._inbox = PacketQueue[Coded](kind == "video", max_queue_s)
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

    def subscribe(self, mime_type: str | None = None, *, own: bool = False) -> View:
        """One more view, of this codec unless an alternative is named; a picture view starts with a keyframe.

        Without a free seat it gets nothing, and says so in `refusal`, until there is one. An `own` view is no viewer's:
        it needs no seat and gets everything.
        """
        for other in self.alternatives:
            if mime_type == other.mime_type:
                return other.subscribe(own=own)
        view = View(self, self._max_queue_s)
        if not own:
            view.set_ceiling(self._ceiling_kbps)
            self._guests.append(view)
        if own or self._seats is None:
            self.view_seated(view)
        else:
            self._seats.come(view)
        return view

    def set_ceiling(self, kbps: int | None) -> None:
        """Viewers of a camera that cannot be asked for fewer bits get this much at most; None: all there is."""
        self._ceiling_kbps = kbps
        for view in self._guests:
            view.set_ceiling(kbps)

    @property
    def below_ceiling(self) -> bool:
        """Whether the ceiling leaves out no pictures now."""
        now = self.now()
        return all(view.below_ceiling(now) for view in self._views)

    @property
    def thinned(self) -> bool:
        """Whether pictures are left out for a viewer whose path carries too little for all."""
        return any(view.thinned for view in self._views)

    def deliver(
        self, data: bytes, pts: int, duration_s: float, *, keyframe: bool = True, level_dbov: int | None = None
    ) -> None:
        """Gives a coded picture or sound to every view; from any thread, nothing once the loop is closed.

        `pts` in ticks of the track. Sound has only keyframes, and a level (RFC 6464).
        """
        item = Coded(Unit(data, self._mime_type, keyframe=keyframe, level_dbov=level_dbov), pts, duration_s)
        on_loop = threading.get_ident() == self._loop_thread
        with self._inbox_lock:
            passes = on_loop and self._inbox.passes(item)
            if not passes:
                self._inbox.put(item)
            drain_due, self._drain_due = self._drain_due, self._drain_due or not on_loop
        if passes:
            self._give(item)
        elif on_loop:
            self._drain()
        elif not drain_due:
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed: nobody is left to watch
                return

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
        for view in (*self._views, *self._guests):
            view.stop()

    def view_seated(self, view: View) -> None:
        """For views only: pictures flow to it."""
        self._views.append(view)
        self._viewers_changed()
        if not self.paused:
            view.begin(self._group())

    def view_unseated(self, view: View) -> None:
        """For views only: no pictures flow to it."""
        if view in self._views:
            self._views.remove(view)
            view.hold()
            self._viewers_changed()
            self._forward_bitrate()

    def view_ended(self, view: View) -> None:
        """For views only."""
        self.view_unseated(view)
        self._dropped_by_ended += view.dropped
        if view in self._guests:
            self._guests.remove(view)
            if self._seats is not None:
                self._seats.leave(view)

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
        return cache.group(self.now()) if cache is not None else ()

    def _drain(self) -> None:
        with self._inbox_lock:
            self._drain_due = False
            items = [self._inbox.pop() for _ in range(len(self._inbox))]
            starved = self._inbox.starved
        for item in items:
            self._give(item)
        if starved and self._views and not self.paused and self.demand is not None:
            self.demand.request_keyframe()  # the views cannot see that pictures are missing before they reach them

    def _give(self, item: Coded) -> None:
        cache, now = self._cache, self.now()
        if cache is not None:
            cache.put(item, now)
        if self.paused:
            return
        for view in self._views:
            if view.admits(item, now) if cache is not None else view.keep_up(item, now):
                view.push(item)
        if item.keyframe and self.on_keyframe is not None:
            self.on_keyframe()
