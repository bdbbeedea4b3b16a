"""A speaking track with music, or thinking noises, under the voice."""

from __future__ import annotations

import asyncio

import numpy as np

from edge_node.dsp.pcm import add
from edge_node.dsp.speech_queue import SpeechQueue
from edge_node.media.voice.track import MAX_BUFFERED_S, CustomAudioStreamTrack


class MixingCustomAudioStreamTrack(CustomAudioStreamTrack):
    """CustomAudioStreamTrack with a background that is mixed in just in time; loud sums saturate.

    A pause silences both, an interrupt forgets both; frames of speech alone count as speaking.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, *, max_buffered_s: float = MAX_BUFFERED_S
    ) -> None:
        super().__init__(loop, max_buffered_s=max_buffered_s)
        self._background = SpeechQueue(self.chunk_size, self._bytes_of(max_buffered_s))

    @property
    def dropped_bytes(self) -> int:
        """Speech and background that did not fit."""
        return super().dropped_bytes + self._background.refused

    async def add_background_bytes(self, audio_data: bytes) -> None:
        """Queues background of any length, in the format of the speech."""
        if self.readyState == "live":
            self._background.add(audio_data)

    def interrupt(self) -> None:
        """Forgets speech and background."""
        super().interrupt()
        self._background.clear()

    def mix_audio(self, primary_chunk: bytes, background_chunk: bytes) -> bytes:
        """The saturated sum, as long as the primary; a shorter background counts as silent at its end."""
        primary = np.frombuffer(primary_chunk, "<i2").astype(np.int16)
        under = np.zeros_like(primary)
        background = np.frombuffer(background_chunk, "<i2")[: len(primary)]
        under[: len(background)] = background
        return add(primary, under).astype("<i2").tobytes()

    def _next(self) -> bytes | None:
        speech, background = super()._next(), self._background.take()
        if speech is None or background is None:
            return speech if background is None else background.data
        return self.mix_audio(speech, background.data)
