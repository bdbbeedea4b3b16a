"""Half-duplex: no echo comes through, and the microphone is open again soon."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.half_duplex import LEARNT_MS, OPEN_MS, TOO_LONG_MS, HalfDuplex
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


def call(
    near_dbfs: float, near_at_s: float, near_s: float, total_s: float = 7.0, seed: int = 1
) -> tuple[list[bool], float]:
    """Somebody far off talks all the time, somebody near for a while: when they had broken in, echo's loss in dB.

    The loss is that of the echo outside the near talk.
    """
    far = speech(total_s, seed)
    room = Room(60.0, seed=seed)
    echo = room.echo(far) + room.noise(len(far))
    near = np.zeros_like(echo)
    begin, end = int(near_at_s * RATE), int((near_at_s + near_s) * RATE)
    near[begin:end] = speech(near_s, seed + 100, 200.0, near_dbfs)[: end - begin]
    gate, opened, sent = HalfDuplex(), [], []
    for captured, played in zip(blocks(echo + near), blocks(far), strict=True):
        sent.append(gate.process(captured, played, 60.0))
        opened.append(gate.broken_in)
    quiet = np.ones(len(samples(sent)), bool)
    quiet[begin : end + int(OPEN_MS / 1000 * RATE) + RATE // 2] = False
    before, after = echo[: len(quiet)][quiet], samples(sent)[quiet]
    return opened, float(10 * np.log10(np.mean(before**2) / np.mean(after**2)))


@pytest.mark.parametrize("seed", range(1, 4))
def test_who_is_clearly_louder_than_the_echo_breaks_in(seed: int) -> None:
    opened, loss_db = call(near_dbfs=-9.0, near_at_s=4.0, near_s=1.5, seed=seed)
    assert not any(opened[:400])
    assert 0.2 <= opened.index(True) / 100 - 4.0 <= 0.9
    assert sum(opened[400:560]) > 50
    assert not any(opened[610:]), "and closed again soon after"
    assert loss_db >= 40.0


@pytest.mark.parametrize("seed", range(1, 4))
def test_the_echo_alone_never_breaks_in(seed: int) -> None:
    opened, loss_db = call(near_dbfs=-90.0, near_at_s=4.0, near_s=0.5, total_s=20.0, seed=seed)
    assert not any(opened)
    assert loss_db >= 40.0


def test_a_bang_does_not_break_in() -> None:
    opened, _ = call(near_dbfs=-3.0, near_at_s=4.0, near_s=0.12)
    assert not any(opened)


def steady(gate: HalfDuplex, captured: int, played: int, seconds: float) -> int:
    """In how many blocks somebody had broken in."""
    opened = 0
    for _ in range(int(seconds * 100)):
        gate.process(np.full(480, captured, np.int16), np.full(480, played, np.int16), 0.0)
        opened += gate.broken_in
    return opened


def test_nobody_breaks_in_before_the_echo_is_known() -> None:
    gate = HalfDuplex()
    assert steady(gate, 10_000, 3000, LEARNT_MS / 1000) == 0


def test_an_echo_that_has_become_louder_is_learnt_again() -> None:
    gate = HalfDuplex()
    assert steady(gate, 500, 3000, 2.0) == 0
    assert 0 < steady(gate, 5000, 3000, TOO_LONG_MS / 1000 + 2.0) <= TOO_LONG_MS / 10 + 1
    assert steady(gate, 5000, 3000, 5.0) == 0


def test_what_is_played_softly_teaches_nothing() -> None:
    gate = HalfDuplex()
    assert steady(gate, 20, 100, 3.0) == 0
    assert steady(gate, 10_000, 3000, 0.9) == 0
