"""What other people say, from their tracks to one speaker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError

from edge_node.aio.tasks import TaskGroup
from edge_node.dsp.announcements import Announcements
from edge_node.dsp.level import Meter, peak
from edge_node.dsp.mixer import Mixer, gain_of
from edge_node.dsp.pcm import Pcm, Resampler, mono, saturate, silence
from edge_node.dsp.playout import PlayoutBuffer, PlayoutStats
from edge_node.ports import SAMPLE_RATE, Clock

log = logging.getLogger(__name__)


class AudioTrack(Protocol):
    """What is needed of a received aiortc track."""

    async def recv(self) -> object:
        """The next av.AudioFrame. Raises MediaStreamError at the end."""
        ...


@dataclass(eq=False, slots=True)
class _Voice:
    """One track that is being drained."""

    key: str
    track: AudioTrack
    buffer: PlayoutBuffer = field(default_factory=PlayoutBuffer)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """The event loop pushes, the speaker's thread pulls."""
    allowed: bool = True
    gain: float = 1.0
    resampler: Resampler | None = None
    rate: int = SAMPLE_RATE
    end_pts: int = 0


class Playback:
    """Drains every track given to it, always; pull() mixes those whose key is allowed, under the announcements.

    All but pull() belongs to the event loop. A person may have several tracks under one key.
    """

    def __init__(self, clock: Clock, *, prompts_db: float = 0.0, gain_db: float = 0.0) -> None:
        """`gain_db`: how much louder or softer all is played; `prompts_db`: the announcements on top of that."""
        self._clock = clock
        self._mixer = Mixer(gain_of(gain_db))
        self._announcements = Announcements()
        self._announcing = threading.Lock()
        self._prompt_gain = gain_of(prompts_db)
        self._gains: dict[str, float] = {}
        self._tasks = TaskGroup("playback")
        # Replaced as a whole, never changed: the speaker's thread reads it without a lock.
        self._voices: tuple[_Voice, ...] = ()
        self._drained: list[_Voice] = []
        """Those of `_voices` and the forgotten ones whose tracks have not ended yet."""
        self._allowed: frozenset[str] | None = None
        self._meter = Meter()
        self.errors = 0
        """Blocks of silence played because of a bug in here, and received frames that could not be used."""

    @property
    def level_dbfs(self) -> float:
        """How loud it is, at the speaker."""
        return self._meter.dbfs

    @property
    def playout_ms(self) -> float | None:
        """The longest delay among the people who are heard; None while nobody is."""
        levels = [stats.level_ms for key, stats in self.stats() if self._may(key)]
        return max(levels, default=None)

    def stats(self) -> list[tuple[str, PlayoutStats]]:
        """One entry per track."""
        found = []
        for voice in self._voices:
            with voice.lock:
                found.append((voice.key, voice.buffer.stats()))
        return found

    def add(self, key: str, track: AudioTrack) -> None:
        """Plays a received track from now on; it is removed by itself when it ends. Adding it again does nothing."""
        known = [voice for voice in self._drained if voice.track is track]
        voice = known[0] if known else _Voice(key, track)
        voice.key, voice.allowed, voice.gain = key, self._may(key), self._gains.get(key, 1.0)
        if voice not in self._voices:
            self._voices = (*self._voices, voice)
        if not known:
            self._drained.append(voice)
            self._tasks.spawn(self._drain(voice), key)

    def remove(self, key: str) -> None:
        """Forgets all tracks of a key; they are drained on until they end, so that nothing piles up in them."""
        self._voices = tuple(voice for voice in self._voices if voice.key != key)

    def allow(self, keys: frozenset[str] | set[str] | None) -> None:
        """Whom to hear: None is everybody."""
        self._allowed = None if keys is None else frozenset(keys)
        for voice in self._voices:
            voice.allowed = self._may(voice.key)

    def set_gains(self, gains_db: Mapping[str, float]) -> None:
        """How much louder or softer each key is heard, in dB; 0 for those not named."""
        self._gains = {key: gain_of(db) for key, db in gains_db.items()}
        for voice in self._voices:
            voice.gain = self._gains.get(voice.key, 1.0)

    def say(self, pcm: Pcm) -> None:
        """Plays a sound of the node's own once, with the voices ducked under it."""
        with self._announcing:
            self._announcements.say(self._loud(pcm))

    def repeat(self, pcm: Pcm) -> None:
        """Plays a sound of the node's own again and again until quiet()."""
        with self._announcing:
            self._announcements.repeat(self._loud(pcm))

    def quiet(self) -> None:
        """Breaks off the node's own sounds."""
        with self._announcing:
            self._announcements.stop()

    def pull(self, frames: int) -> Pcm:
        """The next block for the speaker, from its thread; never waits, never raises."""
        try:
            block = self._mixed(frames)
        except Exception as err:  # a speaker that dies of a bug would take all voices with it
            if not self.errors:
                log.error("playback failed: %s; please report it", err, exc_info=err)
            self.errors += 1
            return silence(frames)
        self._meter.feed(block)
        return block

    async def close(self) -> None:
        """Stops draining."""
        self._voices = ()
        await self._tasks.close()

    def _mixed(self, frames: int) -> Pcm:
        now = self._clock.monotonic()
        heard = []
        for voice in self._voices:
            if voice.allowed:
                with voice.lock:
                    heard.append((voice.buffer.pull(frames, now), voice.gain))
        with self._announcing:
            announcement = self._announcements.pull(frames)
        return self._mixer.mix(heard, announcement, frames)

    def _loud(self, pcm: Pcm) -> Pcm:
        """An announcement at its volume, or as loud as it can be without clipping."""
        loudest = peak(pcm)
        return saturate(pcm * min(self._prompt_gain, 1.0 / loudest)) if loudest else pcm

    def _may(self, key: str) -> bool:
        return self._allowed is None or key in self._allowed

    async def _drain(self, voice: _Voice) -> None:
        try:
            while True:
                frame = await voice.track.recv()
                if isinstance(frame, av.AudioFrame) and voice in self._voices:
                    self._take(voice, frame)
        except MediaStreamError:
            log.debug("the sound of %s has ended", voice.key)
        finally:
            self._drained.remove(voice)
            self._voices = tuple(other for other in self._voices if other is not voice)

    def _take(self, voice: _Voice, frame: av.AudioFrame) -> None:
        try:
            self._heard(voice, frame)
        except Exception as err:  # one odd frame must not end the voice, nor what it is drained by
            if not self.errors:
                log.error("the sound of %s cannot be used everywhere: %s", voice.key, err, exc_info=err)
            self.errors += 1

    def _heard(self, voice: _Voice, frame: av.AudioFrame) -> None:
        """What is not heard costs nothing; who is heard again begins with what is said then."""
        if voice.allowed:
            self._push(voice, frame)
            return
        with voice.lock:
            if voice.buffer.stats().received:
                voice.buffer = PlayoutBuffer()

    def _push(self, voice: _Voice, frame: av.AudioFrame) -> None:
        pcm = _samples(frame)
        # aiortc decodes Opus to 48 kHz whatever was sent, and the telephone codecs to 8 kHz.
        if frame.sample_rate != voice.rate:
            voice.rate = frame.sample_rate
            voice.resampler = Resampler(frame.sample_rate, SAMPLE_RATE)
        pts = voice.end_pts if frame.pts is None else frame.pts * SAMPLE_RATE // frame.sample_rate
        if abs(pts - voice.end_pts) <= 1:  # rates as 44.1 kHz do not fall on whole samples: no hole there
            pts = voice.end_pts
        if voice.resampler is not None:
            pcm = voice.resampler.push(pcm)
        voice.end_pts = pts + len(pcm)
        now = self._clock.monotonic()
        with voice.lock:
            voice.buffer.push(pts, pcm, now)


def _samples(frame: av.AudioFrame) -> Pcm:
    """Mono of a decoded frame: aiortc's decoders give packed s16."""
    channels = frame.layout.nb_channels
    if frame.format.name != "s16":
        return mono(frame.to_ndarray().reshape(-1).astype(np.int16, copy=False), channels)
    # Straight from the frame's memory, which to_ndarray() would copy twice; mono() copies but for one channel.
    interleaved = np.frombuffer(memoryview(frame.planes[0]), np.int16, frame.samples * channels)
    return interleaved.copy() if channels == 1 else mono(interleaved, channels)
