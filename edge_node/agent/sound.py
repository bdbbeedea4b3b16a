"""Sound and events between a program and a speech service: bounded queues at explicit sample rates."""

from __future__ import annotations

import asyncio
import re
from collections import deque

import numpy as np

from edge_node.agent.transport import AgentEvent, AudioOutputDelta, Error, SpeechStarted, TurnComplete
from edge_node.dsp.pcm import Resampler

SAMPLE_BYTES = 2
MAX_INPUT_S = 5.0
"""Speech that is older than this when it leaves answers to nobody."""
MAX_OUTPUT_S = 60.0
"""A service gives a whole answer at once; more than a minute of it is a mistake."""
MAX_EVENTS = 10_000
RATES = (8_000, 192_000)
_FORMAT = re.compile(r"audio/pcm;\s*rate=(\d{4,6})")


def rate_of(audio_format: str) -> int:
    """Hz of `audio/pcm;rate=16000`: 16-bit mono PCM, little endian. Raises ValueError for another format."""
    found = _FORMAT.fullmatch(audio_format)
    if found is None or not RATES[0] <= int(found[1]) <= RATES[1]:
        raise ValueError(f"an audio format is audio/pcm;rate={RATES[0]} to {RATES[1]}, not {audio_format!r}")
    return int(found[1])


class Converter:
    """16-bit mono PCM from one sample rate to another; pieces may be cut anywhere."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._resampler = Resampler(rate_in, rate_out)
        self._carry = b""

    def push(self, data: bytes) -> bytes:
        raw = self._carry + data
        whole = len(raw) // SAMPLE_BYTES * SAMPLE_BYTES
        self._carry = raw[whole:]
        return self._resampler.push(np.frombuffer(raw[:whole], "<i2").astype(np.int16)).astype("<i2").tobytes()


class Heard:
    """What the service is to hear. Overflow rule: beyond MAX_INPUT_S the oldest pieces are dropped, and counted."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self.dropped_seconds = 0.0

    def put(self, pcm: bytes) -> None:
        self._pieces.append(pcm)
        self._bytes += len(pcm)
        self._wake.set()
        while self._bytes > MAX_INPUT_S * self._rate * SAMPLE_BYTES:
            oldest = len(self._pieces.popleft())
            self._bytes -= oldest
            self.dropped_seconds += oldest / self._rate / SAMPLE_BYTES

    async def take(self) -> bytes:
        """All that waits, at least a sample."""
        while not self._bytes:
            self._wake.clear()
            await self._wake.wait()
        pcm = b"".join(self._pieces)
        self._pieces.clear()
        self._bytes = 0
        return pcm


class Said:
    """What the program is to get, in order; SpeechStarted alone overtakes what waits.

    Overflow rule: when MAX_OUTPUT_S of sound wait, the rest of that answer is dropped, so that no two halves of a
    sentence meet; beyond MAX_EVENTS the newest event is. Both are counted.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._events: deque[AgentEvent] = deque()
        self._bytes = 0
        self._cut = False
        self.ended = False
        self._wake = asyncio.Event()
        self.dropped_seconds = 0.0
        self.dropped_events = 0

    def put(self, event: AgentEvent) -> None:
        if isinstance(event, AudioOutputDelta):
            size = len(event.data)
            self._cut |= self._bytes + size > MAX_OUTPUT_S * self._rate * SAMPLE_BYTES
            if self._cut:
                self.dropped_seconds += size / self._rate / SAMPLE_BYTES
            if self._cut or not size:
                return
        elif isinstance(event, TurnComplete):
            self._cut = False
        if self.ended or len(self._events) >= MAX_EVENTS:
            self.dropped_events += 1
            return
        if isinstance(event, AudioOutputDelta):
            self._bytes += len(event.data)
        (self._events.appendleft if isinstance(event, SpeechStarted) else self._events.append)(event)
        self._wake.set()

    def clear(self) -> None:
        """Drops the sound that waits, and the ends of what it belongs to."""
        self._events = deque(e for e in self._events if not isinstance(e, AudioOutputDelta | TurnComplete))
        self._bytes = 0
        self._cut = False

    def end(self, last: Error | None) -> None:
        """The last event, for which there is always room, then the end. Idempotent."""
        if not self.ended and last is not None:
            self._events.append(last)
        self.ended = True
        self._wake.set()

    async def get(self) -> AgentEvent | None:
        """The next event; None at the end."""
        while not self._events:
            if self.ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        event = self._events.popleft()
        if isinstance(event, AudioOutputDelta):
            self._bytes -= len(event.data)
        return event
