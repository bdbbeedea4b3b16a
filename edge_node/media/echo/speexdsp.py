"""Debian's libspeexdsp1 by ctypes: an adaptive filter with a residual suppressor."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections import deque

import numpy as np

from edge_node.dsp.pcm import Pcm, Resampler, silence
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE

RATE = 16_000
FRAME = RATE * BLOCK_FRAMES // SAMPLE_RATE
TAIL_FRAMES = RATE * 3 // 10
EARLY_MS = 20.0
"""The reference comes this much before the echo: a filter cannot look ahead, and an estimate may be off."""
# speex_echo.h and speex_preprocess.h of 1.2.1
ECHO_SET_SAMPLING_RATE = 24
PREPROCESS_SET_DENOISE = 0
PREPROCESS_SET_ECHO_STATE = 24


class SpeexCanceller:
    """Works at 16 kHz, on one clock for microphone and speaker only: 20 ppm of drift halve what it reaches."""

    label = "speexdsp"

    def __init__(self) -> None:
        """Raises OSError where the library is not installed."""
        name = ctypes.util.find_library("speexdsp")
        if name is None:
            raise OSError("libspeexdsp is not installed: run sudo apt install libspeexdsp1")
        self._lib = _declared(ctypes.CDLL(name))
        self._down = [Resampler(SAMPLE_RATE, RATE) for _ in range(2)]
        self._up = Resampler(RATE, SAMPLE_RATE)
        self._played: deque[Pcm] = deque()
        self._delay_blocks = 0
        self._start()

    def process(self, captured: Pcm, played: Pcm) -> Pcm:
        """The block without the echo, at most 8 kHz wide, 2 ms late."""
        near = np.ascontiguousarray(self._down[0].push(captured))
        self._played.append(np.ascontiguousarray(self._down[1].push(played)))
        while len(self._played) > self._delay_blocks + 1:
            self._played.popleft()
        far = self._played[0] if len(self._played) > self._delay_blocks else silence(FRAME)
        out = np.empty(FRAME, np.int16)
        self._lib.speex_echo_cancellation(self._echo, near.ctypes.data, far.ctypes.data, out.ctypes.data)
        self._lib.speex_preprocess_run(self._preprocess, out.ctypes.data)
        return self._up.push(out)

    def set_delay(self, delay_ms: float) -> None:
        """The echo begins so long after its block was played; learns anew when that moves out of the filter."""
        wanted = max(0, int((delay_ms - EARLY_MS) * RATE / 1000.0 / FRAME))
        # Later than now by up to 100 ms is still well inside the 300 ms filter; earlier cannot be cancelled at all.
        if not 0 <= wanted - self._delay_blocks <= 10:
            self._delay_blocks = wanted
            self._free()
            self._start()

    def _start(self) -> None:
        rate, on = ctypes.c_int(RATE), ctypes.c_int(1)
        self._echo = ctypes.c_void_p(self._lib.speex_echo_state_init(FRAME, TAIL_FRAMES))
        self._lib.speex_echo_ctl(self._echo, ECHO_SET_SAMPLING_RATE, ctypes.byref(rate))
        self._preprocess = ctypes.c_void_p(self._lib.speex_preprocess_state_init(FRAME, RATE))
        self._lib.speex_preprocess_ctl(self._preprocess, PREPROCESS_SET_ECHO_STATE, self._echo)
        self._lib.speex_preprocess_ctl(self._preprocess, PREPROCESS_SET_DENOISE, ctypes.byref(on))

    def _free(self) -> None:
        self._lib.speex_preprocess_state_destroy(self._preprocess)
        self._lib.speex_echo_state_destroy(self._echo)

    def __del__(self) -> None:
        if hasattr(self, "_preprocess"):
            self._free()


def _declared(lib: ctypes.CDLL) -> ctypes.CDLL:
    pointer = ctypes.c_void_p
    lib.speex_echo_state_init.restype = pointer
    lib.speex_preprocess_state_init.restype = pointer
    lib.speex_echo_cancellation.argtypes = [pointer, pointer, pointer, pointer]
    lib.speex_echo_ctl.argtypes = [pointer, ctypes.c_int, pointer]
    lib.speex_preprocess_ctl.argtypes = [pointer, ctypes.c_int, pointer]
    lib.speex_preprocess_run.argtypes = [pointer, pointer]
    for name in ("speex_echo_state_destroy", "speex_preprocess_state_destroy"):
        getattr(lib, name).argtypes = [pointer]
    return lib
