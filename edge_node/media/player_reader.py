"""Threads that read a source for its tracks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import av
import numpy as np

from edge_node.dsp.blocks import Blocks
from edge_node.dsp.pcm import Pcm, stereo
from edge_node.errors import SourceLost
from edge_node.media.microphone import CardMicrophone
from edge_node.media.opus_encoder import PACKET_FRAMES
from edge_node.media.player_frames import Frames, Sounds, Timeline
from edge_node.media.player_input import Kind, MediaInput, OpenInput, explain, kinds_of, open_best, open_with_ffmpeg
from edge_node.media.player_queue import FrameQueue
from edge_node.media.source_thread import run_in_thread

if TYPE_CHECKING:
    from av.container.input import InputContainer

    from edge_node.media.packet_queue import Packet

log = logging.getLogger(__name__)

GRACE_S = 0.8
DECODER_THREADS = 2
Queues = Mapping[str, FrameQueue]


class Reader(Protocol):
    """Opens a source, reads it until it is cancelled or lost, releases it."""

    kinds: tuple[Kind, ...] | None
    """What is inside; None as long as nobody has looked."""
    heard_at: float | None
    """time.monotonic() of the last sign of life in this run."""

    def run(self, queues: Queues) -> Coroutine[Any, Any, None]:
        """Returns at the end of a file; raises DeviceMissing or SourceLost."""
        ...


class LiveReader:
    """A device or a stream: what nobody fetches in time is dropped."""

    def __init__(self, source: MediaInput, open_input: OpenInput = open_with_ffmpeg) -> None:
        self._source = source
        self._open_input = open_input
        self._inside = False
        self._began = time.monotonic()
        self._timeline = Timeline()
        self._frames = Frames()
        self.kinds = source.kinds
        self.heard_at: float | None = None

    async def run(self, queues: Queues) -> None:
        """Delivers until cancelled. Raises DeviceMissing or SourceLost."""
        if self._inside:
            raise SourceLost(f"the driver of {self._source.label} does not let go: unplug the device, plug it in again")
        self.heard_at = None
        await run_in_thread(lambda stop: self._work(queues, stop), f"read {self._source.label}", GRACE_S)

    def _work(self, queues: Queues, stop: threading.Event) -> None:
        self._inside = True
        try:
            with open_best(self._source, self._open_input) as container:
                self.kinds = self._inside_it(container)
                self._timeline.restart()
                log.info("%s is open", self._source.label)
                self._read(container, queues, stop)
        finally:
            self._inside = False

    def _inside_it(self, container: InputContainer) -> tuple[Kind, ...]:
        kinds = tuple(k for k in kinds_of(container) if self._source.kinds is None or k in self._source.kinds)
        if not kinds:
            raise SourceLost(f"{self._source.label} gives neither sound nor pictures: check what it is set to")
        return kinds

    def _read(self, container: InputContainer, queues: Queues, stop: threading.Event) -> None:
        streams: dict[int, tuple[Any, Kind]] = {}
        for kind in self.kinds or ():
            stream = container.streams.get({kind: 0})[0]
            stream.codec_context.thread_count = 1  # each further decoding thread holds a picture back
            streams[stream.index] = (stream, kind)
        flowing: set[Kind] = set()
        while not stop.is_set():
            try:
                for packet in container.demux([stream for stream, _ in streams.values()]):
                    if stop.is_set():
                        return
                    self.heard_at = time.monotonic()
                    self._take(packet, *streams[packet.stream.index], queues, flowing)
            except av.error.ExitError:
                continue  # nothing came for READ_S: whoever watches decides how long that may last
            except (OSError, av.FFmpegError) as err:
                why = getattr(err, "strerror", None) or type(err).__name__
                raise SourceLost(f"{self._source.label} is gone ({why}): check it and its cable or network") from None
            raise SourceLost(f"{self._source.label} ended its stream: check it and its cable or network")

    def _take(self, packet: Packet, stream: Any, kind: Kind, queues: Queues, flowing: set[Kind]) -> None:
        queue = queues[kind]
        if not queue.wanted:
            flowing.discard(kind)
            return
        if kind not in flowing:
            flowing.add(kind)
            stream.codec_context.flush_buffers()  # the decoder waits for a keyframe, instead of guessing
        for frame in decoded(packet):
            at_s = self._timeline.at(frame.time, time.monotonic() - self._began)
            for shaped in self._frames.shape(frame, at_s):
                queue.put(shaped)


class FileReader:
    """The sound or the pictures of a file; waits while nobody fetches them."""

    def __init__(self, source: MediaInput, kind: Kind, loop: bool) -> None:
        self._source = source
        self._kind = kind
        self._loop = loop
        self._frames = Frames()
        self.kinds = source.kinds
        self.heard_at: float | None = None
        self.begin_s = 0.0
        """Where run() begins: seconds of playing time."""

    async def run(self, queues: Queues) -> None:
        """Plays to the end. Raises DeviceMissing or SourceLost."""
        queue = queues[self._kind]
        await run_in_thread(lambda stop: self._work(queue, stop), f"play {self._source.label}", GRACE_S)
        queue.end()

    def _work(self, queue: FrameQueue, stop: threading.Event) -> None:
        try:
            self._play(queue, stop)
        except (OSError, av.FFmpegError) as err:
            raise explain(err, self._source) from None

    def _play(self, queue: FrameQueue, stop: threading.Event) -> None:
        round_s, shown = 0.0, True
        while shown and not stop.is_set():
            with open_best(self._source, open_with_ffmpeg) as container:
                self.kinds = self._source.kinds or kinds_of(container)
                if self._kind not in self.kinds:
                    return
                length_s = (container.duration or 0) / av.time_base
                if self._loop and length_s and self.begin_s >= round_s + length_s:
                    round_s += self.begin_s // length_s * length_s
                shown = self._round(container, queue, stop, round_s, length_s)
                round_s += length_s
            if not self._loop:
                break
        if self._kind == "audio" and not stop.is_set():
            for frame in self._frames.sounds.rest():
                queue.put_when_room(frame, stop)

    def _round(
        self, container: InputContainer, queue: FrameQueue, stop: threading.Event, round_s: float, length_s: float
    ) -> bool:
        """Plays it once; whether there was anything."""
        stream: Any = container.streams.get({self._kind: 0})[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODER_THREADS
        start_s = (container.start_time or 0) / av.time_base
        within_s = self.begin_s - round_s
        if within_s > 0 and length_s:
            container.seek(round((start_s + within_s) * av.time_base))
        last_s, shown = 0.0, False
        for packet in container.demux(stream):
            self.heard_at = time.monotonic()
            for frame in decoded(packet):
                shown = True
                last_s = last_s if frame.time is None else frame.time - start_s
                if last_s < within_s:  # decoding begins with the keyframe before
                    continue
                for shaped in self._frames.shape(frame, round_s + last_s):
                    if not queue.put_when_room(shaped, stop):
                        return False
        return shown


class CardReader:
    """A microphone by the system's sound library: FFmpeg's own does not find the sound server behind ALSA's names."""

    kinds: tuple[Kind, ...] | None = ("audio",)

    def __init__(self, microphone: CardMicrophone) -> None:
        self._microphone = microphone
        self._began = time.monotonic()
        self._sounds = Sounds()
        self.heard_at: float | None = None

    async def run(self, queues: Queues) -> None:
        """Delivers until cancelled. Raises DeviceLost or DeviceMissing."""
        self.heard_at = None
        blocks = Blocks(PACKET_FRAMES)

        def take(pcm: Pcm) -> None:
            self.heard_at = time.monotonic()
            for block in blocks.push(pcm):
                at_s = self.heard_at - self._began
                queues["audio"].put(self._sounds.number(stereo(block.astype(np.int16, copy=False)), at_s))

        await self._microphone.run(take)


def decoded(packet: Packet) -> list[Any]:
    """Its frames; a packet that is broken gives none."""
    try:
        return list(packet.decode())
    except (av.FFmpegError, ValueError):
        return []
