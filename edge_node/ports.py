"""Every boundary to the world as a small Protocol: read this file first.

Two shapes recur. A *part* has `async run(...)`: it opens its device or connection, works until cancelled, releases
everything before it returns, and raises `RetryLater`, `DeviceMissing` or `SettingsError` when it cannot go on; the
supervisor starts it again. What a part delivers goes into a *sink*: a plain callable or object that never blocks and
may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import av
    import numpy as np
    import numpy.typing as npt

    from edge_node.encode_plan.plan import Plan
    from edge_node.rtp.packetize import Unit

    Pcm = npt.NDArray[np.int16]
    """Mono PCM at SAMPLE_RATE: shape (frames,), int16."""

SAMPLE_RATE = 48_000
"""Samples per second of every PCM block inside edge-node (the Opus clock, RFC 7587)."""
BLOCK_FRAMES = 480
"""Frames of one block: 10 ms, the step of echo cancellers and of the sound card's callback."""
VIDEO_CLOCK = 90_000
"""Ticks per second of picture timestamps (RFC 6184 section 8.2.1)."""


class Clock(Protocol):
    """What time it is."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def wall(self) -> float:
        """Unix seconds; may be wrong on a board without a clock chip."""
        ...


# Pictures


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One coded H.264 picture in Annex B form, SPS and PPS in front of every keyframe.

    `timestamp` counts VIDEO_CLOCK ticks from an arbitrary start and grows; `captured_at` is Clock.monotonic() seconds.
    `decode_as` is set for what browsers cannot be given as it is: `hevc`, `mjpeg`, or `h264` with B-frames, whose
    timestamps are those of showing while pictures come in the order of decoding.
    """

    data: bytes
    keyframe: bool
    timestamp: int
    captured_at: float
    decode_as: str | None = None


class Demand(Protocol):
    """What viewers want of whoever encodes; callable from any thread, coalesced by the receiver."""

    def request_keyframe(self) -> None:
        """A viewer cannot decode until the next keyframe (RFC 4585 PLI, RFC 5104 FIR, or a new viewer)."""
        ...

    def set_bitrate(self, kbps: int) -> None:
        """The path to the viewer carries about this much (REMB)."""
        ...


class VideoSink(Protocol):
    """Where a source puts pictures: raw ones to be encoded here, or coded ones to be handed through."""

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        """A raw picture (yuv420p preferred). Keeps the newest only: a slow encoder drops, never queues."""
        ...

    def unit(self, unit: AccessUnit) -> None:
        """A coded picture that goes to the viewers untouched."""
        ...


class VideoSource(Protocol):
    """A camera, a stream or a file: gives pictures while it runs."""

    @property
    def label(self) -> str:
        """The kind, as in the setting video.source: `rtsp`, `test`, …"""
        ...

    @property
    def demand(self) -> Demand | None:
        """Who answers demands when the source encodes by itself; None when it cannot be asked."""
        ...

    async def run(self, sink: VideoSink) -> None:
        """Delivers until cancelled. Raises SourceLost or DeviceMissing."""
        ...


@runtime_checkable
class Decodes(Protocol):
    """A VideoSource that opens decoders says how many it has opened."""

    decoders_opened: int


@runtime_checkable
class Warns(Protocol):
    """A VideoSource that plays but not well says why, in one sentence; None when there is nothing to say."""

    warning: str | None


@runtime_checkable
class Replanned(Protocol):
    """A VideoSource that takes another plan while it runs."""

    def set_plan(self, plan: Plan) -> None: ...


@runtime_checkable
class ViewableTrack(Protocol):
    """An outgoing track that many peers watch at once at the price of one encode.

    `subscribe(mime_type)` gives one more view: an aiortc MediaStreamTrack whose recv() returns coded av.Packet objects
    and which is itself a Demand; its stop() ends the view. A track of H.264 may tell its `level_idc` (0: not known).
    """

    kind: str
    id: str

    @property
    def mime_types(self) -> Sequence[str]:
        """What it can be had as, the best first: the sender must negotiate one of them."""
        ...

    def subscribe(self, mime_type: str) -> Any: ...


class UnitSink(Protocol):
    """A sender that takes what a DirectView gives, on the event loop, the moment it comes."""

    def take(self, unit: Unit, timestamp: int) -> bool:
        """The next unit, `timestamp` in ticks of its codec's RTP clock; False: it is behind and will pump()."""
        ...

    def ended(self) -> None:
        """The view ended."""
        ...


@runtime_checkable
class DirectView(Protocol):
    """A view that can do without recv(): no task wakes for it."""

    @property
    def thinned(self) -> bool:
        """Pictures are left out because this viewer's path carries too little for all."""
        ...

    def attach(self, sink: UnitSink) -> None:
        """Gives all to this sink from now on, what waits first."""
        ...

    def pump(self) -> None:
        """The sink is no longer behind: gives it what waits."""
        ...


# Sound


class AudioSource(Protocol):
    """A microphone: gives mono 48 kHz int16 blocks of BLOCK_FRAMES while it runs."""

    @property
    def label(self) -> str: ...

    async def run(self, sink: Callable[[Pcm], None]) -> None:
        """Delivers until cancelled. Raises DeviceLost or DeviceMissing."""
        ...


class AudioSink(Protocol):
    """A speaker: pulls what it plays, at the pace of its own clock."""

    @property
    def label(self) -> str: ...

    async def run(self, pull: Callable[[int], Pcm]) -> None:
        """Calls pull(frames) for each block until cancelled. Raises DeviceLost or DeviceMissing."""
        ...


class EchoCanceller(Protocol):
    """Takes what the speaker plays out of what the microphone hears; both must run on one clock."""

    @property
    def label(self) -> str:
        """`livekit` or `speexdsp`."""
        ...

    def process(self, captured: Pcm, played: Pcm) -> Pcm:
        """The block without the echo; both of BLOCK_FRAMES, of the same callback. Never waits; raises when broken."""
        ...

    def set_delay(self, delay_ms: float) -> None:
        """The echo of a block begins about this long after it was played."""
        ...


# Pins


class Panel(Protocol):
    """Buttons, LEDs and relays."""

    @property
    def missing(self) -> Sequence[str]:
        """Why some of them are left out while the others work, a sentence each; known once run() has begun."""
        ...

    async def run(self, on_press: Callable[[str], None]) -> None:
        """Watches buttons and inputs until cancelled; calls on_press from any thread. Relays end released.

        With `NAME` for a press, `NAME:long` or `NAME:double` for one of a button that tells them apart, `NAME:on` or
        `NAME:off` for the position of an input: once when it begins, then at each change.
        """
        ...

    def show(self, led: str, pattern: str) -> None:
        """Sets an LED to a named pattern (devices.patterns.look: `blink`, `blink#ff8000`). Unknown LED: UsageError."""
        ...

    def pulse(self, relay: str, pulse_ms: int) -> None:
        """Energises a relay for pulse_ms, then releases it whatever happens. Unknown relay: UsageError."""
        ...


# Network


class Wire(Protocol):
    """One open WebSocket: text frames both ways."""

    async def send(self, text: str) -> None: ...

    async def recv(self) -> str | bytes:
        """The next frame. Raises WireClosed when the socket is gone."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


class WireClosed(Exception):
    """The socket closed; code and reason as in RFC 6455 section 7.1.5 (1006 when it just broke)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


Connect = Callable[[str], Any]
"""`await connect(url)` opens a Wire, or raises WireClosed (an HTTP refusal gives its status as the code)."""


class Channel(Protocol):
    """The channel as the call logic sees it."""

    @property
    def peer_id(self) -> str | None:
        """Who this node is there."""
        ...

    async def send(self, data: Mapping[str, Any]) -> None: ...

    async def send_to(self, peer_id: str, data: Mapping[str, Any]) -> None: ...


# This machine


class Probe(Protocol):
    """Readings of this machine; None for what it cannot know."""

    def read(self) -> Mapping[str, Any]:
        """The `host` object of the telemetry sample."""
        ...

    def rss_mb(self) -> float | None:
        """Resident memory of this process, in MB."""
        ...


class Watchdog(Protocol):
    """The service manager (sd_notify)."""

    def ready(self) -> None: ...

    def status(self, text: str) -> None: ...

    def alive(self) -> None: ...

    def reloading(self) -> None: ...

    def stopping(self) -> None: ...
