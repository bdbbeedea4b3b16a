"""What one sender sends: a feed that never ends, whatever is plugged into it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from edge_node.realtime.encoding import Coded, new_timeline
from edge_node.rtp.asks import AskLimiter
from edge_node.rtp.packetize import Unit

TakeUnit = Callable[[Unit, int, int], bool]
"""(unit, timestamp in ticks, timeline): False when the sender is behind."""


class Upstream(Protocol):
    """What a feed reads; it may answer request_keyframe(), set_bitrate(kbps), be `direct`: a DirectView.

    A `refusal` says why it gives this viewer nothing for now.
    """

    async def recv(self) -> Coded:
        """The next one. Raises MediaStreamError at the end."""
        ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One local track as one remote peer gets it.

    `mime_types` is set for coded tracks: what the sender may negotiate, the best first. `open(codec)` starts one
    reading of the track. `has_metadata`: the other side was told something about this id. `prefers`: the MIME type that
    is sent if the other side takes it. `level()`: the H.264 level_idc of the pictures, 0 while that is not known.
    """

    id: str
    kind: str
    open: Callable[[RTCRtpCodecParameters], Upstream]
    stream_id: str | None = None
    mime_types: tuple[str, ...] = ()
    has_metadata: bool = False
    prefers: str | None = None
    level: Callable[[], int] = int


class Tap:
    """A UnitSink: what one source gives, on its own timeline."""

    __slots__ = ("_on_end", "_take", "_timeline")

    def __init__(self, take: TakeUnit, on_end: Callable[[], None]) -> None:
        self._take = take
        self._on_end = on_end
        self._timeline = new_timeline()

    def take(self, unit: Unit, timestamp: int) -> bool:
        return self._take(unit, timestamp, self._timeline)

    def ended(self) -> None:
        self._on_end()


class Feed(MediaStreamTrack):
    """The track a sender keeps for its whole life; sources are plugged in and out behind it.

    The source is opened at the first recv() with the gate open, i.e. when media can really flow, so that a viewer's
    first picture is a fresh keyframe and a source nobody hears is not read.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self._outgoing: Outgoing | None = None
        self._upstream: Upstream | None = None
        self._kbps: int | None = None
        self._reading: asyncio.Task[Coded] | None = None
        self._open = False
        self._wake = asyncio.Event()
        self._take: TakeUnit | None = None
        self._direct: Any = None
        """The DirectView of the source, when it gives its units to the sender by itself."""
        self.on_refused: Callable[[str], None] | None = None
        """Hears, as a sentence, that the source gives this viewer nothing for now."""
        self.codec: RTCRtpCodecParameters | None = None
        """What the sender was told to send; nothing is read before."""

    def plug(self, outgoing: Outgoing | None) -> None:
        """Another source from the next frame on; None is a pause."""
        self._drop_upstream()
        self._outgoing = outgoing
        self._wake.set()

    def gate(self, is_open: bool) -> None:
        """Whether the other side takes this media now."""
        if is_open and not self._open:
            self._wake.set()
        elif not is_open and self._open:
            self._drop_upstream()
        self._open = is_open

    def flow_to(self, take: TakeUnit) -> None:
        """Sources that can give their units to the sender directly do so; recv() is for the others only."""
        self._take = take

    def pump(self) -> None:
        """The sender is no longer behind."""
        if self._direct is not None:
            self._direct.pump()

    @property
    def thinned(self) -> bool:
        """The source leaves pictures out, because the path carries too little for all."""
        return self._direct is not None and self._direct.thinned

    def request_keyframe(self) -> None:
        ask = getattr(self._upstream, "request_keyframe", None)
        if ask is not None:
            ask()

    def set_bitrate(self, kbps: int) -> None:
        """What the path to the viewer carries; told again to the source that is plugged in next."""
        self._kbps = kbps
        tell = getattr(self._upstream, "set_bitrate", None)
        if tell is not None:
            tell(kbps)

    async def recv(self) -> Coded:  # type: ignore[override]
        """The next picture or sound of whatever is plugged in; waits while nothing is."""
        while True:
            if self.readyState != "live":
                raise MediaStreamError
            upstream = self._current()
            if upstream is None or self._direct is not None:
                self._wake.clear()
                await self._wake.wait()
                continue
            coded = await self._read(upstream)
            if coded is not None:
                return coded

    def _current(self) -> Upstream | None:
        if self._outgoing is None or self.codec is None or not self._open:
            return None
        if self._upstream is None:
            self._upstream = self._outgoing.open(self.codec)
            if self._kbps is not None:
                self.set_bitrate(self._kbps)
            self._attach(self._upstream)
            refusal = getattr(self._upstream, "refusal", None)
            if refusal is not None and self.on_refused is not None:
                self.on_refused(refusal)
        return self._upstream

    def _attach(self, upstream: Upstream) -> None:
        direct = getattr(upstream, "direct", None)
        if direct is not None and self._take is not None:
            self._direct = direct
            direct.attach(Tap(self._take, lambda: self._ended(upstream)))

    def _ended(self, upstream: Upstream) -> None:
        if upstream is self._upstream:
            self._drop_upstream()
            self._outgoing = None
            self._wake.set()

    async def _read(self, upstream: Upstream) -> Coded | None:
        """One item, or None when the source ended or was switched meanwhile."""
        self._reading = asyncio.get_running_loop().create_task(_recv(upstream), name=f"feed-{self.kind}")
        try:
            return await self._reading
        except MediaStreamError:
            if upstream is self._upstream:
                self._drop_upstream()
                self._outgoing = None
            return None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._reading.cancel()
                raise
            return None  # the reading was cut by plug(), gate() or stop()
        finally:
            self._reading = None

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        self._direct = None
        if upstream is not None:
            upstream.stop()
        if self._reading is not None:
            self._reading.cancel()

    def stop(self) -> None:
        super().stop()
        self._outgoing = None
        self._drop_upstream()
        self._wake.set()


async def _recv(upstream: Upstream) -> Coded:
    return await upstream.recv()


class SenderClock:
    """One unbroken RTP clock for a sender across changes of the source, and the demands of its viewer.

    It stands where aiortc has the sender's encoder.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._timeline: int | None = None
        self._shift = 0
        self._last = (0, 0.0)
        self._bitrate = 0
        self.asks = AskLimiter()
        self.cap: Callable[[int], int] = int
        """What the source is told of an estimate (kbit/s)."""

    def ask_keyframe(self) -> None:
        """The viewer cannot decode (RFC 4585 section 6.3.1, RFC 5104 section 4.3.1)."""
        if self.asks.ask(time.monotonic()):
            self._feed.request_keyframe()

    @property
    def target_bitrate(self) -> int:
        """Bits per second, as the viewer estimates its path (REMB); read and set by aiortc."""
        return self._bitrate

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._bitrate = bitrate
        self._feed.set_bitrate(self.cap(bitrate // 1000))

    def timestamp(self, coded: Coded, codec: RTCRtpCodecParameters) -> int:
        """When this is to be shown, in ticks since the first; a new timeline goes on where time is by now."""
        return self.place(coded.timestamp, coded.timeline, codec.clockRate, time.monotonic())

    def place(self, ticks: int, timeline: int, clock_hz: int, now: float) -> int:
        """The same for a time of any timeline."""
        if timeline != self._timeline:
            start = 0
            if self._timeline is not None:
                start = self._last[0] + max(1, int((now - self._last[1]) * clock_hz))
            self._timeline = timeline
            self._shift = start - ticks
        timestamp = ticks + self._shift
        self._last = (timestamp, now)
        return timestamp
