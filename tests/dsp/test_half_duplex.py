"""Half-duplex: no echo comes through, and the microphone is open again soon."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.half_duplex import HalfDuplex
from edge_node.dsp.pcm import RATE, silence
from tests.support.room import Room, blocks, power_db, samples, speech

SPEECH_S = 3.0


@pytest.mark.parametrize("delay_ms", [5.0, 60.0, 150.0, 300.0])
def test_no_echo_comes_through_and_the_switch_is_quick(delay_ms: float) -> None:
    far = speech(SPEECH_S, 1)
    far[int(2.0 * RATE) :] = 0.0
    room = Room(delay_ms)
    echo = room.echo(far)
    gate = HalfDuplex()
    sent, open_at = [], None
    for number, (captured, played) in enumerate(zip(blocks(echo), blocks(far), strict=True)):
        sent.append(gate.process(captured, played, delay_ms))
        if number * 0.01 >= 2.0 and open_at is None and not gate.closed:
            open_at = number * 0.01
    assert power_db(echo, 0.0, SPEECH_S) - power_db(samples(sent), 0.0, SPEECH_S) >= 40.0
    assert open_at is not None
    assert open_at - (2.0 + delay_ms / 1000.0) <= 0.15, "after the echo's last direct sound"


def test_whoever_is_played_closes_the_microphone_within_its_block() -> None:
    near, far = blocks(speech(1.0, 2)), blocks(speech(1.0, 3))
    gate = HalfDuplex()
    assert gate.process(near[0], silence(480), 60.0) is near[0]
    out = gate.process(near[20], np.maximum(far[30], 1000), 60.0)
    assert gate.closed
    assert np.abs(out[260:]).max() <= 33, "60 dB down after the ramp"


def test_the_ramp_is_no_click() -> None:
    loud = np.full(480, 20_000, np.int16)
    gate = HalfDuplex()
    down = gate.process(loud, loud, 0.0)
    ups = [gate.process(loud, silence(480), 0.0) for _ in range(20)]
    sound = np.concatenate((down, *ups)).astype(np.int32)
    assert np.abs(np.diff(sound)).max() < 100
    assert sound[-1] == 20_000
