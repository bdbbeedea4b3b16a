"""Adding up what several people say."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edge_node.dsp.pcm import Pcm, saturate


def mix(blocks: Iterable[Pcm], frames: int) -> Pcm:
    """The saturated sum of mono blocks as one block of `frames`; shorter blocks count as silent at their end."""
    total = np.zeros(frames, np.int32)
    for block in blocks:
        part = block[:frames]
        total[: len(part)] += part
    return saturate(total)
