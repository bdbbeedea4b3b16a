"""A stream comes out in blocks, complete and in order."""

from __future__ import annotations

import numpy as np

from edge_node.dsp.blocks import Blocks


def test_pieces_of_any_length_become_blocks() -> None:
    blocks = Blocks(4)
    sound = np.arange(23, dtype=np.int16)
    out = [block for piece in np.split(sound, [3, 3, 5, 13, 20]) for block in blocks.push(piece)]
    assert [len(block) for block in out] == [4] * 5
    assert np.concatenate(out).tolist() == sound[:20].tolist()
