"""WebRTC's AudioProcessingModule, as livekit packs it (the `aec` extra)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_node.dsp.pcm import Pcm
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE


class LivekitCanceller:
    """Echo, noise and rumble; finds the echo's delay by itself, follows slow drift.

    Its gain control stays off: it lifts whatever is left of the echo by 15 dB (tests/media/test_audio_echo.py).
    """

    label = "livekit"

    def __init__(self) -> None:
        """Raises ImportError where livekit is not installed."""
        from livekit import rtc

        self._frame = rtc.AudioFrame
        self._module: Any = rtc.AudioProcessingModule(
            echo_cancellation=True, noise_suppression=True, high_pass_filter=True, auto_gain_control=False
        )

    def process(self, captured: Pcm, played: Pcm) -> Pcm:
        """The block without the echo. Raises RuntimeError when the module refuses."""
        self._module.process_reverse_stream(self._frame(played.tobytes(), SAMPLE_RATE, 1, BLOCK_FRAMES))
        near = self._frame(bytearray(captured.tobytes()), SAMPLE_RATE, 1, BLOCK_FRAMES)
        self._module.process_stream(near)
        return np.frombuffer(near.data.cast("B"), np.int16)

    def set_delay(self, delay_ms: float) -> None:
        """A hint only."""
        self._module.set_stream_delay_ms(round(delay_ms))
