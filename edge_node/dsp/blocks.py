"""Cutting a stream into blocks of one length."""

from __future__ import annotations

import numpy as np

from edge_node.dsp.pcm import Pcm, silence


class Blocks:
    """push() pieces of any length, get whole blocks of `frames`; what is left waits for the next piece."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._held = silence(0)

    def push(self, pcm: Pcm) -> list[Pcm]:
        """The blocks that are complete now, in order."""
        held = np.concatenate((self._held, pcm)) if len(self._held) else pcm
        whole = len(held) // self._frames
        self._held = held[whole * self._frames :]
        return [held[k * self._frames : (k + 1) * self._frames] for k in range(whole)]
