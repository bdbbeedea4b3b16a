"""Which way the microphone is kept free of the speaker's sound."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Literal

import numpy as np

from edge_node.dsp.echo_delay import MAX_DELAY_MS, EchoDelay
from edge_node.dsp.echo_return import EchoReturn
from edge_node.dsp.half_duplex import HalfDuplex
from edge_node.dsp.pcm import Pcm, silence
from edge_node.errors import SettingsError
from edge_node.media.echo.livekit_apm import LivekitCanceller
from edge_node.media.echo.speexdsp import SpeexCanceller
from edge_node.ports import BLOCK_FRAMES, EchoCanceller

log = logging.getLogger(__name__)

Mode = Literal["auto", "on", "off", "half-duplex"]
Work = Callable[[], None]
WAITING_BLOCKS = 8
"""Played blocks that wait for the microphone's thread while both have streams of their own."""
HOW_TO_GET_ONE = "install edge-node[aec], or run sudo apt install libspeexdsp1"


def best_canceller() -> EchoCanceller | None:
    """The best one that this machine has: livekit's, speexdsp's, or None."""
    if importlib.util.find_spec("livekit") is not None:
        try:
            return LivekitCanceller()
        except Exception as err:  # a broken native library is as good as none
            log.warning("livekit's audio processing cannot be used: %s", err)
    try:
        return SpeexCanceller()
    except OSError:
        return None


def in_background(work: Work) -> None:
    """Beside the sound's thread, which must not wait for a library."""
    threading.Thread(target=work, name="echo-canceller").start()


class EchoControl:
    """Cleans the microphone's blocks; from the sound card's thread, never waits.

    On one clock a canceller does it, and half-duplex for as long as that has not shown that it works. On two clocks,
    or without a canceller, half-duplex does it alone. Unless the mode is "on", the canceller is loaded with the first
    sound that is played: its library takes 14 MB, which a node that nobody talks to does not need.
    """

    def __init__(
        self,
        mode: Mode = "auto",
        make: Callable[[], EchoCanceller | None] = best_canceller,
        *,
        load: Callable[[Work], None] = in_background,
    ) -> None:
        """`load(work)` does the work soon. Raises SettingsError when the mode is "on" and there is no canceller."""
        self._mode = mode
        self._make: Callable[[], EchoCanceller | None] | None = make if mode == "auto" else None
        self._load = load
        self._canceller = make() if mode == "on" else None
        if mode == "on" and self._canceller is None:
            raise SettingsError(f'audio.echo_cancel: this machine has no canceller for "on": {HOW_TO_GET_ONE}')
        self._gate = HalfDuplex()
        self._cancelled = EchoReturn()
        """Of the canceller alone."""
        self._total = EchoReturn()
        self._delay = EchoDelay()
        self._hint_ms: float | None = None
        self._waiting: deque[Pcm] = deque(maxlen=WAITING_BLOCKS)
        self._lock = threading.Lock()
        self._label = "off" if mode == "off" else self._canceller.label if self._canceller else "half-duplex"

    @property
    def label(self) -> str:
        """What runs now: `livekit`, `speexdsp`, `half-duplex` or `off`."""
        return self._label

    @property
    def return_loss_db(self) -> float | None:
        """By how much the echo is turned down in all, measured; None before anything came back, or when off."""
        return None if self._mode == "off" else self._total.db

    @property
    def delay_ms(self) -> float | None:
        """How long the speaker's sound takes to come back; None while no echo is found."""
        return self._delay.ms

    def opened(self, latency_ms: float | None) -> None:
        """A stream begins; `latency_ms` is what its buffers say, both ways, or None where they share no clock."""
        self._hint_ms = latency_ms
        self._delay = EchoDelay()
        self._cancelled.forget()
        self._waiting.clear()
        if self._canceller is not None and latency_ms is not None:
            self._canceller.set_delay(latency_ms)

    def together(self, captured: Pcm, played: Pcm) -> Pcm:
        """What may be sent of `captured`, recorded in the callback that played `played`."""
        if self._mode == "off":
            return captured
        if self._delay.feed(captured, played) and self._canceller is not None:
            self._canceller.set_delay(self._delay.ms or 0.0)
        if self._make is not None and np.any(played):
            make, self._make = self._make, None
            self._load(lambda: self._use(make()))
        if self._canceller is None:
            return self._half_duplex(captured, captured, played)
        try:
            cleaned = self._canceller.process(captured, played)
        except Exception as err:  # the call goes on, in turns
            log.error("the echo canceller %s failed (%s): half-duplex from here on", self._canceller.label, err)
            self._canceller = None
            return self._half_duplex(captured, captured, played)
        self._cancelled.feed(captured, cleaned, played, self._delay.ms or self._hint_ms or 0.0)
        if self._mode == "auto" and not self._cancelled.trusted:
            return self._half_duplex(captured, cleaned, played)
        self._say(self._canceller.label)
        self._total.feed(captured, cleaned, played, self._delay.ms or self._hint_ms or 0.0)
        return cleaned

    def to_play(self, block: Pcm) -> Pcm:
        """What is to be played instead of a block; turned down while whoever is at the microphone has the turn."""
        return self._gate.play(block, self._label == "half-duplex")

    def _use(self, canceller: EchoCanceller | None) -> None:
        if canceller is not None:
            canceller.set_delay(self._delay.ms or self._hint_ms or 0.0)
        self._canceller = canceller

    def played(self, played: Pcm) -> None:
        """A block of the speaker's own stream; from its thread."""
        with self._lock:
            self._waiting.append(played)

    def captured(self, captured: Pcm) -> Pcm:
        """What may be sent of a block of the microphone's own stream; from its thread."""
        with self._lock:
            played = self._waiting.popleft() if self._waiting else silence(BLOCK_FRAMES)
        return self.apart(captured, played)

    def apart(self, captured: Pcm, played: Pcm) -> Pcm:
        """What may be sent of `captured`; `played` was played at about that time, by another clock."""
        if self._mode == "off":
            return captured
        self._delay.feed(captured, played)
        return self._half_duplex(captured, captured, played)

    def _half_duplex(self, captured: Pcm, cleaned: Pcm, played: Pcm) -> Pcm:
        self._say("half-duplex")
        # Until the echo is found, it may come as late as any.
        delay_ms = MAX_DELAY_MS if self._delay.ms is None else self._delay.ms
        sent = self._gate.process(cleaned, played, delay_ms, captured)
        self._total.feed(captured, sent, played, delay_ms)
        return sent

    def _say(self, label: str) -> None:
        if label != self._label:
            self._label = label
            log.info("echo is kept away by: %s", label)
