"""What arrives on one transceiver of aiortc, handed to its decoder without waiting (tests/contract pins the hooks)."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import av
from aiortc import RTCRtpTransceiver
from aiortc.codecs import get_decoder, is_rtx
from aiortc.codecs.base import Decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

from edge_node.aio.tasks import TaskGroup
from edge_node.realtime.aiortc_feedback import hear_all_feedback
from edge_node.realtime.received import ReceptionStats, Router
from edge_node.rtp.assembler import Ask, AskKeyframe, Assembler, Frame, Output, Piece
from edge_node.rtp.keyframes import look
from edge_node.rtp.reorder import Reorder
from edge_node.rtp.timeline import Timeline

log = logging.getLogger(__name__)

FORCED = "EDGE_NODE_RECEIVER"
"""Environment: `stock` keeps aiortc's own reception, for comparison."""
HOOKS = (
    "_RTCRtpReceiver__codecs",
    "_RTCRtpReceiver__decoder_error",
    "_RTCRtpReceiver__decoder_queue",
    "_RTCRtpReceiver__jitter_buffer",
    "_RTCRtpReceiver__nack_generator",
    "_handle_rtp_packet",
    "_send_rtcp_nack",
    "_send_rtcp_pli",
)
QUEUE_PICTURES = 30
"""A second: a decoder that is further behind does not catch up."""
SOUND_STEP = 960


def bind_receiver(transceiver: RTCRtpTransceiver) -> None:
    """Replaces aiortc's waiting, asking and unbounded queues on a receiver that has not started; stock without hooks.

    aiortc completes a picture with the first packet of the next one, holds four packets of sound back, asks once for
    what is missing, and decodes what refers to a lost picture. What the viewer says of our own streams is heard, too.
    """
    receiver: Any = transceiver.receiver
    hear_all_feedback(receiver.transport)
    if receiver.track is None or isinstance(receiver.track._queue, Router):
        return
    if not wanted(receiver):
        receiver.track._queue = Router()
        return
    reception: Reception = (Pictures if transceiver.kind == "video" else Sound)(receiver)
    receiver.track._queue = reception.router
    receiver._RTCRtpReceiver__jitter_buffer = reception
    receiver._RTCRtpReceiver__nack_generator = None
    receiver._RTCRtpReceiver__decoder_queue = reception.queue
    receiver._RTCRtpReceiver__decoder_error = reception


def wanted(receiver: Any) -> bool:
    """Ours, unless the environment asks for the stock receiver or aiortc has changed."""
    missing = [hook for hook in HOOKS if not hasattr(receiver, hook)]
    if missing:
        log.warning("this aiortc has no %s: what arrives waits as aiortc does it", ", ".join(missing))
    return not missing and os.environ.get(FORCED) != "stock"


async def release_receiver(transceiver: RTCRtpTransceiver) -> None:
    """Waits for what the receiver still has to send; for a connection that has been closed."""
    track: Any = transceiver.receiver.track
    router = None if track is None else track._queue
    if isinstance(router, Router) and isinstance(router.reception, Reception):
        await router.reception.close()


class DecodeQueue(queue.Queue[Any]):
    """Stands in for a receiver's unbounded queue; the loop puts, the decoder's thread gets.

    Overflow rule: the next one is lost, and `overflow()` makes go what waits. `ended()` hears of the None with which
    aiortc stops the thread.
    """

    def __init__(self, size: int, overflow: Callable[[], None], ended: Callable[[], None]) -> None:
        super().__init__()
        self._size = size
        self._overflow = overflow
        self._ended = ended
        self.dropped = 0

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if item is None:
            self._ended()
        elif self.qsize() >= self._size:
            self._overflow()
            self.dropped += 1
            return
        super().put(item)

    def drop(self) -> bool:
        """Throws the oldest away; False when nothing waits but the end."""
        try:
            item = self.get_nowait()
        except queue.Empty:
            return False
        if item is None:
            super().put(None)
            return False
        self.dropped += 1
        return True


class Reception(ABC):
    """Stands in for a receiver's jitter buffer and for its flag of decoding errors."""

    def __init__(self, receiver: Any) -> None:
        self.queue = DecodeQueue(QUEUE_PICTURES, self._overflowed, self._ended)
        self.router = Router(self)
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskGroup("reception")
        self._timer: asyncio.TimerHandle | None = None
        self._source: tuple[int, int] | None = None
        self._codec: Any = None
        self._closed = False

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """aiortc's interface of a jitter buffer: frames and questions go their own way."""
        if not self._closed:
            source = (packet.ssrc, packet.payload_type)
            if source != self._source:
                if self._source is not None:
                    self._restart()
                self._source = source
                self._codec = self._receiver._RTCRtpReceiver__codecs[packet.payload_type]
            self._take(packet, self._loop.time())
            self._arm()
        return False, None

    @abstractmethod
    def stats(self) -> ReceptionStats: ...

    async def close(self) -> None:
        self._ended()
        await self._tasks.close()

    # aiortc's interface of the flag that its decoder's thread sets

    def set(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._undecodable)
        except RuntimeError:  # the loop is closed: nobody to ask any more
            log.debug("a decoder failed after the end")

    def is_set(self) -> bool:
        return False

    # For each kind

    @abstractmethod
    def _take(self, packet: RtpPacket, now: float) -> None: ...

    @abstractmethod
    def _restart(self) -> None: ...

    @abstractmethod
    def _tick(self, now: float) -> None: ...

    @property
    @abstractmethod
    def _deadline(self) -> float | None: ...

    def _overflowed(self) -> None:  # noqa: B027  (sound has no queue)
        """The decoder's thread is behind."""

    def _undecodable(self) -> None:  # noqa: B027  (sound goes on)
        """A frame could not be decoded."""

    # The rest

    def _arm(self) -> None:
        """One timer, for what the machine waits for next."""
        deadline = None if self._closed else self._deadline
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return  # it comes too early at most, and is set anew then
            self._timer.cancel()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._tick(self._loop.time())
        self._arm()

    def _ended(self) -> None:
        self._closed = True
        self._arm()


class Pictures(Reception):
    """Video. Overflow rule of its decoder: what waits and what comes is thrown away, up to a keyframe.

    The same when a picture could not be decoded: what waits refers to it, and decoders show what they make of that.
    """

    def __init__(self, receiver: Any) -> None:
        super().__init__(receiver)
        self._assembler = Assembler()
        self._heard = receiver._handle_rtp_packet
        self._rtx_types: frozenset[int] | None = None
        self._repair = True
        self._lock = threading.Lock()
        self._broken = False
        """Nothing may be decoded before a keyframe; the decoder's thread finds out, too."""
        self._withheld = 0
        receiver._handle_rtp_packet = self._hear

    def stats(self) -> ReceptionStats:
        count = self._assembler.counters
        rtt_s = self._assembler.rtt_s
        return ReceptionStats(
            frames=count.frames,
            skipped=count.skipped + self.queue.dropped + self._withheld,
            holes=count.holes,
            nacks=count.nacks,
            plis=count.plis,
            given_up=count.given_up,
            dropped=count.dropped,
            repair_ms=None if rtt_s is None else round(rtt_s * 1000, 1),
        )

    async def _hear(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        """What aiortc does with each packet in turn, but for its forgetting which stream it came in (RFC 4588)."""
        if self._rtx_types is None:
            codecs = self._receiver._RTCRtpReceiver__codecs
            self._rtx_types = frozenset(number for number, codec in codecs.items() if is_rtx(codec))
        self._repair = not self._rtx_types or packet.payload_type in self._rtx_types
        await self._heard(packet, arrival_time_ms)

    def _take(self, packet: RtpPacket, now: float) -> None:
        data: bytes = packet._data  # type: ignore[attr-defined]
        seen = look(self._codec.name, packet.payload)
        piece = Piece(packet.sequence_number, packet.timestamp, bool(packet.marker), data, seen, self._repair)
        self._do(self._assembler.add(piece, now))

    def _restart(self) -> None:
        self._assembler.restart()

    def _tick(self, now: float) -> None:
        self._do(self._assembler.tick(now))

    @property
    def _deadline(self) -> float | None:
        return self._assembler.deadline

    def set(self) -> None:
        with self._lock:
            self._break()
        super().set()

    def _overflowed(self) -> None:
        self._break()
        self._loop.call_soon(self._undecodable)

    def _break(self) -> None:
        self._broken = True
        while self.queue.drop():
            pass

    def _show(self, frame: Frame) -> None:
        with self._lock:
            self._broken = self._broken and not frame.key
            if self._broken:
                self._withheld += 1
            else:
                self.queue.put((self._codec, JitterFrame(frame.data, frame.ticks)))

    def _undecodable(self) -> None:
        if not self._closed:
            self._do(self._assembler.refuse(self._loop.time()))
            self._arm()

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Frame():
                    self._show(output)
                case Ask(numbers):
                    self._tasks.spawn(self._receiver._send_rtcp_nack(self._ssrc, list(numbers)), "nack")
                case AskKeyframe():
                    self._tasks.spawn(self._receiver._send_rtcp_pli(self._ssrc), "pli")

    @property
    def _ssrc(self) -> int:
        assert self._source is not None  # nothing is asked for before the first packet
        return self._source[0]


class Sound(Reception):
    """Audio: nothing waits but for one that was overtaken; the playout, which knows the timestamps, does the waiting.

    It is decoded on the event loop: the way through aiortc's thread and back costs more than 20 ms of sound do.
    """

    def __init__(self, receiver: Any) -> None:
        super().__init__(receiver)
        self._decoder: Decoder | None = None
        self._decodes: Any = None
        self._undecoded = 0
        self._window: Reorder[RtpPacket] = Reorder()
        self._timeline = Timeline()
        self._frames = 0

    def stats(self) -> ReceptionStats:
        window = self._window
        return ReceptionStats(frames=self._frames, skipped=self._undecoded, holes=window.missing, dropped=window.late)

    def _take(self, packet: RtpPacket, now: float) -> None:
        self._hand_on(self._window.push(packet.sequence_number, packet, now))

    def _restart(self) -> None:
        self._hand_on(self._window.restart())
        self._timeline.restart(SOUND_STEP)

    def _tick(self, now: float) -> None:
        self._hand_on(self._window.tick(now))

    @property
    def _deadline(self) -> float | None:
        return self._window.deadline

    def _hand_on(self, packets: list[RtpPacket]) -> None:
        for packet in packets:
            data: bytes = packet._data  # type: ignore[attr-defined]
            if data:  # a decoder takes an empty packet for the end
                self._frames += 1
                self._decode(JitterFrame(data, self._timeline.map(packet.timestamp)))

    def _decode(self, coded: JitterFrame) -> None:
        try:
            if self._decoder is None or self._decodes is not self._codec:
                self._decoder, self._decodes = get_decoder(self._codec), self._codec
            frames = self._decoder.decode(coded)
        except (av.FFmpegError, ValueError) as err:
            self._undecoded += 1
            if self._undecoded == 1:
                log.warning("a packet of sound (%s) cannot be decoded: %s", self._codec.name, err)
            return
        for frame in frames:
            self.router.deliver(frame)
