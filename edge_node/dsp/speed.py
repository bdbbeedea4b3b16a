"""How much faster or slower to play, so that the sound held stays what it should be."""

from __future__ import annotations

from edge_node.dsp.pcm import RATE

SMOOTH_S = 5.0
"""Time constant of the level that steers: a quicker one would follow the jitter."""
PPM_PER_MS = 50.0
PPM_PER_MS_S = 0.6
"""The part that learns how much the two clocks differ: critically damped with PPM_PER_MS."""
MAX_PPM = 1000.0
"""More than any two clocks differ; one part in a thousand is 1.7 cents, far below what is heard."""
MAX_DRIFT_PPM = 600.0


class SpeedControl:
    """A smoothed PI controller; step() says how many samples to take on top of each block's own."""

    def __init__(self) -> None:
        self._error = 0.0
        self._drift_ppm = 0.0
        self._owed = 0.0
        self.ppm = 0.0
        """The speed now, in parts per million over that of the device."""

    @property
    def error(self) -> float:
        """Samples held too many, or too few, over the last seconds."""
        return self._error

    def step(self, error: int, frames: int) -> int:
        """-1, 0 or 1, for a block of `frames` while `error` samples are held too many."""
        passed_s = frames / RATE
        self._error += (error - self._error) * min(1.0, passed_s / SMOOTH_S)
        error_ms = self._error * 1000.0 / RATE
        wanted = self._drift_ppm + PPM_PER_MS * error_ms
        self.ppm = max(-MAX_PPM, min(MAX_PPM, wanted))
        if wanted == self.ppm:  # learnt only within the limits: what is over them is no drift
            drift = self._drift_ppm + PPM_PER_MS_S * error_ms * passed_s
            self._drift_ppm = max(-MAX_DRIFT_PPM, min(MAX_DRIFT_PPM, drift))
        self._owed += frames * self.ppm * 1e-6
        taken = int(self._owed)  # towards zero
        self._owed -= taken
        return max(-1, min(1, taken))

    def shifted(self, samples: int) -> None:
        """The level was changed by so much at once, on purpose."""
        self._error += samples

    def settle(self) -> None:
        """The level was set to what it should be; what is known of the clocks stays."""
        self._error = 0.0
