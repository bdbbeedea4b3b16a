"""A track that speaks the bytes a program gives it, and can be paused and interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from edge_node.dsp.pacing import Pacer
from edge_node.dsp.speech_queue import Chunk, SpeechQueue

log = logging.getLogger(__name__)

RATE = 24_000
FRAME_S = 0.02
MAX_BUFFERED_S = 300.0
"""A model speaks faster than it is heard; overflow rule: what does not fit is dropped and counted."""

LastByteCallback = Callable[[], Awaitable[Any] | None]


class CustomAudioStreamTrack(MediaStreamTrack):
    """Mono 16-bit speech at 24 kHz goes in by add_new_bytes(), comes out by recv() in frames of 20 ms.

    end_utterance() marks the end of what was said: its last partial frame is filled up with silence, and the callback
    of on_last_audio_byte() is called once it has been played. A program that never sets the mark gets the callback
    with the first silence after speech. All methods belong to the event loop.
    """

    kind = "audio"

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, *, max_buffered_s: float = MAX_BUFFERED_S
    ) -> None:
        """`loop` is taken for programs written against other tracks of this kind; the running loop is used."""
        super().__init__()
        self.sample_rate = RATE
        self.channels = 1
        self.sample_width = 2
        self.samples = int(FRAME_S * RATE)
        self.chunk_size = self.samples * self.channels * self.sample_width
        self._speech = SpeechQueue(self.chunk_size, self._bytes_of(max_buffered_s))
        self._pacer = Pacer(FRAME_S)
        self._pts = 0
        self._paused = False
        self._accepting = True
        self._manual = False
        self._speaking = False
        self._marked = False
        """The program marks the ends of its utterances: silence alone is no end."""
        self._just_ended = False
        self._last_byte: LastByteCallback | None = None
        self._speech_out: list[Callable[[bytes], None]] = []
        self._tasks: set[asyncio.Future[Any]] = set()

    @property
    def can_pause(self) -> bool:
        """This track can be paused."""
        return True

    @property
    def is_paused(self) -> bool:
        return self._paused

    @property
    def is_speaking(self) -> bool:
        """Between the first frame of an utterance and its end."""
        return self._speaking

    @property
    def buffered_s(self) -> float:
        """Speech that waits to be played."""
        return len(self._speech) / self._bytes_of(1.0)

    @property
    def dropped_bytes(self) -> int:
        """Speech that did not fit."""
        return self._speech.refused

    def on_last_audio_byte(self, callback: LastByteCallback | None) -> None:
        """Whom to call, without arguments, when an utterance has been played; replaces an earlier callback."""
        self._last_byte = callback

    def on_speech_out(self, observer: Callable[[bytes], None]) -> None:
        """`observer(bytes)` for all speech that is accepted, when it is."""
        self._speech_out.append(observer)

    def enable_audio_input(self, manual_control: bool = False) -> None:
        """Takes speech again; with manual_control an interrupt() stops the intake until this is called once more."""
        self._manual = manual_control
        self._accepting = True

    async def add_new_bytes(self, audio_data: bytes) -> None:
        """Queues speech of any length; while the intake is off it is dropped."""
        if not self._accepting or self.readyState != "live":
            return
        refused = self._speech.refused
        taken = self._speech.add(audio_data)
        if refused == 0 and self._speech.refused:
            log.warning("more speech waits than this track holds: the rest is dropped; pause the producer")
        if taken:
            for observer in self._speech_out:
                observer(taken)

    def end_utterance(self) -> None:
        """Here ends what is being said."""
        self._marked = True
        if self._accepting and (len(self._speech) or self._speaking):
            self._speech.mark()

    async def pause(self) -> None:
        """Silence from the next frame on; what waits and what is added keeps waiting."""
        if self._paused:
            log.warning("this track is paused already")
        self._paused = True

    async def resume(self) -> None:
        """Speaks on where pause() stopped."""
        if not self._paused:
            log.warning("this track is not paused")
        self._paused = False

    def interrupt(self) -> None:
        """Forgets everything that waits; the utterance has no end any more, its callback is not called."""
        self._speech.clear()
        self._paused = False
        self._speaking = False
        self._just_ended = False
        self._accepting = not self._manual

    async def cleanup(self) -> None:
        """interrupt(), then stop()."""
        self.interrupt()
        self.stop()

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms: speech, or silence. Raises MediaStreamError when the track was stopped."""
        if self.readyState != "live":
            raise MediaStreamError("this track was stopped")
        await asyncio.sleep(self._pacer.wait_s(asyncio.get_running_loop().time()))
        if self.readyState != "live":
            raise MediaStreamError("this track was stopped")
        if self._just_ended:
            self._finished()
        data = None if self._paused else self._next()
        frame = self._frame(bytes(self.chunk_size) if data is None else data)
        self._pts += self.samples
        return frame

    # For the variants

    def _next(self) -> bytes | None:
        """What to play now; None is silence."""
        chunk = self._speak()
        return None if chunk is None else chunk.data

    def _speak(self) -> Chunk | None:
        """The next chunk of speech, with the utterance's end seen to."""
        chunk = self._speech.take()
        if chunk is not None:
            self._speaking = True
            self._just_ended = chunk.last
        elif self._speaking and not self._marked:
            self._finished()
        return chunk

    def _bytes_of(self, seconds: float) -> int:
        return int(seconds * self.sample_rate) * self.channels * self.sample_width

    def _finished(self) -> None:
        self._speaking = self._just_ended = False
        if self._last_byte is not None:
            task = asyncio.ensure_future(self._call(self._last_byte))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, callback: LastByteCallback) -> None:
        try:
            result = callback()
            if result is not None:
                await result
        except Exception as err:  # the program's own error must not end its track
            log.error("the callback for the last audio byte failed: %r", err, exc_info=err)

    def _frame(self, data: bytes) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(np.frombuffer(data, "<i2").reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self.sample_rate
        frame.time_base = Fraction(1, self.sample_rate)
        frame.pts = self._pts
        return frame
